//! The edges between domain and wire, one module for each package of `proto/`.

mod cluster;
mod engine;
mod node;
mod operator;
mod scheduler;
mod spec;
mod watch;

pub use node::{address_of, labels_of, report_of, scheduling_of};
pub use scheduler::STEPS_MAX;

/// Closed sets that are the same on both sides, but for the wire's "unspecified".
macro_rules! enums {
    ($($wire:ty = $domain:ty { $($variant:ident),* $(,)? })*) => {$(
        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                match value {
                    $(<$domain>::$variant => <$wire>::$variant,)*
                }
            }
        }

        impl TryFrom<$wire> for $domain {
            type Error = crate::InvalidWire;

            fn try_from(wire: $wire) -> Result<Self, crate::InvalidWire> {
                match wire {
                    $(<$wire>::$variant => Ok(<$domain>::$variant),)*
                    <$wire>::Unspecified => Err(crate::InvalidWire::missing("")),
                }
            }
        }
    )*};
}
use enums;
