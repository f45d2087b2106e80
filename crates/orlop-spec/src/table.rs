//! The words in which the format is written down: which keys there are, what they hold, and what they mean.
//!
//! The tables themselves stand in [`crate::keys`]. The reader takes its bounds, defaults and messages from them, and the
//! JSON Schema and the reference in `docs/spec.md` are made of them, so that the three cannot disagree.

/// A kind of mapping.
#[derive(Debug)]
pub(crate) struct Table {
    /// Names it in the schema and the reference: `health`.
    pub(crate) name: &'static str,
    /// What it is for, a sentence.
    pub(crate) doc: &'static str,
    /// The key whose word decides which other keys there are.
    pub(crate) tag: Option<&'static str>,
    pub(crate) keys: &'static [Key],
}

/// A key of a mapping.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// The words of the tag that go with this key; empty for all.
    pub(crate) when: &'static [&'static str],
    pub(crate) presence: Presence,
    pub(crate) shape: Shape,
    /// What it means, in sentences.
    pub(crate) doc: &'static str,
}

/// Whether a key must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    /// Leaving it out means what its documentation says.
    Optional,
    /// Leaving it out means this text.
    Default(&'static str),
}

/// What a key holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// One of a few words.
    Words(&'static [Word]),
    /// `true` or `false`. With `only`, this version does one of them; the text says what to do instead.
    Bool {
        only: Option<(bool, &'static str)>,
    },
    /// A whole number.
    Int {
        min: u64,
        max: u64,
    },
    /// In milliseconds.
    Duration {
        min: u64,
        max: u64,
    },
    /// In bytes.
    Size {
        min: u64,
        max: u64,
    },
    /// In thousandths of a core.
    Cpu {
        min: u64,
        max: u64,
    },
    Text(&'static Text),
    List {
        item: &'static Shape,
        min: usize,
        max: usize,
    },
    Object(&'static Table),
    /// A mapping with keys of the user's choice.
    Map {
        key: &'static Text,
        value: &'static Shape,
        min: usize,
        max: usize,
    },
}

/// A word that a key may hold.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) text: &'static str,
    pub(crate) doc: &'static str,
    /// Set when the format has the word but this version does not do it: what to do instead.
    pub(crate) not_yet: Option<&'static str>,
}

/// A kind of text with a grammar of its own.
#[derive(Debug)]
pub(crate) struct Text {
    /// Names it in the reference: `image reference`.
    pub(crate) name: &'static str,
    /// What is expected, as it follows "expected".
    pub(crate) expected: &'static str,
    /// An ECMA regular expression that every good text matches (and some bad ones too), for editors.
    pub(crate) pattern: Option<&'static str>,
    /// Whether good texts may look like a number or a truth to YAML.
    pub(crate) bare: bool,
    /// A good text.
    pub(crate) example: &'static str,
}

impl Table {
    /// The tag's key, when the table has one.
    pub(crate) fn tag_key(&self) -> Option<&'static Key> {
        self.tag.and_then(|tag| self.keys.iter().find(|key| key.name == tag))
    }

    /// Keys of a name: several when what it holds depends on the tag.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'static Key> + 'a {
        self.keys.iter().filter(move |key| key.name == name)
    }
}

impl Key {
    /// Whether the key goes with a word of the tag.
    pub(crate) fn fits(&self, variant: Option<&str>) -> bool {
        self.when.is_empty() || variant.is_some_and(|variant| self.when.contains(&variant))
    }
}

impl Shape {
    /// What is expected, as a clause for messages and the reference.
    pub(crate) fn expected(&self) -> String {
        match self {
            Shape::Words(words) => {
                let able: Vec<&str> = words.iter().filter(|w| w.not_yet.is_none()).map(|w| w.text).collect();
                match able.as_slice() {
                    [one] => (*one).to_owned(),
                    [first @ .., last] => format!("{} or {last}", first.join(", ")),
                    [] => String::new(),
                }
            }
            Shape::Bool { .. } => "true or false".to_owned(),
            Shape::Int { min, max } => format!("a whole number from {min} to {max}"),
            Shape::Duration { min, max } => {
                let min = if *min == 0 { "0s".to_owned() } else { orlop_model::Millis(*min).to_string() };
                format!("a duration from {min} to {}, such as 500ms, 15s, 5m or 1h", orlop_model::Millis(*max))
            }
            Shape::Size { min, max } => format!(
                "a size from {} to {}, such as 256Mi, 1Gi or 500M",
                orlop_model::Memory(*min),
                orlop_model::Memory(*max)
            ),
            Shape::Cpu { min, max } => {
                format!("cores from {} to {}, such as 0.5, 2 or 500m", orlop_model::Cpu(*min), orlop_model::Cpu(*max))
            }
            Shape::Text(text) => text.expected.to_owned(),
            Shape::List { item, min, max } => match min {
                0 => format!("a list of up to {max}, each {}", item.expected()),
                _ => format!("a list of {min} to {max}, each {}", item.expected()),
            },
            Shape::Object(table) => {
                let mut names: Vec<&str> = table.keys.iter().map(|key| key.name).collect();
                names.dedup();
                format!("a mapping with the keys {}", names.join(", "))
            }
            Shape::Map { key, value, .. } => {
                let value = match value {
                    Shape::Text(text) => text.name,
                    Shape::Object(table) => table.name,
                    _ => "value",
                };
                format!("a mapping from {} to {value}", key.name)
            }
        }
    }
}
