//! What is asked of the engine, and of its peers in the same way: peers/load.js and peers/load.py do as this does.

use orlop_proto::engine::v1 as pb;
use orlop_proto::engine::v1::engine_service_client::EngineServiceClient;
use orlop_worker::Client;
use serde::Deserialize;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// One client, so many workflows one after another.
    Latency { steps: u32, count: u32 },
    /// So many clients, each one workflow after another.
    Steps { workflows: u32, steps: u32, seconds: u32 },
    /// So many tasks that do nothing, added in batches, until the last is done.
    Tasks { count: u32, batch: u32 },
}

impl Load {
    /// As the peers' programs read it.
    pub(crate) fn command(self) -> String {
        match self {
            Load::Latency { steps, count } => format!("latency {steps} {count}\n"),
            Load::Steps { workflows, steps, seconds } => format!("steps {workflows} {steps} {seconds}\n"),
            Load::Tasks { count, batch } => format!("tasks {count} {batch}\n"),
        }
    }
}

/// What a load gave; what it does not give is not a number.
#[derive(Clone, Copy, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// Of workflows, in milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// Steps.
    pub done: f64,
    /// Steps or tasks, a second.
    pub rate: f64,
    /// Tasks, a second.
    pub added: f64,
    /// Processor time of a step in milliseconds: without the client's, and with it.
    pub served: f64,
    pub used: f64,
}

impl Default for Figures {
    fn default() -> Self {
        let none = f64::NAN;
        Self { p50: none, p99: none, done: none, rate: none, added: none, served: none, used: none }
    }
}

impl Figures {
    /// What is best of two rounds: others use this machine too, and no round is faster for that.
    pub(crate) fn or_better(self, other: Self) -> Self {
        Self {
            p50: self.p50.min(other.p50),
            p99: self.p99.min(other.p99),
            done: self.done.max(other.done),
            rate: self.rate.max(other.rate),
            added: self.added.max(other.added),
            served: self.served.min(other.served),
            used: self.used.min(other.used),
        }
    }

    /// With the processor time of a round, if it was one of steps.
    pub(crate) fn with_times(mut self, served: Duration, used: Duration) -> Self {
        self.served = served.as_secs_f64() * 1000.0 / self.done;
        self.used = used.as_secs_f64() * 1000.0 / self.done;
        self
    }

    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let quantile = |part: f64| {
            let place = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
            times.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
        };
        Self { p50: quantile(0.5), p99: quantile(0.99), ..Self::default() }
    }
}

pub(crate) async fn run(client: &Client, address: &str, load: Load) -> Figures {
    match load {
        Load::Latency { steps, count } => latency(client, steps, count).await,
        Load::Steps { workflows, steps, seconds } => throughput(client, workflows, steps, seconds).await,
        Load::Tasks { count, batch } => tasks(address, count, batch).await,
    }
}

async fn workflow(client: &Client, steps: u32) -> Duration {
    let began = Instant::now();
    let handle = if steps == 0 { client.start("empty", &()).await } else { client.start("steps", &steps).await };
    handle.expect("it starts").result::<serde_json::Value>().await.expect("it ends well");
    began.elapsed()
}

async fn latency(client: &Client, steps: u32, count: u32) -> Figures {
    let mut times = Vec::new();
    for _ in 0..count {
        times.push(workflow(client, steps).await);
    }
    Figures::of(times)
}

async fn throughput(client: &Client, workflows: u32, steps: u32, seconds: u32) -> Figures {
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds.into());
    let clients = (0..workflows).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while Instant::now() < end {
                workflow(&client, steps).await;
                done += steps;
            }
            done
        })
    });
    let mut done = 0.0;
    for client in clients.collect::<Vec<_>>() {
        done += f64::from(client.await.expect("no panic"));
    }
    Figures { done, rate: done / began.elapsed().as_secs_f64(), ..Figures::default() }
}

async fn tasks(address: &str, count: u32, batch: u32) -> Figures {
    let mut engine = EngineServiceClient::connect(address.to_owned()).await.expect("the engine answers");
    let task = pb::NewTask {
        name: "nothing".into(),
        input: Some(pb::Payload { data: "null".into(), ..Default::default() }),
        ..Default::default()
    };
    let began = Instant::now();
    for _ in 0..count / batch {
        let request = pb::SubmitTasksRequest { tasks: vec![task.clone(); batch as usize] };
        engine.submit_tasks(request).await.expect("they are taken");
    }
    let added = began.elapsed();
    loop {
        let queues = engine.list_queues(pb::ListQueuesRequest {}).await.expect("an answer").into_inner().queues;
        if queues.iter().all(|queue| queue.ready + queue.running + queue.delayed == 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rate = |time: Duration| f64::from(count) / time.as_secs_f64();
    Figures { added: rate(added), rate: rate(began.elapsed()), ..Figures::default() }
}

/// From the call of submit to the start of the function, a hundred a second.
pub(crate) async fn task_starts(client: &Client) -> Figures {
    let mut times = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..500 {
        pace.tick().await;
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let task = client.submit("when", &()).await.expect("it is taken");
        let started: u64 = task.result().await.expect("it ends well");
        times.push(Duration::from_micros(started).saturating_sub(began));
    }
    Figures::of(times)
}
