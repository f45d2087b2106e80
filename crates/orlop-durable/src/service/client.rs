//! What people and their programs ask for.

use super::{Shared, refused, view};
use crate::store::{RunFilter, TaskFilter};
use orlop_durable_core::{NewRun, NewTask, Reply, Request as Wish, TaskStatus, TaskView};
use orlop_model::durable::{CallId, Payload, Signal, TaskOptions};
use orlop_model::{TaskId, WorkflowRunId};
use orlop_proto::engine::v1 as pb;
use orlop_proto::engine::v1::engine_service_server::EngineService;
use std::str::FromStr;
use std::time::Duration;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// Characters of a name or a key at most.
const NAME_MAX: usize = 200;
/// Tasks of one request at most.
const TASKS_MAX: usize = 10_000;
/// Rows of one answer at most.
const ROWS_MAX: u32 = 1000;
const ROWS_DEFAULT: u32 = 100;
/// The longest wait for an outcome.
const PATIENCE_MAX: Duration = Duration::from_secs(3600);

pub(crate) struct Clients(pub(super) Shared);

type Answer<T> = Result<Response<T>, Status>;

fn parsed<T: FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
}

fn name(field: &str, text: String) -> Result<String, Status> {
    if text.is_empty() || text.len() > NAME_MAX || text.chars().any(char::is_control) {
        return Err(Status::invalid_argument(format!(
            "{field}: expected 1 to {NAME_MAX} bytes without control characters"
        )));
    }
    Ok(text)
}

fn key(field: &str, text: String) -> Result<String, Status> {
    if text.is_empty() { Ok(text) } else { name(field, text) }
}

fn limit(wanted: u32) -> u32 {
    if wanted == 0 { ROWS_DEFAULT } else { wanted.min(ROWS_MAX) }
}

/// The page after the last row, if there may be one.
fn page_after<T: ToString>(rows: usize, limit: u32, last: Option<T>) -> String {
    if rows < limit as usize { String::new() } else { last.map(|last| last.to_string()).unwrap_or_default() }
}

impl Clients {
    fn payload(&self, field: &str, payload: Option<pb::Payload>) -> Result<Payload, Status> {
        let payload = payload.map(Payload::try_from).transpose()?.unwrap_or_default();
        if payload.data.len() as u64 > self.0.payload_bytes_max {
            let (found, max) = (payload.data.len(), self.0.payload_bytes_max);
            return Err(Status::invalid_argument(format!("{field}: {found} bytes; a payload may have {max}")));
        }
        Ok(payload)
    }

    async fn wish(&self, wish: Wish) -> Result<Reply, Status> {
        self.0.life().await?.request(wish).await?.map_err(refused)
    }

    fn new_task(&self, new: pb::NewTask) -> Result<NewTask, Status> {
        Ok(NewTask {
            task: TaskId::from_u128(Uuid::now_v7().as_u128()),
            name: name("name", new.name)?,
            input: self.payload("input", new.input)?,
            options: TaskOptions::try_from(new.options.unwrap_or_default())?,
            key: key("key", new.key)?,
            parent: match new.parent.as_str() {
                "" => None,
                parent => Some(parsed("parent", parent)?),
            },
            traceparent: new.traceparent,
        })
    }
}

fn unexpected() -> Status {
    Status::internal("the engine gave another kind of answer")
}

#[tonic::async_trait]
impl EngineService for Clients {
    async fn start_workflow(&self, request: Request<pb::StartWorkflowRequest>) -> Answer<pb::StartWorkflowResponse> {
        let wanted = request.into_inner();
        let run = WorkflowRunId::from_u128(Uuid::now_v7().as_u128());
        let new = NewRun {
            run,
            workflow: name("workflow", wanted.workflow)?,
            version: key("version", wanted.version)?,
            input: self.payload("input", wanted.input)?,
            key: key("key", wanted.key)?,
            attributes: wanted.attributes,
            seed: rand::random(),
            traceparent: wanted.traceparent,
        };
        match self.wish(Wish::Start(Box::new(new))).await? {
            Reply::Run(started) => {
                Ok(Response::new(pb::StartWorkflowResponse { run: started.id.to_string(), found: started.found }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn submit_tasks(&self, request: Request<pb::SubmitTasksRequest>) -> Answer<pb::SubmitTasksResponse> {
        let wanted = request.into_inner().tasks;
        if wanted.len() > TASKS_MAX {
            let count = wanted.len();
            return Err(Status::invalid_argument(format!("tasks: {count}; a request may have {TASKS_MAX}")));
        }
        let mut new = Vec::with_capacity(wanted.len());
        for (number, task) in wanted.into_iter().enumerate() {
            let within = |status: Status| Status::invalid_argument(format!("tasks[{number}].{}", status.message()));
            new.push(self.new_task(task).map_err(within)?);
        }
        match self.wish(Wish::Submit(new)).await? {
            Reply::Tasks(submitted) => {
                let tasks = submitted.into_iter().map(|submitted| pb::submit_tasks_response::Submitted {
                    task: submitted.id.to_string(),
                    found: submitted.found,
                });
                Ok(Response::new(pb::SubmitTasksResponse { tasks: tasks.collect() }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn r#await(&self, request: Request<pb::AwaitRequest>) -> Answer<pb::AwaitResponse> {
        let wanted = request.into_inner();
        let call: CallId = parsed("id", &wanted.id)?;
        let patience = Duration::from_millis(wanted.patience_ms).min(PATIENCE_MAX);
        let reply = tokio::select! {
            reply = tokio::time::timeout(patience, self.wish(Wish::Await(call))) => reply,
            () = self.0.stop.cancelled() => return Err(super::gone()),
        };
        match reply {
            Ok(Ok(Reply::Outcome(outcome))) => Ok(Response::new(pb::AwaitResponse { outcome: Some(outcome.into()) })),
            Ok(Ok(_)) => Err(unexpected()),
            Ok(Err(status)) => Err(status),
            Err(_) => Ok(Response::new(pb::AwaitResponse { outcome: None })),
        }
    }

    async fn signal_run(&self, request: Request<pb::SignalRunRequest>) -> Answer<pb::SignalRunResponse> {
        let wanted = request.into_inner();
        let run: WorkflowRunId = parsed("run", &wanted.run)?;
        let signal = Signal {
            name: name("name", wanted.name)?,
            payload: self.payload("payload", wanted.payload)?,
            id: key("id", wanted.id)?,
        };
        self.wish(Wish::Signal(run, signal)).await?;
        Ok(Response::new(pb::SignalRunResponse {}))
    }

    async fn cancel(&self, request: Request<pb::CancelRequest>) -> Answer<pb::CancelResponse> {
        let wanted = request.into_inner();
        let call: CallId = parsed("id", &wanted.id)?;
        self.0.life().await?;
        if let CallId::Task(task) = call
            && self.0.store.describe_task(task).await?.is_none()
        {
            return Err(Status::not_found(format!("there is no {task}")));
        }
        let reason = if wanted.reason.is_empty() { "it was cancelled".to_owned() } else { wanted.reason };
        match self.wish(Wish::Cancel(call, reason)).await? {
            Reply::Done { over } => Ok(Response::new(pb::CancelResponse { over })),
            _ => Err(unexpected()),
        }
    }

    async fn retry(&self, request: Request<pb::RetryRequest>) -> Answer<pb::RetryResponse> {
        let run: WorkflowRunId = parsed("id", &request.into_inner().id)?;
        self.wish(Wish::Retry(run)).await?;
        Ok(Response::new(pb::RetryResponse {}))
    }

    async fn describe_run(&self, request: Request<pb::DescribeRunRequest>) -> Answer<pb::DescribeRunResponse> {
        let wanted = request.into_inner();
        let run: WorkflowRunId = parsed("run", &wanted.run)?;
        let life = self.0.life().await?;
        let found = self.0.store.describe_run(run).await?;
        let found = found.ok_or_else(|| Status::not_found(format!("there is no {run}")))?;
        let live = life.look(move |engine| engine.run_view(run)).await?;
        let entries = self.0.store.entries(run, wanted.from_seq, ROWS_MAX).await?;
        let more = entries.last().is_some_and(|last| last.seq.0 + 1 < found.entries);
        let entries = entries.into_iter().map(pb::Entry::from).collect();
        Ok(Response::new(pb::DescribeRunResponse { run: Some(view::run(found, live)), entries, more }))
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Answer<pb::ListRunsResponse> {
        let wanted = request.into_inner();
        let limit = limit(wanted.limit);
        let filter = RunFilter {
            statuses: view::run_statuses(&wanted.statuses)?,
            workflow: wanted.workflow,
            attributes: wanted.attributes,
            before: match wanted.page.as_str() {
                "" => None,
                page => Some(parsed("page", page)?),
            },
            limit,
        };
        let life = self.0.life().await?;
        let found = self.0.store.list_runs(filter).await?;
        let next_page = page_after(found.len(), limit, found.last().map(|last| last.run));
        let ids: Vec<WorkflowRunId> = found.iter().map(|run| run.run).collect();
        let look = move |engine: &orlop_durable_core::Engine| ids.iter().map(|run| engine.run_view(*run)).collect();
        let live: Vec<_> = life.look(look).await?;
        let mut runs: Vec<pb::Run> = found.into_iter().zip(live).map(|(run, live)| view::run(run, live)).collect();
        // The store does not know who waits.
        if !wanted.statuses.is_empty() {
            runs.retain(|run| wanted.statuses.contains(&run.status));
        }
        Ok(Response::new(pb::ListRunsResponse { runs, next_page }))
    }

    async fn describe_task(&self, request: Request<pb::DescribeTaskRequest>) -> Answer<pb::DescribeTaskResponse> {
        let task: TaskId = parsed("task", &request.into_inner().task)?;
        let life = self.0.life().await?;
        let found = self.0.store.describe_task(task).await?;
        let found = found.ok_or_else(|| Status::not_found(format!("there is no {task}")))?;
        let live = life.look(move |engine| engine.task_view(task)).await?;
        let reason = match &live {
            Some(TaskView::Ready { reason }) => reason.clone(),
            Some(TaskView::Delayed) if found.row.change.failures > 0 => "it failed, and waits to be tried again".into(),
            Some(TaskView::Delayed) => "its time has not come".into(),
            Some(TaskView::Running { .. }) | None => String::new(),
        };
        let (input, ended) = (found.row.input.clone(), found.ended.clone());
        Ok(Response::new(pb::DescribeTaskResponse {
            task: Some(view::task(found, live.as_ref())),
            input: Some(input.into()),
            outcome: ended.map(|ended| ended.outcome.into()),
            reason,
        }))
    }

    async fn list_tasks(&self, request: Request<pb::ListTasksRequest>) -> Answer<pb::ListTasksResponse> {
        use pb::TaskStatus as Wire;
        let wanted = request.into_inner();
        let limit = limit(wanted.limit);
        let (mut ended, mut open) = (Vec::new(), false);
        for number in &wanted.statuses {
            match Wire::try_from(*number) {
                Ok(Wire::Completed) => ended.push(TaskStatus::Completed),
                Ok(Wire::Failed) => ended.push(TaskStatus::Failed),
                Ok(Wire::Cancelled) => ended.push(TaskStatus::Cancelled),
                Ok(Wire::Unspecified) | Err(_) => {
                    return Err(Status::invalid_argument(format!("statuses: {number} is not known")));
                }
                Ok(_) => open = true,
            }
        }
        if open && !ended.is_empty() {
            return Err(Status::invalid_argument("statuses: ask for tasks that are over, or for those that are not"));
        }
        let filter = TaskFilter {
            open: ended.is_empty(),
            statuses: ended,
            queue: wanted.queue,
            name: wanted.name,
            before: match wanted.page.as_str() {
                "" => None,
                page => Some(parsed("page", page)?),
            },
            limit,
        };
        let life = self.0.life().await?;
        let found = self.0.store.list_tasks(filter).await?;
        let next_page = page_after(found.len(), limit, found.last().map(|last| last.row.task));
        let ids: Vec<TaskId> = found.iter().map(|task| task.row.task).collect();
        let look = move |engine: &orlop_durable_core::Engine| ids.iter().map(|task| engine.task_view(*task)).collect();
        let live: Vec<_> = life.look(look).await?;
        let seen = found.into_iter().zip(live).map(|(task, live)| view::task(task, live.as_ref()));
        let mut tasks: Vec<pb::Task> = seen.collect();
        if !wanted.statuses.is_empty() {
            tasks.retain(|task| wanted.statuses.contains(&task.status));
        }
        Ok(Response::new(pb::ListTasksResponse { tasks, next_page }))
    }

    async fn list_queues(&self, _: Request<pb::ListQueuesRequest>) -> Answer<pb::ListQueuesResponse> {
        let queues = self.0.life().await?.look(|engine| engine.queues()).await?;
        let queues = queues.iter().map(|(name, view)| view::queue(name, view)).collect();
        Ok(Response::new(pb::ListQueuesResponse { queues }))
    }

    async fn list_workers(&self, _: Request<pb::ListWorkersRequest>) -> Answer<pb::ListWorkersResponse> {
        let workers = self.0.life().await?.look(|engine| engine.workers()).await?;
        Ok(Response::new(pb::ListWorkersResponse { workers: workers.into_iter().map(view::worker).collect() }))
    }
}
