//! Whom the cluster trusts: `token`, `operator`, `secret`, `audit`, `revoke`; and who oneself is: `login`, `context`,
//! `whoami`.

mod audit;
mod login;
mod operator;
mod secret;
mod token;

pub(super) use audit::audit;
pub(super) use login::{context, login, who_am_i};
pub(super) use operator::operator;
pub(super) use secret::secret;
pub(super) use token::{revoke, token};

use crate::failure::{FAILED, Failure};
use std::io::Read;
use std::path::Path;

/// What is read of a file at most, in bytes; more than anything that is read whole may have.
const READ_MAX: u64 = 1 << 20;

/// A file's content, or with `-` standard input's.
fn read_whole(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().take(READ_MAX).read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|file| file.take(READ_MAX).read_to_end(&mut bytes)),
    };
    read.map_err(|e| Failure::new(FAILED, format!("{}: {e}", path.display())))?;
    Ok(bytes)
}
