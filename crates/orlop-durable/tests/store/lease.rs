//! Who has the store.

use crate::over_each_store;
use crate::rows::*;
use crate::stores::Place;
use orlop_durable::store::{LEASE, StoreError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

over_each_store!(the_epoch_grows_with_each_takeover, a_store_is_given_back_when_it_is_closed);

async fn the_epoch_grows_with_each_takeover(place: Place) {
    let store = place.try_open("here").await.expect("it opens");
    let (first, left) = store.take_over().await.expect("taken over");
    assert_eq!((left.runs.len(), left.tasks.len(), left.timers.len(), left.run_keys.len()), (0, 0, 0, 0));
    let (second, _) = store.take_over().await.expect("its own life of before is over");
    assert!(second > first, "{first}, {second}");
    store.keep().await.expect("kept");
    let store = place.reopen(store).await;
    let (third, _) = store.take_over().await.expect("taken over");
    assert!(third > second, "{second}, {third}");
}

async fn a_store_is_given_back_when_it_is_closed(place: Place) {
    let store = place.open().await;
    let began = Instant::now();
    let other = place.reopen(store).await;
    assert!(began.elapsed() < LEASE, "nobody waits for the lease: {:?}", began.elapsed());
    other.commit(vec![run_new(&run(1, "walk"))]).await.expect("written");
}

#[tokio::test]
async fn a_directory_has_one_engine() {
    let place = Place::sqlite();
    let _store = place.open().await;
    let refused = place.try_open("there").await.err().expect("it is in use");
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
}

#[tokio::test]
async fn one_engine_has_the_database_and_one_that_was_succeeded_writes_nothing() {
    let place = Place::postgres();
    let first = place.try_open("127.0.0.1:1").await.expect("it opens");
    let second = place.try_open("127.0.0.1:2").await.expect("it opens as well");
    let (epoch, _) = first.take_over().await.expect("taken over");
    match second.take_over().await {
        Err(StoreError::Held { by, until }) => {
            let left = until.0.saturating_sub(orlop_model::Timestamp::from(std::time::SystemTime::now()).0);
            assert_eq!(by, "127.0.0.1:1");
            assert!(left <= LEASE.as_millis() as u64, "{left}");
        }
        other => panic!("the first has it: {:?}", other.map(|(epoch, _)| epoch)),
    }
    second.commit(vec![run_new(&run(9, "walk"))]).await.expect_err("it has nothing to write");
    // Kept it stays the first one's.
    for _ in 0..4 {
        sleep(Duration::from_secs(1)).await;
        first.keep().await.expect("kept");
    }
    assert!(matches!(second.take_over().await, Err(StoreError::Held { .. })));
    first.commit(vec![run_new(&run(1, "walk"))]).await.expect("written");

    // The first one stands still.
    sleep(LEASE + Duration::from_millis(200)).await;
    let (later, left) = second.take_over().await.expect("the lease is over");
    assert_eq!((later, left.runs.len()), (epoch + 1, 1));
    let late = first.commit(vec![run_new(&run(2, "walk"))]).await.expect_err("it was succeeded");
    assert!(matches!(late, StoreError::Superseded), "{late}");
    let late = first.keep().await.expect_err("it was succeeded");
    assert!(matches!(late, StoreError::Superseded | StoreError::Late), "{late}");
    assert!(matches!(first.take_over().await, Err(StoreError::Held { .. })));
    assert!(second.describe_run(run_id(2)).await.expect("read").is_none());
    // What it had it cannot give away either.
    first.close().await;
    second.keep().await.expect("it has it");
    second.commit(vec![run_new(&run(3, "walk"))]).await.expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_waits_for_a_commit_under_way_and_keeping_does_not() {
    let mut place = Place::postgres();
    let store = place.open().await;
    let server = place.server().expect("a server");
    let held = "BEGIN; SELECT 1 FROM orlop_engine.lease FOR KEY SHARE; SELECT pg_sleep(2); COMMIT";
    let began = Instant::now();
    std::thread::scope(|threads| {
        threads.spawn(|| server.sql("work", held));
        let under_way =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";
        while server.sql("work", under_way) == "0" {}
        let (keeping, taking) = (store.keep(), store.take_over());
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            runtime.block_on(keeping).expect("kept");
            assert!(began.elapsed() < Duration::from_secs(2), "keeping waits: {:?}", began.elapsed());
            runtime.block_on(taking).expect("taken over");
            assert!(began.elapsed() > Duration::from_secs(2), "it did not wait: {:?}", began.elapsed());
        });
    });
}

#[tokio::test]
async fn tables_are_made_once_and_those_of_a_newer_version_are_refused() {
    let mut place = Place::postgres();
    let opening = (0..6).map(|_| place.try_open("here"));
    for opened in futures::future::join_all(opening).await {
        opened.expect("it opens").close().await;
    }
    let server = place.server().expect("a server");
    assert_eq!(server.sql("work", "SELECT version FROM orlop_engine.version"), "1");
    server.sql("work", "UPDATE orlop_engine.version SET version = 7");
    let refused = place.try_open("here").await.err().expect("a newer version");
    let said = refused.to_string();
    assert_eq!(said, "the store has version 7 of the tables, which this version of Orlop cannot read");
}
