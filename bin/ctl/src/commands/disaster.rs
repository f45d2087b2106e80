//! `cluster recover`, `cluster snapshot inspect`, `cluster snapshot restore`: what is done to files of this machine while no
//! control plane uses them.

use crate::args::LocalMember;
use crate::context::Context;
use crate::failure::{FAILED, Failure};
use orlop_control::{Backup, Config};
use orlop_identity::ClusterKey;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Debug, Serialize)]
struct BackupOut {
    file: String,
    revision: u64,
    term: u64,
    members: BTreeMap<u64, String>,
    state_bytes: u64,
}

impl BackupOut {
    fn of(file: &Path, backup: &Backup) -> Self {
        Self {
            file: file.display().to_string(),
            revision: backup.index,
            term: backup.term,
            members: backup.members.clone(),
            state_bytes: backup.state_bytes,
        }
    }
}

pub(crate) fn inspect(context: &Context, file: &Path) -> Result<(), Failure> {
    let backup = orlop_control::inspect(file).map_err(Failure::of)?;
    let members: Vec<String> = backup.members.iter().map(|(id, address)| format!("{id} ({address})")).collect();
    let text = format!(
        "{} is whole: the state at revision {}, {} bytes, of a cluster with the members {}.\n",
        file.display(),
        backup.index,
        backup.state_bytes,
        members.join(", ")
    );
    context.print(|| text, BackupOut::of(file, &backup))
}

pub(crate) fn restore(context: &Context, file: &Path, key: &Path, member: &LocalMember) -> Result<(), Failure> {
    let key = ClusterKey::read_file(key).map_err(|e| Failure::new(FAILED, e.to_string()))?;
    let backup = orlop_control::restore(&config(member), file, &key).map_err(Failure::of)?;
    let text = format!(
        "A new cluster lies in {}, with the state at revision {}. Start orlop-control-plane here, then let others join.\n",
        member.data_dir.display(),
        backup.index
    );
    context.print(|| text, BackupOut::of(file, &backup))
}

#[derive(Debug, Serialize)]
struct RecoveryOut {
    member: u64,
    term: u64,
    last: u64,
    committed: u64,
    voters_before: BTreeMap<u64, String>,
    done: bool,
}

pub(crate) async fn recover(context: &Context, member: &LocalMember, yes: bool) -> Result<(), Failure> {
    let recovery = orlop_control::recover(&config(member), !yes).await.map_err(Failure::of)?;
    let next = match yes {
        true => "Start orlop-control-plane here, then let others join.",
        false => "Nothing was changed. Say the same with --yes to do it.",
    };
    let out = RecoveryOut {
        member: recovery.member,
        term: recovery.term,
        last: recovery.last,
        committed: recovery.committed,
        voters_before: recovery.voters.clone(),
        done: yes,
    };
    context.print(|| format!("{recovery}.\n{next}\n"), out)
}

fn config(member: &LocalMember) -> Config {
    Config { advertise: member.advertise.clone(), ..Config::new(&member.data_dir, Vec::new()) }
}
