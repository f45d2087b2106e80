//! Values of the user as bytes: JSON, and nothing that JSON would lose in silence.

mod finite;

use crate::failure::Failure;
use bytes::Bytes;
use orlop_model::durable::Payload;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a value cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// A number that JSON does not have, which would be read back as nothing.
    #[error("{field} is {value}, which JSON does not have")]
    NotFinite {
        /// Where it stands: `order.lines[2].price`.
        field: String,
        /// Which one it is: NaN, inf or -inf.
        value: f64,
    },
    /// The value's own serialization failed, or JSON has no form for it.
    #[error("it cannot be written as JSON: {0}")]
    Write(#[source] serde_json::Error),
    /// The bytes are not what the type wants.
    #[error("it cannot be read as {wanted}: {source}")]
    Read {
        /// The type.
        wanted: &'static str,
        /// What was wrong.
        source: serde_json::Error,
    },
    /// Not JSON.
    #[error("it is encoded as {0:?}; only JSON can be read")]
    Encoding(String),
}

/// The value as JSON.
///
/// # Errors
/// When it holds what JSON does not have.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Payload, PayloadError> {
    finite::check(value)?;
    let data = serde_json::to_vec(value).map_err(PayloadError::Write)?;
    Ok(Payload { data: Bytes::from(data), encoding: String::new() })
}

/// The value that the bytes say; no bytes at all are `null`.
///
/// # Errors
/// When they are not what the type wants.
pub fn decode<T: DeserializeOwned>(payload: &Payload) -> Result<T, PayloadError> {
    if !payload.encoding.is_empty() {
        return Err(PayloadError::Encoding(payload.encoding.clone()));
    }
    let data: &[u8] = if payload.data.is_empty() { b"null" } else { &payload.data };
    serde_json::from_slice(data).map_err(|source| PayloadError::Read { wanted: std::any::type_name::<T>(), source })
}

/// The value for the journal or the engine, unless it is larger than either takes.
pub(crate) fn bounded(payload: Payload, bytes_max: u64) -> Result<Payload, Failure> {
    match payload.data.len() as u64 {
        bytes if bytes > bytes_max => {
            Err(Failure::unreadable(format!("the value has {bytes} bytes as JSON, and the engine takes {bytes_max}")))
        }
        _ => Ok(payload),
    }
}

/// The value as JSON, or why not, as a failure that is final.
pub(crate) fn written<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<Payload, Failure> {
    encode(value).map_err(|error| Failure::unreadable(format!("{what}: {error}")))
}

/// The value that the bytes say, or why not, as a failure that is final.
pub(crate) fn read<T: DeserializeOwned>(what: &str, payload: &Payload) -> Result<T, Failure> {
    decode(payload).map_err(|error| Failure::unreadable(format!("{what}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle(f64),
        Line { from: (f64, f32), to: Option<f64> },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Drawing {
        shapes: Vec<Shape>,
        named: BTreeMap<String, Shape>,
    }

    fn drawing() -> Drawing {
        let line = Shape::Line { from: (1.0, 2.5), to: Some(3.0) };
        Drawing { shapes: vec![Shape::Point, Shape::Circle(1.5)], named: [("a".to_owned(), line)].into() }
    }

    #[test]
    fn what_is_written_is_read() {
        let written = encode(&drawing()).unwrap();
        assert_eq!(decode::<Drawing>(&written).unwrap(), drawing());
        decode::<()>(&Payload::default()).unwrap();
        assert_eq!(decode::<Option<u8>>(&Payload::default()).unwrap(), None);
    }

    #[test]
    fn numbers_that_json_would_lose_are_refused_by_field() {
        let refused = |drawing: &Drawing| encode(drawing).unwrap_err().to_string();
        let mut bad = drawing();
        bad.shapes.push(Shape::Circle(f64::NAN));
        assert_eq!(refused(&bad), "shapes[2].Circle is NaN, which JSON does not have");
        let mut bad = drawing();
        bad.named.insert("b".into(), Shape::Line { from: (0.0, f32::NEG_INFINITY), to: None });
        assert_eq!(refused(&bad), "named.b.Line.from[1] is -inf, which JSON does not have");
        let mut bad = drawing();
        bad.named.insert("c".into(), Shape::Line { from: (0.0, 0.0), to: Some(f64::INFINITY) });
        assert_eq!(refused(&bad), "named.c.Line.to is inf, which JSON does not have");
        assert_eq!(encode(&f64::NAN).unwrap_err().to_string(), "the value is NaN, which JSON does not have");
    }

    #[test]
    fn other_bytes_and_encodings_are_refused_with_the_type() {
        let text = encode("seven").unwrap();
        let error = decode::<u8>(&text).unwrap_err().to_string();
        assert!(error.starts_with("it cannot be read as u8: "), "{error}");
        let packed = Payload { encoding: "cbor".into(), ..text };
        assert_eq!(decode::<u8>(&packed).unwrap_err().to_string(), "it is encoded as \"cbor\"; only JSON can be read");
    }
}
