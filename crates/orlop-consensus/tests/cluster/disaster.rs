//! What is left when much is lost.

use crate::harness::{Cluster, address};
use orlop_consensus::{BackupError, Options, inspect, recover, restore};
use std::fs::File;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_becomes_a_new_cluster_with_the_same_state() {
    let cluster = Cluster::new(3).await;
    for number in 0..50 {
        cluster.submit(1, &number.to_string()).await.unwrap();
    }
    let before = cluster.agree().await;
    let applied = cluster.nodes[&2].list.all().last().unwrap().0;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("backup");
    let file = File::create(&path).unwrap();
    let saved = cluster.on(2, |member| async move { member.save(file).await }).await.unwrap();
    assert_eq!(saved.index, applied);
    assert_eq!(saved.members.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    cluster.submit(1, "too late").await.unwrap();
    assert_eq!(inspect(&path).unwrap(), saved);

    let mut other = Cluster::empty();
    let options = Options { member: 7, ..Options::new(other.directory(7)) };
    assert_eq!(restore(&options, &path, &address(7)).unwrap(), saved);
    let again = restore(&options, &path, &address(7)).unwrap_err();
    assert!(matches!(again, BackupError::NotEmpty { .. }), "{again}");
    other.start(7).await;
    assert_eq!(other.nodes[&7].list.texts(), before);
    assert!(other.submit(7, "on").await.unwrap() > saved.index);
    // It grows like any other.
    other.start(8).await;
    other.join(8).await;
    assert_eq!(other.agree().await.len(), 51);
    other.kill(7);
    other.start(7).await;
    other.submit(8, "and on").await.unwrap();
    assert_eq!(other.agree().await.len(), 52);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_with_any_byte_changed_or_cut_is_refused() {
    let cluster = Cluster::new(1).await;
    cluster.submit(1, "state").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("backup");
    let file = File::create(&path).unwrap();
    cluster.on(1, |member| async move { member.save(file).await }).await.unwrap();
    let whole = std::fs::read(&path).unwrap();
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x20;
        std::fs::write(&path, &damaged).unwrap();
        assert!(matches!(inspect(&path), Err(BackupError::Damaged { .. })), "byte {place}");
        std::fs::write(&path, &whole[..place]).unwrap();
        assert!(matches!(inspect(&path), Err(BackupError::Damaged { .. })), "cut at {place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_goes_on_alone_when_the_others_are_lost_for_good() {
    let mut cluster = Cluster::with(3, |options| {
        (options.snapshot_after_entries, options.keep_entries) = (40, 5);
        options.leader_wait = std::time::Duration::from_secs(1);
    })
    .await;
    for number in 0..100 {
        cluster.submit(1, &number.to_string()).await.unwrap();
    }
    let before = cluster.agree().await;
    let left = cluster.leader().await % 3 + 1;
    let last = cluster.nodes[&left].list.all().last().unwrap().0;
    for member in 1..=3 {
        cluster.kill(member);
    }
    let options = Options { member: left, ..Options::new(cluster.directory(left)) };
    let planned = loop {
        // The threads of a member that was killed take a moment to end.
        match recover(&options, "new", true).await {
            Err(error) if error.to_string().contains("in use") => tokio::task::yield_now().await,
            planned => break planned.unwrap(),
        }
    };
    assert_eq!((planned.member, planned.last), (left, last));
    assert_eq!(planned.voters.len(), 3);
    assert!(planned.to_string().contains("would go on alone"), "{planned}");
    // A dry run changes nothing: alone it does not lead.
    cluster.start(left).await;
    assert!(cluster.submit(left, "no").await.is_err());
    cluster.kill(left);
    let done = loop {
        match recover(&options, &address(left), false).await {
            Err(error) if error.to_string().contains("in use") => tokio::task::yield_now().await,
            done => break done.unwrap(),
        }
    };
    assert_eq!((done.last, done.dry_run), (last, false));
    cluster.start(left).await;
    assert_eq!(cluster.nodes[&left].list.texts(), before);
    cluster.submit(left, "alone").await.unwrap();
    assert_eq!(cluster.member(left).members().iter().map(|info| info.id).collect::<Vec<_>>(), [left]);
    cluster.start(30).await;
    cluster.join(30).await;
    cluster.submit(30, "not alone").await.unwrap();
    assert_eq!(cluster.agree().await.len(), before.len() + 2);
}

#[tokio::test]
async fn there_is_nothing_to_recover_where_no_cluster_was() {
    let directory = tempfile::tempdir().unwrap();
    let error = recover(&Options::new(directory.path()), "a", false).await.unwrap_err().to_string();
    assert!(error.contains(&directory.path().display().to_string()), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something was made");
}
