//! Calls that go on while what they stand on ends: a token that is revoked, a role that is taken back.

use crate::identity::{Bearer, client, login_of, put_operator};
use crate::world::*;
use orlop_identity::token::Login;
use orlop_model::View;
use orlop_proto::identity::v1 as pb;
use orlop_proto::watch::v1 as watch;
use tonic::{Code, Status, Streaming};
use watch::watch_service_client::WatchServiceClient;

/// A watch of all events with an operator's token, after its first message.
async fn watch_as(world: &World, login: &str) -> Streaming<watch::WatchResponse> {
    let token = login.parse::<Login>().expect("a login").token;
    let view = Some((&View::Events(Some("shop-eu".parse().expect("a name")))).into());
    let mut client = WatchServiceClient::with_interceptor(world.loopback(), Bearer(token));
    let watching = client.watch(watch::WatchRequest { view, since: 0, cluster: String::new() }).await;
    let mut stream = watching.expect("a watch").into_inner();
    stream.message().await.expect("an answer").expect("a message");
    stream
}

async fn end_of(mut stream: Streaming<watch::WatchResponse>) -> Status {
    let ending = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the watch ended without a reason"),
                Err(status) => return status,
            }
        }
    };
    tokio::time::timeout(PATIENCE, ending).await.expect("the watch ends")
}

#[tokio::test]
async fn a_watch_ends_with_the_token_that_it_was_opened_with() {
    let world = World::start_with_loopback().await;
    let mut client = client(&world);
    put_operator(&mut client, pb::Role::Viewer).await;
    let (revoked, other) = (login_of(&mut client).await, login_of(&mut client).await);
    let (watched, watched_on) = (watch_as(&world, &revoked.login).await, watch_as(&world, &other.login).await);
    client.revoke_operator_token(pb::RevokeOperatorTokenRequest { id: revoked.id }).await.expect("revoked");
    let end = end_of(watched).await;
    assert_eq!(end.code(), Code::Unauthenticated, "{end}");

    // The other token lives on: what happens now still reaches its watch.
    let mut watched_on = watched_on;
    world.deploy("shop-eu").await;
    let told = tokio::time::timeout(PATIENCE, watched_on.message()).await.expect("in time");
    assert!(told.expect("it goes on").is_some());

    // What the operator may do is no longer what it was when the watch began.
    put_operator(&mut client, pb::Role::Deployer).await;
    let end = end_of(watched_on).await;
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    let watched = watch_as(&world, &other.login).await;
    client.rotate_signing_key(pb::RotateSigningKeyRequest { overlap_ms: Some(0) }).await.expect("rotated");
    assert_eq!(end_of(watched).await.code(), Code::Unauthenticated, "its key is retired");
}
