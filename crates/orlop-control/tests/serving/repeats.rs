//! Calls that come twice under one id, because the first answer was lost.

use crate::identity::{client, node_token, put_operator, request_for};
use crate::world::*;
use orlop_identity::token::Login;
use orlop_model::{Liveness, NodeId, Object, View};
use orlop_proto::identity::v1 as pb;
use std::time::Duration;
use tonic::{Code, Request};

/// A request under an id.
fn under<T>(id: u128, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let id = uuid::Uuid::from_u128(id).to_string();
    request.metadata_mut().insert("orlop-request-id", id.parse().expect("a value"));
    request
}

#[tokio::test]
async fn what_is_made_of_randomness_is_made_once_too() {
    let world = World::start().await;
    let mut client = client(&world);
    put_operator(&mut client, pb::Role::Viewer).await;

    let create = || pb::CreateJoinTokenRequest { kind: pb::JoinKind::Node.into(), uses: 1, ..Default::default() };
    client.create_join_token(under(1, create())).await.expect("a token");
    // Its secret is nowhere but in the answer that was lost.
    let lost = client.create_join_token(under(1, create())).await.expect_err("made already");
    assert_eq!(lost.code(), Code::Aborted, "{lost}");
    let tokens = client.list_join_tokens(pb::ListJoinTokensRequest {}).await.expect("a list").into_inner().tokens;
    assert_eq!(tokens.len(), 1);

    let issue = || pb::IssueOperatorTokenRequest { operator: "anna".into(), lifetime_ms: 3_600_000 };
    let mut issued = Vec::new();
    for id in [2, 2, 3] {
        let answer = client.issue_operator_token(under(id, issue())).await.expect("a token").into_inner();
        answer.login.parse::<Login>().expect("a login");
        issued.push(answer.id);
    }
    assert_eq!(issued[0], issued[1], "one token, that one revocation ends");
    assert_ne!(issued[0], issued[2]);

    let set = |value: &str| pb::SetSecretRequest { name: "key".into(), value: value.into() };
    let mut versions = Vec::new();
    for (id, value) in [(4, "one"), (4, "one"), (4, "another"), (5, "one")] {
        versions.push(client.set_secret(under(id, set(value))).await.expect("set").into_inner().version);
    }
    assert_eq!(versions, [1, 1, 2, 3], "under the same id something else is another request");

    let rotate = || pb::RotateSigningKeyRequest { overlap_ms: None };
    let mut keys = Vec::new();
    for id in [6, 6, 7] {
        let answer = client.rotate_signing_key(under(id, rotate())).await.expect("rotated").into_inner();
        keys.push(answer.key.expect("a key").id);
    }
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);

    let log = client.list_audit(pb::ListAuditRequest::default()).await.expect("a log").into_inner().records;
    let count = |action: &str| log.iter().filter(|record| record.action == action).count();
    let counts = ["token.create", "operator.token", "secret.set", "signing_key.rotate"].map(count);
    assert_eq!(counts, [1, 2, 3, 2], "what was repeated stands in the log once");
}

#[tokio::test]
async fn requests_to_different_ends_that_look_alike_are_two() {
    let world = World::start().await;
    let mut client = client(&world);
    put_operator(&mut client, pb::Role::Viewer).await;
    client.set_secret(pb::SetSecretRequest { name: "anna".into(), value: b"a value".to_vec() }).await.expect("set");
    client.remove_operator(under(1, pb::RemoveOperatorRequest { name: "anna".into() })).await.expect("removed");
    client.remove_secret(under(1, pb::RemoveSecretRequest { name: "anna".into() })).await.expect("removed");
    let secrets = client.list_secrets(pb::ListSecretsRequest {}).await.expect("a list").into_inner().secrets;
    assert_eq!(secrets.len(), 0);
}

#[tokio::test]
async fn a_node_that_is_removed_is_refused_by_the_same_command() {
    let world = World::start_with(|config| config.suspect_after = Duration::from_millis(50)).await;
    let mut client = client(&world);
    let token = node_token(&mut client, 1).await;
    let joined = client.join(request_for(&token, 7)).await.expect("it joins").into_inner();
    let identity = joined.certificate.expect("a certificate").identity;
    let node = world.agent_with_id("alpha", NodeId::from_u128(7)).await.node;
    let mut nodes = world.watch(View::Mesh, None).await;
    let key = format!("node/{node}");
    let silent = |w: &Watcher| matches!(w.objects.get(&key), Some(Object::Node(n)) if n.liveness != Liveness::Alive);
    until("silence", &mut nodes, silent).await;
    let before = world.revision().await;
    world.operator().remove_node(node).await.expect("removed");
    assert_eq!(world.revision().await.0, before.0 + 1, "no end of power comes between");
    let log = world.operator().events(&Default::default(), 2).await.expect("events").0;
    let said: Vec<&str> = log.iter().map(|event| event.reason.message.as_str()).collect();
    assert!(said.iter().any(|message| message.contains(&identity)), "{said:?}");
}
