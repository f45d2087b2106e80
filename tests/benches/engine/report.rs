//! What is printed: a figure of ours, that of a peer beside it, their ratio, and what should be.

/// Of a figure of ours, or of its ratio to a peer's.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn reached(self, value: f64) -> bool {
        match self {
            Goal::AtMost(limit) => value <= limit,
            Goal::AtLeast(limit) => value >= limit,
        }
    }

    fn told(self, unit: &str) -> String {
        match self {
            Goal::AtMost(limit) => format!("≤ {limit}{unit}"),
            Goal::AtLeast(limit) => format!("≥ {limit}{unit}"),
        }
    }
}

pub(crate) fn header() {
    line("", "ours", "peer", "ratio", "goal", "");
}

/// A figure of ours; the goal is its own.
pub(crate) fn alone(what: &str, ours: f64, unit: &str, goal: Option<Goal>) {
    let told = goal.map(|goal| goal.told(&format!(" {unit}"))).unwrap_or_default();
    line(what, &figure(ours, unit), "", "", &told, verdict(goal, ours));
}

/// A figure of ours and of a peer; the goal is that of their ratio.
pub(crate) fn beside(what: &str, ours: f64, unit: &str, (name, peer): (&str, f64), goal: Option<Goal>) {
    let ratio = ours / peer;
    let told = goal.map(|goal| goal.told("×")).unwrap_or_default();
    let peer = format!("{name} {}", figure(peer, unit));
    line(what, &figure(ours, unit), &peer, &format!("{ratio:.2}"), &told, verdict(goal, ratio));
}

fn verdict(goal: Option<Goal>, value: f64) -> &'static str {
    if goal.is_none_or(|goal| goal.reached(value)) { "" } else { "  MISSED" }
}

fn figure(value: f64, unit: &str) -> String {
    let digits = match value {
        ..1.0 => 3,
        ..100.0 => 2,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

fn line(what: &str, ours: &str, peer: &str, ratio: &str, goal: &str, verdict: &str) {
    println!("{what:<58} {ours:>11} {peer:>25} {ratio:>7} {goal:>11}{verdict}");
}
