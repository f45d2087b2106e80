use super::*;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

fn at(second: u64) -> String {
    format!("1970-01-01T00:00:{second:02}.000000000Z")
}

/// Appends raw lines to a file of a log directory.
fn append(directory: &Path, number: u64, text: &str) {
    fs::create_dir_all(directory).unwrap();
    let mut file = OpenOptions::new().create(true).append(true).open(file(directory, number)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn line(second: u64, text: &str) -> String {
    format!("{} stdout F {text}\n", at(second))
}

async fn next(reader: &mut Reader) -> Option<Item> {
    tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("something to read").unwrap()
}

fn text(item: Option<Item>) -> String {
    match item {
        Some(Item::Line(index, line)) => format!("{index}:{}", String::from_utf8(line.text.to_vec()).unwrap()),
        Some(Item::CaughtUp) => "caught up".into(),
        None => "end".into(),
    }
}

async fn all(directories: &[&Path], query: Query) -> Vec<String> {
    let mut reader = Reader::open(directories.iter().map(|path| path.to_path_buf()).collect(), query).unwrap();
    let mut found = Vec::new();
    while let Some(item) = next(&mut reader).await {
        found.push(text(Some(item)));
    }
    found
}

#[tokio::test]
async fn history_is_merged_by_time_over_files_and_directories() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    append(&a, 3, &(line(1, "a1") + &line(4, "a4")));
    append(&a, 4, &line(6, "a6"));
    append(&a, 10, &line(9, "a9"));
    append(&b, 0, &(line(2, "b2") + "garbage\n" + &line(5, "b5") + &line(7, "b7") + &at(8) + " stdout F to"));
    let missing = root.path().join("missing");
    let query = Query::default();
    assert_eq!(all(&[&a, &b, &missing], query).await, ["0:a1", "1:b2", "0:a4", "1:b5", "0:a6", "1:b7", "0:a9"]);
    let since_ns = 5_000_000_000;
    assert_eq!(all(&[&a, &b], Query { since_ns, ..query }).await, ["1:b5", "0:a6", "1:b7", "0:a9"]);
    for tail in 0..9 {
        let expected = all(&[&a, &b], query).await;
        let expected = &expected[expected.len().saturating_sub(tail)..];
        assert_eq!(all(&[&a, &b], Query { tail: Some(tail), ..query }).await, expected, "{tail}");
    }
    assert_eq!(all(&[&a, &b], Query { tail: Some(3), since_ns, follow: false }).await, ["0:a6", "1:b7", "0:a9"]);
    assert_eq!(all(&[&a, &b], Query { tail: Some(9), since_ns, follow: false }).await.len(), 4);
}

#[tokio::test]
async fn parts_are_put_together_and_streams_kept_apart() {
    let root = tempfile::tempdir().unwrap();
    let part = |second, stream: &str, flag: &str, text: &str| format!("{} {stream} {flag} {text}\n", at(second));
    append(
        root.path(),
        0,
        &[part(1, "stdout", "P", "ab"), part(2, "stderr", "F", "x"), part(3, "stdout", "P", "cd")].concat(),
    );
    append(root.path(), 1, &[part(4, "stdout", "F", "e"), part(5, "stdout", "P", "unended")].concat());
    assert_eq!(all(&[root.path()], Query::default()).await, ["0:x", "0:abcde", "0:unended"]);
    assert_eq!(all(&[root.path()], Query { tail: Some(1), ..Query::default() }).await.last().unwrap(), "0:unended");
    let long = "y".repeat(16 << 10);
    let many: String = (0..40).map(|_| part(6, "stdout", "P", &long)).collect();
    append(root.path(), 2, &many);
    let lengths: Vec<_> = all(&[root.path()], Query::default()).await.iter().map(String::len).collect();
    assert!(lengths.iter().all(|length| *length <= (256 << 10) + (16 << 10)), "{lengths:?}");
    assert_eq!(lengths.iter().sum::<usize>(), 40 * (16 << 10) + "0:x0:abcde0:unended0:0:".len());
}

#[tokio::test]
async fn following_goes_over_rotations_and_into_directories_that_come_later() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("deep/er/a"), root.path().join("b"));
    append(&b, 0, &line(1, "old"));
    let query = Query { follow: true, ..Query::default() };
    let mut reader = Reader::open(vec![a.clone(), b.clone()], query).unwrap();
    assert_eq!(text(next(&mut reader).await), "1:old");
    assert_eq!(text(next(&mut reader).await), "caught up");
    append(&a, 0, &line(2, "first"));
    assert_eq!(text(next(&mut reader).await), "0:first");
    append(&b, 0, "1970-01-01T00:00:03.000000000Z stdout F in tw");
    append(&b, 0, "o pieces\n");
    append(&b, 1, &line(4, "rotated"));
    append(&b, 2, &line(5, "again"));
    for expected in ["1:in two pieces", "1:rotated", "1:again"] {
        assert_eq!(text(next(&mut reader).await), expected);
    }
    let c = root.path().join("c");
    append(&c, 0, &line(6, "new"));
    assert_eq!(reader.add(c).unwrap(), 2);
    assert_eq!(text(next(&mut reader).await), "2:new");
    // The file being read and others are removed, as a flood does.
    fs::remove_file(file(&b, 0)).unwrap();
    fs::remove_file(file(&b, 1)).unwrap();
    fs::remove_file(file(&b, 2)).unwrap();
    append(&b, 9, &line(7, "after the flood"));
    assert_eq!(text(next(&mut reader).await), "1:after the flood");
}

#[tokio::test]
async fn a_tail_with_follow_goes_on_where_it_began() {
    let root = tempfile::tempdir().unwrap();
    append(root.path(), 0, &(1..10).map(|i| line(i, &i.to_string())).collect::<String>());
    let query = Query { follow: true, tail: Some(2), since_ns: 0 };
    let mut reader = Reader::open(vec![root.path().to_path_buf()], query).unwrap();
    // Written after the opening, so not of the tail.
    append(root.path(), 0, &line(11, "11"));
    let mut found = Vec::new();
    for _ in 0..4 {
        found.push(text(next(&mut reader).await));
    }
    assert_eq!(found, ["0:8", "0:9", "caught up", "0:11"]);
}

#[tokio::test]
async fn the_tail_of_a_large_log_is_found_from_its_end() {
    let root = tempfile::tempdir().unwrap();
    // 1 GiB of nothing, as a hole, with lines before and after it: reading forward would take long and is not needed.
    append(root.path(), 0, &line(1, "before"));
    let large = OpenOptions::new().append(true).open(file(root.path(), 0)).unwrap();
    large.set_len(1 << 30).unwrap();
    append(root.path(), 0, &("\n".to_owned() + &(1..20).map(|i| line(i, &i.to_string())).collect::<String>()));
    let begin = std::time::Instant::now();
    let found = all(&[root.path()], Query { tail: Some(10), ..Query::default() }).await;
    assert_eq!(found.len(), 10);
    assert_eq!(found[0], "0:10");
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
}

#[test]
fn a_sweep_removes_the_old_then_the_oldest_and_never_the_live() {
    let root = tempfile::tempdir().unwrap();
    let log = |name: &str, age: u64, bytes: usize| {
        let directory = root.path().join(name);
        append(&directory, 0, &"x".repeat(bytes));
        let modified = std::time::SystemTime::now() - Duration::from_secs(age);
        OpenOptions::new().append(true).open(file(&directory, 0)).unwrap().set_modified(modified).unwrap();
        directory
    };
    let ancient = log("shop/api/0/rep_1", 1000, 10);
    let living = log("shop/api/0/rep_2", 2000, 500);
    let older = log("shop/db/0/rep_3", 50, 300);
    let newer = log("other/db/0/rep_4", 10, 300);
    let live = living.clone();
    let swept = sweep(root.path(), &|path| path == live, Duration::from_secs(100), 800).unwrap();
    assert_eq!(swept, Swept { directories: 2, bytes: 310, kept_bytes: 800 });
    assert!(!ancient.exists() && !older.exists() && living.exists() && newer.exists());
    assert!(!root.path().join("shop/db").exists());
    assert_eq!(sweep(&root.path().join("none"), &|_| false, Duration::ZERO, 0).unwrap(), Swept::default());
}
