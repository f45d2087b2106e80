//! Making a cluster: `orlop-control-plane init`. Makes the cluster in the data directory, lets the machine's own node in,
//! and makes the tokens with which other machines join.

use crate::config::{Config, Listen};
use crate::home::{Home, HomeError};
use crate::{Error, launch};
use orlop_client::{Address, HostPort, IdentityDirectory, JoinError, Joining};
use orlop_identity::token::{InvalidToken, JoinToken};
use orlop_model::{Millis, NodeId};
use orlop_proto::identity::v1 as pb;
use pb::identity_service_client::IdentityServiceClient;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

/// What a cluster is made with.
#[derive(Debug, Clone)]
pub struct Init {
    /// The first member, which must say where others reach it. Where it listens is not looked at.
    pub config: Config,
    /// Where the identity of this machine's node is to lie; `None` when it is to be none.
    pub node: Option<(NodeId, IdentityDirectory)>,
    /// How many machines may join with the tokens, 1 to 1,000.
    pub joins: u32,
    /// How long the tokens are good, one minute to 30 days.
    pub tokens_for: Millis,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Initialized {
    /// Where the first member will be reached.
    pub address: HostPort,
    /// With it control planes join.
    pub member_token: JoinToken,
    /// With it nodes join.
    pub node_token: JoinToken,
}

/// Why no cluster was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// A member of a cluster lives there already.
    #[error("a member of a cluster lives in {} already; start it, or give another data directory", .0.display())]
    Exists(PathBuf),
    /// Others could not reach it.
    #[error("where do other machines reach this one? Give --advertise HOST[:PORT]")]
    NoAddress,
    /// The control plane did not start.
    #[error(transparent)]
    Start(#[from] Error),
    /// It did not do what was asked of it.
    #[error("the new cluster refused: {0}")]
    Refused(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// This machine's node was not let in.
    #[error("this machine's node could not join")]
    Node(#[from] JoinError),
    /// A token makes no sense.
    #[error("a token of the new cluster: {0}")]
    Token(#[from] InvalidToken),
}

impl From<Status> for InitError {
    fn from(status: Status) -> Self {
        InitError::Refused(status.message().to_owned())
    }
}

/// Makes a cluster. Nothing runs when this returns.
///
/// # Errors
/// When there is a cluster already, or it could not be made. What was begun is made anew by the next attempt.
pub async fn init(init: Init) -> Result<Initialized, InitError> {
    let Init { mut config, node, joins, tokens_for } = init;
    let Some(address) = config.advertise.clone() else { return Err(InitError::NoAddress) };
    let home = Home::new(&config.data_dir);
    if home.is_used()? && !home.is_being_made() {
        return Err(InitError::Exists(config.data_dir));
    }
    home.begin_to_make()?;
    let socket = config.data_dir.join("init.sock");
    config.listen = vec![Listen::Unix(socket.clone())];
    config.listen_tls = false;
    config.make_cluster = true;
    let stop = CancellationToken::new();
    let running = launch(config, home.clone(), stop.clone()).await?;
    let _stops = stop.clone().drop_guard();
    let local = Address::Unix(socket);
    let channel = local.channel().map_err(|e| InitError::Refused(e.to_string()))?;
    let node_token = token(&channel, pb::JoinKind::Node, joins.saturating_add(1), tokens_for).await?;
    let member_token = token(&channel, pb::JoinKind::Member, joins, tokens_for).await?;
    if let Some((node, directory)) = node {
        let joined = orlop_client::join_over(channel, &local, &node_token, &Joining::Node(node)).await?;
        joined.keep(&directory).map_err(JoinError::from)?;
        tracing::info!(identity = %joined.identity, "this machine's node has joined");
    }
    home.end_making()?;
    stop.cancel();
    running.wait().await?;
    Ok(Initialized { address, member_token, node_token })
}

async fn token(channel: &Channel, kind: pb::JoinKind, uses: u32, lifetime: Millis) -> Result<JoinToken, InitError> {
    let request = pb::CreateJoinTokenRequest { kind: kind.into(), uses, lifetime_ms: lifetime.0, ..Default::default() };
    let answer = IdentityServiceClient::new(channel.clone()).create_join_token(request).await?;
    Ok(answer.into_inner().token.parse()?)
}
