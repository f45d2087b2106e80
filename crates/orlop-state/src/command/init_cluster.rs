//! Makes the cluster: gives it its id and the address range that nodes' subnets are cut from.

use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::limit::{AUTHORITY_BYTES_MAX, NODE_PREFIX};
use crate::state::Cluster;
use crate::trust::{SealedAuthority, SigningKeyPair, SigningKeyRecord, Trust};
use orlop_model::{ClusterId, Level, Subject, Timestamp};
use std::collections::BTreeMap;

/// Makes the cluster. Submitted by the control plane at its first start; a cluster that is made stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitCluster {
    /// The new cluster's id.
    pub cluster: ClusterId,
    /// The range that every node's /24 is cut from.
    pub range: ipnet::Ipv4Net,
    /// Whom it trusts at first; `None` only in logs of versions that had no identities.
    pub trust: Option<InitialTrust>,
}

/// Whom a cluster trusts at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialTrust {
    /// The cluster's authority.
    pub authority: SealedAuthority,
    /// The key that signs operators' tokens.
    pub signing_key: SigningKeyPair,
}

impl InitialTrust {
    fn check(&self) -> Result<(), Refusal> {
        let sealed = [&self.authority.key, &self.signing_key.sealed];
        let fits = |bytes: &[u8], max| (1..=max).contains(&bytes.len());
        if fits(&self.authority.certificate, AUTHORITY_BYTES_MAX) && sealed.iter().all(|s| fits(s, AUTHORITY_BYTES_MAX))
        {
            return Ok(());
        }
        let message = format!("a certificate and sealed keys have 1 to {AUTHORITY_BYTES_MAX} bytes");
        Err(Refusal::invalid("invalid_trust", message))
    }

    fn at(self, now: Timestamp) -> Trust {
        Trust {
            authority: self.authority,
            signing_keys: vec![SigningKeyRecord { key: self.signing_key, added_at: now, retires_at: None }],
            join_tokens: BTreeMap::new(),
            operators: BTreeMap::new(),
            revoked_tokens: BTreeMap::new(),
            revoked_identities: BTreeMap::new(),
            secrets: BTreeMap::new(),
            secret_key_version: 1,
            secret_version_floor: 0,
        }
    }
}

impl InitCluster {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        if let Some(cluster) = change.state.cluster {
            let message = format!("the cluster {} with the range {} is made already", cluster.id, cluster.range);
            return Err(Refusal::precondition("cluster_exists", message));
        }
        if self.range.prefix_len() > NODE_PREFIX {
            let message =
                format!("the range {} has no room for a node's /{NODE_PREFIX}; give a larger one", self.range);
            return Err(Refusal::invalid("range_too_small", message));
        }
        if let Some(trust) = &self.trust {
            trust.check()?;
        }
        change.state.trust = self.trust.map(|trust| trust.at(change.now));
        change.state.cluster = Some(Cluster { id: self.cluster, range: self.range.trunc() });
        change.changed.insert(Entity::Cluster);
        let message = format!("the cluster {} was made, with the address range {}", self.cluster, self.range.trunc());
        change.tell(Level::Info, Subject::default(), "cluster_made", message);
        Ok(Answer::Done)
    }
}
