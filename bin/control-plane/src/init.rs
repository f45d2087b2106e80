//! `orlop-control-plane init`: founds a cluster on this machine and says how others join.

use crate::settings::InitArgs;
use anyhow::Context;
use orlop_client::{HostPort, IdentityDirectory};
use orlop_control::{Config, Founding};
use orlop_model::{Millis, NodeId};
use std::path::Path;

pub(crate) async fn init(args: InitArgs, config: Config) -> anyhow::Result<()> {
    let node = match args.no_node {
        true => None,
        false => Some((node_id(&args.agent_data_dir)?, IdentityDirectory::new(&args.identity))),
    };
    let address: HostPort =
        config.advertise.clone().context("give --advertise HOST[:PORT], where other machines reach this one")?;
    let tokens_for = Millis(args.tokens_for_hours.saturating_mul(3_600_000));
    let founding = Founding { config, node, joins: args.joins, tokens_for };
    let founded = orlop_control::found(founding).await?;
    println!("The cluster is made. Start orlop-control-plane and orlop-scheduler here");
    if !args.no_node {
        println!("(and orlop-overlay, orlop-agent and orlop-proxy, for the node on this machine).");
    }
    println!();
    println!(
        "On each of up to {} other machines, within {} h, for a member and a node:",
        args.joins, args.tokens_for_hours
    );
    println!("  orlopctl join https://{address} --token {} --token {}", founded.member_token, founded.node_token);
    println!("or for a node only:");
    println!("  orlopctl join https://{address} --token {}", founded.node_token);
    Ok(())
}

/// The id that the agent on this machine has, or else one for it to begin with.
fn node_id(agent_data_dir: &Path) -> anyhow::Result<NodeId> {
    let path = agent_data_dir.join("node-id");
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().with_context(|| path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(NodeId::from_u128(uuid::Uuid::now_v7().as_u128()))
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}
