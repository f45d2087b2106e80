//! The loop: wait for the next event, apply it, start what is due.

use crate::control::{Control, LeaseAnswer, Taken};
use crate::duty::{Duty, LeaseChange, Refusal};
use crate::{Config, cluster};
use futures::FutureExt;
use futures::future::BoxFuture;
use orlop_client::InvalidAddress;
use orlop_follower::{Follower, FollowerConfig, StartError, ViewState};
use orlop_model::plan::{Plan, Step};
use orlop_model::view::View;
use orlop_model::{Millis, ReplicaId, Timestamp};
use prost::Message;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// The most steps that are submitted at once, and the most bytes of them; what is beyond is planned again afterwards. Any
/// beginning of a plan is a sound plan. A command of the log has at most 4 MiB.
const STEPS_MAX: usize = 5_000;
const STEPS_BYTES_MAX: usize = 2 << 20;

/// How long giving the lease back may take at the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why a scheduler did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The control plane's address is no address.
    #[error("control_plane")]
    ControlPlane(#[from] InvalidAddress),
    /// The lease would be refused.
    #[error("lease_ttl: found {found:?}; expected 1s to 60s")]
    LeaseTtl {
        /// What was asked for.
        found: Duration,
    },
    /// The view cannot be followed.
    #[error("the scheduler's view cannot be followed")]
    Follow(#[from] StartError),
    /// Nobody had asked the scheduler to end.
    #[error("what follows the scheduler's view ended by itself; the log says why")]
    Blind,
}

/// Schedules until `stop` is cancelled, then gives the lease back. A control plane that is away is waited for.
pub async fn serve(config: Config, stop: CancellationToken) -> Result<(), ServeError> {
    if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&config.lease_ttl) {
        return Err(ServeError::LeaseTtl { found: config.lease_ttl });
    }
    let channel = orlop_client::connect(&config.control_plane)?;
    let follower = FollowerConfig {
        name: "scheduler",
        channel: channel.clone(),
        view: View::Scheduler,
        // Without the control plane there is nobody to submit to, so what was last known is of no use.
        cache_path: None,
    };
    let mut follower = Follower::start(follower, stop.child_token()).await?;
    tracing::info!(control_plane = %config.control_plane, holder = %config.holder, "scheduler started");

    let mut scheduler = Scheduler {
        duty: Duty::new(config.lease_ttl, config.sweep, rand::random(), Instant::now()),
        control: Control::new(channel),
        view: follower.view(),
        lease_call: None,
        plan_call: None,
        config,
    };
    while let Some(event) = scheduler.next_event(&mut follower, &stop).await {
        scheduler.apply(event);
        scheduler.act();
    }
    scheduler.leave().await;
    follower.ended().await;
    if !stop.is_cancelled() {
        return Err(ServeError::Blind);
    }
    tracing::info!("scheduler stopped");
    Ok(())
}

struct Scheduler {
    config: Config,
    duty: Duty,
    control: Control,
    view: Arc<ViewState>,
    lease_call: Option<BoxFuture<'static, Result<LeaseAnswer, Status>>>,
    plan_call: Option<PlanCall>,
}

struct PlanCall {
    steps: Vec<Step>,
    started: Instant,
    answer: BoxFuture<'static, Result<Taken, Status>>,
}

enum Event {
    View(Arc<ViewState>),
    Lease(Result<LeaseAnswer, Status>),
    Plan(Result<Taken, Status>),
    Time,
}

impl Scheduler {
    /// Waits; `None` at the end. Nothing is lost when it is dropped: calls under way stay in their fields.
    async fn next_event(&mut self, follower: &mut Follower, stop: &CancellationToken) -> Option<Event> {
        let due = self.duty.due(Instant::now());
        let lease = async {
            match &mut self.lease_call {
                Some(call) => call.await,
                None => std::future::pending().await,
            }
        };
        let plan = async {
            match &mut self.plan_call {
                Some(call) => (&mut call.answer).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => None,
            view = follower.changed() => view.ok().map(Event::View),
            answer = plan => Some(Event::Plan(answer)),
            answer = lease => Some(Event::Lease(answer)),
            () = tokio::time::sleep_until(due) => Some(Event::Time),
        }
    }

    fn apply(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Time => {}
            Event::View(view) => {
                self.duty.view_changed(&view, now);
                self.view = view;
            }
            Event::Lease(answer) => {
                self.lease_call = None;
                match &answer {
                    Ok(LeaseAnswer::HeldByOther { holder, .. }) => {
                        tracing::trace!(%holder, "another scheduler is active")
                    }
                    Err(status) => tracing::debug!(%status, "could not ask for the lease"),
                    Ok(LeaseAnswer::Held { .. }) => {}
                }
                match self.duty.lease_answered(answer.as_ref().ok(), now, wall_clock().0) {
                    LeaseChange::Gained { fence } => tracing::info!(fence, "this scheduler is active"),
                    LeaseChange::Lost => tracing::warn!("this scheduler is no longer active"),
                    LeaseChange::Same => {}
                }
            }
            Event::Plan(answer) => {
                let Some(call) = self.plan_call.take() else { return };
                let answer = log_answer(&call, answer);
                self.duty.plan_answered(call.steps.len(), answer.as_ref().map_err(|refusal| *refusal), now);
            }
        }
    }

    fn act(&mut self) {
        let now = Instant::now();
        if self.duty.asks_lease(now) {
            let (control, holder) = (self.control.clone(), self.config.holder.clone());
            self.lease_call = Some(control.acquire_lease(holder, self.config.lease_ttl).boxed());
        }
        if let Some(fence) = self.duty.plans(&self.view, now) {
            self.plan(fence, now);
        }
    }

    fn plan(&mut self, fence: u64, now: Instant) {
        let wall = wall_clock();
        let mut ids = || ReplicaId::from_u128(uuid::Uuid::now_v7().as_u128());
        let mut plan: Plan = orlop_planner::plan(&cluster::of_view(&self.view), wall, &mut ids);
        let cut = cut(&mut plan.steps);
        let steps = plan.steps.clone();
        let wakes_in = plan.wake_at.map(|at| Duration::from(at - wall) + Duration::from(Millis(1)));
        tracing::trace!(revision = plan.revision.0, steps = steps.len(), took = ?now.elapsed(), "planned");
        self.duty.planned(!steps.is_empty(), cut, wakes_in, now);
        if !steps.is_empty() {
            let answer = self.control.clone().submit(fence, plan).boxed();
            self.plan_call = Some(PlanCall { steps, started: now, answer });
        }
    }

    /// Gives the lease back, if it is held, so that a successor need not wait.
    async fn leave(&mut self) {
        if self.duty.holds_lease(Instant::now()) {
            let (control, holder) = (self.control.clone(), self.config.holder.clone());
            match tokio::time::timeout(FAREWELL, control.acquire_lease(holder, Duration::ZERO)).await {
                Ok(Ok(_)) => {}
                Ok(Err(status)) => tracing::debug!(%status, "could not give the lease back"),
                Err(_) => tracing::debug!("could not give the lease back in time"),
            }
        }
    }
}

/// Keeps as many steps as may be submitted at once. Was there more?
fn cut(steps: &mut Vec<Step>) -> bool {
    let mut bytes = 0;
    let fits = |step: &&Step| {
        bytes += orlop_proto::scheduler::v1::Step::from(*step).encoded_len();
        bytes <= STEPS_BYTES_MAX
    };
    let kept = steps.iter().take(STEPS_MAX).take_while(fits).count();
    let more = kept < steps.len();
    steps.truncate(kept);
    more
}

fn log_answer(call: &PlanCall, answer: Result<Taken, Status>) -> Result<Taken, Refusal> {
    match answer {
        Ok(taken) => {
            let (steps, took) = (call.steps.len(), call.started.elapsed());
            tracing::debug!(revision = taken.revision.0, steps, refused = taken.refused.len(), ?took, "plan submitted");
            for (step, reason) in &taken.refused {
                let what = call.steps.get(*step);
                tracing::debug!(step = ?what, code = reason.code, reason = reason.message, "step refused");
            }
            Ok(taken)
        }
        Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::Aborted | Code::PermissionDenied) => {
            tracing::debug!(%status, "plan refused as a whole");
            Err(Refusal::Fenced)
        }
        Err(status) => {
            tracing::warn!(%status, "the plan's fate is not known; planning again");
            Err(Refusal::Unknown)
        }
    }
}

fn wall_clock() -> Timestamp {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_cut_by_number_and_by_bytes() {
        let forget = |n: u128| Step::Forget { replica: ReplicaId::from_u128(n) };
        let mut steps: Vec<Step> = (0..6_000).map(forget).collect();
        assert!(cut(&mut steps));
        assert_eq!(steps.len(), STEPS_MAX);
        assert!(!cut(&mut steps));

        let why = orlop_model::Reason::new("scale_down", "x".repeat(1_000));
        let stop = |n: u128| {
            let (replica, order) = (ReplicaId::from_u128(n), orlop_model::StopOrder::Graceful);
            Step::Stop { replica, order, why: why.clone() }
        };
        let mut steps: Vec<Step> = (0..4_000).map(stop).collect();
        assert!(cut(&mut steps));
        assert!((1_500..2_097).contains(&steps.len()), "{}", steps.len());
    }
}
