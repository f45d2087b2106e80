//! Everything is mended, and what then must be so is checked.

use super::{Verdict, World};
use crate::host::SECOND;
use crate::violation::{Check, Violation};
use orlop_state::command::RecordEvents;
use orlop_state::{Command, Kind, stored};

/// So long a cluster may take to be whole again.
const RECOVERY: u64 = 30 * SECOND;

impl World {
    pub(super) fn end(&mut self) -> Verdict {
        self.mend();
        self.note(format_args!("all is mended"));
        let deadline = self.tick + RECOVERY;
        // A write that comes through shows that the cluster is alive, and is later than everything before.
        let mut written = None;
        while written.is_none() {
            self.must_be_before(deadline, "nobody takes a write")?;
            let Some(leader) = self.leader() else {
                self.pass_tick()?;
                continue;
            };
            let Some(process) = self.hosts.get(&leader).and_then(|host| host.process.as_ref()) else { continue };
            let kind = Kind::RecordEvents(RecordEvents { events: Vec::new() });
            let command = stored::encode_command(&Command::new(process.now(), kind));
            let submitted =
                self.wait(leader, 3 * SECOND, |consensus| async move { consensus.submit(command).await })?;
            written = submitted.and_then(Result::ok).map(|applied| applied.index);
        }
        let written = written.unwrap_or(0);
        self.retire(deadline)?;
        while !self.all_have(written) {
            self.must_be_before(deadline, "not all members catch up")?;
            self.retire(deadline)?;
        }
        for client in &self.clients {
            if let Some(done) = client.unfinished() {
                self.history.push(done.key, done.operation, done.called, None);
            }
        }
        self.compare_states()?;
        // A change may be on its way still.
        while let Err(differ) = self.compare_members() {
            if self.tick >= deadline {
                return Err(differ);
            }
            self.retire(deadline)?;
        }
        self.history.judge(|| true).map_err(|doubt| Violation::new(Check::Linearizable, doubt.to_string()))
    }

    /// Takes hosts away that are no members: they were removed, maybe just now, and need not know it, or never became any.
    /// Whoever led may be gone by now, and then the next one says who the members are. Lets time pass.
    fn retire(&mut self, deadline: u64) -> Verdict {
        let members = loop {
            self.must_be_before(deadline, "nobody says who the members are")?;
            let Some(leader) = self.leader() else {
                self.pass_tick()?;
                continue;
            };
            let members = self.wait(leader, SECOND, |consensus| async move { consensus.members() })?;
            if let Some(members) = members.filter(|members| !members.is_empty()) {
                break members;
            }
        };
        self.hosts.retain(|id, _| members.iter().any(|member| member.id == *id));
        Ok(())
    }

    fn must_be_before(&self, deadline: u64, otherwise: &str) -> Verdict {
        if self.tick < deadline {
            return Ok(());
        }
        let stands = self.hosts.values().map(|host| match host.process.as_ref().map(|process| process.consensus()) {
            None => format!("{} is down", host.id),
            Some(None) => format!("{} starts", host.id),
            Some(Some(consensus)) => format!("{:?} {:?}", consensus.status(), consensus.trouble()),
        });
        let stands: Vec<String> = stands.collect();
        let what = format!("{} s after all was mended {otherwise}: {stands:?}", RECOVERY / SECOND);
        Err(Violation::new(Check::Progress, what))
    }

    fn all_have(&self, index: u64) -> bool {
        self.hosts
            .values()
            .all(|host| host.process.as_ref().is_some_and(|process| process.machine.machine.revision() >= index))
    }

    /// Members that have applied the same log know the same members, also those that know them from a snapshot.
    fn compare_members(&self) -> Verdict {
        let mut first = None;
        for (id, host) in &self.hosts {
            let Some(consensus) = host.process.as_ref().and_then(|process| process.consensus()) else { continue };
            let members: Vec<_> =
                consensus.members().into_iter().map(|info| (info.id, info.address, info.suffrage)).collect();
            let (other, known) = first.get_or_insert_with(|| (*id, members.clone()));
            if *known != members {
                let what = format!("member {other} knows {known:?}, and member {id} {members:?}");
                return Err(Violation::new(Check::SameMembers, what));
            }
        }
        Ok(())
    }

    /// Members that are as far have the same state, also those that came to it by a snapshot.
    fn compare_states(&self) -> Verdict {
        let mut log = self.log.lock();
        for (id, host) in &self.hosts {
            if let Some(process) = &host.process {
                log.state(*id, process.machine.machine.revision(), process.machine.state());
            }
        }
        log.verdict()
    }
}
