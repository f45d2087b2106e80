//! The engine at work: one task owns its state, another one writes what it decides.
//!
//! Inputs are taken as they come, and what they lead to goes to the committer, which writes all that waits in one
//! transaction and only then says what is to be said. While it writes, more inputs are taken: the busier the engine,
//! the more a transaction carries. Nothing waits for a timer.

mod commit;
mod desk;

pub(crate) use desk::{Desk, Frames};

use crate::metrics::Metrics;
use crate::store::{Store, StoreError, keep_until_it_fails};
use orlop_durable_core::{Effects, Engine, Input, Options, Refusal, Reply, Request, Ticket};
use orlop_model::durable::Hello;
use orlop_model::{Timestamp, WorkerSessionId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Inputs that wait to be taken; who brings more waits.
const INPUTS: usize = 4096;
/// So many inputs are taken before what they lead to is handed on.
const INPUTS_AT_A_TIME: usize = 512;
/// Batches that wait to be written; then no input is taken.
const BATCHES: usize = 16;

/// Something for the task that owns the engine.
pub(crate) enum Ask {
    Input(Input),
    Look(Box<dyn FnOnce(&Engine) + Send>),
}

/// One life of the engine: from what the store had to the first write that failed, the loss of the store, or the stop.
pub(crate) struct Life {
    asks: mpsc::Sender<Ask>,
    desk: Arc<Desk>,
    tickets: AtomicU64,
    over: CancellationToken,
}

/// What the engine does just now.
#[derive(Clone)]
pub(crate) enum Phase {
    /// It takes the store over.
    Begins,
    /// It lives.
    Lives(Arc<Life>),
    /// Another engine has the store; where that one listens.
    Waits(String),
}

/// The engine is gone, and another life of it begins soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine begins anew")]
pub(crate) struct Gone;

/// Begins a life over what the store has, and lives it in the background. The future that is returned ends with it.
pub(crate) async fn live(
    store: Arc<dyn Store>,
    options: Options,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(Arc<Life>, impl Future<Output = Result<(), StoreError>>), StoreError> {
    let (epoch, recovered) = store.take_over().await?;
    let engine = Engine::new(Options { epoch, ..options }, recovered, now());
    let (asks, inbox) = mpsc::channel(INPUTS);
    let (batches, outbox) = mpsc::channel(BATCHES);
    let desk = Arc::new(Desk::default());
    let over = CancellationToken::new();
    let committing = commit::run(store.clone(), outbox, desk.clone(), asks.downgrade(), metrics);
    let owning = own(engine, inbox, batches, stop);
    let life = Arc::new(Life { asks, desk: desk.clone(), tickets: AtomicU64::new(0), over: over.clone() });
    let living = async move {
        // The owner ends first when asked to stop, and the committer when all is written; or the committer when it
        // cannot write, and then what the owner has is worth nothing. Without the store both are.
        let working = async { tokio::join!(owning, committing).1 };
        let outcome = tokio::select! {
            outcome = working => outcome,
            error = keep_until_it_fails(&*store) => Err(error),
        };
        over.cancel();
        desk.clear();
        outcome
    };
    Ok((life, living))
}

/// The clock, as the engine takes it.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

async fn own(
    mut engine: Engine,
    mut inbox: mpsc::Receiver<Ask>,
    batches: mpsc::Sender<Effects>,
    stop: CancellationToken,
) {
    let mut asks = Vec::with_capacity(INPUTS_AT_A_TIME);
    loop {
        let effects = engine.take_effects();
        if !effects.is_empty() && batches.send(effects).await.is_err() {
            return;
        }
        let deadline = engine.next_deadline().map(|at| Duration::from_millis(at.0.saturating_sub(now().0)));
        let idle = async {
            match deadline {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = batches.closed() => return,
            taken = inbox.recv_many(&mut asks, INPUTS_AT_A_TIME) => if taken == 0 {
                return;
            },
            () = idle => asks.push(Ask::Input(Input::Tick)),
        }
        let now = now();
        for ask in asks.drain(..) {
            match ask {
                Ask::Input(input) => engine.handle(input, now),
                Ask::Look(look) => look(&engine),
            }
        }
    }
}

impl Life {
    async fn ask(&self, ask: Ask) -> Result<(), Gone> {
        self.asks.send(ask).await.map_err(|_| Gone)
    }

    /// Ends with this life.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Asks for something, and waits for the answer; the question is withdrawn when the future is dropped.
    pub(crate) async fn request(self: &Arc<Self>, request: Request) -> Result<Result<Reply, Refusal>, Gone> {
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let answer = self.desk.open(ticket).ok_or(Gone)?;
        let mut withdrawal = Withdrawal { life: Some(self.clone()), ticket };
        self.ask(Ask::Input(Input::Request(ticket, request))).await?;
        let answer = answer.await.map_err(|_| Gone);
        withdrawal.life = None;
        answer
    }

    /// Looks at the engine as it is now.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (tell, told) = oneshot::channel();
        let look = move |engine: &Engine| {
            tell.send(look(engine)).ok();
        };
        self.ask(Ask::Look(Box::new(look))).await?;
        told.await.map_err(|_| Gone)
    }

    /// A worker is there; what the engine says to it comes out of the receiver.
    pub(crate) async fn connect(&self, session: WorkerSessionId, hello: Hello) -> Result<Frames, Gone> {
        let frames = self.desk.connect(session).ok_or(Gone)?;
        self.ask(Ask::Input(Input::Connected(session, Box::new(hello)))).await?;
        Ok(frames)
    }

    /// Nobody listens to this stream any more.
    pub(crate) fn forget(&self, session: WorkerSessionId) {
        self.desk.disconnect(session);
    }

    /// Something else happened.
    pub(crate) async fn input(&self, input: Input) -> Result<(), Gone> {
        self.ask(Ask::Input(input)).await
    }
}

/// Tells the engine that nobody waits for the answer any more.
struct Withdrawal {
    life: Option<Arc<Life>>,
    ticket: Ticket,
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some(life) = self.life.take() {
            life.desk.withdraw(self.ticket);
            // With no room the engine answers a ticket that nobody has, once.
            life.asks.try_send(Ask::Input(Input::Abandoned(self.ticket))).ok();
        }
    }
}
