//! Members that come back in another state than they left.

use crate::harness::{Cluster, wait_until};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_with_an_empty_disk_is_refused_and_one_with_a_new_number_is_not() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let lost = leader % 3 + 1;
    cluster.submit(leader, "one").await.unwrap();
    cluster.kill(lost);
    std::fs::remove_dir_all(cluster.directory(lost)).unwrap();
    cluster.start(lost).await;
    cluster.submit(leader, "two").await.unwrap();
    // Several signs of life and an election's time: it stays empty and promises nothing.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!cluster.member(lost).is_initialized());
    assert!(cluster.nodes[&lost].list.texts().is_empty());
    let other = (leader + 1) % 3 + 1;
    // With the third one away, its vote and its disk would make a majority that has forgotten.
    cluster.network.isolate(other, &[1, 2, 3]);
    wait_until("the leader to see that it has no majority", || {
        cluster.member(leader).leadership().borrow().leader.is_none()
    })
    .await;
    cluster.network.heal();
    let leader = cluster.leader_among(&[leader, other]).await;
    cluster.change(|leader| async move { leader.remove(lost).await }).await;
    cluster.kill(lost);
    std::fs::remove_dir_all(cluster.directory(lost)).unwrap();
    cluster.start(20).await;
    cluster.join(20).await;
    cluster.submit(leader, "three").await.unwrap();
    assert_eq!(cluster.agree().await, ["one", "two", "three"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_among_others_that_lost_its_log_is_refused_also_when_it_has_a_snapshot() {
    let mut cluster = Cluster::with(3, |options| options.snapshot_after_entries = 20).await;
    for number in 0..50 {
        cluster.submit(1, &number.to_string()).await.unwrap();
    }
    wait_until("a snapshot", || cluster.member(2).status().snapshot > 0).await;
    cluster.on(2, |member| async move { member.shutdown().await }).await;
    cluster.kill(2);
    std::fs::remove_dir_all(cluster.directory(2).join("log")).unwrap();
    let error = cluster.try_start(2).await.unwrap_err().to_string();
    assert!(error.contains("add it again under a new number"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_with_an_empty_disk_is_filled_again() {
    let mut cluster = Cluster::new(3).await;
    cluster.start(4).await;
    cluster.change(|leader| async move { leader.add_learner(4, "member-4").await }).await;
    let leader = cluster.leader().await;
    cluster.submit(leader, "one").await.unwrap();
    assert_eq!(cluster.agree().await, ["one"]);
    cluster.kill(4);
    std::fs::remove_dir_all(cluster.directory(4)).unwrap();
    cluster.start(4).await;
    cluster.submit(leader, "two").await.unwrap();
    assert_eq!(cluster.agree().await, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_removed_while_it_was_away_disturbs_nobody() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let removed = leader % 3 + 1;
    cluster.kill(removed);
    cluster.member(leader).remove(removed).await.unwrap();
    let term = cluster.member(leader).status().term;
    cluster.start(removed).await;
    for number in 0..20 {
        cluster.submit(leader, &number.to_string()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = cluster.member(leader).status();
    assert_eq!((status.leader, status.term), (Some(leader), term), "its return cost an election");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_not_taken_for_another_at_its_address() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let (second, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    // An operator's mistake: the address of one is given to the other.
    let address = crate::harness::address(third);
    cluster.kill(second);
    cluster.member(leader).change_address(second, &address).await.unwrap();
    cluster.start(second).await;
    cluster.submit(leader, "one").await.unwrap();
    wait_until("the third to have it", || cluster.nodes[&third].list.texts() == ["one"]).await;
    assert!(cluster.nodes[&second].list.texts().is_empty());
    cluster.member(leader).change_address(second, &crate::harness::address(second)).await.unwrap();
    assert_eq!(cluster.agree().await, ["one"]);
}
