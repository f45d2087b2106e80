//! What an engine counts, as Prometheus reads it.
//!
//! | metric | meaning |
//! |---|---|
//! | `orlop_tasks_submitted_total{queue,task}` | tasks that were put into a queue |
//! | `orlop_tasks_started_total{queue,task}` | attempts that were given to a worker |
//! | `orlop_tasks_completed_total{queue,task}` | tasks that ended with a value |
//! | `orlop_tasks_failed_total{queue,task}` | tasks that ended with a failure |
//! | `orlop_tasks_cancelled_total{queue,task}` | tasks that ended because they were asked to |
//! | `orlop_task_e2e_latency_seconds{queue,task}` | from being submitted to the end |
//! | `orlop_queue_depth{queue,state}` | open tasks, by `ready`, `running`, `delayed` |
//! | `orlop_workflows_started_total{workflow}` | runs that began |
//! | `orlop_workflows_finished_total{workflow,status}` | runs that ended |
//! | `orlop_journal_entries_total` | entries that were written |
//! | `orlop_commit_seconds` | transactions, from begin to synced |
//! | `orlop_workers` | workers that are connected |
//!
//! Everything is counted once it is durable.

use orlop_durable_core::{Engine, Message, RunChange, RunStatus, TaskStatus, Write};
use orlop_model::durable::EngineFrame;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    queue: String,
    task: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DepthLabels {
    queue: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkflowLabels {
    workflow: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    workflow: String,
    status: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// What an engine counts, over all its lives.
pub(crate) struct Metrics {
    registry: Registry,
    submitted: Family<TaskLabels, Counter>,
    started: Family<TaskLabels, Counter>,
    completed: Family<TaskLabels, Counter>,
    failed: Family<TaskLabels, Counter>,
    cancelled: Family<TaskLabels, Counter>,
    latency: Histograms<TaskLabels>,
    depth: Family<DepthLabels, Gauge>,
    runs_started: Family<WorkflowLabels, Counter>,
    runs_finished: Family<EndLabels, Counter>,
    entries: Counter,
    commits: Histogram,
    workers: Gauge,
}

/// From 0.5 ms to about half an hour.
fn spans() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 22))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("orlop"),
            submitted: Family::default(),
            started: Family::default(),
            completed: Family::default(),
            failed: Family::default(),
            cancelled: Family::default(),
            latency: Family::new_with_constructor(spans),
            depth: Family::default(),
            runs_started: Family::default(),
            runs_finished: Family::default(),
            entries: Counter::default(),
            commits: spans(),
            workers: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("tasks_submitted", "Tasks that were put into a queue", self.submitted.clone());
        registry.register("tasks_started", "Attempts that were given to a worker", self.started.clone());
        registry.register("tasks_completed", "Tasks that ended with a value", self.completed.clone());
        registry.register("tasks_failed", "Tasks that ended with a failure", self.failed.clone());
        registry.register("tasks_cancelled", "Tasks that ended because they were asked to", self.cancelled.clone());
        let help = "From a task's submission to its end";
        registry.register_with_unit("task_e2e_latency", help, Unit::Seconds, self.latency.clone());
        registry.register("queue_depth", "Open tasks of a queue", self.depth.clone());
        registry.register("workflows_started", "Runs that began", self.runs_started.clone());
        registry.register("workflows_finished", "Runs that ended", self.runs_finished.clone());
        registry.register("journal_entries", "Entries of journals that were written", self.entries.clone());
        let help = "Transactions of the store, from begin to synced";
        registry.register_with_unit("commit", help, Unit::Seconds, self.commits.clone());
        registry.register("workers", "Workers that are connected", self.workers.clone());
    }

    /// A transaction is durable.
    pub(crate) fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// What is about to be written; counted by [`Counted::count`] once it is.
    pub(crate) fn counted(&self, writes: &[Write]) -> Counted {
        let mut counted = Counted::default();
        writes.iter().for_each(|write| counted.add(write));
        counted
    }

    /// What is said after a commit.
    pub(crate) fn said(&self, message: &Message) {
        if let Message::ToWorker(_, EngineFrame::TaskAssigned(task)) = message {
            let labels = TaskLabels { queue: task.queue.to_string(), task: task.name.clone() };
            self.started.get_or_create(&labels).inc();
        }
    }

    /// The text that Prometheus reads, with what the engine has now.
    pub(crate) fn encode(&self, engine: &Now) -> Result<String, std::fmt::Error> {
        self.depth.clear();
        for (queue, states) in &engine.queues {
            for (state, count) in states {
                let labels = DepthLabels { queue: queue.clone(), state };
                self.depth.get_or_create(&labels).set(i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
        self.workers.set(i64::try_from(engine.workers).unwrap_or(i64::MAX));
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What the engine has at the moment.
#[derive(Debug, Default)]
pub(crate) struct Now {
    queues: Vec<(String, [(&'static str, u64); 3])>,
    workers: usize,
}

impl Now {
    pub(crate) fn of(engine: &Engine) -> Self {
        let queues = engine.queues().into_iter().map(|(name, queue)| {
            (name.to_string(), [("ready", queue.ready), ("running", queue.running), ("delayed", queue.delayed)])
        });
        Self { queues: queues.collect(), workers: engine.workers().len() }
    }
}

/// What a batch of writes counts for.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    entries: u64,
    submitted: Vec<TaskLabels>,
    ended: Vec<(TaskLabels, TaskStatus, f64)>,
    began: Vec<String>,
    finished: Vec<(String, RunStatus)>,
}

impl Counted {
    fn add(&mut self, write: &Write) {
        match write {
            Write::Entry(..) => self.entries += 1,
            Write::TaskNew(row) => {
                self.submitted.push(TaskLabels { queue: row.options.queue.to_string(), task: row.name.clone() });
            }
            Write::TaskClosed(closed) => {
                let row = &closed.row;
                let labels = TaskLabels { queue: row.options.queue.to_string(), task: row.name.clone() };
                let took = closed.at.0.saturating_sub(row.created.0) as f64 / 1000.0;
                self.ended.push((labels, closed.status, took));
            }
            Write::RunNew(row) => self.began.push(row.workflow.clone()),
            Write::RunChanged(_, RunChange::Closed { workflow, status, .. }) => {
                self.finished.push((workflow.clone(), *status));
            }
            _ => {}
        }
    }

    /// It is durable.
    pub(crate) fn count(self, metrics: &Metrics) {
        metrics.entries.inc_by(self.entries);
        for labels in self.submitted {
            metrics.submitted.get_or_create(&labels).inc();
        }
        for (labels, status, took) in self.ended {
            metrics.latency.get_or_create(&labels).observe(took);
            let counter = match status {
                TaskStatus::Completed => &metrics.completed,
                TaskStatus::Failed => &metrics.failed,
                TaskStatus::Cancelled => &metrics.cancelled,
            };
            counter.get_or_create(&labels).inc();
        }
        for workflow in self.began {
            metrics.runs_started.get_or_create(&WorkflowLabels { workflow }).inc();
        }
        for (workflow, status) in self.finished {
            let status = match status {
                RunStatus::Completed => "completed",
                RunStatus::Failed => "failed",
                RunStatus::Cancelled => "cancelled",
                RunStatus::Continued => "continued",
                RunStatus::Open | RunStatus::Blocked => continue,
            };
            metrics.runs_finished.get_or_create(&EndLabels { workflow, status }).inc();
        }
    }
}
