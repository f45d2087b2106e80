//! Messages that containerd understands and containerd-client has no types for.

use prost_types::Any;

/// `containerd.runc.v1.Options`: how the shim runs runc.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RuncOptions {
    /// Where runc keeps its state; empty for the shim's own default, which all containerds of a machine share.
    #[prost(string, tag = "7")]
    pub(crate) root: String,
}

impl RuncOptions {
    pub(crate) fn to_any(&self) -> Any {
        Any { type_url: "containerd.runc.v1.Options".into(), value: prost::Message::encode_to_vec(self) }
    }
}

/// The spec of a container, as containerd stores it.
pub(crate) fn spec_any(spec: &oci_spec::runtime::Spec) -> Result<Any, serde_json::Error> {
    Ok(Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
        value: serde_json::to_vec(spec)?,
    })
}

/// The process of an exec, as containerd takes it.
pub(crate) fn process_any(process: &oci_spec::runtime::Process) -> Result<Any, serde_json::Error> {
    Ok(Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
        value: serde_json::to_vec(process)?,
    })
}

/// A moment as the model has it; nothing and times before 1970 are 0.
pub(crate) fn timestamp(at: Option<prost_types::Timestamp>) -> orlop_model::Timestamp {
    let Some(at) = at else { return orlop_model::Timestamp(0) };
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    orlop_model::Timestamp(seconds.saturating_mul(1000) + u64::from(at.nanos.unsigned_abs()) / 1_000_000)
}
