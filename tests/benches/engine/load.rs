//! What is asked of the engine.

use crate::{Bench, at_least, at_most};
use orlop_proto::engine::v1 as pb;
use orlop_proto::engine::v1::engine_service_client::EngineServiceClient;
use orlop_worker::Client;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// So many workflows at a time.
const WORKFLOWS: usize = 64;
const STEPS: u32 = 10;
const SPAN: Duration = Duration::from_secs(8);
const TASKS: usize = 100_000;
/// Tasks of one request.
const BATCH: usize = 1000;

fn quantile(times: &mut [Duration], part: f64) -> f64 {
    times.sort_unstable();
    let place = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
    times.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

async fn run(client: &Client, workflow: &str, input: u32) -> Duration {
    let began = Instant::now();
    let handle =
        if workflow == "empty" { client.start(workflow, &()).await } else { client.start(workflow, &input).await };
    handle.expect("it starts").result::<serde_json::Value>().await.expect("it ends well");
    began.elapsed()
}

pub(crate) async fn empty_workflows(client: &Client) {
    let mut times = Vec::new();
    for _ in 0..500 {
        times.push(run(client, "empty", 0).await);
    }
    at_most("an empty workflow, one client: p50", quantile(&mut times, 0.5), "ms", Some(2.0));
    at_most("an empty workflow, one client: p99", quantile(&mut times, 0.99), "ms", None);
}

pub(crate) async fn ten_steps(client: &Client) {
    let mut times = Vec::new();
    for _ in 0..200 {
        times.push(run(client, "steps", STEPS).await);
    }
    at_most("a workflow of ten steps, one client: p50", quantile(&mut times, 0.5), "ms", Some(13.0));
    at_most("a workflow of ten steps, one client: p99", quantile(&mut times, 0.99), "ms", None);
}

/// From the call of submit to the start of the function, a hundred a second.
pub(crate) async fn task_starts(client: &Client) {
    let mut times = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..500 {
        pace.tick().await;
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let task = client.submit("when", &()).await.expect("it is taken");
        let started: u64 = task.result().await.expect("it ends well");
        times.push(Duration::from_micros(started).saturating_sub(began));
    }
    at_most("a task added → started, 100/s: p50", quantile(&mut times, 0.5), "ms", Some(1.5));
    at_most("a task added → started, 100/s: p99", quantile(&mut times, 0.99), "ms", None);
}

pub(crate) async fn steps(bench: &Bench, client: &Client) {
    let (mut best, mut cheapest) = (0.0_f64, f64::INFINITY);
    for _ in 0..3 {
        let (began, used) = (Instant::now(), bench.cpu());
        let end = began + SPAN;
        let clients = (0..WORKFLOWS).map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut done = 0_u32;
                while Instant::now() < end {
                    run(&client, "steps", STEPS).await;
                    done += STEPS;
                }
                done
            })
        });
        let mut done = 0.0;
        for client in clients.collect::<Vec<_>>() {
            done += f64::from(client.await.expect("no panic"));
        }
        best = best.max(done / began.elapsed().as_secs_f64());
        cheapest = cheapest.min((bench.cpu() - used).as_secs_f64() * 1000.0 / done);
    }
    at_least("durable steps, 64 workflows of ten steps", best, "/s", Some(10_000.0));
    at_most("processor time of engine and worker for a step, starts and ends in it", cheapest, "ms", Some(0.10));
}

pub(crate) async fn tasks(bench: &Bench, _: &Client) {
    let mut engine = EngineServiceClient::connect(bench.address.clone()).await.expect("the engine answers");
    let mut best = 0.0_f64;
    for _ in 0..3 {
        let began = Instant::now();
        for _ in 0..TASKS / BATCH {
            let task = pb::NewTask {
                name: "nothing".into(),
                input: Some(pb::Payload { data: "null".into(), ..Default::default() }),
                ..Default::default()
            };
            let request = pb::SubmitTasksRequest { tasks: vec![task; BATCH] };
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
        let rate = TASKS as f64 / began.elapsed().as_secs_f64();
        if rate > best {
            best = rate;
            at_least("tasks that do nothing: added", TASKS as f64 / added.as_secs_f64(), "/s", None);
        }
    }
    at_least("tasks that do nothing, added and done", best, "/s", Some(30_000.0));
}
