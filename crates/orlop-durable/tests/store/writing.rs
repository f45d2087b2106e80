//! What is written is there, and what is not whole is not.

use crate::over_each_store;
use crate::rows::*;
use crate::stores::Place;
use orlop_durable::store::{Store, StoreError};
use orlop_durable_core::{RunChange, RunRow, RunStatus, TaskStatus, Write};
use orlop_model::durable::{BlockCause, CallId, CommandNumber, Failure, FailureCause, Outcome, Owner, TaskLog};
use orlop_model::{TaskId, Timestamp};
use std::sync::Arc;

over_each_store!(
    a_run_comes_back_with_its_journal_in_order,
    changes_of_a_run_are_there_also_when_they_came_with_it,
    timers_and_keys_are_there_until_they_go,
    tasks_come_back_open_and_over,
    a_key_may_go_from_run_to_run_within_one_batch,
    a_batch_that_fails_leaves_nothing,
    what_was_acknowledged_is_there_after_the_database_was_gone,
);

async fn a_run_comes_back_with_its_journal_in_order(place: Place) {
    let (mut any, store) = (Any::new(), place.open().await);
    let row = RunRow {
        version: "v2".into(),
        key: "a key".into(),
        owner: Some(Owner::Run(run_id(4), CommandNumber(9))),
        root: Some(CallId::Task(task_id(3))),
        detached: true,
        attributes: [("who".to_owned(), "me".to_owned())].into(),
        ..run(5, "walk")
    };
    let owned = RunRow { owner: Some(Owner::Task(task_id(8))), ..run(6, "walk") };
    let entries: Vec<_> = (0..60).map(|seq| any.entry(seq)).collect();
    let (first, second) = entries.split_at(25);
    let mut writes = vec![run_new(&row), run_new(&owned)];
    // In any order: the place of an entry is its number.
    writes.extend(first.iter().rev().map(|entry| Write::Entry(row.run, entry.clone())));
    store.commit(writes).await.expect("it is written");
    store.commit(second.iter().map(|entry| Write::Entry(row.run, entry.clone())).collect()).await.expect("so is this");

    let store = place.reopen(store).await;
    let found = store.run(row.run).await.expect("it is read").expect("it is there");
    assert_eq!((&found.row, &found.entries), (&row, &entries));
    assert_eq!((found.status, found.parked, found.outcome), (RunStatus::Open, false, None));
    assert_eq!(store.run(owned.run).await.expect("it is read").expect("it is there").row, owned);
    assert_eq!(store.entries(row.run, 20, 10).await.expect("they are read"), entries[20..30]);
    assert_eq!(store.entries(row.run, 60, 10).await.expect("they are read"), []);
    assert_eq!(store.describe_run(row.run).await.expect("it is read").expect("it is there").entries, 60);
    assert!(store.run(run_id(99)).await.expect("it is read").is_none());
}

async fn a_key_may_go_from_run_to_run_within_one_batch(place: Place) {
    let store = place.open().await;
    let keyed = |number| RunRow { key: "k".into(), ..run(number, "w") };
    store.commit(vec![run_new(&keyed(1))]).await.expect("it is written");
    let goes_on = |number, next| [closed(number, RunStatus::Continued), run_new(&keyed(next))];
    let writes = [goes_on(1, 2), goes_on(2, 3)].concat();
    store.commit(writes).await.expect("it is written");
    let store = place.reopen(store).await;
    let (_, recovered) = store.take_over().await.expect("it is taken over");
    assert_eq!(recovered.run_keys, [("w".to_owned(), "k".to_owned(), run_id(3))]);
}

async fn changes_of_a_run_are_there_also_when_they_came_with_it(place: Place) {
    let store = place.open().await;
    let named = |pairs: &[(&str, &str)]| {
        RunChange::Attributes(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    };
    let blocked = RunChange::Blocked { cause: BlockCause::Mismatch, message: "here and there".into() };
    let with = RunRow { attributes: [("a".to_owned(), "1".to_owned())].into(), ..run(1, "walk") };
    store
        .commit(vec![
            run_new(&with),
            Write::RunChanged(with.run, named(&[("b", "2")])),
            Write::RunChanged(with.run, named(&[("b", "3"), ("c", "4")])),
            Write::RunChanged(with.run, blocked.clone()),
            run_new(&run(2, "walk")),
            Write::RunChanged(run_id(2), RunChange::Parked(true)),
            run_new(&run(3, "walk")),
            Write::RunChanged(run_id(3), blocked),
            closed(3, RunStatus::Failed),
        ])
        .await
        .expect("it is written");
    let store = place.reopen(store).await;
    let described = async |number| store.describe_run(run_id(number)).await.expect("read").expect("there");
    let first = described(1).await;
    assert_eq!(first.status, RunStatus::Blocked);
    assert_eq!(first.reason, "the code does not match the journal: here and there");
    let attributes: Vec<_> = first.attributes.iter().map(|(name, value)| format!("{name}{value}")).collect();
    assert_eq!(attributes, ["a1", "b3", "c4"]);
    assert_eq!((described(2).await.parked, described(2).await.status), (true, RunStatus::Open));
    let third = described(3).await;
    assert_eq!((third.status, third.closed), (RunStatus::Failed, Some(Timestamp(2000))));
    let (_, left) = store.take_over().await.expect("it is taken over");
    assert_eq!(left.runs, [run_id(1)], "the second is parked");

    let changes = [(1, RunChange::Unblocked), (2, RunChange::Parked(false)), (1, named(&[("a", "5")]))];
    let changes = changes.map(|(number, change)| Write::RunChanged(run_id(number), change));
    store.commit(changes.into()).await.expect("it is written");
    store.commit(vec![closed(2, RunStatus::Continued)]).await.expect("it is written");
    let first = described(1).await;
    assert_eq!((first.status, first.reason.as_str(), first.attributes["a"].as_str()), (RunStatus::Open, "", "5"));
    assert_eq!((described(2).await.parked, described(2).await.status), (false, RunStatus::Continued));
    assert_eq!(store.run(run_id(2)).await.expect("read").expect("there").outcome, Some(Outcome::Ok(payload(b"1"))));
}

async fn timers_and_keys_are_there_until_they_go(place: Place) {
    let store = place.open().await;
    let timer = |at, command| (Timestamp(at), run_id(1), CommandNumber(command));
    let new = |(at, run, command)| Write::TimerNew { at, run, command };
    let gone = |(at, run, command)| Write::TimerGone { at, run, command };
    let keyed = |number, key: &str| run_new(&RunRow { key: key.into(), ..run(number, "walk") });
    store
        .commit(vec![new(timer(5, 1)), new(timer(6, 2)), gone(timer(5, 1)), keyed(1, "k"), keyed(2, "l")])
        .await
        .expect("it is written");
    store.commit(vec![new(timer(7, 3)), gone(timer(6, 2)), closed(2, RunStatus::Failed)]).await.expect("written");
    store.commit(vec![keyed(3, "l"), gone(timer(100, 100))]).await.expect("a key is free when its run is over");
    let store = place.reopen(store).await;
    let (_, mut left) = store.take_over().await.expect("it is taken over");
    assert_eq!(left.timers, [timer(7, 3)]);
    left.run_keys.sort();
    let key = |key: &str, number| ("walk".to_owned(), key.to_owned(), run_id(number));
    assert_eq!(left.run_keys, [key("k", 1), key("l", 3)]);
}

async fn tasks_come_back_open_and_over(place: Place) {
    let (mut any, store) = (Any::new(), place.open().await);
    let rows: Vec<_> = (1..=6).map(|number| any.task(number)).collect();
    let [open, changed, over, at_once, changed_at_once, changed_and_over] = rows.as_slice() else { unreachable!() };
    let failed = Outcome::Failed(Failure::new(FailureCause::TimedOut, "too late"));
    let ok = Outcome::Ok(payload(b"2"));
    let (change, other) = (any.change(), any.change());
    let line = |text: &str| TaskLog { at: Timestamp(1), level: "info".into(), text: text.into() };
    store
        .commit(vec![
            task_new(open),
            task_new(changed),
            task_new(over),
            task_new(at_once),
            task_closed(at_once, TaskStatus::Completed, ok.clone()),
            task_new(changed_at_once),
            Write::TaskChanged(changed_at_once.task, Box::new(change.clone())),
            task_new(changed_and_over),
            Write::TaskSaid(open.task, vec![line("one"), line("two")]),
        ])
        .await
        .expect("it is written");
    store
        .commit(vec![
            Write::TaskChanged(changed.task, Box::new(other.clone())),
            task_closed(over, TaskStatus::Failed, failed.clone()),
            Write::TaskChanged(changed_and_over.task, Box::new(change.clone())),
            task_closed(changed_and_over, TaskStatus::Cancelled, failed.clone()),
            Write::TaskSaid(over.task, vec![line("three")]),
        ])
        .await
        .expect("it is written");
    let store = place.reopen(store).await;
    let (_, mut left) = store.take_over().await.expect("it is taken over");
    left.tasks.sort_by_key(|row| row.task);
    let mut wanted = vec![open.clone(), changed.clone(), changed_at_once.clone()];
    wanted[1].change = other;
    wanted[2].change = change;
    assert_eq!(left.tasks, wanted);
    let ended = async |task: TaskId| store.describe_task(task).await.expect("read").expect("there");
    let summary = ended(over.task).await;
    assert_eq!(&summary.row, over);
    let end = summary.ended.expect("an end");
    assert_eq!((end.status, end.at, end.attempt, &end.outcome), (TaskStatus::Failed, Timestamp(3000), 4, &failed));
    assert_eq!(ended(changed_and_over.task).await.ended.expect("an end").status, TaskStatus::Cancelled);
    assert!(ended(open.task).await.ended.is_none());
    assert_eq!(store.task_outcome(at_once.task).await.expect("read"), Some(ok));
    assert_eq!(store.task_outcome(open.task).await.expect("read"), None);
    assert!(store.describe_task(task_id(99)).await.expect("read").is_none());
}

async fn a_batch_that_fails_leaves_nothing(place: Place) {
    let store = place.open().await;
    store.commit(vec![run_new(&run(1, "walk")), Write::Entry(run_id(1), entry(0, b"1"))]).await.expect("written");
    let twice = vec![
        run_new(&run(2, "walk")),
        task_new(&task(3, "work")),
        Write::Entry(run_id(1), entry(1, b"2")),
        Write::Entry(run_id(1), entry(0, b"3")),
        closed(1, RunStatus::Failed),
    ];
    store.commit(twice).await.expect_err("a place in a journal is taken once");
    // The life is over; another one begins.
    let (_, left) = store.take_over().await.expect("it is taken over");
    assert_eq!((left.runs.len(), left.tasks.len()), (1, 0));
    let found = store.run(run_id(1)).await.expect("read").expect("there");
    assert_eq!((found.status, found.entries), (RunStatus::Open, vec![entry(0, b"1")]));
    store.commit(vec![Write::Entry(run_id(1), entry(1, b"2"))]).await.expect("it goes on");
}

/// Writes entries until that fails; how many were acknowledged.
async fn write_until_it_fails(store: Arc<dyn Store>, from: u64, most: u64) -> u64 {
    for seq in from..most {
        if let Err(error) = store.commit(vec![Write::Entry(run_id(1), entry(seq, b"x"))]).await {
            assert!(matches!(error, StoreError::Database { .. }), "{error}");
            return seq;
        }
    }
    most
}

async fn what_was_acknowledged_is_there_after_the_database_was_gone(mut place: Place) {
    let mut store = place.open().await;
    store.commit(vec![run_new(&run(1, "walk"))]).await.expect("written");
    let mut acknowledged = 0;
    for _ in 0..3 {
        let is_served = place.server().is_some();
        let most = if is_served { u64::MAX } else { acknowledged + 50 };
        let writing = tokio::spawn(write_until_it_fails(store.clone(), acknowledged, most));
        match place.server() {
            Some(server) => {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                server.halt();
                acknowledged = writing.await.expect("it ends");
                store.take_over().await.expect_err("nobody answers");
                server.begin();
                // The same store, as an engine that begins anew has it.
                store.take_over().await.expect("it is taken over");
            }
            None => {
                acknowledged = writing.await.expect("it ends");
                store = place.reopen(store).await;
            }
        }
        let there = store.entries(run_id(1), 0, u32::MAX).await.expect("read").len() as u64;
        assert!(there >= acknowledged, "{acknowledged} were acknowledged, {there} are there");
        assert!(there <= acknowledged + 1, "one at most was under way");
        acknowledged = there;
    }
    assert!(acknowledged > 3, "only {acknowledged}");
}
