//! Walks a tree along the tables and collects what is wrong, rather than stopping at the first of it.
//!
//! Each method takes a key's name, looks up in the table what it holds, and gives the value: as written, or the table's
//! default. `None` means that the key may be left out and was, or that a problem was recorded; in the second case the file
//! is refused in the end, so that callers put any placeholder in its place and go on.

use crate::grammar::{Refusal, quantity, similar, whole};
use crate::problem::{Finding, NOT_SUPPORTED, Place, quote};
use crate::table::{Key, Presence, Shape, Table, Text, Word};
use crate::tree::{Kind, Node, child};
use orlop_model::{Cpu, Memory, Millis};
use std::collections::BTreeMap;

/// Past so many problems nobody is helped by guesses at what was meant, which take the longest.
const GUESSES_MAX: usize = 500;

#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) findings: Vec<Finding>,
    /// Where each value that was visited stands.
    places: BTreeMap<String, Place>,
}

/// A value with its path.
#[derive(Debug, Clone)]
pub(crate) struct At<'t> {
    pub(crate) path: String,
    pub(crate) node: &'t Node,
    /// Where the value stands or, when there is nothing to point at, its key.
    pub(crate) place: Place,
}

/// A mapping whose keys were checked against a table.
pub(crate) struct Object<'t> {
    table: &'static Table,
    path: String,
    place: Place,
    fields: BTreeMap<&'static str, At<'t>>,
    variant: Option<String>,
}

impl<'t> Object<'t> {
    /// A mapping that was left out: every key has its default.
    pub(crate) fn absent(table: &'static Table) -> Self {
        Self { table, path: String::new(), place: Place::START, fields: BTreeMap::new(), variant: None }
    }

    /// A key's value as written.
    pub(crate) fn at(&self, key: &str) -> Option<&At<'t>> {
        self.fields.get(key)
    }

    /// The table's entry for a key, as the tag decides.
    fn key(&self, name: &str) -> Option<&'static Key> {
        let mut named = self.table.keys.iter().filter(|key| key.name == name);
        let first = named.clone().next();
        debug_assert!(first.is_some(), "{} has no key {name}", self.table.name);
        named.find(|key| key.fits(self.variant.as_deref())).or(first)
    }
}

impl Reader {
    pub(crate) fn problem(&mut self, place: Place, path: &str, found: impl Into<String>, allowed: impl Into<String>) {
        self.findings.push(Finding { place, path: path.to_owned(), found: found.into(), allowed: allowed.into() });
    }

    /// Where the value of a path stands.
    pub(crate) fn place_of(&self, path: &str) -> Option<Place> {
        self.places.get(path).copied()
    }

    /// The value of the document as a whole.
    pub(crate) fn root<'t>(&mut self, node: &'t Node) -> At<'t> {
        self.visit(String::new(), node, None)
    }

    fn visit<'t>(&mut self, path: String, node: &'t Node, key: Option<Place>) -> At<'t> {
        let place = match (&node.kind, key) {
            (Kind::Map(_), Some(key)) => key,
            (Kind::Scalar { .. }, Some(key)) if node.is_nothing() => key,
            _ => node.place,
        };
        if let Some(tag) = &node.tag {
            self.problem(place, &path, format!("the tag {}", quote(tag)), "tags mean nothing here: leave it out");
        }
        self.places.insert(path.clone(), place);
        At { path, node, place }
    }

    /// Checks a mapping's keys: known, once each, those that must be there.
    pub(crate) fn open<'t>(&mut self, at: &At<'t>, table: &'static Table) -> Option<Object<'t>> {
        let Kind::Map(entries) = &at.node.kind else {
            let expected = Shape::Object(table).expected();
            self.problem(at.place, &at.path, describe(at.node), format!("expected {expected}"));
            return None;
        };
        let written_tag = table.tag.and_then(|tag| entries.iter().find(|entry| entry.key == tag));
        let variant = match (written_tag.map(|entry| &entry.value.kind), table.tag_key()) {
            (Some(Kind::Scalar { text, .. }), Some(key)) => {
                let Shape::Words(words) = key.shape else { return None };
                words.iter().find(|word| word.text == text).map(|word| word.text.to_owned())
            }
            (None, Some(Key { presence: Presence::Default(word), .. })) => Some((*word).to_owned()),
            _ => None,
        };
        // Without a word that is known, nobody can tell which keys go with it.
        let undecided = table.tag.is_some() && variant.is_none();
        let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
        let mut fields = BTreeMap::new();
        for entry in entries {
            let path = child(&at.path, &entry.key);
            if self.repeated(&mut seen, &entry.key, entry.place, &path) {
                continue;
            }
            let mut named = table.named(&entry.key).peekable();
            let Some(first) = named.peek().copied() else {
                self.unknown_key(table, variant.as_deref(), &entry.key, entry.place, &path);
                continue;
            };
            if !undecided && !named.any(|key| key.fits(variant.as_deref())) {
                let tag = table.tag.unwrap_or_default();
                let found = format!("the key {:?}", entry.key);
                let variant = variant.as_deref().unwrap_or_default();
                let when: Vec<&str> = table.named(&entry.key).flat_map(|key| key.when.iter().copied()).collect();
                let when = when.join("` or `");
                let allowed = format!("it goes with `{tag}: {when}`, and here is `{tag}: {variant}`");
                self.problem(entry.place, &path, found, allowed);
                continue;
            }
            let value = self.visit(path, &entry.value, Some(entry.place));
            fields.insert(first.name, value);
        }
        for key in table.keys {
            let missing = key.presence == Presence::Required && !seen.contains_key(key.name);
            if missing && key.fits(variant.as_deref()) {
                let with = match key.when {
                    [] => String::new(),
                    _ => {
                        format!(" with `{}: {}`", table.tag.unwrap_or_default(), variant.as_deref().unwrap_or_default())
                    }
                };
                let path = child(&at.path, key.name);
                let expected = key.shape.expected();
                self.problem(at.place, &path, "nothing", format!("`{}` is required{with}: {expected}", key.name));
            }
        }
        Some(Object { table, path: at.path.clone(), place: at.place, fields, variant })
    }

    fn repeated<'t>(&mut self, seen: &mut BTreeMap<&'t str, Place>, key: &'t str, place: Place, path: &str) -> bool {
        match seen.get(key) {
            Some(first) => {
                let found = format!("the key {} a second time", quote(key));
                let allowed = format!("each key is written once; line {} has it already", first.line);
                self.problem(place, path, found, allowed);
                true
            }
            None => {
                seen.insert(key, place);
                false
            }
        }
    }

    fn unknown_key(&mut self, table: &Table, variant: Option<&str>, key: &str, place: Place, path: &str) {
        let mut known: Vec<&str> = table.keys.iter().filter(|k| k.fits(variant)).map(|k| k.name).collect();
        if table.tag.is_some() && variant.is_none() {
            known = table.keys.iter().map(|k| k.name).collect();
        }
        known.dedup();
        let allowed = if key == "<<" {
            "merge keys are not part of the format: write the keys out".to_owned()
        } else {
            // A key may be right and only stand a level too high.
            let below = table.keys.iter().find_map(|k| match k.shape {
                Shape::Object(inner) => inner.named(key).next().map(|_| format!("{}.{key}", k.name)),
                _ => None,
            });
            let guess = self.findings.len() < GUESSES_MAX;
            match below.as_deref().or_else(|| guess.then(|| similar::nearest(key, known.iter().copied())).flatten()) {
                Some(meant) => format!("did you mean `{meant}`? Known here: {}", known.join(", ")),
                None => format!("known here: {}", known.join(", ")),
            }
        };
        self.problem(place, path, format!("the unknown key {}", quote(key)), allowed);
    }

    /// A scalar of an object: its text, whether it is plain, and where it is if it was written.
    fn scalar<'o>(&mut self, object: &'o Object<'_>, key: &'static Key) -> Option<(&'o str, bool, Option<&'o At<'o>>)> {
        match (object.at(key.name), key.presence) {
            (Some(at), _) => self.written(at, &key.shape).map(|(text, plain)| (text, plain, Some(at))),
            (None, Presence::Default(text)) => Some((text, true, None)),
            (None, _) => None,
        }
    }

    /// The text of a value that should be a scalar.
    fn written<'n>(&mut self, at: &At<'n>, shape: &Shape) -> Option<(&'n str, bool)> {
        match &at.node.kind {
            Kind::Scalar { text, plain } if !at.node.is_nothing() => Some((text, *plain)),
            _ => {
                let mut allowed = format!("expected {}", shape.expected());
                if at.node.is_nothing() && matches!(shape, Shape::Text(_)) {
                    allowed.push_str("; for empty text or the word itself use quotes");
                }
                self.problem(at.place, &at.path, describe(at.node), allowed);
                None
            }
        }
    }

    fn refuse(&mut self, at: &At<'_>, shape: &Shape, refusal: Refusal) {
        let allowed = match refusal {
            Refusal::Plain => format!("expected {}", shape.expected()),
            Refusal::Because(remedy) => remedy,
        };
        self.problem(at.place, &at.path, describe(at.node), allowed);
    }

    /// A number between two bounds, out of a grammar.
    fn bounded(
        &mut self,
        object: &Object<'_>,
        key: &'static Key,
        (min, max): (u64, u64),
        grammar: impl FnOnce(&str, bool) -> Result<u64, Refusal>,
    ) -> Option<u64> {
        let (text, plain, at) = self.scalar(object, key)?;
        match grammar(text, plain) {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            Ok(_) => {
                self.refuse(at?, &key.shape, Refusal::Plain);
                None
            }
            Err(refusal) => {
                self.refuse(at?, &key.shape, refusal);
                None
            }
        }
    }

    pub(crate) fn int(&mut self, object: &Object<'_>, key: &str) -> Option<u64> {
        let key = object.key(key)?;
        let Shape::Int { min, max } = key.shape else { return None };
        self.bounded(object, key, (min, max), |text, plain| match (whole(text), plain) {
            (Some(number), true) => Ok(number),
            (Some(_), false) => Err(Refusal::Because(format!("expected {}, without quotes", key.shape.expected()))),
            (None, _) if text.len() > 1 && text.starts_with('0') && text.bytes().all(|c| c.is_ascii_digit()) => {
                Err(Refusal::Because("a whole number has no zeros in front".to_owned()))
            }
            (None, _) => Err(Refusal::Plain),
        })
    }

    pub(crate) fn duration(&mut self, object: &Object<'_>, key: &str) -> Option<Millis> {
        let key = object.key(key)?;
        let Shape::Duration { min, max } = key.shape else { return None };
        self.bounded(object, key, (min, max), |text, _| quantity::duration(text)).map(Millis)
    }

    pub(crate) fn size(&mut self, object: &Object<'_>, key: &str) -> Option<Memory> {
        let key = object.key(key)?;
        let Shape::Size { min, max } = key.shape else { return None };
        self.bounded(object, key, (min, max), |text, _| quantity::size(text)).map(Memory)
    }

    pub(crate) fn cpu(&mut self, object: &Object<'_>, key: &str) -> Option<Cpu> {
        let key = object.key(key)?;
        let Shape::Cpu { min, max } = key.shape else { return None };
        self.bounded(object, key, (min, max), |text, _| quantity::cpu(text)).map(Cpu)
    }

    pub(crate) fn boolean(&mut self, object: &Object<'_>, key: &str) -> Option<bool> {
        let key = object.key(key)?;
        let Shape::Bool { only } = key.shape else { return None };
        let (text, plain, at) = self.scalar(object, key)?;
        let truth = match (text, plain) {
            ("true", true) => true,
            ("false", true) => false,
            ("true" | "false", false) => {
                self.refuse(at?, &key.shape, Refusal::Because("expected true or false, without quotes".to_owned()));
                return None;
            }
            _ => {
                self.refuse(at?, &key.shape, Refusal::Plain);
                return None;
            }
        };
        if let Some((able, remedy)) = only
            && truth != able
        {
            let at = at?;
            self.problem(at.place, &at.path, truth.to_string(), format!("{NOT_SUPPORTED}; {remedy}"));
        }
        Some(truth)
    }

    /// One of the words of a key; also one that is not supported yet, after saying so.
    pub(crate) fn word(&mut self, object: &Object<'_>, key: &str) -> Option<&'static str> {
        let key = object.key(key)?;
        let Shape::Words(words) = key.shape else { return None };
        let (text, _, at) = self.scalar(object, key)?;
        match words.iter().find(|word| word.text == text) {
            Some(Word { text, not_yet: None, .. }) => Some(text),
            Some(Word { text, not_yet: Some(remedy), .. }) => {
                let at = at?;
                self.problem(at.place, &at.path, quote(text), format!("{NOT_SUPPORTED}; {remedy}"));
                Some(text)
            }
            None => {
                let expected = key.shape.expected();
                let allowed = match similar::nearest(text, words.iter().map(|word| word.text)) {
                    Some(meant) => format!("did you mean `{meant}`? Expected {expected}"),
                    None => format!("expected {expected}"),
                };
                let at = at?;
                self.problem(at.place, &at.path, describe(at.node), allowed);
                None
            }
        }
    }

    /// A text with a grammar.
    pub(crate) fn text<T>(
        &mut self,
        object: &Object<'_>,
        key: &str,
        grammar: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        let key = object.key(key)?;
        let Shape::Text(_) = key.shape else { return None };
        let (text, _, at) = self.scalar(object, key)?;
        match self.parsed(text, grammar) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.refuse(at?, &key.shape, refusal);
                None
            }
        }
    }

    /// A value that is a text with a grammar.
    pub(crate) fn text_at<T>(
        &mut self,
        at: &At<'_>,
        kind: &'static Text,
        grammar: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        let shape = Shape::Text(kind);
        let (text, _) = self.written(at, &shape)?;
        match self.parsed(text, grammar) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.refuse(at, &shape, refusal);
                None
            }
        }
    }

    fn parsed<T>(&self, text: &str, grammar: impl FnOnce(&str) -> Result<T, Refusal>) -> Result<T, Refusal> {
        // What goes to the kernel as a C string would end there.
        if text.contains('\0') {
            return Err(Refusal::Because("text has no NUL character".to_owned()));
        }
        grammar(text)
    }

    pub(crate) fn object<'t>(&mut self, object: &Object<'t>, key: &str) -> Option<Object<'t>> {
        let Shape::Object(table) = object.key(key)?.shape else { return None };
        let at = object.at(key)?.clone();
        self.open(&at, table)
    }

    /// The values of a list, with their paths.
    pub(crate) fn list<'t>(&mut self, object: &Object<'t>, key: &str) -> Option<Vec<At<'t>>> {
        let key = object.key(key)?;
        let Shape::List { min, max, .. } = key.shape else { return None };
        let at = object.at(key.name)?;
        let Kind::List(items) = &at.node.kind else {
            let mut allowed = format!("expected {}", key.shape.expected());
            if let Kind::Scalar { text, .. } = &at.node.kind
                && !at.node.is_nothing()
            {
                let words: Vec<String> = text.split_whitespace().take(8).map(|word| format!("{word:?}")).collect();
                allowed.push_str(&format!("; write it as a list: [{}]", words.join(", ")));
            }
            self.problem(at.place, &at.path, describe(at.node), allowed);
            return None;
        };
        if !(min..=max).contains(&items.len()) {
            let expected = key.shape.expected();
            self.problem(at.place, &at.path, format!("a list of {}", items.len()), format!("expected {expected}"));
        }
        let items = items.iter().take(max).enumerate();
        Some(items.map(|(i, node)| self.visit(format!("{}[{i}]", at.path), node, None)).collect())
    }

    /// The entries of a mapping with keys of the user's choice, each key once.
    pub(crate) fn map<'t, K>(
        &mut self,
        object: &Object<'t>,
        key: &str,
        grammar: impl Fn(&str) -> Result<K, Refusal>,
    ) -> Option<Vec<(K, At<'t>)>> {
        let key = object.key(key)?;
        let Shape::Map { key: kind, min, max, .. } = key.shape else { return None };
        let at = object.at(key.name)?.clone();
        let Kind::Map(entries) = &at.node.kind else {
            let expected = key.shape.expected();
            self.problem(at.place, &at.path, describe(at.node), format!("expected {expected}"));
            return None;
        };
        if !(min..=max).contains(&entries.len()) {
            let allowed = format!("expected {min} to {max} entries");
            self.problem(at.place, &at.path, format!("{} entries", entries.len()), allowed);
        }
        let (mut seen, mut read) = (BTreeMap::new(), Vec::new());
        for entry in entries.iter().take(max) {
            let path = child(&at.path, &entry.key);
            if self.repeated(&mut seen, &entry.key, entry.place, &path) {
                continue;
            }
            match self.parsed(&entry.key, &grammar) {
                Ok(name) => {
                    let value = self.visit(path, &entry.value, Some(entry.place));
                    read.push((name, value));
                }
                Err(refusal) => {
                    let found = format!("the key {}", quote(&entry.key));
                    let allowed = match refusal {
                        Refusal::Plain => format!("expected as {} {}", kind.name, kind.expected),
                        Refusal::Because(remedy) => remedy,
                    };
                    self.problem(entry.place, &path, found, allowed);
                }
            }
        }
        Some(read)
    }

    /// Records a problem at a key of an object, or at the object where the key was left out.
    pub(crate) fn problem_at(
        &mut self,
        object: &Object<'_>,
        key: &str,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let place = object.at(key).map_or(object.place, |at| at.place);
        self.problem(place, &child(&object.path, key), found, allowed);
    }
}

/// What a value is, in a few words.
pub(crate) fn describe(node: &Node) -> String {
    match &node.kind {
        _ if node.is_nothing() => "nothing".to_owned(),
        Kind::Scalar { text, plain } => {
            let bare = *plain && text.chars().count() <= 80 && !text.contains(char::is_control);
            if bare && text.starts_with(|c: char| c.is_ascii_digit() || c == '-') { text.clone() } else { quote(text) }
        }
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a mapping".to_owned(),
    }
}
