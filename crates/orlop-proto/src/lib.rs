//! The wire: generated code of `proto/`, and the one place where wire and domain types are converted.
//!
//! Every domain type `T` with a message has `From<&T>` for the message (writing cannot fail) and `TryFrom<Message>` for
//! `T` with [`InvalidWire`] naming the field that was wrong. Reading checks every bound, so that a domain value never has
//! to be checked again; unknown fields are survived, unknown members of closed sets are refused. Nothing here has
//! behaviour.

mod convert;
mod invalid;
pub mod metadata;

pub use convert::{STEPS_MAX, address_of, labels_of, report_of, scheduling_of};
pub use invalid::{InvalidWire, Within};

macro_rules! packages {
    ($($(#[$doc:meta])* $area:ident = $package:literal;)*) => {$(
        $(#[$doc])*
        pub mod $area {
            /// Generated from `proto/`; the comments there are the reference.
            #[expect(missing_docs, reason = "generated; documented in proto/")]
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    )*};
}

packages! {
    /// The cluster itself: its members, its backups, its health.
    admin = "orlop.admin.v1";
    /// The objects of a cluster as views carry them.
    cluster = "orlop.cluster.v1";
    /// Durable work: journals, workers, and what clients want of an engine.
    engine = "orlop.engine.v1";
    /// Joining, certificates, operators, secrets and the audit log.
    identity = "orlop.identity.v1";
    /// What nodes say to the control plane.
    node = "orlop.node.v1";
    /// What people and their tools say to the control plane.
    operator = "orlop.operator.v1";
    /// What the agent asks of the overlay daemon.
    overlay = "orlop.overlay.v1";
    /// What the members of a control plane say to each other.
    peer = "orlop.peer.v1";
    /// What schedulers say to the control plane.
    scheduler = "orlop.scheduler.v1";
    /// An application as desired.
    spec = "orlop.spec.v1";
    /// What is written to disk.
    store = "orlop.store.v1";
    /// Views of the state, pushed as they change.
    watch = "orlop.watch.v1";
}

/// Every message and service of `proto/`: an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
