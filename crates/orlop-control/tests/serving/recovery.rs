//! Going on alone after a disaster.

use crate::world::*;
use orlop_model::{Revision, View};

#[tokio::test]
async fn who_watched_what_was_lost_is_told_everything_anew() {
    let advertise = Some("192.0.2.1:7700".parse().expect("an address"));
    let mut world = World::start_with(|config| config.advertise = advertise).await;
    world.deploy("shop").await;
    let mut watcher = world.watch(View::Operator(None), None).await;
    let known = watcher.update().await;
    world.stop().await;

    let planned = orlop_control::recover(world.config(), true).await.expect("a plan");
    let done = orlop_control::recover(world.config(), false).await.expect("recovered");
    assert_eq!((done.member, done.last, planned.dry_run), (planned.member, planned.last, true));
    let left: Vec<_> = std::fs::read_dir(&world.config().data_dir).expect("a folder").flatten().collect();
    let left: Vec<_> = left.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    assert!(left.contains(&"raft.before-recovery".to_owned()), "what was there is kept: {left:?}");
    assert!(!left.iter().any(|name| name.contains("leap")), "{left:?}");
    world.begin().await;

    // It saw commands that are lost, and others are where they were.
    let lost = Revision(known.revision + 3);
    for deployment in ["one", "two", "three", "four"] {
        world.deploy(deployment).await;
    }
    let mut again = world.watch(View::Operator(None), Some((known.cluster.clone(), lost))).await;
    let update = again.update().await;
    assert!(update.snapshot, "it is not taken for one that has seen these");
    assert!(update.revision > known.revision + 1_000_000 && update.cluster == known.cluster);
    assert!(again.has("service/shop/api") && again.has("service/four/api"));

    // It may be repeated.
    world.stop().await;
    orlop_control::recover(world.config(), false).await.expect("recovered again");
    world.begin().await;
    assert_eq!(world.operator().state(None).await.expect("the state").services.len(), 5);
    assert!(world.config().data_dir.join("raft.before-recovery-2").is_dir(), "nothing that was kept is replaced");
}
