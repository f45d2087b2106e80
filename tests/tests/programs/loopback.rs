//! Calls carry no identity yet: no program listens where another machine could reach it, but for a proxy, which takes no
//! calls and serves what is public.

use crate::refusal;
use std::path::Path;

struct Case {
    program: &'static str,
    arguments: &'static [&'static str],
    /// Named in the message.
    address: &'static str,
}

const fn flags(program: &'static str, arguments: &'static [&'static str], address: &'static str) -> Case {
    Case { program, arguments, address }
}

/// `FOLDER` stands for a folder of the test.
const CASES: [Case; 6] = [
    flags("orlop-control-plane", &["--data-dir", "FOLDER/made", "--listen", "http://0.0.0.0:0"], "0.0.0.0"),
    flags("orlop-control-plane", &["--data-dir", "FOLDER/made", "--listen", "http://[::]:0"], "[::]"),
    // Not even what would be allowed by itself.
    flags(
        "orlop-control-plane",
        &["--data-dir", "FOLDER/made", "--listen", "unix:FOLDER/made.sock", "--listen", "http://192.0.2.1:7700"],
        "192.0.2.1",
    ),
    flags(
        "orlopctl",
        &["dev", "--data", "FOLDER/made", "--run", "FOLDER/made2", "--http", "0.0.0.0:0", "--containerd", "own"],
        "0.0.0.0",
    ),
    flags(
        "orlopctl",
        &["dev", "--data", "FOLDER/made", "--run", "FOLDER/made2", "--http", "127.0.0.1:0", "--listen", "[::]:0"],
        "[::]",
    ),
    flags("orlopctl", &["--address", "http://192.0.2.1:7700", "status"], "192.0.2.1"),
];

fn entries(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).expect("the folder").flatten();
    let mut names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with("made"));
    names
}

#[test]
fn an_address_that_others_reach_is_refused_before_anything_is_bound_or_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    for Case { program, arguments, address } in CASES {
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.replace("FOLDER", &path)).collect();
        let (code, said) = refusal(folder.path(), program, &arguments, &[]);
        let what = format!("{program} {arguments:?}: {code:?} {said}");
        assert!(code.is_some_and(|code| code != 0), "{what}");
        assert!(said.contains(address) && (said.contains("identit") || said.contains("TLS")), "{what}");
        assert_eq!(entries(folder.path()), Vec::<String>::new(), "{what}");
    }
}
