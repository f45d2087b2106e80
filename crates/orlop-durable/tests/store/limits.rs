//! Much, and strange things.

use crate::over_each_store;
use crate::rows::*;
use crate::stores::Place;
use orlop_durable::store::{RunFilter, TaskFilter};
use orlop_durable_core::{RunChange, RunRow, Write};
use orlop_model::Timestamp;
use orlop_model::durable::{BlockCause, TaskLog};

over_each_store!(large_payloads_and_large_batches, any_text_comes_back_and_is_found);

async fn large_payloads_and_large_batches(place: Place) {
    let store = place.open().await;
    let large: Vec<u8> = (0..64 << 10).map(|number: u32| (number % 251) as u8).collect();
    let mut writes = vec![run_new(&run(1, "walk")), run_new(&run(2, "walk")), task_new(&task(1, "work"))];
    writes.extend((0..40).map(|seq| Write::Entry(run_id(1), entry(seq, &large))));
    writes.extend((0..6000).map(|seq| Write::Entry(run_id(2), entry(seq, b"1"))));
    writes.extend((10..5000).map(|number| task_new(&task(number, "work"))));
    let mut huge = task(2, "work");
    huge.input = payload(&large.repeat(64));
    writes.push(task_new(&huge));
    store.commit(writes).await.expect("written");
    let store = place.reopen(store).await;
    let found = store.run(run_id(1)).await.expect("read").expect("there");
    assert!(found.entries == (0..40).map(|seq| entry(seq, &large)).collect::<Vec<_>>());
    let found = store.run(run_id(2)).await.expect("read").expect("there");
    assert_eq!(found.entries.last(), Some(&entry(5999, b"1")));
    assert!(store.describe_task(huge.task).await.expect("read").expect("there").row == huge);
    let (_, left) = store.take_over().await.expect("taken over");
    assert_eq!(left.tasks.len(), 2 + 4990);
}

async fn any_text_comes_back_and_is_found(place: Place) {
    let store = place.open().await;
    let long = "ü".repeat(10_000);
    let texts = ["\0", "a\0b", "␀0", "␀", "'\"\\ %_", "\u{1}\u{7f}\u{fffd}\u{10ffff}", "{}[]\\u0000", long.as_str()];
    for (number, text) in (1..).zip(texts) {
        let text = text.to_owned();
        let row = RunRow {
            version: text.clone(),
            key: text.clone(),
            attributes: [(text.clone(), text.clone())].into(),
            ..run(number, &text)
        };
        let blocked = RunChange::Blocked { cause: BlockCause::Stuck, message: text.clone() };
        let line = TaskLog { at: Timestamp(1), level: text.clone(), text: text.clone() };
        let said = Write::TaskSaid(task_id(number), vec![line]);
        let named = [("x".to_owned(), text.clone())].into();
        let named = Write::RunChanged(row.run, RunChange::Attributes(named));
        let of_task = task(number, &text);
        let writes = vec![run_new(&row), Write::RunChanged(row.run, blocked), task_new(&of_task), said, named];
        store.commit(writes).await.expect("written");

        let found = store.run(row.run).await.expect("read").expect("there").row;
        assert_eq!((&found.workflow, &found.version, &found.key), (&text, &text, &text));
        assert_eq!((&found.attributes[&text], &found.attributes["x"]), (&text, &text));
        let filter = RunFilter {
            workflow: text.clone(),
            attributes: [(text.clone(), text.clone())].into(),
            limit: 10,
            ..RunFilter::default()
        };
        let found = store.list_runs(filter).await.expect("read");
        assert_eq!(found.len(), 1, "{text:?}");
        assert!(found[0].reason.ends_with(&text), "{text:?}");
        let filter = TaskFilter { open: true, name: text.clone(), limit: 10, ..TaskFilter::default() };
        let found = store.list_tasks(filter).await.expect("read");
        assert_eq!(found.iter().map(|task| &task.row).collect::<Vec<_>>(), [&of_task], "{text:?}");
    }
    let (_, left) = store.take_over().await.expect("taken over");
    assert_eq!(left.run_keys.len(), texts.len());
    for (workflow, key, run) in left.run_keys {
        assert_eq!((&workflow, &key), (&key, &texts[run.as_u128() as usize - 1].to_owned()));
    }
}
