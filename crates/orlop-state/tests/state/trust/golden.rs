//! Golden bytes of what the cluster trusts.

use super::*;
use crate::golden::golden;
use orlop_model::trust::{Operator, Role};
use orlop_proto::store::v1::command::Kind as Wire;
use orlop_state::RequestId;

fn commands() -> Vec<(&'static str, TrustCommand)> {
    let name = || "api-key".parse().expect("a name");
    let operator = Operator {
        name: "anna@example.org".parse().expect("a name"),
        role: Role::Deployer,
        deployments: vec!["shop-*".parse().expect("a pattern"), "*".parse().expect("a pattern")],
    };
    let node = NodeId::from_u128(0x0192_3456_789a_7bcd_8ef0_1234_5678_9abc);
    let token = OperatorTokenId::from_u128(0x0192_3456_789a_7bcd_8ef0_1234_5678_9abf);
    let bound = JoinToken { node: Some(node), ..token_of() };
    let uses = |joins| UseJoinToken { id: JoinTokenId(0xbeef), secret_hash: Digest([0xab; 32]), joins };
    let member = AddMember { id: None, name: "two".parse().expect("a name"), address: "10.0.0.2:7700".into() };
    let resealed = ResealedSecret { name: name(), version: 3, sealed: [5, 6].into() };
    let key = SigningKeyPair { public_key: [9; 32], sealed: [1, 2].into() };
    vec![
        ("create_join_token", TrustCommand::CreateJoinToken(CreateJoinToken { token: bound })),
        ("use_join_token", TrustCommand::UseJoinToken(uses(Joins::Node(node)))),
        ("use_join_token_member", TrustCommand::UseJoinToken(uses(Joins::Member(member)))),
        ("revoke_join_token", TrustCommand::RevokeJoinToken(RevokeJoinToken { id: JoinTokenId(0xbeef) })),
        ("put_operator", TrustCommand::PutOperator(PutOperator { operator: operator.clone() })),
        ("remove_operator", TrustCommand::RemoveOperator(RemoveOperator { name: operator.name.clone() })),
        (
            "issue_operator_token",
            TrustCommand::IssueOperatorToken(IssueOperatorToken {
                operator: operator.name,
                token,
                expires_at: Timestamp(1_700_000_000_000),
            }),
        ),
        ("revoke_operator_token", TrustCommand::RevokeOperatorToken(RevokeOperatorToken { token })),
        ("rotate_signing_key", TrustCommand::RotateSigningKey(RotateSigningKey { key, overlap: Millis(86_400_000) })),
        ("revoke_identity", TrustCommand::RevokeIdentity(RevokeIdentity { identity: "orlop://clu/node/x".into() })),
        (
            "set_secret",
            TrustCommand::SetSecret(SetSecret { name: name(), version: 3, sealed: [1, 2, 3].into(), key_version: 2 }),
        ),
        ("remove_secret", TrustCommand::RemoveSecret(RemoveSecret { name: name() })),
        (
            "seal_secrets_again",
            TrustCommand::SealSecretsAgain(SealSecretsAgain { key_version: 4, secrets: vec![resealed] }),
        ),
    ]
}

fn token_of() -> JoinToken {
    JoinToken {
        created_at: Timestamp(1_700_000_000_000),
        expires_at: Timestamp(1_700_003_600_000),
        ..token(0xbeef, JoinKind::Node, 3)
    }
}

#[test]
fn commands_are_written_and_read_as_ever() {
    let mut kinds = Vec::new();
    for (name, command) in commands() {
        let kind = std::mem::discriminant(&Wire::from(&command));
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
        let command = Command::new(Timestamp(1_700_000_000_000), Kind::Trust(command));
        let bytes = golden(&format!("command_{name}"), &stored::encode_command(&command));
        assert_eq!(stored::decode_command(&bytes), command, "{name} is read as something else than before");
    }
    assert_eq!(kinds.len(), 12, "every kind has golden bytes");
}

#[test]
fn a_cluster_with_identities_is_written_and_read_as_ever() {
    let init = InitCluster {
        cluster: ClusterId::from_u128(1),
        range: "10.77.0.0/16".parse().expect("a range"),
        trust: Some(initial()),
    };
    let command = Command {
        caller: Some("local".into()),
        request: Some(RequestId([0xcd; 16])),
        ..Command::new(Timestamp(1_700_000_000_000), Kind::InitCluster(init))
    };
    let bytes = golden("command_init_cluster_trust", &stored::encode_command(&command));
    assert_eq!(stored::decode_command(&bytes), command);
}

#[test]
fn snapshots_are_written_and_read_as_ever() {
    let mut machine = trusting();
    machine.now = Timestamp(1_700_000_000_000);
    for (i, (_, command)) in commands().into_iter().enumerate() {
        machine.now = machine.now + Millis(1000);
        let command = match command {
            TrustCommand::SetSecret(set) => TrustCommand::SetSecret(SetSecret { version: 1, ..set }),
            other => other,
        };
        let command = Command {
            caller: Some("local".into()),
            request: Some(RequestId([i as u8; 16])),
            ..Command::new(machine.now, Kind::Trust(command))
        };
        machine.state.apply(Revision(machine.state.revision().0 + 1), command);
    }
    // What one of them removed is there too.
    for command in [commands().swap_remove(4).1, commands().swap_remove(0).1] {
        trust(&mut machine, command);
    }
    set_secret(&mut machine, "api-key", b"sealed");
    let bytes = golden("snapshot_trust", &stored::encode_state(&machine.state));
    assert_eq!(stored::decode_state(&bytes), Ok(machine.state));
}
