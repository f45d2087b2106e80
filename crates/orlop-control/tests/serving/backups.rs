//! Backups that a member makes by itself.

use crate::world::*;
use orlop_control::Schedule;
use orlop_proto::admin::v1 as pb;
use pb::admin_service_client::AdminServiceClient;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "waited in vain for {what}");
}

#[tokio::test]
async fn a_member_saves_the_state_again_and_again_and_keeps_the_newest() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("backups");
    let schedule = Schedule { directory: directory.clone(), every: Duration::from_millis(20), keep: 3 };
    let world = World::start_with(|config| config.backups = Some(schedule)).await;
    let newest = async || {
        let snapshots = files(&directory).into_iter().filter(|path| path.extension().is_some());
        let backups = snapshots.filter_map(|path| orlop_control::inspect(&path).ok());
        backups.map(|backup| backup.index).max().unwrap_or(0)
    };
    for round in 0..5 {
        world.deploy(&format!("shop-{round}")).await;
        let deployed = world.revision().await.0;
        eventually("a backup of the deploy", async || newest().await >= deployed).await;
    }
    // One may be under way.
    eventually("three backups and no more", async || files(&directory).len() == 3).await;

    let mut admin = AdminServiceClient::new(world.channel());
    let mut examined = async || admin.examine(pb::ExamineRequest {}).await.expect("an answer").into_inner();
    let health = examined().await;
    assert!(health.backup_at_ms > 0 && health.backup_problem.is_empty(), "{health:?}");
    // What is in the way is said, and when it is gone the backups go on.
    std::fs::rename(&directory, folder.path().join("aside")).expect("moved");
    std::fs::write(&directory, "in the way").expect("written");
    let waiting = async {
        while examined().await.backup_problem.is_empty() {}
        std::fs::remove_file(&directory).expect("removed");
        while !examined().await.backup_problem.is_empty() {}
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it is told, and over");
    assert!(!files(&directory).is_empty());
}

#[tokio::test]
async fn a_new_backup_stays_among_those_of_other_clusters_and_of_histories_that_were_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().to_owned();
    let schedule = Schedule { directory: directory.clone(), every: Duration::from_secs(3600), keep: 2 };
    let mut world = World::start().await;
    let cluster = world.operator().state(None).await.expect("the state").cluster.expect("a cluster");
    world.stop().await;
    let old = |name: String| {
        let file = std::fs::File::create(directory.join(name)).expect("written");
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(86_400);
        file.set_modified(long_ago).expect("it has a time");
    };
    (1..4).for_each(|day| old(format!("orlop-{cluster}-2026112{day}T090000Z-r99999999.snapshot")));
    old("orlop-clu_00000000000000000000000000000009-20261121T090000Z-r5.snapshot".into());
    world.begin_with(|config| config.backups = Some(schedule)).await;
    eventually("the backups to be two", async || {
        files(&directory).iter().filter(|path| path.to_string_lossy().contains(&cluster.to_string())).count() == 2
    })
    .await;
    let good = files(&directory).iter().filter(|path| orlop_control::inspect(path).is_ok()).count();
    assert_eq!((good, files(&directory).len()), (1, 3), "{:?}", files(&directory));
}
