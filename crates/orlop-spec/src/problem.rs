//! What is wrong with a file, said so that a person can put it right without reading anything else.

use std::fmt;

/// The most problems that are kept of one file; the rest are counted.
pub const PROBLEMS_MAX: usize = 100;

/// How much of a source line is shown around the place.
const EXCERPT_MAX: usize = 110;

/// One thing that is wrong with a file.
///
/// Prints as a paragraph: the place in a form that editors and terminals make clickable, the path, the source line with
/// the place marked, what was found, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// Where in the document: `services.api.health.retries`. Empty for the document as a whole.
    pub path: String,
    /// What was found: `0`, `the key "retires"`.
    pub found: String,
    /// What is allowed, or what to do: `expected a whole number from 1 to 1000`.
    pub allowed: String,
    excerpt: Excerpt,
}

/// A piece of the source line, with the place in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Excerpt {
    text: String,
    /// Characters of `text` before the place.
    before: usize,
    /// Characters of the place, at least 1.
    marked: usize,
}

/// A place in a text: line and column from 1, and how many characters on that line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) length: usize,
}

impl Place {
    pub(crate) const START: Place = Place { line: 1, column: 1, length: 1 };
}

/// A problem without its file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) found: String,
    pub(crate) allowed: String,
}

impl Problem {
    /// A finding with its source line. A place outside the text is moved to the nearest place inside.
    fn new(source: &Source<'_>, finding: Finding) -> Self {
        let Finding { place, path, found, allowed } = finding;
        let line = place.line.clamp(1, source.lines.len());
        let text = source.lines[line - 1];
        let length = text.chars().count();
        let column = if line == place.line { place.column.clamp(1, length + 1) } else { length + 1 };
        let marked = place.length.clamp(1, (length + 1 - column).max(1));
        let first = (column - 1).saturating_sub(EXCERPT_MAX / 2);
        let mut shown: String = text
            .chars()
            .skip(first)
            .take(EXCERPT_MAX)
            .map(|c| if c == '\t' || c.is_control() { ' ' } else { c })
            .collect();
        let mut before = column - 1 - first;
        if first > 0 {
            shown.insert(0, '…');
            before += 1;
        }
        if length > first + EXCERPT_MAX {
            shown.push('…');
        }
        let marked = marked.min(shown.chars().count().saturating_sub(before).max(1));
        let excerpt = Excerpt { text: shown.trim_end().to_owned(), before, marked };
        Self { file: source.file.to_owned(), line, column, path, found, allowed, excerpt }
    }

    /// Whether the file asks for something that the format has but this version does not do.
    pub fn is_not_supported_yet(&self) -> bool {
        self.allowed.starts_with(NOT_SUPPORTED)
    }
}

/// How `allowed` begins when a later version will act on what was found.
pub(crate) const NOT_SUPPORTED: &str = "not supported yet";

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { file, line, column, path, found, allowed, excerpt } = self;
        write!(f, "{file}:{line}:{column}")?;
        if !path.is_empty() {
            write!(f, ": {path}")?;
        }
        writeln!(f, ": found {found}; {allowed}")?;
        let margin = line.to_string().len();
        writeln!(f, "  {line} | {}", excerpt.text)?;
        write!(f, "  {:margin$} | {:before$}{}", "", "", "^".repeat(excerpt.marked), before = excerpt.before)
    }
}

/// Everything that is wrong with a file, in the order of the file.
///
/// Prints all problems, a blank line between two, and the count at the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    problems: Vec<Problem>,
    omitted: usize,
}

impl Problems {
    /// Sorts, and drops what is past [`PROBLEMS_MAX`] before any line is shown: lines may be long.
    pub(crate) fn new(source: &Source<'_>, mut findings: Vec<Finding>) -> Self {
        findings.sort();
        findings.dedup();
        let omitted = findings.len().saturating_sub(PROBLEMS_MAX);
        let problems = findings.into_iter().take(PROBLEMS_MAX).map(|finding| Problem::new(source, finding)).collect();
        Self { problems, omitted }
    }

    /// The problems, at least one.
    pub fn as_slice(&self) -> &[Problem] {
        &self.problems
    }

    /// How many more there are than are kept.
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.problems.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}\n")?;
        }
        let file = self.problems.first().map_or("the file", |p| &p.file);
        match (self.problems.len() + self.omitted, self.omitted) {
            (1, _) => write!(f, "{file} has 1 problem"),
            (all, 0) => write!(f, "{file} has {all} problems"),
            (all, omitted) => write!(f, "{file} has {all} problems; {omitted} are not shown"),
        }
    }
}

/// A file's name and its lines.
pub(crate) struct Source<'t> {
    file: &'t str,
    /// At least one.
    lines: Vec<&'t str>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, lines: text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect() }
    }
}

/// Text from the file, quoted for a message and cut to a bearable length.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    if text.chars().count() <= SHOWN_MAX {
        format!("{text:?}")
    } else {
        let cut: String = text.chars().take(SHOWN_MAX).collect();
        format!("{cut:?}… ({} bytes)", text.len())
    }
}
