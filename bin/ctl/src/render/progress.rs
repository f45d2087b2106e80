//! How far a rollout is: a block that is drawn over itself on a terminal, lines when something changed elsewhere.

use super::table::plain;
use orlop_client::rollout::ServiceProgress;

/// What was shown last.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    shown: Vec<String>,
}

impl Progress {
    /// What to write to a terminal: the block in place of the one before.
    pub(crate) fn redraw(&mut self, services: &[ServiceProgress], columns: usize) -> String {
        let lines: Vec<String> = services.iter().map(|s| cut(&line(s), columns)).collect();
        if lines == self.shown {
            return String::new();
        }
        let mut text = String::new();
        if !self.shown.is_empty() {
            // Up to the first line of the block, and everything below it away.
            text.push_str(&format!("\x1b[{}A\x1b[J", self.shown.len()));
        }
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        self.shown = lines;
        text
    }

    /// What to write to a file: the lines that were not there before.
    pub(crate) fn append(&mut self, services: &[ServiceProgress]) -> String {
        let lines: Vec<String> = services.iter().map(line).collect();
        let news: String = lines.iter().filter(|l| !self.shown.contains(l)).map(|l| format!("{l}\n")).collect();
        self.shown = lines;
        news
    }
}

fn line(service: &ServiceProgress) -> String {
    let mut text = format!("{}: {}", service.service, summary(service));
    if let Some(note) = &service.note {
        text.push_str(&format!(" ({note})"));
    }
    plain(&text)
}

/// `1 of 3 ready, 2 others to stop`.
pub(crate) fn summary(service: &ServiceProgress) -> String {
    let ready = match service.wanted {
        0 => "none wanted".to_owned(),
        wanted => format!("{} of {wanted} ready", service.ready),
    };
    match service.others {
        0 => ready,
        1 => format!("{ready}, 1 other to stop"),
        others => format!("{ready}, {others} others to stop"),
    }
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns || columns < 2 {
        return text.to_owned();
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}
