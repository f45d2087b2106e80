//! `cluster`.

use super::disaster;
use crate::args::{ClusterCommand, SnapshotCommand};
use crate::context::Context;
use crate::failure::{FAILED, Failure, NOT_FOUND};
use crate::output::{ClusterOut, ExaminationOut, time};
use crate::render;
use orlop_client::{AdminClient, ClusterMembers};
use orlop_model::MemberId;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

pub(crate) async fn cluster(context: &Context, command: ClusterCommand) -> Result<(), Failure> {
    // These work on files of this machine, with or without a cluster.
    let command = match command {
        ClusterCommand::Recover { member, yes } => return disaster::recover(context, &member, yes).await,
        ClusterCommand::Snapshot(SnapshotCommand::Inspect { file }) => return disaster::inspect(context, &file),
        ClusterCommand::Snapshot(SnapshotCommand::Restore { file, key, member }) => {
            return disaster::restore(context, &file, &key, &member);
        }
        command => command,
    };
    let client = context.admin()?;
    match command {
        ClusterCommand::Status => {
            let members = client.members().await?;
            context.print(|| render::cluster_status(&members), ClusterOut::of(&members))
        }
        ClusterCommand::Members => {
            let members = client.members().await?;
            context.print(|| render::members(&members, context.now()), ClusterOut::of(&members).members)
        }
        ClusterCommand::Remove { member } => remove(context, &client, &member).await,
        ClusterCommand::TransferLeader { member } => transfer(context, &client, member.as_deref()).await,
        ClusterCommand::Doctor => doctor(context, &client).await,
        ClusterCommand::Snapshot(SnapshotCommand::Save { file }) => save(context, &client, &file).await,
        // Done above, or in a process of another kind.
        ClusterCommand::Recover { .. }
        | ClusterCommand::Snapshot(_)
        | ClusterCommand::Up(_)
        | ClusterCommand::Down { .. } => Ok(()),
    }
}

#[derive(Debug, Serialize)]
struct RemovedOut {
    member: u64,
}

async fn remove(context: &Context, client: &AdminClient, name: &str) -> Result<(), Failure> {
    let member = find(&client.members().await?, name)?;
    client.remove_member(member).await?;
    context.print(|| format!("Member {member} is removed. Stop its control plane.\n"), RemovedOut { member: member.0 })
}

#[derive(Debug, Serialize)]
struct LeaderOut {
    leader: u64,
    took_ms: f64,
}

async fn transfer(context: &Context, client: &AdminClient, name: Option<&str>) -> Result<(), Failure> {
    let to = match name {
        Some(name) => Some(find(&client.members().await?, name)?),
        None => None,
    };
    let (leader, took) = client.transfer_leader(to).await?;
    let took_ms = took.as_secs_f64() * 1e3;
    context
        .print(|| format!("Member {leader} leads, after {took_ms:.1} ms.\n"), LeaderOut { leader: leader.0, took_ms })
}

/// The member with a number or a name.
fn find(members: &ClusterMembers, name: &str) -> Result<MemberId, Failure> {
    let fits =
        |found: &&orlop_client::MemberState| found.member.name.as_str() == name || found.member.id.to_string() == name;
    members.members.iter().find(fits).map(|found| found.member.id).ok_or_else(|| {
        let known: Vec<String> =
            members.members.iter().map(|m| format!("{} ({})", m.member.id, m.member.name)).collect();
        Failure::new(NOT_FOUND, format!("there is no member {name:?}; there are {}", known.join(", ")))
    })
}

async fn doctor(context: &Context, client: &AdminClient) -> Result<(), Failure> {
    let members = client.members().await?;
    let found = client.examine().await?;
    let findings = render::findings(&members, &found, context.now());
    let value = ExaminationOut::all(&found, &findings);
    context.print(|| render::doctor(&found, &findings, context.now()), value)?;
    match findings.iter().any(|finding| finding.is_bad) {
        true => Err(Failure::new(FAILED, "")),
        false => Ok(()),
    }
}

#[derive(Debug, Serialize)]
struct SavedOut {
    file: String,
    bytes: u64,
    at: String,
}

async fn save(context: &Context, client: &AdminClient, path: &Path) -> Result<(), Failure> {
    let failed =
        |doing: &str, error: std::io::Error| Failure::new(FAILED, format!("{doing} {}: {error}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.exists() {
        return Err(Failure::new(FAILED, format!("{} is there already; give another file", path.display())));
    }
    // Whole or not at all: a backup that was cut short must not lie where one is expected.
    let mut aside = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed("making", e))?;
    let mut bytes = 0;
    client
        .save_snapshot(|chunk| {
            bytes += chunk.len() as u64;
            aside.write_all(chunk)
        })
        .await?;
    aside.as_file().sync_all().map_err(|e| failed("writing", e))?;
    aside.persist_noclobber(path).map_err(|e| failed("writing", e.error))?;
    let out = SavedOut { file: path.display().to_string(), bytes, at: time(context.now()) };
    context.print(|| format!("Saved {bytes} bytes to {}.\n", path.display()), out)
}
