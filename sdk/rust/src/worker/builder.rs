//! A worker, and what it is made of.

use super::Error;
use super::backoff::Backoff;
use super::held::HeldTasks;
use super::session::{Ended, Session};
use crate::failure::Failure;
use crate::task::{Chain, Middleware, TaskCode, TaskContext};
use crate::workflow::{Definition, WorkflowContext};
use orlop_model::durable::{Hello, QueueName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

/// How long the engine may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// What a worker is made of.
#[must_use = "a worker does nothing before it is built and run"]
pub struct WorkerBuilder {
    address: String,
    hello: Hello,
    queues: Vec<String>,
    parts: Parts,
    middleware: Vec<Arc<dyn Middleware>>,
}

/// What streams use of a worker.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) concurrency: u32,
    pub(super) cached_runs: u32,
    pub(super) grace: Duration,
    pub(super) cancel_grace: Duration,
    pub(super) tasks: BTreeMap<String, TaskCode>,
    pub(super) workflows: BTreeMap<String, Definition>,
    pub(super) chain: Chain,
}

/// Runs tasks and workflows for an engine.
pub struct Worker {
    /// Where engines are that share a store, of which one has it.
    endpoints: Vec<Endpoint>,
    hello: Hello,
    parts: Parts,
}

impl Worker {
    /// A worker of the engine at an address such as `http://127.0.0.1:7420`, or of several with commas between them, which are
    /// tried in turn: one of those that share a store has it.
    pub fn builder(address: impl Into<String>) -> WorkerBuilder {
        let host = host_name();
        let hello = Hello {
            name: format!("{host}/{}", std::process::id()),
            host,
            sdk: concat!("rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..Hello::default()
        };
        let parts = Parts {
            concurrency: 64,
            cached_runs: 1000,
            grace: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(10),
            tasks: BTreeMap::new(),
            workflows: BTreeMap::new(),
            chain: Chain::default(),
        };
        WorkerBuilder { address: address.into(), hello, queues: Vec::new(), parts, middleware: Vec::new() }
    }

    /// Works until it is stopped, and has nothing left or no more patience. An engine that cannot be reached is tried again
    /// for ever.
    pub async fn run(self, stop: CancellationToken) {
        let (news, mut received) = mpsc::unbounded_channel();
        let Parts { chain, cancel_grace, .. } = self.parts.clone();
        let mut held = HeldTasks::new(news, chain, cancel_grace);
        let (mut backoff, mut turn, mut refused) = (Backoff::default(), 0, 0);
        loop {
            let endpoint = &self.endpoints[turn % self.endpoints.len()];
            let session = Session::open(endpoint, &self.hello, &self.parts, &mut held, &mut received, &stop);
            match session.await {
                Ok(Ended::Left) => return,
                Ok(Ended::Lost(error)) => {
                    tracing::warn!("{error}; connecting again");
                    backoff.reset();
                    refused = 0;
                }
                Err(error) => {
                    turn += 1;
                    refused += 1;
                    if refused % self.endpoints.len() != 0 {
                        tracing::info!("{error}; trying the next address");
                        continue;
                    }
                    tracing::warn!("{error}; trying again");
                }
            }
            let wait = tokio::time::sleep(backoff.next());
            tokio::pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    Some(news) = received.recv() => held.note(news),
                    // Without a stream nothing can be given back; the engine sees that the worker is gone.
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}

impl WorkerBuilder {
    /// What the worker is called; for people.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.hello.name = name.into();
        self
    }

    /// The version of the code that it runs.
    pub fn build_id(mut self, build: impl Into<String>) -> Self {
        self.hello.build = build.into();
        self
    }

    /// Something that tasks may ask for.
    pub fn label(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.hello.labels.insert(label.into(), value.into());
        self
    }

    /// A queue that it takes tasks from; `default` if none is said.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// So many tasks it runs at most at the same time.
    pub const fn concurrency(mut self, tasks: u32) -> Self {
        self.parts.concurrency = tasks;
        self
    }

    /// So many runs it holds at most, those that wait included.
    pub const fn cached_runs(mut self, runs: u32) -> Self {
        self.parts.cached_runs = runs;
        self
    }

    /// For so long it waits for its tasks when it is stopped.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.parts.grace = grace;
        self
    }

    /// A task that was cancelled and does not end by itself for so long is given up.
    pub const fn cancel_grace(mut self, grace: Duration) -> Self {
        self.parts.cancel_grace = grace;
        self
    }

    /// A task, by the name that it is called by.
    pub fn task<I, O, F, Fut>(mut self, name: impl Into<String>, code: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize,
        F: Fn(TaskContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        self.parts.tasks.insert(name.into(), TaskCode::new(code));
        self
    }

    /// A workflow, by the name that it is started by.
    pub fn workflow<I, O, F, Fut>(self, name: impl Into<String>, code: F) -> Self
    where
        I: DeserializeOwned,
        O: Serialize,
        F: Fn(WorkflowContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        self.definition(Definition::new(name, code))
    }

    /// A workflow that is defined already.
    pub fn definition(mut self, definition: Definition) -> Self {
        self.hello.workflows.entry(definition.name().to_owned()).or_default();
        self.parts.workflows.insert(definition.name().to_owned(), definition);
        self
    }

    /// A version of a workflow that the worker can run, so that runs which are pinned to it come here.
    pub fn version(mut self, workflow: impl Into<String>, version: impl Into<String>) -> Self {
        self.hello.workflows.entry(workflow.into()).or_default().insert(version.into());
        self
    }

    /// Code around every task and step; the first is the outermost.
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// The worker.
    ///
    /// # Errors
    /// When the address, or the name of a queue, a task or a workflow cannot be one.
    pub fn build(self) -> Result<Worker, Error> {
        let Self { address, mut hello, queues, mut parts, middleware } = self;
        if parts.tasks.contains_key("") || parts.workflows.contains_key("") {
            return Err(Error::Invalid("a task or a workflow without a name".into()));
        }
        let endpoints = endpoints(&address)?;
        hello.queues = queues.iter().map(|queue| queue.parse()).collect::<Result<BTreeSet<QueueName>, _>>()?;
        if hello.queues.is_empty() {
            hello.queues.insert(QueueName::default());
        }
        hello.tasks = parts.tasks.keys().cloned().collect();
        hello.workflows.retain(|name, _| parts.workflows.contains_key(name));
        parts.chain = Chain(middleware.into());
        Ok(Worker { endpoints, hello, parts })
    }
}

/// The addresses of a list, at least one.
pub(crate) fn endpoints(addresses: &str) -> Result<Vec<Endpoint>, Error> {
    let endpoint = |address: &str| match Endpoint::from_shared(address.to_owned()) {
        Ok(endpoint) => Ok(endpoint.connect_timeout(CONNECT).tcp_nodelay(true)),
        Err(source) => Err(Error::Address { address: address.to_owned(), source }),
    };
    addresses.split(',').map(|address| endpoint(address.trim())).collect()
}

/// What this machine is called.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok()).map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}
