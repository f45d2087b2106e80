//! Three members become a cluster, with what clients read and write.

use super::{Verdict, World};
use crate::client::KEYS;
use crate::host::SECOND;
use crate::violation::{Check, Violation};
use orlop_model::{ClusterId, MemberId};
use orlop_state::command::{AddMember, InitCluster};
use orlop_state::{Command, Kind, stored};

impl World {
    pub(super) fn begin(&mut self) -> Verdict {
        let failed = |what: String| Violation::new(Check::Progress, format!("the cluster could not be made: {what}"));
        for id in self.ids() {
            let (setting, network, log) = (self.setting, self.network.clone(), self.log.clone());
            if let Some(host) = self.hosts.get_mut(&id) {
                host.start(setting, &network, &log).map_err(|error| failed(error.to_string()))?;
            }
        }
        for _ in 0..10 {
            self.pass_tick()?;
        }
        let made = self.wait(1, SECOND, |consensus| async move { consensus.init("host-1").await })?;
        made.ok_or_else(|| failed("no answer".into()))?.map_err(|error| failed(error.to_string()))?;
        let range = "10.77.0.0/16".parse().map_err(|_| failed("the range".into()))?;
        self.submit_at_start(Kind::InitCluster(InitCluster { cluster: ClusterId::from_u128(1), range, trust: None }))?;
        for key in KEYS {
            let name = format!("key-{key}").parse().map_err(|_| failed("the name".into()))?;
            let member = AddMember { id: Some(MemberId(key)), name, address: "none".into() };
            self.submit_at_start(Kind::AddMember(member))?;
        }
        self.begin_work()?;
        for id in self.ids().into_iter().skip(1) {
            let added = self.wait(1, 5 * SECOND, move |consensus| async move {
                consensus.add_learner(id, &format!("host-{id}")).await?;
                consensus.promote(id).await
            })?;
            added.ok_or_else(|| failed("no answer".into()))?.map_err(|error| failed(error.to_string()))?;
        }
        self.note(format_args!("the cluster is made"));
        Ok(())
    }

    pub(super) fn submit_at_start(&mut self, kind: Kind) -> Verdict {
        let host = self.hosts.get(&1).and_then(|host| host.process.as_ref());
        let Some(now) = host.map(|process| process.now()) else { return Ok(()) };
        let command = stored::encode_command(&Command::new(now, kind));
        let submitted = self.wait(1, SECOND, |consensus| async move { consensus.submit(command).await })?;
        match submitted {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(Violation::new(Check::Progress, error.to_string())),
            None => Err(Violation::new(Check::Progress, "a command at the start has no answer")),
        }
    }
}
