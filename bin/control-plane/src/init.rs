//! `orlop-control-plane init`: makes a cluster on this machine and says how others join.

use crate::settings::InitArgs;
use anyhow::Context;
use orlop_client::{HostPort, IdentityDirectory};
use orlop_control::{Config, Init};
use orlop_model::Millis;

pub(crate) async fn init(args: InitArgs, config: Config) -> anyhow::Result<()> {
    let node = match args.no_node {
        true => None,
        false => Some((orlop_client::node_id(&args.agent_data_dir)?, IdentityDirectory::new(&args.identity))),
    };
    let address: HostPort =
        config.advertise.clone().context("give --advertise HOST[:PORT], where other machines reach this one")?;
    let tokens_for = Millis(args.tokens_for_hours.saturating_mul(3_600_000));
    let init = Init { config, node, joins: args.joins, tokens_for };
    let made = orlop_control::init(init).await?;
    println!("The cluster is made. Start orlop-control-plane and orlop-scheduler here");
    if !args.no_node {
        println!("(and orlop-overlay, orlop-agent and orlop-proxy, for the node on this machine).");
    }
    println!();
    println!(
        "On each of up to {} other machines, within {} h, for a member and a node:",
        args.joins, args.tokens_for_hours
    );
    println!("  orlopctl join https://{address} --token {} --token {}", made.member_token, made.node_token);
    println!("or for a node only:");
    println!("  orlopctl join https://{address} --token {}", made.node_token);
    Ok(())
}
