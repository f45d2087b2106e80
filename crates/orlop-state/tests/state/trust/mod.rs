//! Whom the cluster trusts: tokens, operators, keys, secrets; what is recorded of it, and what is answered again.

mod audit;
mod golden;
mod joining;
mod operators;
mod requests;
mod secrets;

use crate::sample::Machine;
use orlop_model::trust::{Digest, JoinKind, JoinToken, JoinTokenId};
use orlop_model::*;
use orlop_state::command::*;
use orlop_state::{Answer, Command, Kind, SealedAuthority, SigningKeyPair, stored};

pub(crate) fn initial() -> InitialTrust {
    InitialTrust {
        authority: SealedAuthority { certificate: [1, 2, 3].into(), key: [4, 5].into() },
        signing_key: SigningKeyPair { public_key: [7; 32], sealed: [8, 9].into() },
    }
}

/// A cluster with identities and the nodes `alpha` (1) and `beta` (2), and a scheduler that holds the lease.
pub(crate) fn trusting() -> Machine {
    let mut machine = Machine::default();
    let range = "10.77.0.0/16".parse().expect("a range");
    let init = InitCluster { cluster: ClusterId::from_u128(1), range, trust: Some(initial()) };
    assert_eq!(machine.apply(Kind::InitCluster(init)).answer, Answer::Done);
    machine.register(1, "alpha");
    machine.register(2, "beta");
    machine.apply(Kind::AcquireLease(AcquireLease { holder: "one".into(), ttl: Millis::from_secs(60) }));
    machine
}

pub(crate) fn trust(machine: &mut Machine, command: TrustCommand) -> Answer {
    machine.apply(Kind::Trust(command)).answer
}

pub(crate) fn token(id: u32, kind: JoinKind, uses_left: u32) -> JoinToken {
    JoinToken {
        id: JoinTokenId(id),
        kind,
        secret_hash: Digest::of(&id.to_be_bytes()),
        uses_left,
        created_at: Timestamp(0),
        expires_at: Timestamp(3_600_000),
        node: None,
    }
}

pub(crate) fn create(machine: &mut Machine, token: &JoinToken) -> Answer {
    trust(machine, TrustCommand::CreateJoinToken(CreateJoinToken { token: token.clone() }))
}

pub(crate) fn set_secret(machine: &mut Machine, name: &str, value: &[u8]) -> Answer {
    let name: orlop_model::trust::SecretName = name.parse().expect("a name");
    let version = machine.state.next_secret_version(&name);
    let set = SetSecret { name, version, sealed: value.into(), key_version: 1 };
    trust(machine, TrustCommand::SetSecret(set))
}

/// Applies a command of a caller, as the log would give it back.
pub(crate) fn by(machine: &mut Machine, command: Command) -> Answer {
    machine.now = command.now;
    let read = stored::decode_command(&stored::encode_command(&command));
    assert_eq!(read, command, "the stored form loses nothing");
    let answer = machine.state.apply(Revision(machine.state.revision().0 + 1), read).answer;
    let restored = stored::decode_state(&stored::encode_state(&machine.state));
    assert_eq!(restored.as_ref(), Ok(&machine.state), "a snapshot restores the same state");
    answer
}
