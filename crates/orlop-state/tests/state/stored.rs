//! What is read from disk and does not fit is refused with the reason; it never panics.

use crate::sample::*;
use orlop_model::{Phase, StopOrder};
use orlop_proto::store::v1 as pb;
use orlop_state::stored;
use proptest::prelude::*;
use prost::Message;

fn snapshot() -> pb::Snapshot {
    let mut machine = Machine::with_cluster();
    machine.deploy(&shop("shop", "a:1", 2));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
    machine.report(1, 1, in_phase(Phase::Preparing));
    machine.deploy(&shop("shop", "a:2", 2));
    machine.stop("shop", None, StopOrder::Graceful);
    pb::Snapshot::decode(&*stored::encode_state(&machine.state)).expect("a snapshot")
}

#[test]
fn a_snapshot_whose_parts_do_not_fit_is_refused() {
    assert!(stored::decode_state(&snapshot().encode_to_vec()).is_ok());
    type Damage = fn(&mut pb::Snapshot);
    for (damage, reason) in [
        ((|s| s.deployments.clear()) as Damage, "has no deployment"),
        (|s| s.services.clear(), "no such generation"),
        (|s| s.services[0].earlier.clear(), "no such generation"),
        (|s| s.range = "everywhere".into(), "range"),
        (|s| s.events_recorded += 1, "newest"),
        (|s| s.events_recorded = 0, "newest"),
        (|s| s.replicas[0].id = "rep_7".into(), "rep_7"),
        (|s| s.nodes[0].subnet = String::new(), "nodes[0].subnet"),
    ] {
        let mut damaged = snapshot();
        damage(&mut damaged);
        let error = stored::decode_state(&damaged.encode_to_vec()).expect_err(reason);
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
}

#[test]
fn what_a_newer_version_added_is_survived() {
    // Field 1000, of wire type "bytes", in a snapshot and in a command.
    let newer = [0xc2, 0x3e, 0x02, 0x08, 0x01];
    let mut bytes = snapshot().encode_to_vec();
    bytes.extend(newer);
    assert!(stored::decode_state(&bytes).is_ok());
    let remove = orlop_state::command::RemoveNode { node: orlop_model::NodeId::from_u128(1), identity: None };
    let command = orlop_state::Command::new(orlop_model::Timestamp(1), orlop_state::Kind::RemoveNode(remove));
    let mut bytes = stored::encode_command(&command);
    bytes.extend(newer);
    assert_eq!(stored::decode_command(&bytes), command);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = stored::decode_command(&bytes);
        let _ = stored::decode_state(&bytes);
        let _ = stored::decode_answer(&bytes);
    }

    #[test]
    fn a_flipped_byte_does_no_harm(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = snapshot().encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = stored::decode_state(&bytes);
    }
}
