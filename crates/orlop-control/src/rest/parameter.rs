//! What a request may say beside its body: one value tells how a parameter is read and what the document says of it.

use orlop_model::trust::{JoinTokenId, OperatorName};
use orlop_model::{DeploymentName, NodeId, OperatorTokenId, ReplicaId, ServiceName};
use serde_json::{Value, json};

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Path,
    Query,
    Header,
}

impl Place {
    pub(super) fn word(self) -> &'static str {
        match self {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
        }
    }
}

/// One parameter of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) place: Place,
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) kind: Kind,
}

/// What a parameter's text may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Deployment,
    Service,
    Node,
    Replica,
    Operator,
    JoinToken,
    OperatorToken,
    Flag,
    /// A whole number between bounds, with what holds when it is not given.
    Number {
        min: u64,
        max: u64,
        default: Option<u64>,
    },
    /// RFC 3339.
    Time,
    Uuid,
    /// A generation as an entity tag: `"3"`.
    Tag,
    /// `*`.
    Star,
    /// `clu_…/17`.
    EventId,
}

/// A DNS label of 3 or of 1 to 63 characters.
const DEPLOYMENT: &str = "^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$";
const LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
/// The most digits of a number that is told from any other by 64 bits.
const DIGITS_MAX: usize = 18;

impl Kind {
    /// The schema of the text.
    pub(super) fn schema(self) -> Value {
        match self {
            Kind::Deployment => json!({ "type": "string", "pattern": DEPLOYMENT, "examples": ["shop"] }),
            Kind::Service => json!({ "type": "string", "pattern": LABEL, "examples": ["api"] }),
            Kind::Node => id(NodeId::KIND),
            Kind::Replica => id(ReplicaId::KIND),
            Kind::Operator => json!({ "type": "string", "pattern": "^[a-z0-9._@+-]{1,64}$", "examples": ["anna"] }),
            Kind::JoinToken => json!({ "type": "string", "pattern": "^[0-9a-f]{8}$" }),
            Kind::OperatorToken => id(OperatorTokenId::KIND),
            Kind::Flag => json!({ "type": "boolean", "default": false }),
            Kind::Number { min, max, default } => {
                let mut schema = json!({ "type": "integer", "minimum": min, "maximum": max });
                if let Some(default) = default {
                    schema["default"] = default.into();
                }
                schema
            }
            Kind::Time => json!({ "type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00Z"] }),
            Kind::Uuid => json!({ "type": "string", "format": "uuid" }),
            Kind::Tag => json!({ "type": "string", "pattern": "^\"(0|[1-9][0-9]{0,17})\"$", "examples": ["\"3\""] }),
            Kind::Star => json!({ "const": "*" }),
            Kind::EventId => json!({ "type": "string", "pattern": "^clu_[0-9a-f]{32}/(0|[1-9][0-9]{0,17})$" }),
        }
    }

    /// Is a text one of this kind? If not, what was expected.
    pub(super) fn check(self, text: &str) -> Result<(), String> {
        let ok = match self {
            Kind::Deployment => return text.parse::<DeploymentName>().map(drop).map_err(|e| e.to_string()),
            Kind::Service => return text.parse::<ServiceName>().map(drop).map_err(|e| e.to_string()),
            Kind::Node => return hex_id::<NodeId>(text, NodeId::KIND),
            Kind::Replica => return hex_id::<ReplicaId>(text, ReplicaId::KIND),
            Kind::Operator => return text.parse::<OperatorName>().map(drop).map_err(|e| e.to_string()),
            Kind::JoinToken => return text.parse::<JoinTokenId>().map(drop).map_err(|e| e.to_string()),
            Kind::OperatorToken => return hex_id::<OperatorTokenId>(text, OperatorTokenId::KIND),
            Kind::Flag => matches!(text, "true" | "false"),
            Kind::Number { min, max, .. } => number(text).is_some_and(|number| (min..=max).contains(&number)),
            Kind::Time => time(text).is_some(),
            Kind::Uuid => text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(),
            Kind::Tag => tag(text).is_some(),
            Kind::Star => text == "*",
            Kind::EventId => event_id(text).is_some(),
        };
        if ok { Ok(()) } else { Err(format!("found {:?}; expected {}", cut(text), self.expected())) }
    }

    fn expected(self) -> String {
        match self {
            Kind::Flag => "true or false".into(),
            Kind::Number { min, max, .. } => format!("{min} to {max}"),
            Kind::Time => "a time such as 2026-01-31T12:00:00Z".into(),
            Kind::Uuid => "a UUID with its hyphens".into(),
            Kind::Tag => "a generation in double quotes, as the ETag of a deployment".into(),
            Kind::Star => "*".into(),
            Kind::EventId => "the id of an event that was heard".into(),
            // Their own parsers say it.
            Kind::Deployment | Kind::Service | Kind::Node | Kind::Replica => "a name or an id".into(),
            Kind::Operator | Kind::JoinToken | Kind::OperatorToken => "a name or an id".into(),
        }
    }
}

fn id(kind: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^{kind}_[0-9a-f]{{32}}$") })
}

/// Ids are printed in lower case; one thing has one address.
fn hex_id<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str, kind: &str) -> Result<(), String> {
    text.parse::<T>().map_err(|e| e.to_string())?;
    match text.bytes().any(|c| c.is_ascii_uppercase()) {
        true => Err(format!("{text:?} has capital letters; ids of kind {kind} have none")),
        false => Ok(()),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A whole number as it is customarily written.
pub(super) fn number(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with('0');
    let digits = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    if plain && digits { text.parse().ok() } else { None }
}

/// The generation of an entity tag.
pub(super) fn tag(text: &str) -> Option<u64> {
    number(text.strip_prefix('"')?.strip_suffix('"')?)
}

/// Milliseconds since the Unix epoch; 0 for what was before.
pub(super) fn time(text: &str) -> Option<u64> {
    // RFC 3339 is narrower than what the parser takes.
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let zone = rest.ends_with(['Z', 'z']) || rest.get(rest.len().checked_sub(6)?..)?.starts_with(['+', '-']);
    let shaped = date.bytes().enumerate().all(|(i, c)| if i == 4 || i == 7 { c == b'-' } else { c.is_ascii_digit() });
    if !shaped || !rest.starts_with(['T', 't']) || !zone {
        return None;
    }
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

/// The cluster and the revision of an event's id.
pub(super) fn event_id(text: &str) -> Option<(orlop_model::ClusterId, u64)> {
    let (cluster, revision) = text.split_once('/')?;
    if cluster.bytes().any(|c| c.is_ascii_uppercase()) {
        return None;
    }
    Some((cluster.parse().ok()?, number(revision)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema's pattern and the reader must take the same texts, or the document lies.
    #[test]
    fn patterns_say_what_the_reader_takes() {
        let hex = "0192345678909a7bcd8ef0123456789a";
        let texts = [
            "",
            "a",
            "ab",
            "abc",
            "a-b",
            "-ab",
            "ab-",
            "Abc",
            "a.b",
            "shop",
            "*",
            "\"3\"",
            "\"0\"",
            "\"03\"",
            "3",
            "W/\"3\"",
            "\"9999999999999999999\"",
            "\"999999999999999999\"",
            "abc\n",
        ];
        let mut texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        texts.extend([63, 64, 65].map(|n| "a".repeat(n)));
        texts.extend(["0123abcd", "0123ABCD", "0123abcde", "a@b.c", "a b", "é"].map(str::to_owned));
        texts.extend(["node_", "rep_", "clu_", "tok_"].map(|kind| format!("{kind}{hex}")));
        texts.extend(["node_", "rep_"].map(|kind| format!("{kind}{}", hex.to_uppercase())));
        texts.extend([format!("clu_{hex}/17"), format!("clu_{hex}/"), format!("clu_{hex}/017")]);
        let names = [Kind::Deployment, Kind::Service, Kind::Node, Kind::Replica, Kind::Operator];
        let others = [Kind::JoinToken, Kind::OperatorToken, Kind::Tag, Kind::EventId];
        for kind in names.into_iter().chain(others) {
            let schema = kind.schema();
            // `$` of the schema's dialect is the end of the text only.
            let pattern = schema["pattern"].as_str().expect("a pattern").replace('$', r"\z");
            let pattern = regex::Regex::new(&pattern).expect("a pattern");
            let mut taken = 0;
            for text in &texts {
                assert_eq!(kind.check(text).is_ok(), pattern.is_match(text), "{kind:?}: {text:?}");
                taken += usize::from(pattern.is_match(text));
            }
            assert!(taken > 0, "no text is a {kind:?}");
        }
    }

    #[test]
    fn numbers_flags_and_times_are_read_strictly() {
        let number = Kind::Number { min: 1, max: 1000, default: None };
        for (kind, good, bad) in [
            (
                number,
                &["1", "1000"][..],
                &["0", "1001", "+1", "01", "1.0", "", " 1", "1e2", "99999999999999999999"][..],
            ),
            (Kind::Flag, &["true", "false"], &["", "1", "True", "yes"]),
            (
                Kind::Time,
                &["2026-01-31T12:00:00Z", "2026-01-31t12:00:00.123456789z", "1900-01-01T00:00:00+02:00"],
                &["", "2026-01-31", "2026-02-30T00:00:00Z", "2026-01-31T12:00:00", "20260131T120000Z", "é"],
            ),
            (
                Kind::Uuid,
                &["67e55044-10b1-426f-9247-bb680e5fe0c8"],
                &["", "67e5504410b1426f9247bb680e5fe0c8", "67e55044-10b1-426f-9247-bb680e5fe0cg"],
            ),
        ] {
            for text in good {
                assert_eq!(kind.check(text), Ok(()), "{kind:?}: {text:?}");
            }
            for text in bad {
                assert!(kind.check(text).is_err(), "{kind:?}: {text:?}");
            }
        }
        assert_eq!(time("1970-01-01T00:00:01.5Z"), Some(1500));
        assert_eq!(time("1900-01-01T00:00:00Z"), Some(0));
    }
}
