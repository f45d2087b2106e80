//! The list of all keys in `docs/spec.md`, made of the tables. `UPDATE_GOLDEN=1` writes it anew.

use crate::keys;
use crate::table::{Key, Presence, Shape, Table, Word};
use std::fmt::Write;
use std::path::Path;

const BEGIN: &str = "<!-- keys: made of crates/orlop-spec/src/keys/ by its tests (UPDATE_GOLDEN=1); edit there -->\n";
const END: &str = "<!-- keys: end -->\n";

fn reference() -> String {
    let mut text = String::new();
    table(&mut text, &keys::DEPLOYMENT, "", &[]);
    text
}

fn table(text: &mut String, table_: &Table, path: &str, when: &[String]) {
    let title = if path.is_empty() { "The file".to_owned() } else { format!("`{path}`") };
    let when = if when.is_empty() { String::new() } else { format!(", with {}", when.join(" or ")) };
    let _ = write!(
        text,
        "\n### {title}{when}\n\n{}\n\n| key | holds | left out | meaning |\n|---|---|---|---|\n",
        table_.doc
    );
    for key in table_.keys {
        row(text, table_, key);
    }
    for key in table_.keys {
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        let when: Vec<String> = tags(table_, key);
        match key.shape {
            Shape::Object(inner) => table(text, inner, &path, &when),
            Shape::List { item: Shape::Object(inner), .. } => table(text, inner, &format!("{path}[]"), &when),
            Shape::Map { value: Shape::Object(inner), .. } => table(text, inner, &format!("{path}.NAME"), &when),
            _ => {}
        }
    }
}

fn tags(table: &Table, key: &Key) -> Vec<String> {
    key.when.iter().map(|word| format!("`{}: {word}`", table.tag.unwrap_or_default())).collect()
}

fn row(text: &mut String, table: &Table, key: &Key) {
    let mut holds = match key.shape {
        Shape::Words(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{}`", word.text)).collect();
            words.join(", ")
        }
        Shape::Object(_) => "a mapping, below".to_owned(),
        Shape::List { item: Shape::Object(_), min, max } => format!("a list of {min} to {max} mappings, below"),
        Shape::Map { value: Shape::Object(_), min, max, .. } => format!("{min} to {max} mappings by name, below"),
        shape => shape.expected(),
    };
    let when = tags(table, key);
    if !when.is_empty() {
        holds.push_str(&format!("; only with {}", when.join(" or ")));
    }
    let left_out = match key.presence {
        Presence::Required => "refused".to_owned(),
        Presence::Optional => "".to_owned(),
        Presence::Default(default) => format!("`{default}`"),
    };
    let mut meaning = key.doc.to_owned();
    if let Shape::Words(words) = key.shape {
        for Word { text, doc, not_yet } in words {
            let later = if not_yet.is_some() { " *Not supported yet.*" } else { "" };
            let _ = write!(meaning, "<br>`{text}`: {doc}{later}");
        }
    }
    if let Shape::Bool { only: Some((able, _)) } = key.shape {
        let _ = write!(meaning, " *`{}` is not supported yet.*", !able);
    }
    let _ = writeln!(text, "| `{}` | {holds} | {left_out} | {meaning} |", key.name);
}

#[test]
fn the_documentation_lists_every_key_as_the_reader_knows_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec.md");
    let document = std::fs::read_to_string(&path).expect("docs/spec.md exists");
    let (before, rest) = document.split_once(BEGIN).expect("docs/spec.md marks where the keys begin");
    let (listed, after) = rest.split_once(END).expect("docs/spec.md marks where the keys end");
    let expected = reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}\n{END}{after}")).expect("writable");
    } else {
        assert_eq!(listed.trim(), expected.trim(), "run the test with UPDATE_GOLDEN=1");
    }
}
