//! Bounds that every value of a spec or a status keeps, whoever made it: the YAML reader says so with a line number, the
//! wire edge refuses what a peer sends beyond them.

use crate::time::Millis;

/// The most items of any list in a spec: arguments, environment variables, endpoints, volumes, steps.
pub const ITEMS_MAX: usize = 1000;
/// The most secrets that a service has as files.
pub const SECRET_FILES_MAX: usize = 100;
/// The longest argument or value of an environment variable, in bytes; the kernel takes no longer one.
pub const ARGUMENT_BYTES_MAX: usize = 128 * 1024 - 1;
/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 4095;
/// The longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2048;
/// The longest image reference, in bytes.
pub const IMAGE_BYTES_MAX: usize = 512;
/// The longest host name, in bytes.
pub const HOST_BYTES_MAX: usize = 253;
/// The longest short text, in bytes: a user, a label's key or value, a version.
pub const WORD_BYTES_MAX: usize = 256;
/// The longest message of a reason, in bytes; a longer one is cut when it is sent.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// The longest span of time in a spec.
pub const SPAN_MAX: Millis = Millis::from_secs(10 * 366 * 86_400);
/// The shortest interval of a health check.
pub const HEALTH_INTERVAL_MIN: Millis = Millis(100);
/// The most thousandths of a core that can be asked for.
pub const CPU_MILLIS_MAX: u64 = 10_000_000;
/// The most bytes of memory that can be asked for: the kernel counts in signed 64 bits.
pub const MEMORY_BYTES_MAX: u64 = i64::MAX as u64;
