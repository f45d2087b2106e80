//! What is printed at the end.

use crate::record::{Did, Record, silence};
use crate::schedule::Round;
use crate::watcher::Told;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// When a round began, was mended, and was over: the members agreed, and clients wrote again.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) round: Round,
    pub(crate) from: u64,
    pub(crate) healed: u64,
    pub(crate) to: u64,
}

#[derive(Default)]
struct Row {
    times: usize,
    silent: Duration,
    healed: Duration,
    well: Duration,
}

/// How often each kind of fault came, and for how long at most no write was acknowledged.
pub(crate) fn faults(past: &[Past], acknowledged: &[u64]) -> String {
    let mut rows: BTreeMap<(bool, &str), Row> = BTreeMap::new();
    for Past { round, from, healed, to } in past {
        let (silent, after) = silence(acknowledged, *from, *healed, *to);
        // Of two that overlap it is not known which of them it was.
        let both = round.faults.len() > 1;
        let row = rows.entry((both, if both { "two at once" } else { round.faults[0].kind.words() })).or_default();
        row.times += 1;
        row.silent = row.silent.max(silent);
        row.healed = row.healed.max(after);
        row.well = row.well.max(Duration::from_nanos(to.saturating_sub(*healed)));
    }
    let mut text = format!(
        "{:<30} {:>6} {:>18} {:>18} {:>18}\n",
        "fault", "times", "longest no write", "once mended", "well again"
    );
    for ((_, words), row) in rows {
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let Row { times, silent, healed, well } = row;
        let (silent, healed, well) = (seconds(silent), seconds(healed), seconds(well));
        let _ = writeln!(text, "{words:<30} {times:>6} {silent:>18} {healed:>18} {well:>18}");
    }
    text
}

/// What clients did and were told, and what watchers were.
pub(crate) fn operations(record: &Record, all: &[Did], watchers: &[(String, Told)]) -> String {
    let count = |of: &dyn Fn(&Did) -> bool| all.iter().filter(|did| of(did)).count();
    let (written, again) = (
        count(&|did| did.write.is_some() && did.heard.is_some()),
        count(&|did| did.write.is_some() && did.heard.is_some() && did.attempts > 1),
    );
    let (unknown, read) = (
        count(&|did| did.write.is_some() && did.heard.is_none()),
        count(&|did| did.write.is_none() && did.heard.is_some()),
    );
    let mut text = format!(
        "operations: {written} writes acknowledged ({again} after they were asked for again), {unknown} of which nobody \
         knows, {read} reads\n"
    );
    for (code, (times, first)) in record.noes() {
        let _ = writeln!(text, "  {code}: {times}, first: {first}");
    }
    for (name, told) in watchers {
        let snapshots = told.updates.iter().filter(|update| update.snapshot).count();
        let (updates, resumed) = (told.updates.len(), told.resumed);
        let _ = writeln!(text, "watcher of {name}: {updates} updates, resumed {resumed} times, {snapshots} snapshots");
    }
    text
}
