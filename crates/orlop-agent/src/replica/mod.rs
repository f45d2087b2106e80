//! One replica on this node: its files, its record, and the execution of the steps that its machine decides.

mod execute;
mod files;
mod http;
mod netns;
mod overlay;
mod probe;
mod record;
mod refusal;
#[cfg(test)]
mod sample;
mod secrets;
mod spec;

pub(crate) use execute::{Executor, Known, Learned, StepContext, fail_of, role_of};
pub(crate) use files::unwritten;
pub(crate) use overlay::{Attachment, Overlay};
pub(crate) use record::{load_records, store_record};
pub(crate) use refusal::refusal;
pub(crate) use secrets::Secrets;
pub use secrets::remove_secrets;
pub(crate) use spec::{LABEL_NODE, ROLE_INIT, ROLE_MAIN};
