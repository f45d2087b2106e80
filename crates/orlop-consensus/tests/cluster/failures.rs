//! Members that die, and networks that are cut.

use crate::harness::{Cluster, wait_until};
use orlop_consensus::SubmitError;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_within_a_second_and_nothing_is_lost() {
    let mut cluster = Cluster::new(3).await;
    let mut took = Vec::new();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let leader = cluster.leader().await;
        acknowledged.push(format!("before-{round}"));
        cluster.submit(leader, &format!("before-{round}")).await.unwrap();
        cluster.kill(leader);
        let began = Instant::now();
        let survivor = leader % 3 + 1;
        for attempt in 0.. {
            let text = format!("after-{round}-{attempt}");
            match cluster.submit(survivor, &text).await {
                Ok(_) => {
                    acknowledged.push(text);
                    break;
                }
                // It went to the leader in the moment of its death.
                Err(error) => assert!(error.is_unsure(), "{error:?}"),
            }
        }
        took.push(began.elapsed());
        cluster.start(leader).await;
        let mut found = cluster.agree().await;
        found.retain(|text| acknowledged.contains(text));
        assert_eq!(found, acknowledged);
    }
    took.sort_unstable();
    eprintln!("leader killed to next write: p50 {:?}, worst {:?}", took[took.len() / 2], took[took.len() - 1]);
    assert!(took[took.len() / 2] < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_is_replaced_knows_it_and_comes_back() {
    let cluster = Cluster::with(3, |options| {
        options.commit_wait = Duration::from_millis(1500);
        options.leader_wait = Duration::from_millis(1500);
    })
    .await;
    let leader = cluster.leader().await;
    cluster.submit(leader, "one").await.unwrap();
    cluster.network.isolate(leader, &[1, 2, 3]);
    let began = Instant::now();
    let old = cluster.member(leader).clone();
    let in_hand = tokio::spawn(async move { old.submit(b"lost".to_vec()).await });
    let others: Vec<u64> = (1..=3).filter(|member| *member != leader).collect();
    let next = cluster.leader_among(&others).await;
    cluster.submit(next, "two").await.unwrap();
    eprintln!("leader cut off to next write: {:?}", began.elapsed());
    let lost = in_hand.await.unwrap().unwrap_err();
    assert!(matches!(lost, SubmitError::Unknown { .. }) && lost.is_unsure(), "{lost:?}");
    let refused = cluster.submit(leader, "refused").await.unwrap_err();
    assert!(matches!(refused, SubmitError::NoLeader { .. }) && !refused.is_unsure(), "{refused:?}");
    assert!(cluster.member(leader).read_index().await.is_err(), "a leader without a majority confirmed a read");
    wait_until("the old leader to notice", || cluster.member(leader).leadership().borrow().leader.is_none()).await;
    let healed = Instant::now();
    cluster.network.heal();
    cluster.submit(leader, "three").await.unwrap();
    assert_eq!(cluster.agree().await, ["one", "two", "three"]);
    eprintln!("healed to agreement: {:?}", healed.elapsed());
    // A connection that was stuck must not hold the return up for long.
    assert!(healed.elapsed() < Duration::from_secs(5), "{:?}", healed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_cut_off_disturbs_nobody_when_it_returns() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let term = cluster.member(leader).status().term;
    let away = leader % 3 + 1;
    cluster.network.isolate(away, &[1, 2, 3]);
    for number in 0..50 {
        cluster.submit(leader, &number.to_string()).await.unwrap();
    }
    // Long enough for several elections, were it not asked beforehand whether there would be a vote.
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.network.heal();
    assert_eq!(cluster.agree().await.len(), 50);
    let status = cluster.member(leader).status();
    assert_eq!((status.leader, status.term), (Some(leader), term), "the return of member {away} cost an election");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_one_way_cut_costs_at_most_an_election() {
    for outwards in [true, false] {
        let cluster = Cluster::new(3).await;
        let leader = cluster.leader().await;
        cluster.submit(leader, "one").await.unwrap();
        let others: Vec<u64> = (1..=3).filter(|member| *member != leader).collect();
        for other in &others {
            if outwards { cluster.network.cut(leader, *other) } else { cluster.network.cut(*other, leader) }
        }
        if outwards {
            // Nobody hears the leader.
            let next = cluster.leader_among(&others).await;
            cluster.submit(next, "two").await.unwrap();
        } else {
            // Everybody hears it, and it hears nobody: it must not confirm anything.
            assert!(cluster.member(leader).read_index().await.is_err());
        }
        cluster.network.heal();
        cluster.submit(leader, "three").await.unwrap();
        let found = cluster.agree().await;
        assert_eq!(found.last().map(String::as_str), Some("three"));
        assert_eq!(found.contains(&"two".to_owned()), outwards);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_answered_and_the_error_says_so() {
    let mut cluster = Cluster::with(3, |options| {
        options.commit_wait = Duration::from_secs(1);
        options.leader_wait = Duration::from_secs(1);
    })
    .await;
    let leader = cluster.leader().await;
    let (second, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.kill(leader);
    cluster.kill(second);
    let mut error = cluster.submit(third, "alone").await.unwrap_err();
    while error.is_unsure() {
        // It went to the leader in the moment of its death.
        error = cluster.submit(third, "alone").await.unwrap_err();
    }
    assert!(matches!(error, SubmitError::NoLeader { .. }), "{error:?}");
    assert!(error.to_string().contains("does a majority of the members run"), "{error}");
    assert!(cluster.member(third).read_index().await.is_err());
    cluster.start(leader).await;
    cluster.submit(third, "together").await.unwrap();
    assert_eq!(cluster.agree().await, ["together"]);
}
