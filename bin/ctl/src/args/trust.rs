//! The command line of whom the cluster trusts.

use super::span;
use clap::{Args, Subcommand, ValueEnum};
use orlop_client::Address;
use orlop_identity::Identity;
use orlop_model::trust::{DeploymentPattern, JoinKind, JoinTokenId, OperatorName, Role, SecretName};
use orlop_model::{Millis, NodeId, OperatorTokenId};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token that lets a machine join; it is shown once.
    Create {
        /// What joins: a node, or a member of the control plane.
        #[arg(value_enum)]
        kind: Kind,
        /// How many may join with it.
        #[arg(long, default_value_t = 1, value_name = "N")]
        uses: u32,
        /// How long it is good.
        #[arg(long, default_value = "1h", value_parser = span, value_name = "SPAN")]
        lifetime: Millis,
        /// Only this node may join with it, also when it is known already (node_…).
        #[arg(long, value_name = "ID")]
        node: Option<NodeId>,
    },
    /// List the join tokens.
    Ls,
    /// Let nobody join with a token any more.
    Revoke {
        /// Its id: the eight digits that stand in it.
        id: JoinTokenId,
    },
}

/// What joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A machine with an agent.
    Node,
    /// A member of the control plane.
    Member,
}

impl From<Kind> for JoinKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Node => JoinKind::Node,
            Kind::Member => JoinKind::Member,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Add an operator, or change what one may do.
    Add {
        /// A name, or a mail address.
        name: OperatorName,
        /// viewer looks, deployer changes deployments, admin changes the cluster.
        #[arg(long)]
        role: Role,
        /// To which deployments: a name, the beginning of names (shop-*), or *; may be given several times.
        #[arg(long = "deployment", default_value = "*", value_name = "PATTERN")]
        deployments: Vec<DeploymentPattern>,
    },
    /// List the operators.
    Ls,
    /// Remove an operator; all tokens of the operator die at once.
    Rm {
        /// Who.
        name: OperatorName,
    },
    /// Make a token that an operator gives to `orlopctl login`; it is shown once.
    Token {
        /// For whom.
        name: OperatorName,
        /// How long it is good.
        #[arg(long, default_value = "30d", value_parser = span, value_name = "SPAN")]
        lifetime: Millis,
    },
    /// Refuse one token from now on.
    Revoke {
        /// Its id (tok_…), as `operator token` printed it and the audit log has it.
        token: OperatorTokenId,
    },
    /// List the keys that sign tokens.
    Keys,
    /// Sign tokens with a new key from now on.
    Rotate {
        /// How long tokens of the keys before stay good.
        #[arg(long, default_value = "30d", value_parser = span, value_name = "SPAN")]
        overlap: Millis,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Give a secret a value; the replicas of services that name it are replaced, or told, as the services say.
    Set {
        /// Its name, as services name it: $S:NAME in `env`, or in `secrets`.
        name: SecretName,
        /// Where the value is read from, whole, but for one newline at the end.
        #[arg(long, short, default_value = "-", value_name = "FILE")]
        file: PathBuf,
    },
    /// List the secrets and who uses them; never their values.
    Ls,
    /// Remove a secret that nobody uses.
    Rm {
        /// Which.
        name: SecretName,
    },
    /// Seal all secrets again, under a new key; values and users stay.
    Rotate,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// verify: check every record that the cluster has against the others, and against the head of the log.
    #[arg(value_enum)]
    pub(crate) action: Option<AuditAction>,
    /// How many of the newest records to show.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditAction {
    /// Check the log.
    Verify,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// As certificates and the audit log have it: orlop://clu_…/node/node_….
    pub(crate) identity: Identity,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// A member of the control plane: https://HOST[:PORT]; several with commas.
    pub(crate) control_plane: Address,
    /// What to call this context.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub(crate) name: String,
    /// Where the token is read from that `orlopctl operator token` printed.
    #[arg(long, default_value = "-", value_name = "FILE")]
    pub(crate) token_file: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List the contexts.
    Ls,
    /// Use a context from now on.
    Use {
        /// Its name.
        name: String,
    },
    /// Forget a context, and its token.
    Rm {
        /// Its name.
        name: String,
    },
}
