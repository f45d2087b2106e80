//! Members that are all well.

use crate::harness::Cluster;
use orlop_consensus::{MembersError, Suffrage};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_to_any_member_are_applied_on_all_in_one_order() {
    for members in [3, 5] {
        let cluster = Cluster::new(members).await;
        for round in 0..20 {
            for member in 1..=members {
                cluster.submit(member, &format!("{round}-{member}")).await.unwrap();
            }
        }
        let expected: Vec<String> =
            (0..20).flat_map(|round| (1..=members).map(move |member| format!("{round}-{member}"))).collect();
        assert_eq!(cluster.agree().await, expected);
        let infos = cluster.member(1).members();
        assert_eq!(infos.iter().map(|info| info.id).collect::<Vec<_>>(), (1..=members).collect::<Vec<_>>());
        assert!(infos.iter().all(|info| info.suffrage == Suffrage::Voter && info.matched.is_some()), "{infos:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_on_any_member_sees_what_any_other_answered_before() {
    let cluster = Cluster::new(3).await;
    for round in 0..30_u64 {
        let (writer, reader) = (round % 3 + 1, (round + 1) % 3 + 1);
        let index = cluster.submit(writer, &round.to_string()).await.unwrap();
        let reached = cluster.member(reader).read_index().await.unwrap();
        assert!(reached >= index, "{reached} < {index}");
        let seen = cluster.nodes[&reader].list.texts();
        assert_eq!(seen.last(), Some(&round.to_string()), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_without_losing_writes_and_soon() {
    let cluster = Cluster::new(3).await;
    let mut took = Vec::new();
    for round in 0..12_u64 {
        let leader = cluster.leader().await;
        let next = leader % 3 + 1;
        let began = Instant::now();
        cluster.member(leader).transfer_leadership(next).await.unwrap();
        cluster.submit(next, &round.to_string()).await.unwrap();
        took.push(began.elapsed());
        assert_eq!(cluster.leader().await, next);
    }
    took.sort_unstable();
    eprintln!("hand-over to the next write: p50 {:?}, worst {:?}", took[took.len() / 2], took[took.len() - 1]);
    // The goal is 50 ms; an election by timeout would take 400 ms and more.
    assert!(took[took.len() / 2] < Duration::from_millis(300), "{took:?}");
    assert_eq!(cluster.agree().await.len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_changes_no_members_and_says_who_can() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.member(leader % 3 + 1);
    let refused = Err(MembersError::NotLeader { leader: Some(leader) });
    assert_eq!(follower.remove(leader).await, refused);
    assert_eq!(follower.add_learner(9, "x").await, refused);
    assert_eq!(follower.transfer_leadership(leader).await, refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_commands_reach_members_that_lag_too() {
    let mut cluster = Cluster::with(3, |options| options.command_bytes_max = 4 << 20).await;
    let leader = cluster.leader().await;
    let away = leader % 3 + 1;
    cluster.kill(away);
    for size in [4 << 20, 1 << 20, (1 << 20) - 100, 4 << 20, 4 << 20, 0, 4 << 20] {
        cluster.submit(leader, &"z".repeat(size)).await.unwrap();
    }
    cluster.start(away).await;
    assert_eq!(cluster.agree().await.len(), 7);
    // And the other way round: passed on by a member that does not lead.
    cluster.submit(away, &"y".repeat(4 << 20)).await.unwrap();
    let refused = cluster.submit(away, &"y".repeat((4 << 20) + 1)).await.unwrap_err();
    assert!(refused.to_string().contains("at most 4194304 are accepted"), "{refused}");
    assert_eq!(cluster.agree().await.len(), 8);
}
