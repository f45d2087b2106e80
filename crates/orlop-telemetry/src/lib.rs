//! What every program of Orlop says about itself: log lines to standard error, as JSON for machines or text for people.
//!
//! Values are fields, not text in the message; spans carry the ids (`replica`, `node`, `service`…), so that lines need
//! not. What each level means, in all programs:
//!
//! | level | for |
//! |---|---|
//! | `trace` | each packet, each pass of a loop |
//! | `debug` | a branch that was taken; what may hold private values |
//! | `info` | a change that a user would notice: a replica started, a listener bound |
//! | `warn` | what could wake a person: a retry that keeps failing, an invalid message from a peer |
//! | `error` | something stopped and will not come back by itself |

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::str::FromStr;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// For a person at a terminal.
    Text,
}

impl FromStr for Format {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "json" => Ok(Format::Json),
            "text" => Ok(Format::Text),
            _ => Err(TelemetryError::Format { found: text.to_owned() }),
        }
    }
}

/// What was wrong with the wish.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Neither of the formats.
    #[error("{found:?} is not a log format: expected json or text")]
    Format {
        /// What was asked for.
        found: String,
    },
    /// A filter that cannot be read.
    #[error(
        "{filter:?} is not a log filter ({reason}): expected a level (error, warn, info, debug, trace, off), or levels per target as in \"info,orlop_agent=debug\""
    )]
    Filter {
        /// The filter.
        filter: String,
        /// What the parser said.
        reason: String,
    },
    /// The process logs already.
    #[error("logging was already set up in this process")]
    Again,
}

/// Sends log lines and panics of the whole process to standard error. To be called once, by `main`.
///
/// `role` (`agent`, `scheduler`, … or `dev`) is part of every line. `filter` is a level or a list of `target=level`; a
/// level without a target speaks of Orlop's own programs, while the libraries underneath stay at `warn` unless the filter
/// names them.
pub fn init(role: &'static str, format: Format, filter: &str) -> Result<(), TelemetryError> {
    let colours = std::io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(role, format, filter, colours, std::io::stderr)?)
        .map_err(|_| TelemetryError::Again)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn subscriber<W>(
    role: &'static str,
    format: Format,
    filter: &str,
    colours: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = parse_filter(filter)?;
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Json => {
            let json = fmt::format().json().flatten_event(true).with_current_span(false).with_span_list(true);
            fmt::layer().json().event_format(WithRole { role, format, inner: json }).with_writer(writer).boxed()
        }
        Format::Text => {
            let text = fmt::format().with_target(false);
            let event_format = WithRole { role, format, inner: text };
            fmt::layer().event_format(event_format).with_ansi(colours).with_writer(writer).boxed()
        }
    };
    Ok(tracing_subscriber::registry().with(layer.with_filter(filter)))
}

/// Levels without a target are meant for `orlop…`; everything else gets them only where they are quieter than `warn`.
fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    // openraft warns of what it handles itself, such as an answer to an earlier vote.
    let mut directives = String::from("warn,openraft=error");
    for directive in filter.split(',').map(str::trim).filter(|d| !d.is_empty()) {
        match directive.parse::<LevelFilter>() {
            Ok(level) if level < LevelFilter::WARN => directives.push_str(&format!(",{level},orlop={level}")),
            Ok(level) => directives.push_str(&format!(",orlop={level}")),
            Err(_) => directives.push_str(&format!(",{directive}")),
        }
    }
    EnvFilter::builder()
        .parse(&directives)
        .map_err(|e| TelemetryError::Filter { filter: filter.to_owned(), reason: e.to_string() })
}

/// Formats an event with the program's role in front.
struct WithRole<F> {
    role: &'static str,
    format: Format,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for WithRole<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        if self.format == Format::Text {
            write!(writer, "{:<13} ", self.role)?;
            return self.inner.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(writer, "{{\"role\":\"{}\",{rest}", self.role),
            None => writer.write_str(&line),
        }
    }
}

/// A panic is an error like any other line of the log, so that it reaches whoever reads the log.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(a panic without text)");
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("(unnamed)");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(thread, at, %backtrace, "panicked: {message}");
    } else {
        tracing::error!(thread, at, "panicked: {message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber("agent", format, filter, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!(target: "orlop_agent", "start", replica = "rep_1").entered();
            tracing::info!(target: "orlop_agent", node = "alpha", "a \"quoted\" message");
            tracing::debug!(target: "orlop_agent", "details");
            tracing::info!(target: "h2", "frames");
            tracing::warn!(target: "h2", "trouble");
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_carries_role_fields_and_the_ids_of_its_spans() {
        let logged = logged(Format::Json, "info");
        let first: serde_json::Value = serde_json::from_str(logged.lines().next().unwrap()).unwrap();
        assert_eq!(first["role"], "agent");
        assert_eq!(first["level"], "INFO");
        assert_eq!(first["message"], "a \"quoted\" message");
        assert_eq!(first["node"], "alpha");
        assert_eq!(first["spans"][0]["replica"], "rep_1");
        assert!(first["timestamp"].as_str().unwrap().ends_with('Z'), "{first}");
    }

    #[test]
    fn a_text_line_is_one_line_with_the_role_in_front() {
        let logged = logged(Format::Text, "info");
        let first = logged.lines().next().unwrap();
        assert!(first.starts_with("agent "), "{first}");
        assert!(first.contains("replica=\"rep_1\"") && first.contains("node=\"alpha\""), "{first}");
    }

    #[test]
    fn a_level_speaks_of_orlop_and_libraries_stay_at_warn() {
        let said = |filter: &str| {
            let logged = logged(Format::Text, filter);
            ["message", "details", "frames", "trouble"].map(|text| logged.contains(text))
        };
        assert_eq!(said("info"), [true, false, false, true]);
        assert_eq!(said("debug"), [true, true, false, true]);
        assert_eq!(said(""), [false, false, false, true]);
        assert_eq!(said("error"), [false, false, false, false]);
        assert_eq!(said("off"), [false, false, false, false]);
        assert_eq!(said("warn,orlop_agent=debug"), [true, true, false, true]);
        assert_eq!(said("info,h2=info"), [true, false, true, true]);
    }

    #[test]
    fn a_filter_or_format_that_cannot_be_read_is_refused_with_what_is_allowed() {
        let error = parse_filter("orlop_agent=loud").unwrap_err().to_string();
        assert!(error.contains("orlop_agent=loud") && error.contains("debug"), "{error}");
        assert_eq!(
            "xml".parse::<Format>().unwrap_err().to_string(),
            "\"xml\" is not a log format: expected json or text"
        );
    }
}
