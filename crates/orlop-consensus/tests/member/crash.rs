//! Sudden ends: the process is killed while it writes, a write fails. What was acknowledged is never lost.
//!
//! The member runs in a child process, which is this test program again with one test named and a directory in its
//! environment.

use crate::alone::alone;
use crate::list::List;
use orlop_consensus::{Options, SubmitError};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) const DIRECTORY: &str = "ORLOP_TEST_DIRECTORY";
const ROUND: &str = "ORLOP_TEST_ROUND";

fn options(directory: &Path) -> Options {
    Options { snapshot_after_entries: 150, keep_entries: 10, ..Options::new(directory) }
}

pub(crate) fn child(test: &str, directory: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--ignored"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The child: submits from several tasks at once for ever, and prints each command once it was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the test below"]
async fn child_that_writes() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let round = std::env::var(ROUND).unwrap();
    let member = alone(options(Path::new(&directory)), List::new()).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (member, round) = (member.clone(), round.clone());
            tokio::spawn(async move {
                for number in 0_u64.. {
                    let text = format!("{round}-{writer}-{number}");
                    member.submit(text.clone().into_bytes()).await.unwrap();
                    println!("ok {text}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn a_member_killed_while_it_writes_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    const ROUNDS: usize = 25;
    for round in 0..ROUNDS {
        let mut child = child("crash::child_that_writes", directory.path(), round);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        // A different moment each time: while starting, with the first writes, among many.
        let wanted = [0, 1, 7, 40, 300][round % 5];
        let mut line = String::new();
        let mut seen = 0;
        while seen < wanted && lines.read_line(&mut line).unwrap() > 0 {
            seen += take(&line, &mut acknowledged);
            line.clear();
        }
        if wanted == 0 {
            std::thread::sleep(Duration::from_millis(3 * round as u64));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        // The last line may be cut: then nobody saw the acknowledgement.
        let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
        whole.lines().for_each(|line| {
            take(line, &mut acknowledged);
        });
    }
    let list = List::new();
    let member = alone(options(directory.path()), list.clone()).await.unwrap();
    let texts = list.texts();
    let found: BTreeSet<String> = texts.iter().cloned().collect();
    assert_eq!(found.len(), texts.len(), "a command is there twice");
    let lost: Vec<&String> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
    assert!(acknowledged.len() > ROUNDS * 20, "only {} were acknowledged", acknowledged.len());
    member.shutdown().await;
}

fn take(line: &str, acknowledged: &mut BTreeSet<String>) -> usize {
    // The test harness writes to the same stream.
    match line.trim_end().rsplit_once("ok ") {
        Some((_, text)) if text.matches('-').count() == 2 => usize::from(acknowledged.insert(text.to_owned())),
        _ => 0,
    }
}

/// The child: its files may not grow beyond 2 MiB. Prints what was acknowledged, and the error that came then.
#[tokio::test]
#[ignore = "the child process of the test below"]
async fn child_that_may_not_write() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: ignoring a signal installs no handler.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 2 << 20, 2 << 20).unwrap();
    let member = alone(Options::new(Path::new(&directory)), List::new()).await.unwrap();
    for number in 0..2000 {
        let mut command = format!("{number} ").into_bytes();
        command.resize(10_000, b'x');
        match tokio::time::timeout(Duration::from_secs(20), member.submit(command)).await.unwrap() {
            Ok(_) => println!("\nok {number}"),
            Err(error) => {
                println!("\nfailed {error}");
                let again = member.submit(b"again".to_vec()).await;
                println!("\nagain {}", matches!(again, Err(SubmitError::Broken { .. })));
                member.shutdown().await;
                println!("\nended");
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_write_that_fails_is_an_error_and_what_was_acknowledged_before_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let output = child("crash::child_that_may_not_write", directory.path(), 0).wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let acknowledged = output.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(acknowledged > 20, "{output}");
    let failed =
        output.lines().find(|line| line.starts_with("failed ")).unwrap_or_else(|| panic!("no error: {output}"));
    assert!(failed.contains("(file too large); mend the disk, then start the control plane again"), "{failed}");
    assert!(output.contains("again true") && output.contains("ended"), "{output}");

    let list = List::new();
    let member = alone(Options::new(directory.path()), list.clone()).await.unwrap();
    let texts = list.texts();
    assert!(texts.len() >= acknowledged, "{} of {acknowledged} are left", texts.len());
    for (number, text) in texts.iter().enumerate() {
        assert!(text.starts_with(&format!("{number} ")), "command {number} is another");
    }
    member.submit(b"there is room again".to_vec()).await.unwrap();
    member.shutdown().await;
}
