//! Waiting until a cluster that was just made is whole.

use anyhow::Context;
use orlop_client::{Address, AdminClient, Credentials, OperatorClient, Suffrage};
use orlop_model::Liveness;
use std::time::{Duration, Instant};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may take; longer than anything does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until so many members vote and so many nodes are there.
pub(super) async fn settle(address: &Address, members: u16, nodes: u16) -> anyhow::Result<()> {
    let admin = AdminClient::new(address.clone(), &Credentials::None)?;
    let operator = OperatorClient::new(address.clone())?;
    let until = Instant::now() + PATIENCE;
    loop {
        let found = look(&admin, &operator).await;
        match found {
            Ok((voters, alive)) if voters >= usize::from(members) && alive >= usize::from(nodes) => return Ok(()),
            found if Instant::now() >= until => {
                let (voters, alive) = found.context("the control plane does not answer")?;
                anyhow::bail!(
                    "only {voters} of {members} members vote and {alive} of {nodes} nodes are there after {} s; the logs \
                     of the hosts say why",
                    PATIENCE.as_secs()
                );
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

/// How many vote, and how many nodes are there.
async fn look(admin: &AdminClient, operator: &OperatorClient) -> Result<(usize, usize), orlop_client::Error> {
    let members = admin.members().await?;
    let state = operator.state(None).await?;
    let voters = members.members.iter().filter(|member| member.suffrage == Suffrage::Voter).count();
    Ok((voters, state.nodes.values().filter(|node| node.liveness == Liveness::Alive).count()))
}
