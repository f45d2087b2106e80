//! YAML as a small tree in which every value knows its place.
//!
//! Scalars keep the text as written: whether `no`, `012` or `1.10` is a word, a number or a truth is decided by whoever
//! reads the value, who knows what is wanted. The work is bounded: by the number of nodes after aliases are followed, and
//! by the depth, so that a small file cannot become a large tree.

use crate::problem::{Finding, Place, quote};
use granit_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The most values in a document, each alias counted as all that it stands for.
pub(crate) const NODES_MAX: usize = 200_000;
/// How deeply lists and mappings may be nested.
pub(crate) const DEPTH_MAX: usize = 32;

/// A value.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    /// A tag such as `!include`, which no reader knows.
    pub(crate) tag: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// `plain` is text without quotes, the only form that can be a number, a truth or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

impl Node {
    /// A key with nothing after it, or one of YAML's words for that.
    pub(crate) fn is_nothing(&self) -> bool {
        match &self.kind {
            Kind::Scalar { text, plain } => *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"),
            Kind::List(_) | Kind::Map(_) => false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Rc<Node>,
}

/// A path with a key appended: `services.api`.
pub(crate) fn child(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-$".contains(c));
    let key = if plain && key.len() <= 80 { key.to_owned() } else { quote(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The tree of the only document in a text, or why there is none.
pub(crate) fn read(text: &str) -> Result<Rc<Node>, Finding> {
    let mut options = granit_parser::Options::default();
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let place = Place { line: error.marker().line(), column: error.marker().col() + 1, length: 1 };
                return Err(builder.unreadable(
                    place,
                    format!("what is not YAML: {}", error.info()),
                    "expected one YAML document".to_owned(),
                ));
            }
        }
    }
    builder.root.ok_or_else(|| Finding {
        place: Place::START,
        path: String::new(),
        found: "an empty file".to_owned(),
        allowed: "expected the keys version, deployment and services".to_owned(),
    })
}

/// A node with what it costs.
#[derive(Clone)]
struct Built {
    node: Rc<Node>,
    /// Nodes, aliases followed.
    weight: usize,
    /// Levels of lists and mappings, 0 for a scalar.
    depth: usize,
}

struct Frame {
    place: Place,
    anchor: usize,
    tag: Option<String>,
    weight: usize,
    depth: usize,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Map { entries: Vec<Entry>, key: Option<(String, Place)> },
}

#[derive(Default)]
struct Builder {
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Built>,
    /// Nodes so far, aliases followed.
    weight: usize,
    root: Option<Rc<Node>>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Finding> {
        let place = place(&span);
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(self.unreadable(
                place,
                "a second document".to_owned(),
                "a file describes one deployment; put the other into a file of its own".to_owned(),
            )),
            Event::Scalar(text, style, anchor, tag) => {
                let kind = Kind::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                let node = Node { kind, place, tag: tag.map(|tag| tag.to_string()) };
                self.put(Built { node: Rc::new(node), weight: 1, depth: 0 }, anchor, place)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(place, anchor, tag.map(|tag| tag.to_string()), Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                let content = Content::Map { entries: Vec::new(), key: None };
                self.open(place, anchor, tag.map(|tag| tag.to_string()), content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(built) => self.put(built, 0, place),
                None => Err(self.unreadable(
                    place,
                    "an alias of the value that it stands in".to_owned(),
                    "a value cannot contain itself".to_owned(),
                )),
            },
            _ => Ok(()),
        }
    }

    fn open(&mut self, place: Place, anchor: usize, tag: Option<String>, content: Content) -> Result<(), Finding> {
        let place = Place { length: 1, ..place };
        if matches!(self.stack.last(), Some(Frame { content: Content::Map { key: None, .. }, .. })) {
            return Err(self.unreadable(
                place,
                "a list or a mapping as a key".to_owned(),
                "keys are plain words".to_owned(),
            ));
        }
        self.stack.push(Frame { place, anchor, tag, weight: 1, depth: 0, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Finding> {
        let Some(Frame { place, anchor, tag, weight, depth, content }) = self.stack.pop() else { return Ok(()) };
        let kind = match content {
            Content::List(items) => Kind::List(items),
            Content::Map { entries, .. } => Kind::Map(entries),
        };
        let node = Rc::new(Node { kind, place, tag });
        // The children were weighed as they came in.
        self.weight = self.weight.saturating_sub(weight - 1);
        self.put(Built { node, weight, depth: depth + 1 }, anchor, place)
    }

    /// Puts a finished node where the parser stands.
    fn put(&mut self, built: Built, anchor: usize, place: Place) -> Result<(), Finding> {
        self.weight = self.weight.saturating_add(built.weight);
        if self.weight > NODES_MAX {
            return Err(self.unreadable(
                place,
                format!("more than {NODES_MAX} values, with aliases followed"),
                format!("a file has at most {NODES_MAX}"),
            ));
        }
        if built.depth + self.stack.len() > DEPTH_MAX {
            return Err(self.unreadable(
                place,
                format!("values nested more than {DEPTH_MAX} deep"),
                format!("a file nests at most {DEPTH_MAX} levels"),
            ));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, built.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(built.node);
            return Ok(());
        };
        frame.weight = frame.weight.saturating_add(built.weight);
        frame.depth = frame.depth.max(built.depth);
        match &mut frame.content {
            Content::List(items) => items.push(built.node),
            Content::Map { entries, key } => match key.take() {
                Some((key, key_place)) => entries.push(Entry { key, place: key_place, value: built.node }),
                None => match &built.node.kind {
                    Kind::Scalar { text, .. } => *key = Some((text.clone(), place)),
                    Kind::List(_) | Kind::Map(_) => {
                        return Err(self.unreadable(
                            place,
                            "a list or a mapping as a key".to_owned(),
                            "keys are plain words".to_owned(),
                        ));
                    }
                },
            },
        }
        Ok(())
    }

    /// What went wrong, with the path of the place where the parser stands.
    fn unreadable(&self, place: Place, found: String, allowed: String) -> Finding {
        let mut path = String::new();
        for frame in &self.stack {
            match &frame.content {
                Content::List(items) => path = format!("{path}[{}]", items.len()),
                Content::Map { key: Some((key, _)), .. } => path = child(&path, key),
                Content::Map { key: None, .. } => {}
            }
        }
        Finding { place, path, found, allowed }
    }
}

fn place(span: &Span) -> Place {
    let length = if span.start.line() == span.end.line() {
        span.end.col().saturating_sub(span.start.col()).max(1)
    } else {
        // To the end of the line.
        usize::MAX
    };
    Place { line: span.start.line(), column: span.start.col() + 1, length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Finding {
        read(text).expect_err(text)
    }

    fn scalar(node: &Node) -> (&str, bool, usize, usize, usize) {
        match &node.kind {
            Kind::Scalar { text, plain } => (text, *plain, node.place.line, node.place.column, node.place.length),
            other => panic!("not a scalar: {other:?}"),
        }
    }

    #[test]
    fn values_keep_their_text_and_know_their_place() {
        let root = read("a: no\nbü:\n  - 012\n  - \"1\\t0\"\nc: |\n  x\n  y\nd:\n").unwrap();
        let Kind::Map(entries) = &root.kind else { panic!("{root:?}") };
        assert_eq!(scalar(&entries[0].value), ("no", true, 1, 4, 2));
        assert_eq!((entries[1].key.as_str(), entries[1].place.length), ("bü", 2));
        let Kind::List(items) = &entries[1].value.kind else { panic!("{root:?}") };
        assert_eq!(scalar(&items[0]), ("012", true, 3, 5, 3));
        assert_eq!(scalar(&items[1]), ("1\t0", false, 4, 5, 6));
        assert_eq!(scalar(&entries[2].value).0, "x\ny\n");
        assert_eq!(scalar(&entries[2].value).2, 6, "the text of a block begins on the line after");
        assert!(entries[3].value.is_nothing() && !items[0].is_nothing());
    }

    #[test]
    fn what_is_not_one_document_is_refused_with_its_place_and_path() {
        let error = refused("services:\n  api:\n    image: { name: x\n    user: y\n");
        assert!(error.found.starts_with("what is not YAML"), "{error:?}");
        assert_eq!(error.place.line, 4, "{error:?}");
        assert_eq!(error.path, "services.api.image");
        assert_eq!(refused("a: 1\n---\nb: 2\n").found, "a second document");
        assert_eq!(refused("").found, "an empty file");
        assert_eq!(refused("# only a comment\n").found, "an empty file");
        assert_eq!(refused("[1]: 2").found, "a list or a mapping as a key");
        assert_eq!(refused("? {a: 1}\n: 2").found, "a list or a mapping as a key");
        assert_eq!(refused("x: &a {b: *a}").found, "an alias of the value that it stands in");
    }

    #[test]
    fn aliases_are_followed_and_counted() {
        let root = read("a: &x {b: 1}\nc: *x").unwrap();
        let Kind::Map(entries) = &root.kind else { panic!("{root:?}") };
        assert!(Rc::ptr_eq(&entries[0].value, &entries[1].value));
    }

    #[test]
    fn a_file_that_would_become_a_large_or_deep_tree_is_refused_at_once() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for i in 1..30 {
            let before = i - 1;
            let aliases = vec![format!("*a{before}"); 9].join(", ");
            laughs.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
        }
        assert!(refused(&laughs).found.contains("aliases followed"));
        let mut chain = String::from("a0: &a0 [x]\n");
        for i in 1..20_000 {
            chain.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
        }
        assert!(refused(&chain).found.contains("nested"), "{:?}", refused(&chain));
        for brackets in ["[", "{a: ", "- "] {
            let error = refused(&brackets.repeat(100_000));
            assert!(error.found.len() < 500, "{error:?}");
        }
        assert!(refused(&"- x\n".repeat(NODES_MAX + 1)).found.contains("more than"));
    }
}
