//! What goes wrong, when, and for how long: a function of the seed. Whom it happens to, where that is the leader, is known
//! only when it happens.

use orlop_history::chance::Chance;
use std::time::Duration;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// SIGKILL.
    Kill,
    /// SIGKILL of two of three.
    KillMost,
    /// SIGKILL of all.
    KillAll,
    /// SIGTERM: it may hand over and finish what it does.
    Terminate,
    /// SIGSTOP: its connections stay, and its clock jumps when it goes on.
    Pause,
    /// SIGSTOP of two of three.
    PauseMost,
    /// Cut off from the other members; clients still reach it.
    Isolate,
    /// Cut off from everybody.
    Vanish,
    /// Nobody hears it; it hears the others.
    Mute,
    /// It hears nobody; the others hear it.
    Deafen,
    /// Two do not reach each other; the third reaches both.
    Sever,
    /// Nobody reaches anybody.
    Shatter,
    /// Packets between all are lost by chance.
    Lose,
    /// What is more than so much between two of them is lost.
    Throttle,
    /// Another is asked to lead.
    Transfer,
    /// Its disk is full.
    FillDisk,
    /// Its disk loses what is written and says so when it is synced; the member is replaced.
    FailDisk,
    /// Its disk is gone; the member is replaced.
    LoseDisk,
}

impl Kind {
    pub(crate) const ALL: [Kind; 18] = [
        Kind::Kill,
        Kind::KillMost,
        Kind::KillAll,
        Kind::Terminate,
        Kind::Pause,
        Kind::PauseMost,
        Kind::Isolate,
        Kind::Vanish,
        Kind::Mute,
        Kind::Deafen,
        Kind::Sever,
        Kind::Shatter,
        Kind::Lose,
        Kind::Throttle,
        Kind::Transfer,
        Kind::FillDisk,
        Kind::FailDisk,
        Kind::LoseDisk,
    ];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::Kill => "killed",
            Kind::KillMost => "two of three killed",
            Kind::KillAll => "all killed",
            Kind::Terminate => "terminated",
            Kind::Pause => "paused",
            Kind::PauseMost => "two of three paused",
            Kind::Isolate => "cut off from the members",
            Kind::Vanish => "cut off from everybody",
            Kind::Mute => "not heard",
            Kind::Deafen => "hears nobody",
            Kind::Sever => "two cut off from each other",
            Kind::Shatter => "all cut off from each other",
            Kind::Lose => "packets lost",
            Kind::Throttle => "packets throttled",
            Kind::Transfer => "leadership handed over",
            Kind::FillDisk => "disk full",
            Kind::FailDisk => "disk fails",
            Kind::LoseDisk => "disk gone",
        }
    }

    /// Replacing a member takes both others.
    fn comes_alone(self) -> bool {
        matches!(self, Kind::FailDisk | Kind::LoseDisk)
    }
}

/// Whom it happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Who leads when it begins; the first if nobody does.
    Leader,
    /// One of the others: 0 or 1.
    Other(u16),
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) whom: Whom,
    /// Of a thousand packets, or KiB a second.
    pub(crate) much: u16,
}

/// One fault, or two that overlap; both are healed at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) faults: Vec<Fault>,
    /// Between the two.
    pub(crate) apart: Duration,
    /// After the last.
    pub(crate) lasts: Duration,
}

/// Rounds with so many faults in all: every kind comes before one comes again.
pub(crate) fn rounds(seed: u64, faults: usize) -> Vec<Round> {
    let mut chance = Chance::new(seed);
    let (mut deck, mut rounds, mut left) = (Vec::new(), Vec::new(), faults);
    while left > 0 {
        let mut drawn = vec![draw(&mut deck, &mut chance)];
        if left > 1 && !drawn[0].kind.comes_alone() && chance.per_mille(250) {
            let second = draw(&mut deck, &mut chance);
            if second.kind.comes_alone() {
                deck.push(second.kind);
            } else {
                drawn.push(second);
            }
        }
        left -= drawn.len();
        let apart = Duration::from_millis(chance.between(0, 1200));
        let lasts = Duration::from_millis(chance.between(300, 3000));
        rounds.push(Round { faults: drawn, apart, lasts });
    }
    rounds
}

fn draw(deck: &mut Vec<Kind>, chance: &mut Chance) -> Fault {
    if deck.is_empty() {
        deck.extend(Kind::ALL);
    }
    let kind = deck.swap_remove(chance.below(deck.len()));
    let whom = if chance.per_mille(500) { Whom::Leader } else { Whom::Other(u16::from(chance.per_mille(500))) };
    let much = match kind {
        Kind::Throttle => chance.between(4, 64),
        _ => chance.between(50, 400),
    };
    Fault { kind, whom, much: u16::try_from(much).unwrap_or(u16::MAX) }
}

#[test]
fn a_seed_gives_one_schedule_with_every_kind_and_as_many_faults_as_were_asked_for() {
    for faults in [1, 8, 100] {
        let drawn = rounds(5, faults);
        assert_eq!(drawn, rounds(5, faults));
        assert_ne!(drawn, rounds(6, faults));
        let kinds: Vec<Kind> = drawn.iter().flat_map(|round| &round.faults).map(|fault| fault.kind).collect();
        assert_eq!(kinds.len(), faults);
        let often = |kind: Kind| kinds.iter().filter(|drawn| **drawn == kind).count();
        for kind in Kind::ALL {
            assert!(
                (faults / Kind::ALL.len()..=faults.div_ceil(Kind::ALL.len()) + 1).contains(&often(kind)),
                "{kind:?}"
            );
        }
        assert!(
            drawn.iter().all(|round| round.faults.len() == 1 || round.faults.iter().all(|f| !f.kind.comes_alone()))
        );
    }
}
