//! Join tokens, and certificates that are refused.

use super::*;
use crate::sample::refused;
use orlop_state::RefusalKind;

fn join(machine: &mut Machine, token: &JoinToken, node: u128) -> Answer {
    let joins = Joins::Node(NodeId::from_u128(node));
    let join = UseJoinToken { id: token.id, secret_hash: token.secret_hash, joins };
    trust(machine, TrustCommand::UseJoinToken(join))
}

fn join_as_member(machine: &mut Machine, token: &JoinToken, name: &str) -> Answer {
    let member = AddMember { id: None, name: name.parse().expect("a name"), address: format!("{name}:7700") };
    let join = UseJoinToken { id: token.id, secret_hash: token.secret_hash, joins: Joins::Member(member) };
    trust(machine, TrustCommand::UseJoinToken(join))
}

#[test]
fn a_token_lets_as_many_join_as_it_says() {
    let mut machine = trusting();
    let token = token(5, JoinKind::Node, 2);
    assert_eq!(create(&mut machine, &token), Answer::Done);
    assert_eq!(refused(&create(&mut machine, &token)), "token_exists");
    assert_eq!(join(&mut machine, &token, 10), Answer::Done);
    assert_eq!(join(&mut machine, &token, 11), Answer::Done);
    assert_eq!(refused(&join(&mut machine, &token, 12)), "token_used_up");
    assert!(machine.codes().ends_with(&["node_joined", "node_joined"]));
}

#[test]
fn each_reason_to_refuse_has_a_name() {
    let mut machine = trusting();
    let good = token(5, JoinKind::Node, 9);
    create(&mut machine, &good);
    let forged = JoinToken { secret_hash: Digest::of(b"guessed"), ..good.clone() };
    assert_eq!(refused(&join(&mut machine, &forged, 10)), "token_unknown");
    assert_eq!(refused(&join(&mut machine, &token(6, JoinKind::Node, 9), 10)), "token_unknown");
    assert_eq!(refused(&join_as_member(&mut machine, &good, "two")), "token_of_other_kind");
    assert_eq!(refused(&join(&mut machine, &good, 1)), "node_known");
    machine.now = Timestamp(good.expires_at.0 - 1000);
    assert_eq!(refused(&join(&mut machine, &good, 10)), "token_expired");
    // Who does not know the secret is not told that the token has expired.
    assert_eq!(refused(&join(&mut machine, &forged, 10)), "token_unknown");
    assert_eq!(machine.state.join_tokens().map(|t| t.uses_left).collect::<Vec<_>>(), [9], "no refusal counts");
}

#[test]
fn a_revoked_token_is_unknown() {
    let mut machine = trusting();
    let token = token(5, JoinKind::Node, 9);
    create(&mut machine, &token);
    let revoke = || TrustCommand::RevokeJoinToken(RevokeJoinToken { id: JoinTokenId(5) });
    assert_eq!(trust(&mut machine, revoke()), Answer::Done);
    assert_eq!(refused(&trust(&mut machine, revoke())), "token_unknown");
    assert_eq!(refused(&join(&mut machine, &token, 10)), "token_unknown");
}

#[test]
fn a_token_of_one_node_lets_it_come_back_and_no_other() {
    let mut machine = trusting();
    let token = JoinToken { node: Some(NodeId::from_u128(1)), ..token(5, JoinKind::Node, 2) };
    assert_eq!(create(&mut machine, &token), Answer::Done);
    assert_eq!(refused(&join(&mut machine, &token, 2)), "token_of_other_node");
    assert_eq!(join(&mut machine, &token, 1), Answer::Done);
}

#[test]
fn a_member_that_joins_is_added_in_the_same_command() {
    let mut machine = trusting();
    let token = token(5, JoinKind::Member, 2);
    create(&mut machine, &token);
    let member = MemberId(machine.state.revision().0 + 1);
    assert_eq!(join_as_member(&mut machine, &token, "two"), Answer::MemberAdded { member });
    assert_eq!(machine.state.member(member).map(|m| m.address.as_str()), Some("two:7700"));
    // A member that cannot be added has not used the token.
    assert_eq!(refused(&join_as_member(&mut machine, &token, "two")), "member_name_taken");
    assert_eq!(machine.state.join_tokens().map(|t| t.uses_left).collect::<Vec<_>>(), [1]);
}

#[test]
fn tokens_have_bounds() {
    let mut machine = trusting();
    let good = token(5, JoinKind::Node, 1);
    let late = Timestamp(machine.now.0 + 31 * 86_400_000);
    for (bad, code) in [
        (JoinToken { uses_left: 0, ..good.clone() }, "invalid_uses"),
        (JoinToken { uses_left: 1001, ..good.clone() }, "invalid_uses"),
        (JoinToken { expires_at: Timestamp(1), ..good.clone() }, "invalid_lifetime"),
        (JoinToken { expires_at: late, ..good.clone() }, "invalid_lifetime"),
        (JoinToken { node: Some(NodeId::from_u128(1)), ..token(5, JoinKind::Member, 1) }, "invalid_token"),
    ] {
        assert_eq!(refused(&create(&mut machine, &bad)), code);
    }
    for id in 0..1000 {
        assert_eq!(create(&mut machine, &token(id, JoinKind::Node, 1)), Answer::Done);
        machine.now = Timestamp(10_000);
    }
    let Answer::Refused(full) = create(&mut machine, &token(1000, JoinKind::Node, 1)) else { panic!("taken") };
    assert_eq!(full.kind, RefusalKind::Exhausted);
    // Those that cannot be used any more make room.
    assert_eq!(join(&mut machine, &token(7, JoinKind::Node, 1), 10), Answer::Done);
    assert_eq!(create(&mut machine, &token(1000, JoinKind::Node, 1)), Answer::Done);
}

#[test]
fn certificates_from_before_a_revocation_are_refused() {
    let mut machine = trusting();
    let identity = "orlop://clu_00000000000000000000000000000001/node/node_00000000000000000000000000000001";
    let before = machine.now;
    let revoke = RevokeIdentity { identity: identity.into() };
    assert_eq!(trust(&mut machine, TrustCommand::RevokeIdentity(revoke)), Answer::Done);
    assert!(machine.state.is_revoked(identity, before));
    assert!(machine.state.is_revoked(identity, machine.now));
    assert!(!machine.state.is_revoked(identity, machine.now + Millis(1)));
    assert!(!machine.state.is_revoked(&identity.replace("0001", "0002"), before));
    let wrong = RevokeIdentity { identity: "anna".into() };
    assert_eq!(refused(&trust(&mut machine, TrustCommand::RevokeIdentity(wrong))), "invalid_identity");
}

#[test]
fn a_cluster_without_identities_says_so() {
    let mut machine = Machine::with_cluster();
    assert_eq!(refused(&create(&mut machine, &token(5, JoinKind::Node, 1))), "no_identities");
    assert_eq!(refused(&set_secret(&mut machine, "a", b"x")), "no_identities");
    assert_eq!(refused(&join(&mut machine, &token(5, JoinKind::Node, 1), 10)), "token_unknown");
}
