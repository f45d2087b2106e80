//! Members that have fallen too far behind for the log.

use crate::harness::{Cluster, wait_until};
use orlop_consensus::Options;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn small(options: &mut Options) {
    (options.snapshot_after_entries, options.keep_entries) = (200, 20);
}

fn receiving(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory.join("snapshots")).ok()?;
    entries.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "receiving"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_for_long_gets_a_snapshot_and_the_rest() {
    let mut cluster = Cluster::with(3, small).await;
    let leader = cluster.leader().await;
    let away = leader % 3 + 1;
    cluster.kill(away);
    for number in 0..1200 {
        cluster.submit(leader, &number.to_string()).await.unwrap();
    }
    cluster.start(away).await;
    cluster.submit(leader, "last").await.unwrap();
    assert_eq!(cluster.agree().await.len(), 1201);
    assert!(cluster.member(away).status().snapshot >= 800, "{:?}", cluster.member(away).status());
    assert_eq!(receiving(&cluster.directory(away)), None, "a part was left behind");
    // What it was given is as good as what it had: it starts from it.
    cluster.kill(away);
    cluster.start(away).await;
    assert_eq!(cluster.agree().await.len(), 1201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_was_cut_short_is_gone_on_with_where_it_ended() {
    let mut cluster = Cluster::with(3, |options| {
        small(options);
        options.snapshot_after_bytes = 64 << 20;
    })
    .await;
    let leader = cluster.leader().await;
    let away = leader % 3 + 1;
    cluster.kill(away);
    let large = "x".repeat(200_000);
    for number in 0..40 {
        cluster.submit(leader, &format!("{number}-{large}")).await.unwrap();
    }
    for number in 0..400 {
        cluster.submit(leader, &number.to_string()).await.unwrap();
    }
    wait_until("a snapshot", || cluster.member(leader).status().snapshot > 200).await;
    // Eight megabytes at four in a second: it is cut in the middle, twice.
    cluster.network.slow(leader, away, 4 << 20);
    cluster.start(away).await;
    let directory = cluster.directory(away);
    let held = || receiving(&directory).map_or(0, |path| std::fs::metadata(path).map_or(0, |meta| meta.len()));
    let mut before = 0;
    for cut in 1..=2_u64 {
        wait_until("a part of the snapshot", || held() > cut * (2 << 20)).await;
        cluster.network.isolate(away, &[1, 2, 3]);
        assert!(held() >= before, "what was there is gone");
        before = held();
        if cut == 2 {
            cluster.kill(away);
            cluster.start(away).await;
        }
        assert!(held() >= before, "what was there is gone");
        cluster.network.heal();
        cluster.network.slow(leader, away, 4 << 20);
    }
    cluster.network.heal();
    assert_eq!(cluster.agree().await.len(), 440);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_follower_slows_nobody_and_costs_no_election() {
    let cluster = Cluster::with(3, small).await;
    let leader = cluster.leader().await;
    let term = cluster.member(leader).status().term;
    let slow = leader % 3 + 1;
    cluster.network.slow(leader, slow, 100 << 10);
    let text = "y".repeat(10_000);
    let began = std::time::Instant::now();
    for number in 0..300 {
        cluster.submit(leader, &format!("{number}-{text}")).await.unwrap();
    }
    eprintln!("300 writes of 10 kB beside a follower at 100 kB/s: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let status = cluster.member(leader).status();
    assert_eq!((status.leader, status.term), (Some(leader), term));
    cluster.network.heal();
    assert_eq!(cluster.agree().await.len(), 300);
}
