//! Runs that touch others, and journals that are read.

use crate::bench::*;
use orlop_durable_core::{Input, Message, Recovered, Request};
use orlop_model::durable::{CommandKind, EngineFrame, Entry, Record, Seq, WorkerFrame};

fn bench() -> Bench {
    let mut bench = Bench::new(1, Recovered::default());
    bench.worker(1, 10, 10, Vec::new());
    bench
}

#[test]
fn a_child_ends_together_with_the_answer_to_a_parent_that_is_not_in_memory() {
    let mut bench = bench();
    let (parent, kid) = (run(1), run(2));
    bench.start(parent, "");
    bench.advance(1, parent, vec![command(1, child(kid, ""))], None);
    bench.park(1, parent);
    let early = bench.advance(1, kid, vec![command(0, CommandKind::Finished(ok()))], seen(1));
    assert_eq!((early.writes.len(), reads(&early, parent)), (0, 1), "an engine that dies now has lost nothing");
    let later = bench.read(parent);
    assert!(is_closed(&later, kid));
    assert_eq!(answers(&later, parent), 1);
}

#[test]
fn a_run_that_ends_takes_its_children_with_it_also_those_that_are_not_in_memory() {
    let mut bench = bench();
    let (parent, kid) = (run(1), run(2));
    bench.start(parent, "");
    bench.advance(1, parent, vec![command(1, child(kid, ""))], None);
    bench.park(1, kid);
    let early = bench.advance(1, parent, vec![command(0, CommandKind::Finished(ok()))], seen(2));
    assert!(!is_closed(&early, parent));
    let later = bench.read(kid);
    assert!(is_closed(&later, parent));
    assert!(matches!(bench.stored(kid).entries.last(), Some(Entry { record: Record::CancelRequested { .. }, .. })));
}

#[test]
fn a_signal_leaves_one_journal_and_enters_the_other_in_one_go() {
    let mut bench = bench();
    let (from, to) = (run(1), run(2));
    bench.start(from, "");
    bench.start(to, "");
    bench.park(1, to);
    let kind = CommandKind::SignalSent { run: to, name: "a".into(), payload: Default::default() };
    let early = bench.advance(1, from, vec![command(1, kind)], None);
    assert_eq!((early.writes.len(), reads(&early, to)), (0, 1));
    // What it says next waits behind.
    bench.advance(1, from, vec![command(0, CommandKind::Finished(ok()))], seen(2));
    assert_eq!(bench.stored(from).entries.len(), 1);
    let later = bench.read(to);
    assert!(is_closed(&later, from));
    assert_eq!(bench.signals_of(to), 1);
}

#[test]
fn who_cannot_be_told_because_it_is_over_does_not_hold_anybody_up() {
    let mut bench = bench();
    bench.start(run(1), "");
    let kind = CommandKind::RunCancelled(run(9));
    bench.advance(1, run(1), vec![command(1, kind), command(0, CommandKind::Finished(ok()))], seen(1));
    assert!(is_closed(&bench.read(run(9)), run(1)), "there is no such run");
}

#[test]
fn a_read_that_is_older_than_what_was_written_since_is_made_again() {
    let mut bench = bench();
    let id = run(1);
    bench.start(id, "");
    for number in 0..70 {
        bench.request(Request::Signal(id, signal(&number.to_string())));
    }
    // Its journal is too long for the memory: the next worker waits for a read, and is gone before that is back.
    bench.take(Input::Disconnected(session(1)));
    bench.worker(2, 1, 0, Vec::new());
    let first = bench.frame(2, WorkerFrame::Credit { tasks: 1, runs: 1 });
    assert_eq!(reads(&first, id), 1);
    let old = bench.stored(id);
    bench.take(Input::Disconnected(session(2)));
    bench.request(Request::Signal(id, signal("another")));
    bench.worker(3, 1, 1, Vec::new());
    let again = bench.take(Input::RunLoaded(id, Some(Box::new(old))));
    assert_eq!((again.messages.len(), reads(&again, id)), (0, 1));
    let assigned = bench.read(id);
    let Some(Message::ToWorker(_, EngineFrame::RunAssigned { entries, .. })) = assigned.messages.first() else {
        panic!("{assigned:?}")
    };
    assert_eq!(*entries, bench.stored(id).entries);
}

#[test]
fn signals_that_a_workflow_had_not_heard_of_go_on_with_its_next_run() {
    let mut bench = bench();
    bench.start(run(1), "");
    bench.request(Request::Signal(run(1), signal("")));
    bench.advance(1, run(1), vec![command(0, goes_on_as(run(2)))], seen(1));
    assert_eq!(bench.signals_of(run(2)), 1, "it had seen the beginning only");
    bench.request(Request::Signal(run(2), signal("")));
    bench.advance(1, run(2), vec![command(0, goes_on_as(run(3)))], seen(3));
    assert_eq!(bench.signals_of(run(3)), 0, "it had seen both, and took them");
    // One of the two entries that it counts is a command, which is written behind the signal.
    bench.request(Request::Signal(run(3), signal("")));
    let patch = CommandKind::PatchMarked { id: "new".into() };
    bench.advance(1, run(3), vec![command(0, patch)], None);
    bench.advance(1, run(3), vec![command(0, goes_on_as(run(4)))], seen(2));
    assert_eq!(bench.signals_of(run(4)), 1);
}

#[test]
fn a_signal_that_a_run_had_is_known_when_it_comes_again_for_the_next_one() {
    let mut bench = bench();
    bench.start(run(1), "");
    bench.request(Request::Signal(run(1), signal("once")));
    bench.advance(1, run(1), vec![command(0, goes_on_as(run(2)))], seen(2));
    bench.request(Request::Signal(run(1), signal("once")));
    assert!(is_done(&bench.read(run(1))));
    assert_eq!(bench.signals_of(run(2)), 0);
    bench.request(Request::Signal(run(1), signal("another")));
    assert!(is_done(&bench.read(run(1))));
    assert_eq!(bench.signals_of(run(2)), 1);
}

#[test]
fn what_comes_of_the_last_commands_comes_before_the_end() {
    let mut bench = bench();
    bench.start(run(1), "");
    let kind = CommandKind::SignalSent { run: run(1), name: "a".into(), payload: Default::default() };
    let effects = bench.advance(1, run(1), vec![command(1, kind), command(0, CommandKind::Finished(ok()))], seen(1));
    assert!(is_closed(&effects, run(1)));
    let entries = bench.stored(run(1)).entries;
    assert!(matches!(&entries[2].record, Record::SignalReceived(_)));
    assert!(matches!(&entries[3].record, Record::Command(last) if matches!(last.kind, CommandKind::Finished(_))));
}

#[test]
fn a_run_does_not_wait_while_there_are_answers_that_it_has_not_seen() {
    let mut bench = bench();
    bench.start(run(1), "key");
    bench.start(run(2), "");
    bench.advance(1, run(2), vec![command(1, child(run(3), "key"))], seen(1));
    assert_eq!(bench.stored(run(2)).entries.last().map(|entry| entry.seq), Some(Seq(2)), "the key is taken");
    assert!(bench.engine().run_view(run(2)).is_some_and(|view| view.waiting.is_none()));
}

#[test]
fn nothing_is_evicted_when_nobody_needs_the_room() {
    let mut bench = Bench::new(1, Recovered::default());
    bench.worker(1, 1, 1, Vec::new());
    bench.start(run(1), "");
    bench.advance(1, run(1), Vec::new(), seen(1));
    assert!(!bench.stored(run(1)).parked);
    bench.take(Input::Tick);
    assert!(!bench.stored(run(1)).parked);
    bench.start(run(2), "");
    assert!(bench.stored(run(1)).parked, "now somebody does");
}
