//! Wire and domain types of who is who.

use orlop_identity::authority::Addresses;
use orlop_model::trust::{self, AuditRecord, JoinKind, Operator};
use orlop_model::{Millis, NodeId};
use orlop_proto::InvalidWire;
use orlop_proto::identity::v1 as pb;
use std::net::IpAddr;

/// The most addresses of one certificate.
const ADDRESSES_MAX: usize = 16;

pub(super) fn of_token(token: &trust::JoinToken) -> pb::JoinToken {
    let kind = match token.kind {
        JoinKind::Node => pb::JoinKind::Node,
        JoinKind::Member => pb::JoinKind::Member,
    };
    pb::JoinToken {
        id: token.id.to_string(),
        kind: kind.into(),
        uses_left: token.uses_left,
        expires_at_ms: token.expires_at.0,
        node: token.node.as_ref().map(NodeId::to_string).unwrap_or_default(),
        created_at_ms: token.created_at.0,
    }
}

pub(super) fn join_kind(wire: i32) -> Result<JoinKind, InvalidWire> {
    match pb::JoinKind::try_from(wire) {
        Ok(pb::JoinKind::Node) => Ok(JoinKind::Node),
        Ok(pb::JoinKind::Member) => Ok(JoinKind::Member),
        Ok(pb::JoinKind::Unspecified) => Err(InvalidWire::missing("kind")),
        Err(_) => Err(InvalidWire::new("kind", format!("found {wire}, which this version does not know"))),
    }
}

pub(super) fn of_operator(operator: &Operator) -> pb::Operator {
    let role = match operator.role {
        trust::Role::Viewer => pb::Role::Viewer,
        trust::Role::Deployer => pb::Role::Deployer,
        trust::Role::Admin => pb::Role::Admin,
    };
    let deployments = operator.deployments.iter().map(ToString::to_string).collect();
    pb::Operator { name: operator.name.to_string(), role: role.into(), deployments }
}

pub(super) fn operator(wire: pb::Operator) -> Result<Operator, InvalidWire> {
    let role = match pb::Role::try_from(wire.role) {
        Ok(pb::Role::Viewer) => trust::Role::Viewer,
        Ok(pb::Role::Deployer) => trust::Role::Deployer,
        Ok(pb::Role::Admin) => trust::Role::Admin,
        Ok(pb::Role::Unspecified) => return Err(InvalidWire::missing("operator.role")),
        Err(_) => {
            let problem = format!("found {}, which this version does not know", wire.role);
            return Err(InvalidWire::new("operator.role", problem));
        }
    };
    let pattern = |text: &String| {
        text.parse().map_err(|e: trust::InvalidPattern| InvalidWire::new("operator.deployments", e.to_string()))
    };
    let name = wire.name.parse();
    Ok(Operator {
        name: name.map_err(|e: trust::InvalidOperatorName| InvalidWire::new("operator.name", e.to_string()))?,
        role,
        deployments: wire.deployments.iter().map(pattern).collect::<Result<_, _>>()?,
    })
}

/// What a certificate is to be good for: IP addresses, or DNS names, which the authority checks.
pub(super) fn addresses(texts: &[String]) -> Result<Addresses, InvalidWire> {
    if texts.len() > ADDRESSES_MAX {
        return Err(InvalidWire::new("addresses", format!("are {}; at most {ADDRESSES_MAX} are taken", texts.len())));
    }
    let mut addresses = Addresses::default();
    for text in texts {
        match text.parse::<IpAddr>() {
            Ok(ip) => addresses.ips.push(ip),
            Err(_) => addresses.names.push(text.clone()),
        }
    }
    Ok(addresses)
}

/// A span that 0 leaves to a default.
pub(super) fn span_or(wire_ms: u64, default: Millis) -> Millis {
    if wire_ms == 0 { default } else { Millis(wire_ms) }
}

pub(super) fn of_record(record: &AuditRecord) -> pb::AuditRecord {
    pb::AuditRecord {
        sequence: record.sequence,
        at_ms: record.at.0,
        caller: record.caller.clone(),
        action: record.action.clone(),
        subject: record.subject.clone(),
        outcome: record.outcome.clone(),
        hash: record.hash.0.to_vec(),
    }
}
