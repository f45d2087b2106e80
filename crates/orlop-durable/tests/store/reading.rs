//! Filters and pages.

use crate::over_each_store;
use crate::rows::*;
use crate::stores::Place;
use orlop_durable::store::{RunFilter, TaskFilter};
use orlop_durable_core::{RunRow, RunStatus, TaskRow, TaskStatus};
use orlop_model::durable::{Outcome, TaskOptions};

over_each_store!(runs_are_found_by_what_they_are, tasks_are_found_by_what_they_are);

async fn runs_are_found_by_what_they_are(place: Place) {
    let store = place.open().await;
    let with = |number: u128, workflow: &str, attributes: &[(&str, &str)]| {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        run_new(&RunRow { attributes: attributes.collect(), ..run(number, workflow) })
    };
    store
        .commit(vec![
            with(1, "walk", &[("who", "me"), ("where", "here")]),
            with(2, "walk", &[("who", "me")]),
            with(3, "run", &[("who", "you")]),
            with(u128::MAX, "run", &[]),
            closed(2, RunStatus::Failed),
            closed(3, RunStatus::Completed),
        ])
        .await
        .expect("written");
    let found = async |filter: RunFilter| {
        let limit = if filter.limit == 0 { 100 } else { filter.limit };
        let found = store.list_runs(RunFilter { limit, ..filter }).await.expect("read");
        found.iter().map(|run| if run.run == run_id(u128::MAX) { 4 } else { run.run.as_u128() }).collect::<Vec<_>>()
    };
    let any = RunFilter::default;
    assert_eq!(found(any()).await, [4, 3, 2, 1]);
    assert_eq!(found(RunFilter { limit: 2, ..any() }).await, [4, 3]);
    assert_eq!(found(RunFilter { limit: 2, before: Some(run_id(3)), ..any() }).await, [2, 1]);
    assert_eq!(found(RunFilter { before: Some(run_id(1)), ..any() }).await, []);
    assert_eq!(found(RunFilter { workflow: "run".into(), ..any() }).await, [4, 3]);
    assert_eq!(found(RunFilter { statuses: vec![RunStatus::Failed, RunStatus::Completed], ..any() }).await, [3, 2]);
    let named = |pairs: &[(&str, &str)]| RunFilter {
        attributes: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..RunFilter::default()
    };
    assert_eq!(found(named(&[("who", "me")])).await, [2, 1]);
    assert_eq!(found(named(&[("who", "me"), ("where", "here")])).await, [1]);
    assert_eq!(found(named(&[("who", "nobody")])).await, []);
    let all = RunFilter { workflow: "walk".into(), statuses: vec![RunStatus::Open], ..named(&[("who", "me")]) };
    assert_eq!(found(all).await, [1]);
}

async fn tasks_are_found_by_what_they_are(place: Place) {
    let store = place.open().await;
    let with = |number: u128, queue: &str, name: &str| {
        let options = TaskOptions { queue: queue.parse().expect("a queue"), ..TaskOptions::default() };
        TaskRow { options, ..task(number, name) }
    };
    let rows = [with(1, "a", "x"), with(2, "a", "y"), with(3, "b", "x"), with(4, "b", "y"), with(5, "a", "x")];
    let mut writes: Vec<_> = rows.iter().map(task_new).collect();
    writes.push(task_closed(&rows[3], TaskStatus::Failed, Outcome::Ok(payload(b"1"))));
    writes.push(task_closed(&rows[4], TaskStatus::Completed, Outcome::Ok(payload(b"1"))));
    store.commit(writes).await.expect("written");
    let found = async |filter: TaskFilter| {
        let found = store.list_tasks(TaskFilter { limit: 2, ..filter }).await.expect("read");
        found.iter().map(|task| task.row.task.as_u128()).collect::<Vec<_>>()
    };
    let open = || TaskFilter { open: true, ..TaskFilter::default() };
    assert_eq!(found(open()).await, [3, 2]);
    assert_eq!(found(TaskFilter { before: Some(task_id(2)), ..open() }).await, [1]);
    assert_eq!(found(TaskFilter { queue: "a".into(), ..open() }).await, [2, 1]);
    assert_eq!(found(TaskFilter { name: "x".into(), ..open() }).await, [3, 1]);
    assert_eq!(found(TaskFilter { queue: "a".into(), name: "x".into(), ..open() }).await, [1]);
    assert_eq!(found(TaskFilter::default()).await, [5, 4]);
    assert_eq!(found(TaskFilter { statuses: vec![TaskStatus::Failed], ..TaskFilter::default() }).await, [4]);
}
