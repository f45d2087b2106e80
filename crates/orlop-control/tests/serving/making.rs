//! Making a cluster, and the directories in which none is made.

use crate::identity::client;
use crate::world::World;
use orlop_client::{HostPort, Joining};
use orlop_control::{Config, Error, Home, Init, InitError, Listen, init};
use orlop_identity::token::JoinToken;
use orlop_model::{MemberId, Millis};
use orlop_proto::identity::v1 as pb;
use std::path::Path;
use tokio_util::sync::CancellationToken;

fn making(directory: &Path) -> Init {
    let advertise: HostPort = "192.0.2.1:7700".parse().expect("an address");
    let config = Config { advertise: Some(advertise), ..Config::new(directory.to_owned(), Vec::new()) };
    Init { config, node: None, joins: 2, tokens_for: Millis::from_secs(3600) }
}

#[tokio::test]
async fn a_cluster_is_made_once_and_made_anew_when_it_was_cut_short() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = init(making(folder.path())).await.expect("made");
    let again = init(making(folder.path())).await.expect_err("it is there");
    assert!(matches!(again, InitError::Exists(_)), "{again}");
    // Its tokens were shown to nobody when the mark is still there.
    std::fs::write(folder.path().join("initializing"), "").expect("written");
    let anew = init(making(folder.path())).await.expect("made");
    assert_eq!(anew.member_token.fingerprint, first.member_token.fingerprint, "it goes on with what was there");
    assert_ne!(anew.member_token.id, first.member_token.id);
    assert!(!folder.path().join("initializing").exists());
}

#[tokio::test]
async fn a_start_without_a_cluster_leaves_nothing_in_the_way_of_making_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("control-plane");
    let socket = Listen::Unix(folder.path().join("control.sock"));
    let config = Config { make_cluster: false, ..Config::new(directory.clone(), vec![socket]) };
    let refused = orlop_control::start(config.clone(), CancellationToken::new()).await.expect_err("there is none");
    assert!(matches!(refused, Error::NoCluster { .. }), "{refused}");
    assert!(!directory.exists());
    init(making(&directory)).await.expect("made");

    // What was cut short and then runs is a cluster that is made.
    std::fs::write(directory.join("initializing"), "").expect("written");
    let stop = CancellationToken::new();
    let running = orlop_control::start(config, stop.clone()).await.expect("it runs");
    stop.cancel();
    running.wait().await.expect("it ends");
    let again = init(making(&directory)).await.expect_err("it is there");
    assert!(matches!(again, InitError::Exists(_)), "{again}");
}

#[tokio::test]
async fn no_cluster_is_made_where_a_member_of_another_lives() {
    let world = World::start_with_tls().await;
    let create = pb::CreateJoinTokenRequest { kind: pb::JoinKind::Member.into(), ..Default::default() };
    let token = client(&world).create_join_token(create).await.expect("a token").into_inner().token;
    let token: JoinToken = token.parse().expect("a token");
    let joining = Joining::Member {
        name: "two".parse().expect("a name"),
        address: "192.0.2.2:7700".parse().expect("an address"),
    };
    let joined = orlop_client::join(&[world.tls()], &token, &joining).await.expect("it joins");
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path());
    joined.keep(home.identity()).expect("kept");
    let member = home.member().expect("readable");
    assert!(member.is_some_and(|member| member != MemberId::FIRST), "{member:?}");
    let refused = init(making(folder.path())).await.expect_err("another cluster's");
    assert!(matches!(refused, InitError::Exists(_)), "{refused}");
    assert!(!folder.path().join("raft").exists(), "nothing was begun");
}
