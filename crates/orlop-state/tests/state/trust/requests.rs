//! A command that comes again is answered again, and not applied.

use super::*;
use crate::sample::{refused, shop};
use orlop_state::RequestId;

fn deploy(name: &str, now: u64, caller: Option<&str>, request: u8) -> Command {
    let deploy = Deploy { deployment: shop(name, "a:1", 1), expected_generation: Some(Generation(0)), retry: false };
    let request = Some(RequestId([request; 16]));
    Command { caller: caller.map(str::to_owned), request, ..Command::new(Timestamp(now), Kind::Deploy(deploy)) }
}

#[test]
fn a_repeated_command_has_its_first_answer() {
    let mut machine = trusting();
    let first = by(&mut machine, deploy("shop", 20_000, Some("operator/anna"), 1));
    assert!(matches!(first, Answer::Deployed { .. }));
    let (events, audit) = (machine.state.events_recorded(), machine.state.audit_head());
    // Expecting generation 0, it would be refused if it were applied.
    assert_eq!(by(&mut machine, deploy("shop", 21_000, Some("operator/anna"), 1)), first);
    assert_eq!((machine.state.events_recorded(), machine.state.audit_head()), (events, audit));
    // Another request, and another caller with the same bytes, are other commands.
    assert_eq!(refused(&by(&mut machine, deploy("shop", 22_000, Some("operator/anna"), 2))), "generation_mismatch");
    assert_eq!(refused(&by(&mut machine, deploy("shop", 22_000, Some("operator/bert"), 1))), "generation_mismatch");
    assert_eq!(refused(&by(&mut machine, deploy("shop", 22_000, None, 1))), "generation_mismatch");
}

#[test]
fn a_refusal_is_answered_again_too() {
    let mut machine = trusting();
    by(&mut machine, deploy("shop", 20_000, None, 1));
    let refusal = by(&mut machine, deploy("shop", 20_000, None, 2));
    machine.stop("shop", None, StopOrder::Forced);
    assert_eq!(by(&mut machine, deploy("shop", 23_000, None, 2)), refusal);
}

#[test]
fn answers_are_forgotten_after_ten_minutes_or_ten_thousand() {
    let mut machine = trusting();
    by(&mut machine, deploy("shop", 20_000, None, 1));
    by(&mut machine, deploy("other", 619_999, None, 2));
    assert!(matches!(by(&mut machine, deploy("shop", 620_000, None, 1)), Answer::Deployed { .. }));
    by(&mut machine, deploy("third", 620_001, None, 3));
    assert_eq!(refused(&by(&mut machine, deploy("shop", 620_002, None, 1))), "generation_mismatch");

    let count = |machine: &mut Machine, request: u64| {
        let mut id = [0xff; 16];
        id[..8].copy_from_slice(&request.to_be_bytes());
        let kind = Kind::JudgeNodes(JudgeNodes::one(NodeId::from_u128(1), Verdict::Alive));
        let command = Command { request: Some(RequestId(id)), ..Command::new(Timestamp(620_003), kind) };
        machine.state.apply(Revision(machine.state.revision().0 + 1), command)
    };
    for request in 0..9_999 {
        count(&mut machine, request);
    }
    assert!(matches!(by(&mut machine, deploy("shop", 620_003, None, 1)), Answer::Refused(_)), "it is the oldest");
    count(&mut machine, 10_000);
    count(&mut machine, 10_001);
    let bytes = stored::encode_state(&machine.state).len();
    for request in 20_000..25_000 {
        count(&mut machine, request);
    }
    assert!(stored::encode_state(&machine.state).len() <= bytes, "it does not grow any more");
}
