//! The tables, the reader and the schema agree about every key.

use super::samples::{Sample, each, value};
use super::validator::{Validator, as_json};
use crate::table::{Presence, Shape};
use crate::{Problems, parse, schema, tree};
use orlop_model::spec::Deployment;
use serde_json::{Value, json};

fn read(document: &Value) -> Result<Deployment, Problems> {
    parse("sample.yaml", &serde_json::to_string_pretty(document).unwrap())
}

/// Paths with a problem, and whether all of them are about what is not supported yet.
fn refused(document: &Value) -> (Vec<String>, bool) {
    match read(document) {
        Ok(_) => (Vec::new(), true),
        Err(problems) => {
            let only_later = problems.as_slice().iter().all(|problem| problem.is_not_supported_yet());
            (problems.as_slice().iter().map(|problem| problem.path.clone()).collect(), only_later)
        }
    }
}

#[test]
fn every_key_with_a_good_value_is_accepted_or_not_supported_yet_by_reader_and_schema_alike() {
    let validator = Validator::new(schema());
    let (mut accepted, mut later) = (0, 0);
    each(|sample| {
        let good = sample.mapping.get(sample.key.name).cloned();
        let document = sample.with(good.unwrap_or_else(|| value(&sample.key.shape)));
        let (paths, only_later) = refused(&document);
        assert!(only_later, "{}: {}", sample.key_path(), read(&document).unwrap_err());
        assert_eq!(validator.accepts(&document), paths.is_empty(), "{}: {document:#}", sample.key_path());
        if paths.is_empty() { accepted += 1 } else { later += 1 }
    });
    assert!(accepted > 100 && later > 30, "{accepted} {later}");
}

#[test]
fn no_key_is_accepted_and_ignored() {
    let validator = Validator::new(schema());
    each(|sample| {
        let wrong = sample.with(json!([[["wrong"]]]));
        let (paths, _) = refused(&wrong);
        let path = sample.key_path();
        assert!(paths.iter().any(|p| p.starts_with(&path)), "{path} as a list of lists: {paths:?}");
        assert!(!validator.accepts(&wrong), "{path} as a list of lists");
    });
}

#[test]
fn a_key_that_is_required_is_missed_and_one_that_is_not_is_not() {
    let validator = Validator::new(schema());
    each(|sample| {
        // Without its tag a mapping is another; what only goes together is left together.
        if sample.table.tag == Some(sample.key.name) || sample.table.name == "targets" {
            return;
        }
        let document = sample.without();
        let (paths, only_later) = refused(&document);
        match sample.key.presence {
            Presence::Required => {
                assert!(paths.contains(&sample.key_path()), "{}: {paths:?}", sample.key_path());
                assert!(!validator.accepts(&document), "{} left out", sample.key_path());
            }
            _ => assert!(only_later, "{}: {}", sample.key_path(), read(&document).unwrap_err()),
        }
    });
}

#[test]
fn leaving_a_key_out_means_its_default() {
    each(|sample| {
        let Presence::Default(default) = sample.key.presence else { return };
        if sample.table.tag == Some(sample.key.name) && sample.variant != Some(default) {
            return;
        }
        let default = match sample.key.shape {
            Shape::Int { .. } | Shape::Bool { .. } => serde_json::from_str(default).unwrap(),
            _ => Value::from(default),
        };
        let (left_out, written) = (read(&sample.without()), read(&sample.with(default)));
        match (left_out, written) {
            (Ok(left_out), Ok(written)) => assert_eq!(left_out, written, "{}", sample.key_path()),
            (Err(_), Err(written)) => {
                assert!(written.as_slice().iter().all(|p| p.is_not_supported_yet()), "{}", sample.key_path());
            }
            (left_out, written) => panic!("{}: {left_out:?} {written:?}", sample.key_path()),
        }
    });
}

#[test]
fn numbers_and_counts_are_held_to_their_bounds() {
    let validator = Validator::new(schema());
    let check = |sample: &Sample<'_>, value: Value, good: bool, schema_knows: bool| {
        let document = sample.with(value.clone());
        let path = sample.key_path();
        let hit = refused(&document).0.contains(&path);
        assert_eq!(!hit, good, "{path}: {value}");
        if schema_knows && !good {
            assert!(!validator.accepts(&document), "{path}: {value}");
        }
    };
    each(|sample| match sample.key.shape {
        Shape::Int { min, max } => {
            // Both 0 is judged elsewhere.
            let both = sample.table.name == "update";
            check(sample, min.into(), !(both && sample.key.name == "max_surge"), false);
            check(sample, max.into(), sample.key.name != "min", false);
            check(sample, (max + 1).into(), false, true);
            check(sample, (i128::from(min) - 1).to_string().parse::<i64>().unwrap().into(), false, true);
            check(sample, min.to_string().into(), false, true);
        }
        Shape::Duration { min, max } => {
            check(sample, format!("{min}ms").into(), true, false);
            check(sample, format!("{max}ms").into(), true, false);
            check(sample, format!("{}ms", max + 1).into(), false, false);
            if min > 0 {
                check(sample, format!("{}ms", min - 1).into(), false, false);
            }
            check(sample, max.into(), false, true);
        }
        Shape::Size { min, max } => {
            check(sample, min.into(), true, false);
            check(sample, max.into(), true, false);
            check(sample, (max + 1).into(), false, true);
            check(sample, (min - 1).into(), false, true);
        }
        Shape::Cpu { min, max } => {
            check(sample, format!("{min}m").into(), true, false);
            check(sample, format!("{max}m").into(), true, false);
            check(sample, format!("{}m", max + 1).into(), false, false);
            check(sample, format!("{}m", min - 1).into(), false, false);
        }
        Shape::List { item, min, max } => {
            check(sample, vec![value(item); max + 1].into(), false, true);
            if min > 0 {
                check(sample, vec![value(item); min - 1].into(), false, true);
            }
        }
        _ => {}
    });
}

#[test]
fn an_unknown_key_is_refused_in_every_mapping() {
    let validator = Validator::new(schema());
    each(|sample| {
        let mut mapping = sample.mapping.clone();
        let misspelled = format!("{}x", sample.key.name);
        mapping.insert(misspelled.clone(), 1.into());
        let document = (sample.wrap)(mapping.into());
        let problems = read(&document).unwrap_err();
        let found = format!("the unknown key {misspelled:?}");
        let problem =
            problems.as_slice().iter().find(|problem| problem.found == found).unwrap_or_else(|| panic!("{problems}"));
        assert!(problem.allowed.contains(&format!("did you mean `{}`", sample.key.name)), "{problem}");
        assert!(!validator.accepts(&document), "{}", sample.path);
    });
}

#[test]
fn the_schema_accepts_the_good_files() {
    let validator = Validator::new(schema());
    for text in [
        include_str!("../../tests/good/full.yaml"),
        include_str!("../../tests/good/smallest.yaml"),
        include_str!("../../../../examples/hello/orlop.yaml"),
    ] {
        assert!(validator.accepts(&as_json(&tree::read(text).unwrap())), "{text}");
        assert!(parse("orlop.yaml", text).is_ok(), "{text}");
    }
}
