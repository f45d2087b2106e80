//! Large, hostile and broken files end soon and in words.

use crate::{PROBLEMS_MAX, parse, parse_bytes};
use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "the test is about how long it takes")]
fn soon<T>(work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    result
}

fn said(text: &str) -> String {
    soon(|| parse("large.yaml", text)).expect_err("a bad file").to_string()
}

#[test]
fn a_file_of_10_mb_is_refused_at_once() {
    let text = format!("version: v1\ndeployment: shop\n#{}", "x".repeat(10_000_000));
    let said = said(&text);
    assert!(said.contains("a file of 10000030 bytes") && said.contains("at most 1048576"), "{said}");
    assert!(said.len() < 500, "{said}");
    let bytes = soon(|| parse_bytes("large.yaml", &vec![0xff; 10_000_000])).unwrap_err().to_string();
    assert!(bytes.contains("a file of 10000000 bytes"), "{bytes}");
}

#[test]
fn a_file_that_is_all_mistakes_ends_with_a_count() {
    let mut text =
        String::from("version: v1\ndeployment: shop\nservices:\n  api:\n    image: { name: localhost/x:1 }\n");
    for i in 0..20_000 {
        text.push_str(&format!("    wrong{i}: 1\n"));
    }
    let problems = soon(|| parse("many.yaml", &text)).unwrap_err();
    assert_eq!((problems.as_slice().len(), problems.omitted()), (PROBLEMS_MAX, 20_000 - PROBLEMS_MAX));
    assert!(problems.to_string().ends_with("has 20000 problems; 19900 are not shown"));
}

#[test]
fn a_line_of_a_megabyte_is_shown_in_part() {
    let text = format!(
        "version: v1\ndeployment: {}\nservices: {{ a: {{ image: {{ name: localhost/x:1 }} }} }}",
        "a".repeat(900_000)
    );
    let said = said(&text);
    assert!(said.contains("(900000 bytes)") && said.len() < 1500, "{}", said.len());
    let one_line = format!("{{ version: v1, deployment: shop, {} services: 5 }}", "x: 1, ".repeat(90_000));
    assert!(said_len(&one_line) < 100_000);
}

fn said_len(text: &str) -> usize {
    said(text).len()
}

#[test]
fn many_services_are_read_and_too_many_refused() {
    let services = |n: usize| {
        let mut text = String::from("version: v1\ndeployment: shop\nservices:\n");
        for i in 0..n {
            let before = i.saturating_sub(1);
            let depends = if i > 0 { format!(", depends: [{{ service: s{before} }}]") } else { String::new() };
            text.push_str(&format!("  s{i}: {{ image: {{ name: localhost/x:1 }}{depends} }}\n"));
        }
        text
    };
    assert_eq!(soon(|| parse("many.yaml", &services(1000))).unwrap().services.len(), 1000);
    assert!(said(&services(1001)).contains("1001 entries; expected 1 to 1000"));
}

#[test]
fn anchors_may_be_used_and_may_not_explode() {
    let text =
        "version: v1\ndeployment: shop\nservices:\n  a: { image: &i { name: localhost/x:1 } }\n  b: { image: *i }\n";
    assert_eq!(parse("anchors.yaml", text).unwrap().services.len(), 2);
    let mut laughs = String::from("version: v1\na0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..40 {
        laughs.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", ")));
    }
    assert!(said(&laughs).contains("with aliases followed"));
    // A mistake within a shared value is told where it stands, once for each path.
    let shared = "version: v1\ndeployment: shop\nservices:\n  a: { image: &i { name: x } }\n  b: { image: *i }\n";
    let problems = parse("shared.yaml", shared).unwrap_err();
    let paths: Vec<_> = problems.as_slice().iter().map(|p| (p.line, p.column, p.path.as_str())).collect();
    assert_eq!(paths, [(4, 26, "services.a.image.name"), (4, 26, "services.b.image.name")]);
}

#[test]
fn bytes_that_are_not_text_are_refused_with_their_line() {
    let problems = parse_bytes("latin.yaml", b"version: v1\ndeployment: sh\xf6p\n").unwrap_err();
    assert!(problems.to_string().starts_with("latin.yaml:2:1: found the byte 0xf6, which is not UTF-8"), "{problems}");
    assert!(
        parse_bytes(
            "bom.yaml",
            b"\xef\xbb\xbfversion: v1\r\ndeployment: shop\r\nservices: {a: {image: {name: localhost/x:1}}}\r\n"
        )
        .is_ok()
    );
    assert!(parse_bytes("empty.yaml", b"").unwrap_err().to_string().contains("an empty file"));
}
