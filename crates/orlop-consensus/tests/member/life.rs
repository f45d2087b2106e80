//! A member's life without accidents.

use crate::alone::alone;
use crate::list::List;
use orlop_consensus::{Consensus, Options, StartError, SubmitError};
use std::time::{Duration, Instant};

async fn submit(member: &Consensus, text: &str) -> (u64, String) {
    let applied = member.submit(text.as_bytes().to_vec()).await.unwrap();
    (applied.index, String::from_utf8(applied.answer).unwrap())
}

#[tokio::test]
async fn commands_are_answered_in_order_and_are_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let list = List::new();
    let began = Instant::now();
    let member = alone(Options::new(directory.path()), list.clone()).await.unwrap();
    let (first, answer) = submit(&member, "one").await;
    eprintln!("empty directory to first commit: {:?}", began.elapsed());
    assert_eq!(answer, "1");
    let (second, answer) = submit(&member, "two").await;
    assert_eq!((second, answer.as_str()), (first + 1, "2"));
    assert_eq!(member.read_index().await.unwrap(), second);
    let status = member.status();
    assert_eq!((status.member, status.leader, status.applied), (1, Some(1), second));
    member.shutdown().await;
    assert_eq!(member.submit(b"late".to_vec()).await, Err(SubmitError::ShuttingDown));

    for round in 0..3 {
        let list = List::new();
        let began = Instant::now();
        let member = alone(Options::new(directory.path()), list.clone()).await.unwrap();
        eprintln!("restart: {:?}", began.elapsed());
        assert_eq!(list.texts(), ["one", "two", "again", "again", "again"][..2 + round]);
        assert_eq!(submit(&member, "again").await.1, (3 + round).to_string());
        member.shutdown().await;
    }
}

#[tokio::test]
async fn commands_of_all_sizes_come_back_whole_and_too_large_ones_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 4000, 4096, 4097, 8192, 100_000, 4 << 20];
    let options = Options { command_bytes_max: 4 << 20, ..Options::new(directory.path()) };
    let command = |size: usize| (0..size).map(|i| (i * 31 + size) as u8).collect::<Vec<u8>>();
    let member = alone(options.clone(), List::new()).await.unwrap();
    for size in sizes {
        member.submit(command(size)).await.unwrap();
    }
    let refused = member.submit(vec![0; (4 << 20) + 1]).await;
    assert_eq!(refused, Err(SubmitError::TooLarge { bytes: (4 << 20) + 1, max: 4 << 20 }));
    member.shutdown().await;
    let blobs = std::fs::read_dir(directory.path().join("log/store/blobs")).unwrap().count();
    assert_eq!(blobs, 0, "the store keeps values in files that it never syncs");

    let list = List::new();
    let member = alone(options.clone(), list.clone()).await.unwrap();
    let found: Vec<Vec<u8>> = list.all().iter().map(|(_, c)| c.clone()).collect();
    assert!(found == sizes.map(command), "sizes {:?}", found.iter().map(Vec::len).collect::<Vec<_>>());
    member.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_submit_at_once_and_every_answer_is_another() {
    let directory = tempfile::tempdir().unwrap();
    let list = List::new();
    let member = alone(Options::new(directory.path()), list.clone()).await.unwrap();
    let began = Instant::now();
    let tasks: Vec<_> = (0..256)
        .map(|task| {
            let member = member.clone();
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for round in 0..8 {
                    answers.push(submit(&member, &format!("{task}-{round}")).await.1.parse::<u64>().unwrap());
                }
                assert!(answers.is_sorted());
                answers
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.extend(task.await.unwrap());
    }
    eprintln!("{:.0} commands/s from 256 submitters", 2048.0 / began.elapsed().as_secs_f64());
    answers.sort_unstable();
    assert_eq!(answers, (1..=2048).collect::<Vec<u64>>());
    let mut singles: Vec<Duration> = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        submit(&member, "single").await;
        singles.push(began.elapsed());
    }
    singles.sort_unstable();
    eprintln!("single commit p50 {:?} p99 {:?}", singles[100], singles[198]);
    member.shutdown().await;
}

#[tokio::test]
async fn snapshots_shorten_the_log_and_a_restart_needs_only_what_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { snapshot_after_entries: 50, keep_entries: 5, ..Options::new(directory.path()) };
    let list = List::new();
    let member = alone(options.clone(), list.clone()).await.unwrap();
    for number in 0..400 {
        submit(&member, &number.to_string()).await;
    }
    let before = list.all();
    wait_until(|| member.status().snapshot >= 340).await;
    member.shutdown().await;
    let snapshots = files(&directory.path().join("snapshots"));
    assert_eq!(snapshots.len(), 2, "{snapshots:?}");

    let list = List::new();
    let member = alone(options, list.clone()).await.unwrap();
    assert_eq!(list.all(), before);
    assert!(member.status().snapshot >= 340);
    let (index, answer) = submit(&member, "after").await;
    assert_eq!(answer, "401");
    assert!(index > before.last().unwrap().0);
    member.shutdown().await;
}

#[tokio::test]
async fn large_commands_bring_a_snapshot_about_before_their_number_does() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { snapshot_after_bytes: 100_000, ..Options::new(directory.path()) };
    let member = alone(options, List::new()).await.unwrap();
    for _ in 0..11 {
        member.submit(vec![7; 10_000]).await.unwrap();
    }
    wait_until(|| member.status().snapshot > 0).await;
    member.shutdown().await;
}

#[tokio::test]
async fn a_directory_in_use_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let member = alone(Options::new(directory.path()), List::new()).await.unwrap();
    let second = alone(Options::new(directory.path()), List::new()).await;
    let error = second.err().unwrap();
    assert!(matches!(error, StartError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("in use by another process; stop it"), "{error}");
    submit(&member, "still works").await;
    member.shutdown().await;
    let member = alone(Options::new(directory.path()), List::new()).await.unwrap();
    member.shutdown().await;
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let good = Options::new(directory.path());
    for (options, word) in [
        (Options { member: 0, ..good.clone() }, "from 1"),
        (Options { election_timeout: Duration::from_millis(10), ..good.clone() }, "election_timeout"),
        (Options { snapshot_after_entries: 0, ..good.clone() }, "snapshot"),
        (Options { command_bytes_max: 5 << 20, ..good.clone() }, "command_bytes_max"),
    ] {
        let error = alone(options, List::new()).await.err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    }
}

pub(crate) async fn wait_until(mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}
