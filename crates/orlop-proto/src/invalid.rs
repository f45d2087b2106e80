//! What is wrong with a message that came from elsewhere, and the small tools that find it.

use std::fmt::Display;

/// A message that does not stand for a domain value. Nothing of it was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidWire {
    /// Where in the message, from the outside inwards: `workload.health.retries`, `services.api.endpoints[0].port`.
    pub field: String,
    /// What was found there, and what is allowed.
    pub problem: String,
}

impl InvalidWire {
    /// Names what is wrong with a field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// A field that must be set is not.
    pub fn missing(field: impl Into<String>) -> Self {
        Self::new(field, "is not set")
    }

    /// The same problem, seen from the message around: `retries` within `health` is `health.retries`.
    pub fn within(mut self, outer: &str) -> Self {
        self.field = match self.field.as_str() {
            "" => outer.to_owned(),
            inner if inner.starts_with('[') => format!("{outer}{inner}"),
            inner => format!("{outer}.{inner}"),
        };
        self
    }
}

impl From<InvalidWire> for tonic::Status {
    fn from(invalid: InvalidWire) -> Self {
        tonic::Status::invalid_argument(invalid.to_string())
    }
}

/// Says where a failed conversion stands in the message around it.
pub trait Within<T> {
    /// Prefixes the error's field.
    fn within(self, outer: &str) -> Result<T, InvalidWire>;
}

impl<T> Within<T> for Result<T, InvalidWire> {
    fn within(self, outer: &str) -> Result<T, InvalidWire> {
        self.map_err(|invalid| invalid.within(outer))
    }
}

/// A field that must be set.
pub(crate) fn required<W, T>(field: &str, value: Option<W>) -> Result<T, InvalidWire>
where
    T: TryFrom<W, Error = InvalidWire>,
{
    value.ok_or_else(|| InvalidWire::missing(field)).and_then(|v| T::try_from(v).within(field))
}

/// A field that may be unset.
pub(crate) fn optional<W, T>(field: &str, value: Option<W>) -> Result<Option<T>, InvalidWire>
where
    T: TryFrom<W, Error = InvalidWire>,
{
    value.map(|v| T::try_from(v).within(field)).transpose()
}

/// A list of at most so many messages.
pub(crate) fn list<W, T>(field: &str, values: Vec<W>, max: usize) -> Result<Vec<T>, InvalidWire>
where
    T: TryFrom<W, Error = InvalidWire>,
{
    counted(field, values.len(), max)?;
    each(field, values, T::try_from)
}

/// A list of as many values as a message can carry.
pub(crate) fn each<W, T>(
    field: &str,
    values: Vec<W>,
    read: impl Fn(W) -> Result<T, InvalidWire>,
) -> Result<Vec<T>, InvalidWire> {
    let numbered = values.into_iter().enumerate();
    numbered.map(|(i, value)| read(value).map_err(|invalid| invalid.within(&format!("{field}[{i}]")))).collect()
}

/// A text that is read by its type: an id, a name, an address.
pub(crate) fn parsed<T>(field: &str, text: &str) -> Result<T, InvalidWire>
where
    T: std::str::FromStr<Err: Display>,
{
    text.parse().map_err(|e: T::Err| InvalidWire::new(field, e.to_string()))
}

/// One of a closed set. The wire's zero stands for "unset" and is never in the set.
pub(crate) fn choice<W, T>(field: &str, number: i32) -> Result<T, InvalidWire>
where
    W: TryFrom<i32>,
    T: TryFrom<W, Error = InvalidWire>,
{
    if number == 0 {
        return Err(InvalidWire::missing(field));
    }
    let wire = W::try_from(number).map_err(|_| {
        InvalidWire::new(field, format!("found {number}, which this version does not know; is the sender newer?"))
    })?;
    T::try_from(wire).within(field)
}

/// A number between bounds, both included.
pub(crate) fn bounded<N>(field: &str, number: N, bounds: std::ops::RangeInclusive<N>) -> Result<N, InvalidWire>
where
    N: PartialOrd + Display,
{
    if bounds.contains(&number) {
        Ok(number)
    } else {
        Err(InvalidWire::new(field, format!("found {number}; expected {} to {}", bounds.start(), bounds.end())))
    }
}

/// A number of items.
pub(crate) fn counted(field: &str, count: usize, max: usize) -> Result<(), InvalidWire> {
    if count <= max {
        Ok(())
    } else {
        Err(InvalidWire::new(field, format!("found {count} items; expected at most {max}")))
    }
}

/// A text of at most so many bytes.
pub(crate) fn text(field: &str, text: String, max: usize) -> Result<String, InvalidWire> {
    if text.len() <= max {
        Ok(text)
    } else {
        Err(InvalidWire::new(field, format!("found a text of {} bytes; expected at most {max}", text.len())))
    }
}

/// A text of 1 to so many bytes, without control characters.
pub(crate) fn word(field: &str, value: String, max: usize) -> Result<String, InvalidWire> {
    if value.is_empty() {
        return Err(InvalidWire::new(field, "is empty"));
    }
    if let Some(c) = value.chars().find(|c| c.is_control()) {
        return Err(InvalidWire::new(field, format!("found the control character {c:?}")));
    }
    text(field, value, max)
}
