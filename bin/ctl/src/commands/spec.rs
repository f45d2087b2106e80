//! `validate`, `spec schema`, and reading the spec file for the others.

use crate::args::{FileArgs, Format};
use crate::context::{Context, print_text};
use crate::failure::{FAILED, Failure, INVALID_SPEC, NOT_FOUND};
use crate::output::{ProblemOut, ValidOut};
use orlop_model::spec::Deployment;
use orlop_spec::Problems;
use std::io::Read;
use std::path::Path;

/// Reads a spec file, or says everything that is wrong with it.
pub(crate) fn read(args: &FileArgs) -> Result<Deployment, Failure> {
    let (name, bytes) = bytes(&args.file)?;
    orlop_spec::parse_bytes(&name, &bytes).map_err(|problems| Failure::new(INVALID_SPEC, problems.to_string()))
}

/// Checks a spec file.
pub(crate) fn validate(context: &Context, args: &FileArgs) -> Result<(), Failure> {
    let (name, bytes) = bytes(&args.file)?;
    match orlop_spec::parse_bytes(&name, &bytes) {
        Ok(deployment) => {
            let services = match deployment.services.len() {
                1 => "1 service".to_owned(),
                n => format!("{n} services"),
            };
            let text = || format!("{name} is valid: deployment {} with {services}.", deployment.name);
            context.print(text, ValidOut { file: name.clone(), valid: true, problems: Vec::new(), problems_omitted: 0 })
        }
        Err(problems) if context.format == Format::Table => Err(Failure::new(INVALID_SPEC, problems.to_string())),
        Err(problems) => {
            context.print(String::new, listed(&name, &problems))?;
            Err(Failure::new(INVALID_SPEC, ""))
        }
    }
}

fn listed(file: &str, problems: &Problems) -> ValidOut {
    let problem = |problem: &orlop_spec::Problem| ProblemOut {
        line: problem.line,
        column: problem.column,
        path: problem.path.clone(),
        found: problem.found.clone(),
        allowed: problem.allowed.clone(),
    };
    ValidOut {
        file: file.to_owned(),
        valid: false,
        problems: problems.as_slice().iter().map(problem).collect(),
        problems_omitted: problems.omitted(),
    }
}

/// Prints the JSON Schema.
pub(crate) fn schema() -> Result<(), Failure> {
    let schema = serde_json::to_string_pretty(&orlop_spec::schema());
    print_text(&schema.map_err(|e| Failure::new(FAILED, format!("cannot print the schema: {e}")))?)
}

/// The file's name for messages, and one byte more than it may have, if there are so many.
fn bytes(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let most = orlop_spec::FILE_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        let read = std::io::stdin().lock().take(most).read_to_end(&mut bytes);
        read.map_err(|e| Failure::new(FAILED, format!("cannot read standard input: {e}")))?;
        return Ok(("standard input".to_owned(), bytes));
    }
    let read = std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { FAILED };
        Failure::new(code, format!("cannot read {}: {error}; give the spec file with -f", path.display()))
    })?;
    Ok((path.display().to_string(), bytes))
}
