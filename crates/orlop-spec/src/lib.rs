//! Reads the spec file of an application: YAML in, [`Deployment`] out, or everything that is wrong with it.
//!
//! Nothing is silently ignored: an unknown key, a value of the wrong type and a wish that this version cannot fulfil are
//! all [`Problem`]s, each with file, line, column, path, what was found and what is allowed, and all are reported at once.
//! The reader never panics and its work is bounded, whatever the text.

mod grammar;
mod keys;
mod problem;
mod read;
mod reader;
mod schema;
mod table;
#[cfg(test)]
mod tests;
mod tree;

pub use problem::{PROBLEMS_MAX, Problem, Problems};
pub use schema::schema;

use orlop_model::spec::Deployment;
use problem::{Finding, Place, Source};
use reader::Reader;

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Reads a spec file. `file_name` is only for messages.
pub fn parse(file_name: &str, text: &str) -> Result<Deployment, Problems> {
    if text.len() > FILE_BYTES_MAX {
        let found = format!("a file of {} bytes", text.len());
        return Err(alone(file_name, Place::START, found, format!("a spec file has at most {FILE_BYTES_MAX}")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source::new(file_name, text);
    let mut reader = Reader::default();
    let deployment = match tree::read(text) {
        Ok(root) => read::deployment(&mut reader, &root),
        Err(finding) => {
            reader.findings.push(finding);
            None
        }
    };
    match deployment {
        Some(deployment) if reader.findings.is_empty() => Ok(deployment),
        _ => Err(Problems::new(&source, reader.findings)),
    }
}

/// Reads the bytes of a spec file, which may turn out not to be text.
pub fn parse_bytes(file_name: &str, bytes: &[u8]) -> Result<Deployment, Problems> {
    let readable = &bytes[..bytes.len().min(FILE_BYTES_MAX + 1)];
    match std::str::from_utf8(readable) {
        Ok(text) if bytes.len() <= FILE_BYTES_MAX => parse(file_name, text),
        Err(error) if bytes.len() <= FILE_BYTES_MAX => {
            let before = &readable[..error.valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let found = format!("the byte 0x{:02x}, which is not UTF-8", readable[error.valid_up_to()]);
            let place = Place { line, column: 1, length: 1 };
            Err(alone(file_name, place, found, "a spec file is text in UTF-8".to_owned()))
        }
        _ => {
            let found = format!("a file of {} bytes", bytes.len());
            Err(alone(file_name, Place::START, found, format!("a spec file has at most {FILE_BYTES_MAX}")))
        }
    }
}

/// The only problem of a file that is not worth showing.
fn alone(file_name: &str, place: Place, found: String, allowed: String) -> Problems {
    let blank = "\n".repeat(place.line - 1);
    let finding = Finding { place, path: String::new(), found, allowed };
    Problems::new(&Source::new(file_name, &blank), vec![finding])
}
