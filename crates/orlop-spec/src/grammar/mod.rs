//! The small grammars inside strings. Each takes the text of a value and gives the value, or what is allowed instead.

pub(crate) mod constraint;
pub(crate) mod cron;
pub(crate) mod env;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod path;
pub(crate) mod quantity;
pub(crate) mod similar;
pub(crate) mod user;

use crate::problem::NOT_SUPPORTED;

/// Why a text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The grammar as a whole was missed: what is expected says the table.
    Plain,
    /// What to do about it, in the place of what the table says.
    Because(String),
}

/// Refuses with a remedy.
pub(crate) fn because<T>(remedy: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Because(remedy.into()))
}

/// Refuses what the format has but this version does not do.
pub(crate) fn not_yet<T>(remedy: &str) -> Result<T, Refusal> {
    Err(Refusal::Because(format!("{NOT_SUPPORTED}; {remedy}")))
}

/// Digits only, no sign, no leading zero, within a `u64`.
pub(crate) fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    (digits && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
pub(crate) fn remedy<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    match result {
        Err(Refusal::Because(remedy)) => remedy,
        Err(Refusal::Plain) => "plain".to_owned(),
        Ok(value) => panic!("accepted as {value:?}"),
    }
}
