//! A member that has nothing to do does nothing.

use crate::alone::alone;
use crate::crash::{DIRECTORY, child};
use crate::list::List;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use orlop_consensus::Options;
use std::path::Path;
use std::time::Duration;

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(microseconds).unwrap())
}

#[tokio::test]
#[ignore = "the child process of the test below"]
async fn child_that_idles() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let member = alone(Options::new(Path::new(&directory)), List::new()).await.unwrap();
    for number in 0..100_u8 {
        member.submit(vec![number; 500]).await.unwrap();
    }
    let (began, span) = (processor_time(), Duration::from_secs(4));
    // Not a wait for something: the span is what is measured.
    tokio::time::sleep(span).await;
    let used = processor_time() - began;
    println!("\nidle {}", used.as_micros() * 1_000_000 / span.as_micros());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    println!("\nmemory {}", anonymous.trim().trim_end_matches(" kB"));
    member.shutdown().await;
}

#[tokio::test]
async fn a_member_without_work_uses_less_than_a_thousandth_of_a_core_and_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let output = child("idle::child_that_idles", directory.path(), 0).wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let number = |name| output.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse::<u64>().unwrap();
    let (millionths, kibibytes) = (number("idle "), number("memory "));
    eprintln!("{millionths} millionths of a core, {kibibytes} KiB of memory");
    // On a machine that is busy with other tests, switching alone costs something: twice is still nothing.
    assert!(millionths < 2000, "{millionths} millionths of a core");
    assert!(kibibytes < 8 << 10, "{kibibytes} KiB of memory of its own");
}
