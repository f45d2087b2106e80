//! A member that is alone, as the first of a cluster is.

use orlop_consensus::{Consensus, Dial, Options, StartError, StateMachine};
use std::sync::Arc;
use tonic::transport::{Channel, Endpoint};

/// Reaches nobody.
struct Nowhere;

impl Dial for Nowhere {
    fn channel(&self, _member: u64, _address: &str) -> Channel {
        Endpoint::from_static("http://127.0.0.1:1").connect_lazy()
    }
}

/// Starts a member, and makes a cluster of it alone if it has none.
pub(crate) async fn alone(options: Options, machine: Arc<dyn StateMachine>) -> Result<Consensus, StartError> {
    let member = Consensus::start(options, machine, Arc::new(Nowhere)).await?;
    if !member.is_initialized() {
        member.init("127.0.0.1:1").await?;
    }
    Ok(member)
}
