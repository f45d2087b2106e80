//! What members say of themselves when they are asked how they are: measured then, never remembered.

use crate::control::{Control, now};
use crate::status;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use orlop_proto::admin::v1 as pb;
use pb::admin_service_client::AdminServiceClient;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::Status;

/// How long a member may take to say how it is.
const WITHIN: Duration = Duration::from_secs(5);
/// How many synced writes are timed.
const WRITES: usize = 10;

impl Control {
    /// How this member is.
    pub(crate) async fn examine(&self) -> Result<pb::ExamineResponse, Status> {
        let _one = self.examining.acquire().await.map_err(|_| status::stopping())?;
        let directory = self.config.data_dir.clone();
        let timed = tokio::task::spawn_blocking(move || (time_syncs(&directory), free(&directory))).await;
        let (syncs, free) = timed.map_err(|e| Status::internal(format!("the disk was not measured: {e}")))?;
        let (median, slowest) = syncs.map_err(|e| Status::internal(format!("the disk cannot be written: {e}")))?;
        let stand = self.consensus.status();
        let (certificate, authority) = self.trust.expiries();
        let (saved, not_saved) = self.backups.stand();
        Ok(pb::ExamineResponse {
            at_ms: now().0,
            version: env!("CARGO_PKG_VERSION").into(),
            disk_median_us: micros(median),
            disk_slowest_us: micros(slowest),
            disk_free_bytes: free.unwrap_or(0),
            certificate_not_after_ms: certificate.map_or(0, |at| at.0),
            authority_not_after_ms: authority.map_or(0, |at| at.0),
            revision: stand.applied,
            leader: self.consensus.leadership().borrow().leader.unwrap_or(0),
            term: stand.term,
            writes_refused: self.writes_refused().unwrap_or_default(),
            resident_bytes: resident_bytes().unwrap_or(0),
            backup_at_ms: saved.map_or(0, |at| at.0),
            backup_problem: not_saved.unwrap_or_default(),
        })
    }

    /// How all members are, those included that do not answer.
    pub(crate) async fn examine_cluster(&self) -> Vec<pb::Examination> {
        let own = self.consensus.status().member;
        let members: Vec<_> = self.machine.read(|state| state.members().cloned().collect());
        let asked: FuturesUnordered<_> = members
            .into_iter()
            .map(|member| async move {
                let begun = (Instant::now(), now());
                let found = if member.id.0 == own {
                    self.examine().await
                } else {
                    let client = AdminServiceClient::new(self.peers.channel(member.id.0, &member.address));
                    ask(client).await
                };
                let took = begun.0.elapsed();
                // The other clock was read somewhere in between; the middle is wrong by half the time at most.
                let middle = begun.1.0.saturating_add(u64::try_from(took.as_millis() / 2).unwrap_or(0));
                let (found, problem) = match found {
                    Ok(found) => (Some(found), String::new()),
                    Err(status) => (None, status.message().to_owned()),
                };
                pb::Examination {
                    member: member.id.0,
                    name: member.name.to_string(),
                    clock_ahead_ms: found.as_ref().map_or(0, |f| f.at_ms.cast_signed() - middle.cast_signed()),
                    found,
                    problem,
                    asking_us: micros(took),
                }
            })
            .collect();
        let mut examinations: Vec<pb::Examination> = asked.collect().await;
        examinations.sort_by_key(|examination| examination.member);
        examinations
    }
}

async fn ask(mut client: AdminServiceClient<tonic::transport::Channel>) -> Result<pb::ExamineResponse, Status> {
    match tokio::time::timeout(WITHIN, client.examine(pb::ExamineRequest {})).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Status::deadline_exceeded(format!("it did not answer within {} s", WITHIN.as_secs()))),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The median and the slowest of some small writes, each with a sync, to a file beside the log.
fn time_syncs(directory: &Path) -> io::Result<(Duration, Duration)> {
    let path = directory.join("examination");
    let timed = (|| {
        let mut file = File::create(&path)?;
        let mut times = Vec::with_capacity(WRITES);
        for _ in 0..WRITES {
            let begun = Instant::now();
            file.write_all(&[0; 512])?;
            file.sync_data()?;
            times.push(begun.elapsed());
        }
        times.sort();
        Ok((times[WRITES / 2], times[WRITES - 1]))
    })();
    std::fs::remove_file(&path).ok();
    timed
}

fn free(directory: &Path) -> Option<u64> {
    let found = nix::sys::statvfs::statvfs(directory).ok()?;
    Some(found.blocks_available().saturating_mul(found.fragment_size()))
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_measured_and_nothing_is_left_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (median, slowest) = time_syncs(folder.path()).expect("it can be written");
        assert!(median > Duration::ZERO && median <= slowest);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        assert!(time_syncs(Path::new("/is/not/there")).is_err());
        assert!(free(folder.path()).is_some_and(|bytes| bytes > 0));
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
