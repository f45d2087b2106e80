//! Why a process that ended at once never was one: the kernel refused to execute the program.
//!
//! runc's init has become the container's process by then. It writes one line, `exec /app: exec format error`, and exits
//! with code 1, which nobody can tell from a program that does so. Its line is the first of the attempt, because no
//! program has run before it.

use orlop_model::{Exit, Reason};
use orlop_runtime::logs::{Item, Line, Query, Reader};
use std::path::PathBuf;
use std::time::Duration;

/// How long the logger may take to write down what was said before the end.
const WRITTEN_WITHIN: Duration = Duration::from_millis(100);
/// What runc's init exits with.
const REFUSED: u32 = 1;

/// The reason, if the process that ended like this was refused. `since_ns` is a time before its start, in nanoseconds
/// since the Unix epoch.
pub(crate) async fn refusal(exit: &Exit, logs: PathBuf, since_ns: u64) -> Option<Reason> {
    if exit.code != REFUSED || exit.out_of_memory {
        return None;
    }
    let first = async {
        let query = Query { since_ns, tail: None, follow: true };
        let mut reader = Reader::open(vec![logs], query).ok()?;
        loop {
            match reader.next().await {
                Ok(Some(Item::Line(_, line))) => return Some(line),
                Ok(Some(Item::CaughtUp)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    };
    meaning(&tokio::time::timeout(WRITTEN_WITHIN, first).await.ok()??)
}

fn meaning(line: &Line) -> Option<Reason> {
    let text = std::str::from_utf8(&line.text).ok()?;
    let (program, cause) = text.strip_prefix("exec ").filter(|rest| rest.starts_with('/'))?.rsplit_once(": ")?;
    let (code, what) = match cause {
        "exec format error" => {
            ("not_a_program", "it is neither a program for this machine nor a script that begins with #!")
        }
        "no such file or directory" => ("interpreter_missing", "the interpreter that it names is not in the image"),
        "permission denied" => ("permission_denied", "the user that it runs as may not"),
        _ => return None,
    };
    Some(Reason::new(code, format!("{program} cannot be executed: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::Timestamp;
    use orlop_runtime::logs::Stream;

    #[test]
    fn what_runc_says_last_is_understood_and_what_programs_say_is_not() {
        for (text, code) in [
            ("exec /app: exec format error", Some("not_a_program")),
            ("exec /srv/run me.sh: no such file or directory", Some("interpreter_missing")),
            ("exec /app: permission denied", Some("permission_denied")),
            ("exec /app: text file busy", None),
            ("exec: /app: not found", None),
            ("cannot exec /app: exec format error", None),
            ("", None),
        ] {
            let line = Line { at_ns: 1, stream: Stream::Stderr, text: text.as_bytes().to_vec().into() };
            assert_eq!(meaning(&line).map(|reason| reason.code).as_deref(), code, "{text}");
        }
    }

    #[tokio::test]
    async fn only_the_first_line_of_the_attempt_counts_and_only_with_runcs_code() {
        let folder = tempfile::tempdir().expect("a folder");
        let lines = "2026-11-21T08:00:00.000000000Z stderr F exec /old: exec format error\n\
                     2026-11-21T08:00:01.000000000Z stderr F exec /app: no such file or directory\n";
        std::fs::write(folder.path().join("0.log"), lines).expect("a file");
        let since = 1_795_248_000_500_000_000;
        let exit = |code| Exit { code, out_of_memory: false, at: Timestamp(1) };
        let refused = refusal(&exit(1), folder.path().to_owned(), since).await;
        assert_eq!(refused.map(|reason| reason.code).as_deref(), Some("interpreter_missing"));
        assert_eq!(refusal(&exit(2), folder.path().to_owned(), since).await, None);
        assert_eq!(refusal(&exit(1), folder.path().to_owned(), since + 1_000_000_000).await, None);
        assert_eq!(refusal(&exit(1), folder.path().join("none"), 0).await, None);
    }
}
