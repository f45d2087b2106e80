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
