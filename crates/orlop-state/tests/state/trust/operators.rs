//! Operators, their tokens, and the keys that sign these.

use super::*;
use crate::sample::refused;
use orlop_model::trust::{Operator, OperatorName, Role, SigningKeyId};

fn anna() -> OperatorName {
    "anna".parse().expect("a name")
}

fn put(machine: &mut Machine, role: Role, deployments: &[&str]) -> Answer {
    let deployments = deployments.iter().map(|d| d.parse().expect("a pattern")).collect();
    let operator = Operator { name: anna(), role, deployments };
    trust(machine, TrustCommand::PutOperator(PutOperator { operator }))
}

fn remove(machine: &mut Machine) -> Answer {
    trust(machine, TrustCommand::RemoveOperator(RemoveOperator { name: anna() }))
}

const TOKEN: OperatorTokenId = OperatorTokenId::from_u128(4);

#[test]
fn what_an_operator_may_do_changes_at_once_and_the_token_stays() {
    let mut machine = trusting();
    put(&mut machine, Role::Viewer, &["shop"]);
    let issued = machine.now;
    let role = |machine: &Machine| machine.state.operator_of(&anna(), TOKEN, issued).map(|o| o.role);
    assert_eq!(role(&machine), Some(Role::Viewer));
    put(&mut machine, Role::Admin, &["*"]);
    assert_eq!(role(&machine), Some(Role::Admin));
    assert_eq!(refused(&put(&mut machine, Role::Admin, &[])), "invalid_deployments");
}

#[test]
fn tokens_of_a_removed_operator_die_for_ever() {
    let mut machine = trusting();
    put(&mut machine, Role::Admin, &["*"]);
    let issued = machine.now;
    assert!(machine.state.operator_of(&anna(), TOKEN, issued).is_some());
    assert_eq!(remove(&mut machine), Answer::Done);
    assert!(machine.state.operator_of(&anna(), TOKEN, issued).is_none());
    assert_eq!(refused(&remove(&mut machine)), "operator_unknown");
    // Another of the same name.
    put(&mut machine, Role::Viewer, &["shop"]);
    assert!(machine.state.operator_of(&anna(), TOKEN, issued).is_none());
    let same_second = Timestamp(machine.now.0 / 1000 * 1000);
    assert!(machine.state.operator_of(&anna(), TOKEN, same_second).is_some());
}

#[test]
fn a_revoked_token_is_refused_until_it_must_have_expired() {
    let mut machine = trusting();
    put(&mut machine, Role::Viewer, &["*"]);
    let issued = machine.now;
    let revoke =
        |machine: &mut Machine, token| trust(machine, TrustCommand::RevokeOperatorToken(RevokeOperatorToken { token }));
    assert_eq!(revoke(&mut machine, TOKEN), Answer::Done);
    assert!(machine.state.operator_of(&anna(), TOKEN, issued).is_none());
    let other = OperatorTokenId::from_u128(5);
    assert!(machine.state.operator_of(&anna(), other, issued).is_some());
    // It is forgotten with the next revocation after that.
    machine.now = machine.now + Millis::from_secs(366 * 86_400 + 1);
    revoke(&mut machine, other);
    assert!(machine.state.operator_of(&anna(), TOKEN, issued).is_some());
}

#[test]
fn only_an_operator_who_is_there_gets_a_token() {
    let mut machine = trusting();
    let issue = |machine: &mut Machine, lifetime: u64| {
        let expires_at = machine.now + Millis::from_secs(lifetime);
        let issue = IssueOperatorToken { operator: anna(), token: TOKEN, expires_at };
        trust(machine, TrustCommand::IssueOperatorToken(issue))
    };
    assert_eq!(refused(&issue(&mut machine, 60)), "operator_unknown");
    put(&mut machine, Role::Viewer, &["*"]);
    assert_eq!(issue(&mut machine, 60), Answer::Done);
    assert_eq!(refused(&issue(&mut machine, 0)), "invalid_lifetime");
    assert_eq!(refused(&issue(&mut machine, 367 * 86_400)), "invalid_lifetime");
}

#[test]
fn signing_keys_overlap_and_then_retire() {
    let mut machine = trusting();
    let rotate = |machine: &mut Machine, key: u8, overlap: u64| {
        let key = SigningKeyPair { public_key: [key; 32], sealed: [key].into() };
        let overlap = Millis::from_secs(overlap);
        trust(machine, TrustCommand::RotateSigningKey(RotateSigningKey { key, overlap }))
    };
    let keys = |machine: &Machine| -> Vec<(SigningKeyId, Option<u64>)> {
        machine.state.signing_keys().map(|k| (k.id(), k.retires_at.map(|at| at.0))).collect()
    };
    let id = |key: u8| SigningKeyId::of(&[key; 32]);
    assert_eq!(keys(&machine), [(id(7), None)]);
    assert_eq!(rotate(&mut machine, 1, 100), Answer::Done);
    let first = machine.now.0 + 100_000;
    assert_eq!(keys(&machine), [(id(1), None), (id(7), Some(first))]);
    // A key that retires sooner does not live longer by another rotation.
    rotate(&mut machine, 2, 1000);
    let second = machine.now.0 + 1_000_000;
    assert_eq!(keys(&machine), [(id(2), None), (id(1), Some(second)), (id(7), Some(first))]);
    machine.now = Timestamp(first);
    rotate(&mut machine, 3, 1000);
    assert_eq!(keys(&machine).len(), 3, "one that has retired is forgotten");
    assert_eq!(refused(&rotate(&mut machine, 3, 0)), "key_exists");
    assert_eq!(rotate(&mut machine, 4, 0), Answer::Done);
    assert_eq!(keys(&machine), [(id(4), None)]);
    for key in 10..25 {
        assert_eq!(rotate(&mut machine, key, 1000), Answer::Done);
    }
    assert_eq!(refused(&rotate(&mut machine, 30, 1000)), "too_many_keys");
}
