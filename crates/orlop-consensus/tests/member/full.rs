//! A disk that fills up and is freed again. The disk is a small file system of its own; mounting it takes root.

use crate::alone::alone;
use crate::crash::child;
use crate::life::{files, wait_until};
use crate::list::List;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use orlop_consensus::{Consensus, Options, StartError, SubmitError, Trouble};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A file system in memory.
struct Disk {
    at: tempfile::TempDir,
}

impl Disk {
    fn of(mebibytes: u32) -> Self {
        let disk = Self { at: tempfile::tempdir().unwrap() };
        disk.mount(mebibytes, MsFlags::empty());
        disk
    }

    fn grow_to(&self, mebibytes: u32) {
        self.mount(mebibytes, MsFlags::MS_REMOUNT);
    }

    fn mount(&self, mebibytes: u32, flags: MsFlags) {
        let options = format!("size={mebibytes}m");
        mount(Some("tmpfs"), self.at.path(), Some("tmpfs"), flags, Some(options.as_str())).expect("run as root");
    }

    fn log(&self) -> PathBuf {
        self.at.path().join("raft")
    }

    /// Takes all that is free but so many bytes, and the little that is left in the end when that is none.
    fn fill_but(&self, left: u64) -> PathBuf {
        let path = self.at.path().join("filler");
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        let free = || nix::sys::statvfs::statvfs(self.at.path()).map(|f| f.blocks_available() * f.fragment_size());
        while free().unwrap() > left {
            let some = (free().unwrap() - left).min(1 << 20) as usize;
            if file.write_all(&vec![b'x'; some]).is_err() {
                break;
            }
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The store's own threads hold its files for a moment longer.
        umount2(self.at.path(), MntFlags::MNT_DETACH).expect("a mount that is ours");
    }
}

async fn start(directory: &Path) -> (Consensus, Arc<List>) {
    let list = List::new();
    (alone(Options::new(directory), list.clone()).await.unwrap(), list)
}

/// Submits until it is taken.
async fn taken_again(member: &Consensus, text: &str) -> Duration {
    let began = Instant::now();
    loop {
        match member.submit(text.as_bytes().to_vec()).await {
            Ok(_) => return began.elapsed(),
            Err(SubmitError::Full { .. }) if began.elapsed() < Duration::from_secs(20) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_full_disk_takes_no_writes_says_so_and_takes_them_again_when_it_is_freed() {
    let disk = Disk::of(64);
    let (member, list) = start(&disk.log()).await;
    member.submit(b"before".to_vec()).await.unwrap();
    assert_eq!(member.trouble(), None);
    for round in 0..3 {
        let filler = disk.fill_but(if round == 0 { 5 << 20 } else { 0 });
        for _ in 0..50 {
            let error = member.submit(b"refused".to_vec()).await.unwrap_err();
            assert!(matches!(error, SubmitError::Full { unsure: false, .. }), "{error:?}");
            let text = error.to_string();
            let place = format!("the disk of {} is full", disk.log().display());
            assert!(text.contains(&place) && text.contains("free") && text.contains("are needed"), "{text}");
        }
        assert!(matches!(member.trouble(), Some(Trouble::Full(_))));
        assert!(member.read_index().await.is_ok(), "reads go on");
        std::fs::remove_file(filler).unwrap();
        assert!(taken_again(&member, "after").await < Duration::from_secs(2));
        assert_eq!(member.trouble(), None);
        assert_eq!(list.texts().len(), 2 + round);
    }
    member.shutdown().await;
    let (member, list) = start(&disk.log()).await;
    assert_eq!(list.texts(), ["before", "after", "after", "after"]);
    member.shutdown().await;
}

/// Commands under way when the disk fills up: each is there once or not at all, and those that were answered are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_under_way_when_the_disk_fills_up_are_whole_or_absent_and_the_log_goes_on() {
    let (mut waited, mut refused) = (0, 0);
    for round in 0..4 {
        let disk = Disk::of(24);
        let (member, list) = start(&disk.log()).await;
        let command = |number: u32| {
            let mut command = format!("{number} ").into_bytes();
            command.resize(700_000 + 13 * number as usize, b'x');
            command
        };
        let submits: Vec<_> = (0..60)
            .map(|number| {
                let (member, command) = (member.clone(), command(number));
                tokio::spawn(async move { (number, member.submit(command).await) })
            })
            .collect();
        // What is expected of each: there, there or not, not there.
        let mut fate: BTreeMap<u32, Option<bool>> = BTreeMap::new();
        for submit in submits {
            let (number, answer) = submit.await.unwrap();
            let expected = match answer {
                Ok(_) => Some(true),
                Err(SubmitError::Full { unsure: true, .. }) => None,
                Err(SubmitError::Full { unsure: false, .. }) => Some(false),
                Err(other) => panic!("{other}"),
            };
            fate.insert(number, expected);
        }
        // Whoever comes while others wait is refused, however fast the others were.
        let late = member.submit(command(60)).await;
        assert!(matches!(late, Err(SubmitError::Full { unsure: false, .. })), "{late:?}");
        fate.insert(60, Some(false));
        waited += fate.values().filter(|fate| fate.is_none()).count();
        refused += fate.values().filter(|fate| **fate == Some(false)).count();
        let (member, list) = match round % 2 {
            // Freed while it waits.
            0 => {
                disk.grow_to(256);
                taken_again(&member, "more ").await;
                (member, list)
            }
            // Stopped while it waits, freed, started.
            _ => {
                let began = Instant::now();
                member.shutdown().await;
                assert!(began.elapsed() < Duration::from_secs(5), "a held write held up the end");
                drop(member);
                disk.grow_to(256);
                let (member, list) = start(&disk.log()).await;
                taken_again(&member, "more ").await;
                (member, list)
            }
        };
        let check = |list: &List| {
            let mut times: BTreeMap<String, usize> = BTreeMap::new();
            for (_, bytes) in list.all().iter() {
                let number = String::from_utf8_lossy(bytes).split(' ').next().unwrap().to_owned();
                if let Ok(number) = number.parse() {
                    assert!(*bytes == command(number), "command {number} is not whole");
                }
                *times.entry(number).or_default() += 1;
            }
            for (number, expected) in &fate {
                let found = times.get(&number.to_string()).copied().unwrap_or_default();
                assert!(found <= 1, "command {number} is there {found} times");
                assert!(expected.is_none_or(|expected| expected == (found == 1)), "command {number}: {expected:?}");
            }
            list.all()
        };
        let before = check(&list);
        member.shutdown().await;
        let (member, list) = start(&disk.log()).await;
        assert_eq!(check(&list), before, "a restart finds the same");
        member.shutdown().await;
    }
    eprintln!("{waited} were under way, {refused} were refused");
    assert!(refused > 0 && waited > 0, "{refused} refused, {waited} waited: the disk was not full");
}

#[tokio::test]
async fn a_snapshot_that_has_no_room_waits_and_harms_nothing() {
    let disk = Disk::of(128);
    let list = List::new();
    let options = Options { snapshot_after_entries: 50, snapshot_after_bytes: u64::MAX, ..Options::new(disk.log()) };
    let member = alone(options.clone(), list.clone()).await.unwrap();
    // The state is larger than what is left beside the reserve.
    for number in 0..48_u8 {
        member.submit(vec![number; 500_000]).await.unwrap();
    }
    let db = std::fs::metadata(disk.log().join("log/store/db")).unwrap().len();
    eprintln!("24,000,000 bytes of commands make a log of {db}");
    let filler = disk.fill_but(22 << 20);
    for _ in 0..20 {
        member.submit(b"small".to_vec()).await.unwrap();
    }
    assert_eq!(member.status().snapshot, 0);
    assert_eq!(files(&disk.log().join("snapshots")), Vec::<PathBuf>::new(), "nothing half written is left");
    std::fs::remove_file(filler).unwrap();
    taken_again(&member, "again").await;
    member.shutdown().await;

    let again = List::new();
    let member = alone(options, again.clone()).await.unwrap();
    assert_eq!(again.all(), list.all());
    for _ in 0..51 {
        member.submit(b"small".to_vec()).await.unwrap();
    }
    wait_until(|| member.status().snapshot > 0).await;
    member.shutdown().await;
}

#[tokio::test]
async fn a_member_that_was_killed_starts_on_a_full_disk_and_reads() {
    for round in 0..3 {
        let disk = Disk::of(48);
        let mut child = child("crash::child_that_writes", &disk.log(), round);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged = lines.by_ref().filter(|line| line.as_ref().unwrap().starts_with("ok ")).take(200).count();
        child.kill().unwrap();
        child.wait().unwrap();
        let filler = disk.fill_but(0);
        for _ in 0..3 {
            let list = List::new();
            let member = alone(Options::new(disk.log()), list.clone()).await.unwrap();
            assert!(list.texts().len() >= acknowledged, "{} of {acknowledged}", list.texts().len());
            assert!(matches!(member.submit(b"no".to_vec()).await, Err(SubmitError::Full { unsure: false, .. })));
            // As sudden an end as there is inside a process.
            drop(member);
        }
        std::fs::remove_file(filler).unwrap();
        let (member, list) = start(&disk.log()).await;
        taken_again(&member, "again").await;
        assert!(list.texts().len() > acknowledged);
        member.shutdown().await;
        let generating = |f: &PathBuf| f.extension().is_some_and(|extension| extension == "generating");
        assert!(!files(&disk.log().join("log/store")).iter().any(generating));
    }
}

#[tokio::test]
async fn a_start_on_a_full_disk_serves_or_says_what_is_missing_and_loses_nothing() {
    let disk = Disk::of(32);
    let mut filler = disk.fill_but(0);
    let error = alone(Options::new(disk.log()), List::new()).await.err().unwrap();
    assert!(matches!(error, StartError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("is full; free some space there and start again"), "{error}");
    std::fs::remove_file(&filler).unwrap();
    let (member, _) = start(&disk.log()).await;
    let mut wanted = Vec::new();
    let (mut served, mut refused) = (0, 0);
    for round in 0..6_u64 {
        // A member that starts on the reserve reads, and refuses to write.
        let text = format!("command {round}");
        taken_again(&member, &text).await;
        wanted.push(text);
    }
    member.shutdown().await;
    for left in [3 << 20, 1 << 20, 200 << 10, 64 << 10, 16 << 10, 4 << 10, 0] {
        filler = disk.fill_but(left);
        let list = List::new();
        match alone(Options::new(disk.log()), list.clone()).await {
            Ok(member) => {
                assert_eq!(list.texts(), wanted, "with {left} bytes left");
                assert!(matches!(member.submit(b"no".to_vec()).await, Err(SubmitError::Full { unsure: false, .. })));
                member.shutdown().await;
                served += 1;
            }
            Err(StartError::Full { .. }) => refused += 1,
            Err(other) => panic!("with {left} bytes left: {other:?}"),
        }
    }
    eprintln!("{served} starts served, {refused} were refused");
    assert!(served > 0);
    std::fs::remove_file(&filler).unwrap();
    let (member, list) = start(&disk.log()).await;
    assert_eq!(list.texts(), wanted);
    taken_again(&member, "again").await;
    member.shutdown().await;
}
