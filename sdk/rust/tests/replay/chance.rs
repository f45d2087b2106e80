//! Workflows that chance writes, on workers that chance takes them from: whatever is replayed, the same comes of it.

use crate::rig::Rig;
use orlop_model::durable::{CommandKind, Record};
use orlop_worker::workflow::{Definition, all, race};
use orlop_worker::{Failure, WorkflowContext};
use std::collections::BTreeSet;
use std::time::Duration;

/// xorshift64* (Vigna 2016).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// One of the things that workflows do. What fails, cancellation included, is part of what it gives.
async fn act(context: &WorkflowContext, depth: u32) -> Result<u64, Failure> {
    let (one, two) = (context.task::<u64>("one", &depth), context.task::<u64>("two", &depth));
    match context.random() % 10 {
        0 => one.await,
        1 => context.sleep(Duration::from_secs(1)).await.map(|()| 1),
        2 => context.step("step", || async { Ok(2) }).await,
        3 => all([one, two]).await.into_iter().sum(),
        4 => race([one.start(), two.start(), context.step("step", || async { Ok(3) }).start()]).await.1,
        5 => {
            let timer = context.sleep(Duration::from_secs(1)).start();
            match futures::future::select(timer, context.signal::<u64>("s")).await {
                futures::future::Either::Left((end, _)) => end.map(|()| 5),
                futures::future::Either::Right((value, _)) => value,
            }
        }
        6 => context.child("child", &depth).await,
        7 => {
            context.set_attributes([("depth", depth.to_string())]);
            context.send_signal(context.run_id(), "other", &depth)?;
            Ok(7)
        }
        8 if depth > 0 => context.shielded(Box::pin(act(context, depth - 1))).await,
        9 if depth > 0 => {
            let both = (Box::pin(act(context, depth - 1)), Box::pin(act(context, depth - 1)));
            let (one, two) = futures::future::join(both.0, both.1).await;
            Ok(one? + two?)
        }
        _ => Ok(context.now().elapsed().map_or(0, |_| 9)),
    }
}

fn by_chance(skipped: u64) -> Definition {
    Definition::new("w", move |context: WorkflowContext, (): ()| async move {
        for _ in 0..skipped {
            context.random();
        }
        let (mut sum, mut failures) = (0, 0);
        for _ in 0..8 {
            match act(&context, 2).await {
                Ok(value) => sum += value,
                Err(_) => failures += 1,
            }
        }
        Ok((sum, failures))
    })
}

/// Commands that wait for an answer.
fn open(rig: &Rig) -> Vec<u32> {
    let mut open = BTreeSet::new();
    for entry in &rig.journal {
        match &entry.record {
            Record::Command(command) if command.kind.is_answered() => {
                open.extend(command.number.map(|number| number.0));
            }
            Record::Command(command) => {
                if let CommandKind::CommandCancelled(number) = &command.kind {
                    open.remove(&number.0);
                }
            }
            Record::Answered { command, .. } => {
                open.remove(&command.0);
            }
            _ => {}
        }
    }
    open.into_iter().collect()
}

/// A run to its end, by chance.
fn live(seed: u64) -> Rig {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut rig = Rig::start(by_chance(seed), &());
    for _ in 0..500 {
        if rig.ended {
            break;
        }
        let (open, steps): (Vec<u32>, Vec<u32>) = (open(&rig), rig.steps.keys().copied().collect());
        match dice.below(20) {
            0 => rig = rig.moved(),
            1 if dice.below(5) == 0 => rig.cancel("by chance"),
            2 | 3 => rig.signal("s", &4),
            4..=9 if !steps.is_empty() => {
                let step = steps[dice.below(steps.len())];
                if rig.abandoned.contains(&step) {
                    rig.steps.remove(&step);
                } else {
                    rig.run_step(step);
                }
            }
            10.. if !open.is_empty() => {
                let command = open[dice.below(open.len())];
                let is_timer = |record: &Record| {
                    matches!(record, Record::Command(it) if it.number.is_some_and(|it| it.0 == command)
                    && matches!(it.kind, CommandKind::TimerSet { .. }))
                };
                match dice.below(4) {
                    _ if rig.journal.iter().any(|entry| is_timer(&entry.record)) => rig.fire(command),
                    0 => rig.fail(command, "by chance"),
                    _ => rig.answer(command, &10),
                }
            }
            _ => {}
        }
        assert_eq!(rig.blocked, None, "seed {seed}: {:#?}", rig.said());
    }
    rig
}

#[test]
fn runs_by_chance_are_the_same_wherever_they_are_replayed() {
    let (mut ended, mut cancelled, mut entries) = (0, 0, 0);
    for seed in 0..300 {
        let rig = live(seed);
        rig.assert_same_at_every_prefix();
        ended += u32::from(rig.ended);
        cancelled += u32::from(rig.said().contains(&"cancel requested: by chance".to_owned()));
        entries += rig.journal.len();
    }
    assert!(
        ended > 250 && cancelled > 20 && entries > 300 * 10,
        "{ended} ended, {cancelled} cancelled, {entries} entries"
    );
}
