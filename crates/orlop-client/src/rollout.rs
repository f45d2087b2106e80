//! How far a deploy, a change of scale or a stop has come, and whether it can still arrive: judged from the operator's
//! view alone, so that what is said can be checked against `orlopctl ps`.

use crate::error::Error;
use crate::operator::OperatorClient;
use crate::state::ClusterState;
use crate::watch::Watch;
use orlop_model::view::View;
use orlop_model::{
    DeploymentName, Desired, Generation, Health, Millis, Outcome, Phase, Reason, Replica, ReplicaId, Revision,
    ServiceName, ServiceRef, ServiceState, Timestamp,
};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// In which deployment.
    pub deployment: DeploymentName,
    /// Of one service only.
    pub service: Option<ServiceName>,
    /// The state before this revision does not show yet what was asked for.
    pub revision: Revision,
    /// The end.
    pub end: End,
}

/// When the waiting is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every service has as many ready replicas as are wanted, all of the present generation, and no others.
    Rolled {
        /// The deployment's generation that was asked for; a later one means that somebody else went on.
        generation: Option<Generation>,
    },
    /// Nothing of it is left.
    Gone,
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Each service that counts, in order.
    pub services: Vec<ServiceProgress>,
    /// The sum of it.
    pub verdict: Verdict,
    /// When to judge again although nothing changed.
    pub again_at: Option<Timestamp>,
}

/// Whether to go on waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is under way.
    Waiting,
    /// It has arrived.
    Done,
    /// It will not arrive by itself.
    Failed {
        /// Which service it is about.
        service: ServiceRef,
        /// Why.
        reason: Reason,
        /// The replica that it was seen at.
        replica: Option<ReplicaId>,
    },
    /// Somebody else changed what is wanted.
    Superseded(String),
}

/// How far one service has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceProgress {
    /// Which.
    pub service: ServiceRef,
    /// How many replicas are wanted.
    pub wanted: u32,
    /// How many of the present generation are ready.
    pub ready: u32,
    /// How many others are still there: of an older generation, or on their way out.
    pub others: u32,
    /// What it waits for, if there is something to say.
    pub note: Option<String>,
}

impl ServiceProgress {
    fn is_done(&self) -> bool {
        self.ready == self.wanted && self.others == 0
    }
}

/// A replica that failed so often in a row does not come up: some seven seconds have passed since the first time.
pub const FAILURES_MAX: u32 = 5;
/// A process without a health check counts when it has run for this long; most that end by themselves end sooner.
const STAYS: Millis = Millis(1000);
/// The same for one that had failed.
const STAYS_AFTER_FAILURE: Millis = Millis(10_000);

/// Since when each replica that runs has been seen to, by the watcher's clock: nodes' clocks may differ from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<ReplicaId, (Timestamp, Timestamp)>);

impl Seen {
    /// Takes note of what runs.
    pub fn look(&mut self, state: &ClusterState, now: Timestamp) {
        self.0.retain(|id, _| state.replicas.contains_key(id));
        for replica in state.replicas.values().filter(|r| r.is_ready()) {
            let since = replica.status.since;
            match self.0.get(&replica.id) {
                Some((known, _)) if *known == since => {}
                // Whichever clock says that it has run for longer.
                _ => drop(self.0.insert(replica.id, (since, since.min(now)))),
            }
        }
    }

    fn since(&self, replica: &Replica) -> Timestamp {
        self.0.get(&replica.id).map_or(replica.status.since, |(_, first)| *first)
    }
}

/// Judges a state.
pub fn judge(state: &ClusterState, goal: &Goal, seen: &Seen, now: Timestamp) -> Progress {
    let services: Vec<&ServiceState> = state
        .services
        .values()
        .filter(|s| s.name.deployment == goal.deployment)
        .filter(|s| goal.service.as_ref().is_none_or(|name| s.name.service == *name))
        .collect();
    let progress: Vec<ServiceProgress> = services.iter().map(|s| progress_of(state, s)).collect();
    let mut again_at = None;
    let verdict = match goal.end {
        _ if state.revision < goal.revision => Verdict::Waiting,
        End::Gone if services.is_empty() => Verdict::Done,
        End::Gone => match services.iter().find(|s| s.stopping.is_none()) {
            Some(service) => Verdict::Superseded(format!("{} was deployed again meanwhile", service.name)),
            None => Verdict::Waiting,
        },
        End::Rolled { generation } => match rolled(state, goal, generation, &services, &progress) {
            Verdict::Done => {
                again_at = services.iter().filter_map(|s| stays_at(state, s, seen)).max().filter(|at| *at > now);
                if again_at.is_some() { Verdict::Waiting } else { Verdict::Done }
            }
            verdict => verdict,
        },
    };
    Progress { services: progress, verdict, again_at }
}

fn rolled(
    state: &ClusterState,
    goal: &Goal,
    generation: Option<Generation>,
    services: &[&ServiceState],
    progress: &[ServiceProgress],
) -> Verdict {
    if let Some(newer) = services.iter().find(|s| generation.is_some_and(|g| s.generation > g)) {
        return Verdict::Superseded(format!("{} went on to generation {} meanwhile", newer.name, newer.generation));
    }
    if services.iter().all(|s| s.stopping.is_some()) {
        return Verdict::Superseded(format!("{} was stopped meanwhile", goal.deployment));
    }
    for service in services.iter().filter(|s| s.stopping.is_none()) {
        if let Some((reason, replica)) = hopeless(state, service) {
            return Verdict::Failed { service: service.name.clone(), reason, replica };
        }
    }
    if progress.iter().all(ServiceProgress::is_done) && services.iter().all(|s| s.stopping.is_none()) {
        Verdict::Done
    } else {
        Verdict::Waiting
    }
}

/// Why a service will not come up without somebody changing something.
fn hopeless(state: &ClusterState, service: &ServiceState) -> Option<(Reason, Option<ReplicaId>)> {
    if let Some(fault) = &service.status.dependency_fault
        && fault.failed
        && fault.generation == service.generation
    {
        return Some((fault.reason.clone(), None));
    }
    let is_current = |r: &&Replica| r.generation == service.workload_generation && r.desired == Desired::Run;
    let what = |r: &Replica| match r.status.phase {
        Phase::Finished(Outcome::Failed | Outcome::Isolated) => Some(r.status.phase.word().to_owned()),
        Phase::BackingOff(_) if r.status.failures >= FAILURES_MAX => {
            Some(format!("failed {} times in a row", r.status.failures))
        }
        _ => None,
    };
    let mut current = state.replicas_of(&service.name).filter(is_current);
    let (replica, what) = current.find_map(|r| what(r).map(|what| (r, what)))?;
    let code = replica.status.reason.as_ref().map_or("failed", |reason| &reason.code);
    let why = replica.status.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    Some((Reason::new(code, format!("replica {} {what}{why}", replica.slot)), Some(replica.id)))
}

/// When the youngest process of a service without a health check will have run for long enough to be believed.
fn stays_at(state: &ClusterState, service: &ServiceState, seen: &Seen) -> Option<Timestamp> {
    let own = state.replicas_of(&service.name).filter(|r| r.desired == Desired::Run);
    let own = own.filter(|r| r.status.phase == Phase::Running(Health::Unchecked));
    own.map(|r| seen.since(r) + if r.status.failures == 0 { STAYS } else { STAYS_AFTER_FAILURE }).max()
}

fn progress_of(state: &ClusterState, service: &ServiceState) -> ServiceProgress {
    let is_current = |r: &&Replica| r.generation == service.workload_generation && r.desired == Desired::Run;
    let there = || state.replicas_of(&service.name).filter(|r| !r.status.phase.is_finished());
    let ready = there().filter(|r| is_current(r) && r.is_ready()).count();
    let others = there().filter(|r| !is_current(r)).count();
    let beyond = there().filter(|r| is_current(r)).count().saturating_sub(service.replicas as usize);
    let wanted = if service.stopping.is_some() { 0 } else { service.replicas };
    let note = service.status.blocked.first().map(|reason| reason.message.clone()).or_else(|| {
        let waiting = there().find(|r| is_current(r) && !r.is_ready())?;
        let phase = waiting.status.phase.word();
        Some(match &waiting.status.reason {
            Some(reason) => format!("replica {} {phase}: {reason}", waiting.slot),
            None => format!("replica {} {phase}", waiting.slot),
        })
    });
    ServiceProgress {
        service: service.name.clone(),
        wanted,
        ready: u32::try_from(ready).unwrap_or(u32::MAX).min(service.replicas),
        others: u32::try_from(others + beyond).unwrap_or(u32::MAX),
        note,
    }
}

/// A goal that is being followed.
#[derive(Debug)]
pub struct Rollout {
    watch: Watch,
    state: ClusterState,
    goal: Goal,
    seen: Seen,
    again_at: Option<Timestamp>,
}

impl Rollout {
    /// The progress after the next change, or when time makes a difference; the first call answers with what there is
    /// now. Cancel-safe.
    pub async fn next(&mut self) -> Result<Progress, Error> {
        let again_at = self.again_at;
        let time = async {
            match again_at {
                Some(at) => tokio::time::sleep((at - SystemTime::now().into()).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changes = self.watch.next() => self.state.apply(changes?),
            () = time => {}
        }
        let now = SystemTime::now().into();
        self.seen.look(&self.state, now);
        let progress = judge(&self.state, &self.goal, &self.seen, now);
        self.again_at = progress.again_at;
        Ok(progress)
    }

    /// The state that was judged last.
    pub fn state(&self) -> &ClusterState {
        &self.state
    }
}

impl OperatorClient {
    /// Follows a goal until its [`Verdict`] is not [`Verdict::Waiting`] any more; the caller sets the deadline.
    pub fn follow(&self, goal: Goal) -> Rollout {
        let watch = self.watch(View::Operator(Some(goal.deployment.clone())));
        Rollout { watch, state: ClusterState::default(), goal, seen: Seen::default(), again_at: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use orlop_model::{DependencyFault, StopOrder};

    const READY: Phase = Phase::Running(Health::Healthy);
    const NOW: Timestamp = Timestamp(1_100_000);

    fn goal(end: End) -> Goal {
        Goal { deployment: "shop".parse().expect("a name"), service: None, revision: Revision(5), end }
    }

    fn rolled() -> Goal {
        goal(End::Rolled { generation: Some(Generation(1)) })
    }

    /// A cluster of `shop/api` with two replicas wanted, in the phases given, and its judgement.
    fn check(phases: &[Phase], change: impl Fn(&mut ClusterState), goal: &Goal, expected: &str) {
        let mut state = sample::state();
        state.revision = Revision(7);
        sample::add_service(&mut state, "shop/api", 2);
        for (slot, phase) in phases.iter().enumerate() {
            sample::add_replica(&mut state, "shop/api", slot as u32, 0x10 + slot as u128, *phase);
        }
        change(&mut state);
        let verdict = match judge(&state, goal, &Seen::default(), NOW).verdict {
            Verdict::Waiting => "waiting".to_owned(),
            Verdict::Done => "done".to_owned(),
            Verdict::Failed { service, reason, .. } => format!("{service} failed: {reason}"),
            Verdict::Superseded(why) => format!("superseded: {why}"),
        };
        assert_eq!(verdict, expected, "{phases:?}");
    }

    fn service(state: &mut ClusterState) -> &mut ServiceState {
        state.services.values_mut().next().expect("there is one")
    }

    #[test]
    fn a_rollout_is_done_when_all_that_is_wanted_is_ready_and_nothing_else_is_left() {
        let failed = Phase::Finished(Outcome::Failed);
        check(&[READY, READY], |_| (), &rolled(), "done");
        check(&[READY], |_| (), &rolled(), "waiting");
        check(&[READY, Phase::Starting], |_| (), &rolled(), "waiting");
        check(&[READY, Phase::BackingOff(Timestamp(0))], |_| (), &rolled(), "waiting");
        check(&[READY, READY, READY], |_| (), &rolled(), "waiting");
        check(&[READY, failed], |_| (), &rolled(), "shop/api failed: replica 1 failed");
        check(&[READY, Phase::Finished(Outcome::Lost)], |_| (), &rolled(), "waiting");
        check(&[READY, READY], |s| s.revision = Revision(4), &rolled(), "waiting");
        check(&[READY, READY], |s| service(s).workload_generation = Generation(2), &rolled(), "waiting");
        check(&[], |s| service(s).replicas = 0, &rolled(), "done");
    }

    #[test]
    fn old_replicas_hold_it_up_only_while_they_run() {
        let old = |s: &mut ClusterState, phase| {
            let id = sample::add_replica(s, "shop/api", 0, 0x99, phase);
            s.replicas.get_mut(&id).expect("just added").desired = Desired::Stop(StopOrder::Graceful);
        };
        check(&[READY, READY], |s| old(s, Phase::Stopping), &rolled(), "waiting");
        check(&[READY, READY], |s| old(s, Phase::Finished(Outcome::Stopped)), &rolled(), "done");
    }

    #[test]
    fn what_will_not_come_by_itself_ends_the_waiting_with_its_reason() {
        let fault = |failed| DependencyFault {
            generation: Generation(1),
            failed,
            reason: Reason::new("dependency_timeout", "db was not ready within 5m"),
        };
        let set = |f: DependencyFault| move |s: &mut ClusterState| service(s).status.dependency_fault = Some(f.clone());
        check(&[], set(fault(true)), &rolled(), "shop/api failed: db was not ready within 5m");
        check(&[READY, READY], set(fault(false)), &rolled(), "done");
        let later = |s: &mut ClusterState| service(s).generation = Generation(2);
        check(&[READY, READY], later, &rolled(), "superseded: shop/api went on to generation 2 meanwhile");
        let stopped = |s: &mut ClusterState| service(s).stopping = Some(StopOrder::Graceful);
        check(&[READY, READY], stopped, &rolled(), "superseded: shop was stopped meanwhile");
    }

    #[test]
    fn a_replica_that_fails_again_and_again_ends_the_waiting() {
        let failed = |times| {
            move |s: &mut ClusterState| {
                let status = &mut s.replicas.values_mut().next().expect("there is one").status;
                status.failures = times;
                status.reason = Some(Reason::new("exited", "its process exited with code 3"));
            }
        };
        let waits = Phase::BackingOff(Timestamp(1_104_000));
        check(&[waits, READY], failed(FAILURES_MAX - 1), &rolled(), "waiting");
        let told = "shop/api failed: replica 0 failed 5 times in a row: its process exited with code 3";
        check(&[waits, READY], failed(FAILURES_MAX), &rolled(), told);
        // It is being tried for the sixth time; nobody knows how that ends.
        check(&[Phase::Starting, READY], failed(FAILURES_MAX), &rolled(), "waiting");
        let leaves = |s: &mut ClusterState| {
            failed(FAILURES_MAX)(s);
            s.replicas.values_mut().next().expect("there is one").desired = Desired::Stop(StopOrder::Graceful);
        };
        check(&[waits, READY], leaves, &rolled(), "waiting");
    }

    #[test]
    fn a_process_without_a_health_check_must_stay_for_a_moment() {
        let mut state = sample::state();
        sample::add_service(&mut state, "shop/api", 1);
        let id = sample::add_replica(&mut state, "shop/api", 0, 1, Phase::Running(Health::Unchecked));
        let (at, after) =
            (|millis: u64| Timestamp(1_000_000 + millis), |millis: u64| Some(Timestamp(1_000_000 + millis)));
        let mut seen = Seen::default();
        let mut look = |state: &ClusterState, now| {
            seen.look(state, now);
            let judged = judge(state, &rolled(), &seen, now);
            (judged.verdict == Verdict::Done, judged.again_at)
        };
        assert_eq!(look(&state, at(300)), (false, after(1000)));
        assert_eq!(look(&state, at(1000)), (true, None));
        // Once it has failed, it must stay for longer.
        state.replicas.get_mut(&id).expect("it is there").status.failures = 1;
        assert_eq!(look(&state, at(1500)), (false, after(10_000)));
        assert_eq!(look(&state, at(10_000)), (true, None));
        // A node whose clock is an hour ahead is believed no sooner and no later.
        let status = &mut state.replicas.get_mut(&id).expect("it is there").status;
        (status.failures, status.since) = (0, at(3_600_000));
        assert_eq!(look(&state, at(20_000)), (false, after(21_000)));
        assert_eq!(look(&state, at(21_000)), (true, None));
    }

    #[test]
    fn a_stop_is_done_when_the_services_are_gone() {
        let stopping = |s: &mut ClusterState| service(s).stopping = Some(StopOrder::Graceful);
        check(&[Phase::Stopping], stopping, &goal(End::Gone), "waiting");
        check(&[], |s| s.services.clear(), &goal(End::Gone), "done");
        check(&[], |_| (), &goal(End::Gone), "superseded: shop/api was deployed again meanwhile");
    }

    #[test]
    fn the_note_names_what_is_waited_for() {
        let mut state = sample::state();
        sample::add_service(&mut state, "shop/api", 1);
        let id = sample::add_replica(&mut state, "shop/api", 0, 1, Phase::BackingOff(Timestamp(0)));
        state.replicas.get_mut(&id).expect("just added").status.reason =
            Some(Reason::new("exited", "its process exited with code 1"));
        let note = |state: &ClusterState| judge(state, &rolled(), &Seen::default(), NOW).services[0].note.clone();
        assert_eq!(note(&state).as_deref(), Some("replica 0 backing-off: its process exited with code 1"));
        service(&mut state).status.blocked.push(Reason::new("no_node_fits", "needs 8 cpu; alpha has 2 free"));
        assert_eq!(note(&state).as_deref(), Some("needs 8 cpu; alpha has 2 free"));
    }
}
