//! What a workflow can do.

use super::timer::Until;
use super::{Cancelled, Child, NextSignal, Saga, Shielded, Step, TaskCall, Timer};
use crate::failure::Failure;
use crate::payload;
use crate::replay::Shared;
use futures::future::BoxFuture;
use orlop_model::durable::CommandKind;
use orlop_model::{Millis, Timestamp, WorkflowRunId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::panic::Location;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a workflow can do. All clones are the same run's.
///
/// After the run was asked to end, every await of the context outside of a [shield](Self::shielded), those that are pending
/// included, gives a failure that [is cancelled](Failure::is_cancelled).
#[derive(Clone)]
pub struct WorkflowContext {
    shared: Shared,
}

impl WorkflowContext {
    pub(crate) const fn new(shared: Shared) -> Self {
        Self { shared }
    }

    pub(super) const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Runs code inside this worker, and keeps its result: once it is written the code never runs again. It may run more
    /// than once before, when a worker is lost.
    #[track_caller]
    pub fn step<T, F, Fut>(&self, name: impl Into<String>, code: F) -> Step<T>
    where
        T: Serialize + DeserializeOwned,
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        Step::new(&self.shared, Location::caller(), name.into(), code)
    }

    /// Calls a function through a queue.
    #[track_caller]
    pub fn task<O: DeserializeOwned>(&self, name: impl Into<String>, input: &(impl Serialize + ?Sized)) -> TaskCall<O> {
        let name = name.into();
        let input = payload::written(&format!("the input of task {name:?}"), input);
        TaskCall::new(&self.shared, Location::caller(), name, input)
    }

    /// Starts another workflow, and waits for it.
    #[track_caller]
    pub fn child<O: DeserializeOwned>(
        &self,
        workflow: impl Into<String>,
        input: &(impl Serialize + ?Sized),
    ) -> Child<O> {
        let workflow = workflow.into();
        let input = payload::written(&format!("the input of workflow {workflow:?}"), input);
        Child::new(&self.shared, Location::caller(), workflow, input)
    }

    /// Waits so long, whatever becomes of the worker.
    #[track_caller]
    pub fn sleep(&self, span: Duration) -> Timer {
        Timer::new(&self.shared, Location::caller(), Until::After(Millis::from(span)))
    }

    /// Waits until then.
    #[track_caller]
    pub fn sleep_until(&self, at: SystemTime) -> Timer {
        Timer::new(&self.shared, Location::caller(), Until::At(Timestamp::from(at)))
    }

    /// Takes the oldest signal of the name, or waits for one.
    #[track_caller]
    pub fn signal<T: DeserializeOwned>(&self, name: impl Into<String>) -> NextSignal<T> {
        NextSignal::new(&self.shared, Location::caller(), name.into())
    }

    /// Gives another run a signal.
    ///
    /// # Errors
    /// When the payload cannot be encoded, or is too large.
    #[track_caller]
    pub fn send_signal(
        &self,
        run: WorkflowRunId,
        name: impl Into<String>,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<(), Failure> {
        let name = name.into();
        assert!(!name.is_empty(), "a signal has a name");
        let payload = payload::written(&format!("signal {name:?}"), payload)?;
        let payload = payload::bounded(payload, self.shared.lock().payload_bytes_max)?;
        self.issue(Location::caller(), CommandKind::SignalSent { run, name, payload });
        Ok(())
    }

    /// Asks another run to end early.
    #[track_caller]
    pub fn cancel_run(&self, run: WorkflowRunId) {
        self.issue(Location::caller(), CommandKind::RunCancelled(run));
    }

    /// Sets what the run can be found by.
    #[track_caller]
    pub fn set_attributes<K: Into<String>, V: Into<String>>(&self, attributes: impl IntoIterator<Item = (K, V)>) {
        let attributes: BTreeMap<_, _> =
            attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.issue(Location::caller(), CommandKind::AttributesSet(attributes));
    }

    fn issue(&self, source: &'static Location<'static>, kind: CommandKind) {
        if let Some(mut state) = self.shared.issuing(source) {
            state.issue(source, |_, _| kind);
        }
    }

    /// Whether to behave in the new way of this name: yes for runs that come here now, no for those that passed here with
    /// code that did not ask. The first answer of a run stays.
    #[track_caller]
    pub fn patched(&self, id: &str) -> bool {
        assert!(!id.is_empty(), "a patch needs a name");
        let source = Location::caller();
        self.shared.issuing(source).is_some_and(|mut state| state.patched(id, source))
    }

    /// Ends this run and goes on as a new one with an empty journal, in the same version. Signals that were not taken go
    /// with it. On success it never comes back: `return context.continue_as_new(&next).await;`
    ///
    /// # Errors
    /// When the input cannot be encoded, or is too large.
    #[track_caller]
    pub fn continue_as_new<T: Send + 'static>(
        &self,
        input: &(impl Serialize + ?Sized),
    ) -> BoxFuture<'static, Result<T, Failure>> {
        let (shared, source) = (self.shared.clone(), Location::caller());
        let input = payload::written("the input of the run that goes on", input);
        Box::pin(async move {
            let bytes_max = shared.lock().payload_bytes_max;
            let input = payload::bounded(input?, bytes_max)?;
            if let Some(mut state) = shared.issuing(source) {
                let version = state.version.clone();
                state.continue_as_new(source, version, input);
            }
            std::future::pending().await
        })
    }

    /// When the last thing happened that could wake the workflow. It stands still until the next.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.shared.lock().now.0)
    }

    /// A random number, the same on each replay.
    #[track_caller]
    pub fn random(&self) -> u64 {
        self.shared.issuing(Location::caller()).map_or(0, |mut state| state.random.next())
    }

    /// The run.
    pub fn run_id(&self) -> WorkflowRunId {
        self.shared.lock().run
    }

    /// Waits until somebody asks the run to end, and says why they do.
    #[track_caller]
    pub fn cancelled(&self) -> Cancelled {
        Cancelled::new(&self.shared, Location::caller())
    }

    /// Whether somebody asked the run to end.
    pub fn is_cancelled(&self) -> bool {
        self.shared.lock().cancelled.is_some()
    }

    /// Runs what cancellation does not touch: compensations, say.
    pub fn shielded<F: IntoFuture>(&self, inner: F) -> Shielded<F::IntoFuture> {
        Shielded::new(&self.shared, inner)
    }

    /// Gathers what undoes what the workflow does.
    pub fn saga(&self) -> Saga {
        Saga::new(self.clone())
    }
}
