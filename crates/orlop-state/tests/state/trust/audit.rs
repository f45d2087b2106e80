//! What is recorded of callers.

use super::*;
use crate::sample::shop;
use orlop_model::trust::{AuditRecord, verify_audit};

fn asked(caller: &str, kind: Kind) -> Command {
    Command { caller: Some(caller.into()), ..Command::new(Timestamp(20_000), kind) }
}

fn deploy(name: &str) -> Kind {
    let deployment = shop(name, "a:1", 1);
    Kind::Deploy(Deploy { deployment, expected_generation: Some(Generation(0)), retry: false })
}

fn records(machine: &Machine) -> Vec<AuditRecord> {
    machine.state.audit().cloned().collect()
}

#[test]
fn what_callers_ask_for_is_recorded_with_its_outcome() {
    let mut machine = trusting();
    by(&mut machine, asked("operator/anna", deploy("shop")));
    by(&mut machine, asked("operator/bert", deploy("shop")));
    let name = "key".parse().expect("a name");
    let set = SetSecret { name, version: 1, sealed: b"sealed".as_slice().into(), key_version: 1 };
    by(&mut machine, asked("local", Kind::Trust(TrustCommand::SetSecret(set))));
    // What nodes report, and what the control plane does by itself, is not.
    by(&mut machine, asked("orlop://node", Kind::JudgeNodes(JudgeNodes::one(NodeId::from_u128(1), Verdict::Alive))));
    by(&mut machine, Command::new(Timestamp(20_000), deploy("other")));
    let said: Vec<String> = records(&machine)
        .iter()
        .map(|r| format!("{} {} {} {} {}", r.sequence, r.caller, r.action, r.subject, r.outcome))
        .collect();
    assert_eq!(
        said,
        [
            "1 operator/anna deploy shop taken",
            "2 operator/bert deploy shop generation_mismatch",
            "3 local secret.set key taken"
        ]
    );
    let (sequence, hash) = machine.state.audit_head();
    assert_eq!(verify_audit(&records(&machine), None, (sequence, &hash)), Ok(3));
}

#[test]
fn the_newest_ten_thousand_are_kept_and_prove_each_other() {
    let mut machine = trusting();
    for revision in 0..10_003u64 {
        let kind = Kind::Trust(TrustCommand::RevokeJoinToken(RevokeJoinToken { id: JoinTokenId(1) }));
        let command = Command { caller: Some("local".into()), ..Command::new(Timestamp(revision), kind) };
        machine.state.apply(Revision(machine.state.revision().0 + 1), command);
    }
    let records = records(&machine);
    assert_eq!((records.len(), records[0].sequence), (10_000, 4));
    let (sequence, hash) = machine.state.audit_head();
    let before = machine.state.audit_before();
    assert_eq!(verify_audit(&records, Some(&before), (sequence, &hash)), Ok(10_000));
    assert_eq!(stored::decode_state(&stored::encode_state(&machine.state)), Ok(machine.state));
}

#[test]
fn a_caller_with_an_endless_name_is_cut() {
    let mut machine = trusting();
    by(&mut machine, asked(&"ü".repeat(1000), deploy("shop")));
    assert_eq!(records(&machine)[0].caller, "ü".repeat(128));
}
