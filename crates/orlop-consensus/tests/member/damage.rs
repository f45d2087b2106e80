//! Damage to what lies on disk: found, told, and survived where nothing is lost.

use crate::alone::alone;
use crate::life::{files, wait_until};
use crate::list::List;
use orlop_consensus::{Consensus, Options, StartError};
use std::path::Path;

fn options(directory: &Path) -> Options {
    Options { snapshot_after_entries: 20, keep_entries: 2, ..Options::new(directory) }
}

/// Leaves a member's directory with two snapshots and entries after them. Returns the commands.
async fn written(directory: &Path) -> Vec<String> {
    let list = List::new();
    let member = alone(options(directory), list.clone()).await.unwrap();
    for number in 0..70 {
        member.submit(format!("command {number}").into_bytes()).await.unwrap();
        let applied = member.status().applied;
        // One after the other, so that there are as many snapshots as the numbers say.
        wait_until(|| member.status().snapshot + 25 > applied).await;
    }
    member.shutdown().await;
    assert_eq!(files(&directory.join("snapshots")).len(), 2);
    list.texts()
}

async fn start(directory: &Path) -> Result<(Consensus, Vec<String>), StartError> {
    let list = List::new();
    let member = alone(options(directory), list.clone()).await?;
    Ok((member, list.texts()))
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_newest_snapshot_costs_nothing() {
    for damage in [0, 9, 20, 60, 200] {
        let directory = tempfile::tempdir().unwrap();
        let before = written(directory.path()).await;
        let newest = files(&directory.path().join("snapshots")).pop().unwrap();
        flip(&newest, damage);
        let (member, after) = start(directory.path()).await.unwrap_or_else(|e| panic!("byte {damage}: {e}"));
        assert_eq!(after, before, "byte {damage}");
        assert!(newest.with_extension("snapshot.damaged").exists());
        member.submit(b"more".to_vec()).await.unwrap();
        member.shutdown().await;
    }
}

#[tokio::test]
async fn a_cut_or_missing_newest_snapshot_costs_nothing_either() {
    let directory = tempfile::tempdir().unwrap();
    let before = written(directory.path()).await;
    let newest = files(&directory.path().join("snapshots")).pop().unwrap();
    let length = std::fs::metadata(&newest).unwrap().len();
    std::fs::File::options().write(true).open(&newest).unwrap().set_len(length - 1).unwrap();
    let (member, after) = start(directory.path()).await.unwrap();
    assert_eq!(after, before);
    member.shutdown().await;

    let directory = tempfile::tempdir().unwrap();
    let before = written(directory.path()).await;
    std::fs::remove_file(files(&directory.path().join("snapshots")).pop().unwrap()).unwrap();
    // Half written when the machine stopped.
    std::fs::write(directory.path().join("snapshots/00000000000000000999-1-1.writing"), b"ORLOP").unwrap();
    let (member, after) = start(directory.path()).await.unwrap();
    assert_eq!(after, before);
    member.shutdown().await;
    assert!(files(&directory.path().join("snapshots")).iter().all(|f| f.extension().unwrap() != "writing"));
}

#[tokio::test]
async fn no_whole_snapshot_and_no_log_back_to_the_beginning_is_told() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path()).await;
    for snapshot in files(&directory.path().join("snapshots")) {
        flip(&snapshot, 40);
    }
    let error = start(directory.path()).await.err().unwrap().to_string();
    assert!(error.contains("no whole snapshot") && error.contains("damaged") && error.contains("backup"), "{error}");
    // Nothing was put aside or removed: a repair of the files is still possible.
    assert_eq!(files(&directory.path().join("snapshots")).len(), 2);
}

#[tokio::test]
async fn a_lost_log_is_gone_on_from_the_newest_snapshot_when_it_was_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let before = written(directory.path()).await;
    std::fs::rename(directory.path().join("log"), directory.path().join("log.aside")).unwrap();
    let (member, after) = start(directory.path()).await.unwrap();
    assert!(after.len() >= 40 && before.starts_with(&after), "{after:?}");
    let applied = member.submit(b"a new beginning".to_vec()).await.unwrap();
    assert_eq!(applied.answer, (after.len() + 1).to_string().into_bytes());
    member.shutdown().await;
    let (member, again) = start(directory.path()).await.unwrap();
    assert_eq!(again.last().unwrap(), "a new beginning");
    assert_eq!(again.len(), after.len() + 1);
    member.shutdown().await;
}

/// The store is sled's; wherever its file is cut or changed, nothing acknowledged is lost silently, and the process lives.
#[tokio::test]
async fn a_store_file_cut_or_changed_anywhere_is_refused_or_harmless() {
    let pristine = tempfile::tempdir().unwrap();
    let list = List::new();
    let member = alone(Options::new(pristine.path()), list.clone()).await.unwrap();
    // More than the journal before the store holds: what only that has lost, the journal gives back.
    for number in 0..40 {
        member.submit(vec![number; 40_000]).await.unwrap();
    }
    member.shutdown().await;
    let db = std::fs::read(pristine.path().join("log/store/db")).unwrap();
    let used = db.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let (mut refused, mut harmless) = (0, 0);
    let places = (0..used).step_by((used / 40).max(1)).chain([used - 1, used - 5, used]);
    for (count, place) in places.enumerate() {
        let directory = tempfile::tempdir().unwrap();
        copy(pristine.path(), directory.path());
        let file = directory.path().join("log/store/db");
        if count % 2 == 0 {
            std::fs::File::options().write(true).open(&file).unwrap().set_len(place as u64).unwrap();
        } else {
            let mut bytes = db.clone();
            bytes[place.min(db.len() - 1)] ^= 0x20;
            std::fs::write(&file, bytes).unwrap();
        }
        let restored = List::new();
        match alone(Options::new(directory.path()), restored.clone()).await {
            Ok(member) => {
                assert_eq!(restored.all(), list.all(), "place {place} lost commands silently");
                member.shutdown().await;
                harmless += 1;
            }
            Err(error @ StartError::Damaged { .. }) => {
                assert!(error.to_string().contains("backup"), "{error}");
                refused += 1;
            }
            Err(other) => panic!("place {place}: {other:?}"),
        }
    }
    eprintln!("{refused} refused, {harmless} harmless");
    assert!(refused > 0);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for path in files(from) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(drop).unwrap() }
    }
}
