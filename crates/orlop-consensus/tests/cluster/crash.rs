//! All members are killed at once while they write: a power cut of the whole cluster, as far as the processes can tell. Each
//! has a torn end of its own, and nothing that was acknowledged is lost.
//!
//! The members run in a child process, which is this test program again with one test named.

use crate::harness::Cluster;
use orlop_consensus::Options;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const DIRECTORY: &str = "ORLOP_TEST_DIRECTORY";
const ROUND: &str = "ORLOP_TEST_ROUND";

async fn start(directory: PathBuf) -> Cluster {
    let mut cluster = Cluster::at(directory);
    let change = |options: &mut Options| (options.snapshot_after_entries, options.keep_entries) = (150, 10);
    cluster.set(change);
    for member in 1..=3 {
        cluster.start(member).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the test below"]
async fn child_with_all_members() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let round = std::env::var(ROUND).unwrap();
    let cluster = start(Path::new(&directory).to_owned()).await;
    let writers: Vec<_> = (0..9_u64)
        .map(|writer| {
            let (member, round) = (cluster.member(writer % 3 + 1).clone(), round.clone());
            tokio::spawn(async move {
                for number in 0_u64.. {
                    let text = format!("{round}-{writer}-{number}");
                    if member.submit(text.clone().into_bytes()).await.is_ok() {
                        println!("ok {text}");
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

fn child(directory: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::child_with_all_members", "--exact", "--nocapture", "--ignored"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_members_are_all_killed_at_once_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    {
        let mut cluster = Cluster::at(directory.path().to_owned());
        cluster.make(3).await;
        for member in 1..=3 {
            cluster.on(member, |member| async move { member.shutdown().await }).await;
        }
    }
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for round in 0..6 {
        let mut child = child(directory.path(), round);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        // Killed a random-looking while after the first acknowledgement.
        while !line.starts_with("ok ") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child ended in round {round}");
        }
        acknowledged.insert(line.trim().trim_start_matches("ok ").to_owned());
        std::thread::sleep(Duration::from_millis(100 + 61 * round as u64 % 150));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        // The last line may be cut.
        let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
        acknowledged.extend(whole.lines().filter_map(|line| line.strip_prefix("ok ")).map(str::to_owned));
    }
    let cluster = start(directory.path().to_owned()).await;
    cluster.submit(1, "last").await.unwrap();
    let found: Vec<String> = cluster.agree().await;
    let there: BTreeSet<&String> = found.iter().collect();
    assert_eq!(there.len(), found.len(), "a command was applied twice");
    let lost: Vec<&String> = acknowledged.iter().filter(|text| !there.contains(text)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged commands are lost: {lost:?}", lost.len(), acknowledged.len());
    eprintln!("{} acknowledged, {} applied", acknowledged.len(), found.len());
    assert!(acknowledged.len() > 20, "too little was written to tell");
}
