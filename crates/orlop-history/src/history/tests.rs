use super::Operation::{Read, Swap, Write};
use super::*;
use crate::chance::Chance;

fn verdict(events: &[(Operation, u64, Option<u64>)]) -> bool {
    let mut history = History::default();
    events.iter().for_each(|(operation, called, returned)| history.push(7, *operation, *called, *returned));
    history.judge(|| true).is_ok()
}

#[test]
fn histories_are_judged_as_the_definition_says() {
    type Case = (&'static str, bool, &'static [(Operation, u64, Option<u64>)]);
    let cases: [Case; 12] = [
        ("nothing", true, &[]),
        ("the beginning", true, &[(Read(0), 0, Some(1))]),
        ("a write is seen", true, &[(Write(5), 0, Some(1)), (Read(5), 2, Some(3))]),
        ("a write is not seen", false, &[(Write(5), 0, Some(1)), (Read(0), 2, Some(3))]),
        ("a value out of nowhere", false, &[(Read(5), 0, Some(1))]),
        (
            "reads beside a write go either way, but not back",
            false,
            &[(Write(5), 0, Some(9)), (Read(5), 1, Some(2)), (Read(0), 3, Some(4))],
        ),
        (
            "reads beside a write go forward",
            true,
            &[(Write(5), 0, Some(9)), (Read(0), 1, Some(2)), (Read(5), 3, Some(4))],
        ),
        ("an unknown write may come late", true, &[(Write(5), 0, None), (Read(0), 2, Some(3)), (Read(5), 4, Some(5))]),
        ("a swap is told what was there", true, &[(Write(5), 0, Some(1)), (Swap { found: 5, to: 6 }, 2, Some(3))]),
        (
            "two swaps are told the same",
            false,
            &[(Swap { found: 0, to: 5 }, 0, Some(9)), (Swap { found: 0, to: 6 }, 1, Some(8))],
        ),
        (
            "a write that was acknowledged is lost",
            false,
            &[
                (Write(5), 0, Some(1)),
                (Swap { found: 5, to: 6 }, 2, Some(3)),
                (Swap { found: 5, to: 7 }, 4, Some(5)),
                (Read(7), 6, Some(7)),
            ],
        ),
        (
            "an unknown write comes once",
            false,
            &[
                (Write(5), 0, None),
                (Read(5), 1, Some(2)),
                (Write(6), 3, Some(4)),
                (Read(6), 5, Some(6)),
                (Read(5), 7, Some(8)),
            ],
        ),
    ];
    for (name, expected, events) in cases {
        assert_eq!(verdict(events), expected, "{name}");
    }
}

fn in_order(events: &[Event]) -> Vec<Event> {
    let mut events = events.to_vec();
    events.sort_by_key(|event| event.called);
    events
}

/// Tries every order.
fn by_force(events: &[Event], done: &mut Vec<bool>, value: Value) -> bool {
    if events.iter().zip(&*done).all(|(event, done)| *done || event.returned.is_none()) {
        return true;
    }
    (0..events.len()).any(|next| {
        let must_come_first = |other: usize| {
            !done[other] && events[other].returned.is_some_and(|returned| returned < events[next].called)
        };
        if done[next] || (0..events.len()).any(must_come_first) {
            return false;
        }
        let Some(after) = events[next].operation.step(value) else { return false };
        done[next] = true;
        let found = by_force(events, done, after);
        done[next] = false;
        found
    })
}

#[test]
fn it_judges_as_trying_every_order_does() {
    let mut verdicts = [0, 0];
    for seed in 0..3000 {
        let mut chance = Chance::new(seed);
        let events: Vec<Event> = (0..chance.between(1, 6))
            .map(|number| {
                let called = chance.between(0, 20);
                let returned = chance.per_mille(800).then(|| called + chance.between(1, 8));
                let operation = match chance.below(3) {
                    0 => Write(number + 1),
                    1 => Swap { found: chance.between(0, number), to: number + 1 },
                    _ => Read(chance.between(0, 6)),
                };
                // One that was told something was answered.
                let returned = if operation.told().is_some() { Some(returned.unwrap_or(called + 1)) } else { returned };
                Event { operation, called: called * 2, returned: returned.map(|at| at * 2 + 1) }
            })
            .collect();
        let expected = by_force(&events, &mut vec![false; events.len()], 0);
        let found = matches!(search::search(&in_order(&events), &mut || true), Outcome::Explained);
        assert_eq!(found, expected, "seed {seed}: {events:?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 300), "{verdicts:?}");
}

/// What so many clients do with one register, one thing after the other each: every write swaps, a tenth of them is never
/// answered, and half of those happened.
fn honest(seed: u64, operations: u64) -> History {
    let (mut chance, mut history, mut value) = (Chance::new(seed), History::default(), 0);
    let mut free = [0_u64; 6];
    for number in 1..=operations {
        // The one that is free first goes on, so what happens does so in the order of these points.
        let client = (0..free.len()).min_by_key(|client| free[*client]).expect("clients");
        let happens = number * 100;
        let called = free[client].max(happens.saturating_sub(chance.between(1, 400)));
        let returned = happens + chance.between(1, 400);
        free[client] = returned + 1;
        match chance.below(10) {
            0 => {
                if chance.per_mille(500) {
                    value = number;
                }
                history.push(1, Write(number), called.min(happens), None);
            }
            1..=4 => {
                history.push(1, Swap { found: value, to: number }, called.min(happens), Some(returned));
                value = number;
            }
            _ => history.push(1, Read(value), called.min(happens), Some(returned)),
        }
    }
    history
}

#[test]
fn a_long_honest_history_is_explained_and_one_stale_read_in_it_is_found_and_shown() {
    let history = honest(7, 20_000);
    assert_eq!(history.judge(|| true), Ok(()));
    // In the middle of it somebody is told what was so long before.
    let mut events: Vec<Event> = history.keys().flat_map(|(_, events)| events.to_vec()).collect();
    let old = events.iter().find_map(|event| event.operation.told().filter(|told| *told > 0)).expect("a value");
    let at = (10_000..).find(|at| matches!(events[*at].operation, Read(_))).expect("a read");
    events[at].operation = Read(old);
    let mut broken = History::default();
    events.iter().for_each(|event| broken.push(1, event.operation, event.called, event.returned));
    let Err(Doubt::Unexplained(unexplained)) = broken.judge(|| true) else { panic!("it was explained") };
    assert_eq!(unexplained.operations, events.len());
    assert!(unexplained.end.contains(&events[at]) && unexplained.end.len() <= SHOWN, "{unexplained:?}");
    let told = Doubt::Unexplained(unexplained).to_string();
    assert!(told.contains(&format!("Read({old})")), "{told}");
    // Who has no time is told that nothing is known.
    assert!(matches!(history.judge(|| false), Err(Doubt::Undecided { key: 1, .. })));
}
