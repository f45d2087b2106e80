//! Members that come, go and move.

use crate::harness::{Cluster, address, wait_until};
use orlop_consensus::{Consensus, MembersError, SubmitError, Suffrage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Writes without a pause until told to stop; gives what was acknowledged, in order.
fn write_on(member: Consensus, name: &'static str, stop: Arc<AtomicBool>) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for number in 0_u64.. {
            if stop.load(Ordering::Acquire) {
                break;
            }
            let text = format!("{name}-{number}");
            match member.submit(text.clone().into_bytes()).await {
                Ok(_) => acknowledged.push(text),
                Err(error) => assert!(error.is_unsure() || matches!(error, SubmitError::NoLeader { .. }), "{error:?}"),
            }
        }
        acknowledged
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_exchanged_one_by_one_under_load_and_nothing_is_lost() {
    let mut cluster = Cluster::new(3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut members: Vec<u64> = vec![1, 2, 3];
    let mut acknowledged: Vec<String> = Vec::new();
    for new in 11..=13_u64 {
        let round = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> =
            members.iter().map(|member| write_on(cluster.member(*member).clone(), "w", round.clone())).collect();
        cluster.start(new).await;
        cluster.join(new).await;
        let old = members.remove(0);
        cluster.change(|leader| async move { leader.remove(old).await }).await;
        members.push(new);
        round.store(true, Ordering::Release);
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        let known = |cluster: &Cluster| {
            members.iter().any(|member| cluster.member(*member).leadership().borrow().leader == Some(*member))
        };
        wait_until("a leader among the new members", || known(&cluster)).await;
        cluster.kill(old);
    }
    stop.store(true, Ordering::Release);
    let leader = cluster.leader_among(&members).await;
    cluster.submit(leader, "last").await.unwrap();
    let found = cluster.agree().await;
    for text in &acknowledged {
        let times = found.iter().filter(|other| *other == text).count();
        assert!(times >= 1, "{text} was acknowledged and is gone");
    }
    assert_eq!(cluster.member(leader).members().iter().map(|info| info.id).collect::<Vec<_>>(), [11, 12, 13]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_removes_itself_hands_over_first() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    cluster.member(leader).remove(leader).await.unwrap();
    let rest: Vec<u64> = (1..=3).filter(|member| *member != leader).collect();
    let next = cluster.leader_among(&rest).await;
    cluster.submit(next, "on").await.unwrap();
    wait_until("the rest to agree", || rest.iter().all(|member| cluster.nodes[member].list.texts() == ["on"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_would_end_badly_are_refused_with_the_reason() {
    let mut cluster = Cluster::with(3, |options| options.catch_up_wait = Duration::from_millis(500)).await;
    let leader = cluster.leader().await;
    let on = cluster.member(leader).clone();
    assert_eq!(on.remove(9).await, Err(MembersError::NoSuchMember { member: 9 }));
    assert_eq!(on.promote(9).await, Err(MembersError::NoSuchMember { member: 9 }));
    let exists = MembersError::Exists { member: 2, address: address(2) };
    assert_eq!(on.add_learner(2, "elsewhere").await, Err(exists));
    // A member that nobody hears of is a learner, and stays one.
    on.add_learner(4, &address(4)).await.unwrap();
    let behind = on.promote(4).await.unwrap_err();
    assert!(matches!(behind, MembersError::Behind { member: 4, matched: 0, .. }), "{behind:?}");
    assert_eq!(on.members()[3].suffrage, Suffrage::Learner);
    assert_eq!(on.transfer_leadership(4).await, Err(MembersError::NotVoter { member: 4 }));
    cluster.submit(leader, "a learner costs nobody anything").await.unwrap();
    on.remove(4).await.unwrap();
    // With one of three dead, removing another would leave no majority.
    let (dead, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.kill(dead);
    let info = |id| on.members().into_iter().find(|info| info.id == id).unwrap();
    wait_until("the death to show", || info(dead).answered.is_none_or(|age| age > Duration::from_secs(1))).await;
    let refused = on.remove(other).await.unwrap_err();
    assert_eq!(refused, MembersError::NoMajority { member: other, answering: 1, voters: 2 });
    assert!(refused.to_string().contains("bring the others back first"), "{refused}");
    on.remove(dead).await.unwrap();
    cluster.submit(other, "two are left").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_moves_is_reached_at_its_new_address() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let moving = leader % 3 + 1;
    cluster.kill(moving);
    cluster.start_at(moving, "moved").await;
    cluster.submit(leader, "one").await.unwrap();
    cluster.member(leader).change_address(moving, "moved").await.unwrap();
    assert_eq!(cluster.agree().await, ["one"]);
    cluster.submit(moving, "two").await.unwrap();
    assert_eq!(cluster.agree().await, ["one", "two"]);
}
