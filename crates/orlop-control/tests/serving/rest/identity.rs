//! Join tokens, operators and their tokens.

use super::http::Http;
use super::start;
use crate::world::World;
use orlop_control::Listen;
use serde_json::json;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[tokio::test]
async fn join_tokens_are_made_listed_and_revoked() {
    let (_world, http) = start().await;
    let made =
        http.send("POST", "/api/v1/join-tokens", &JSON, r#"{"kind": "node", "uses": 3}"#).await.expect(201).await;
    assert!(made["token"].as_str().is_some_and(|token| !token.is_empty()), "{made:#}");
    let listed = http.get("/api/v1/join-tokens").await.expect(200).await;
    assert_eq!(listed["join_tokens"], json!([made["stored"]]));
    assert_eq!((&made["stored"]["uses_left"], &made["stored"]["kind"]), (&json!(3), &json!("node")));
    assert!(!listed.to_string().contains(made["token"].as_str().expect("a token")), "a secret is told once");
    let path = format!("/api/v1/join-tokens/{}", made["stored"]["id"].as_str().expect("an id"));
    assert_eq!(http.send("DELETE", &path, &[], "").await.status, 204);
    assert_eq!(http.get("/api/v1/join-tokens").await.expect(200).await["join_tokens"], json!([]));
    http.send("DELETE", &path, &[], "").await.expect(404).await;
    for body in [
        "{}",
        r#"{"kind": "king"}"#,
        r#"{"kind": "node", "uses": 0}"#,
        r#"{"kind": "node", "uses": 1001}"#,
        r#"{"kind": "node", "uses": 1.5}"#,
        r#"{"kind": "node", "lifetime_seconds": 0}"#,
        r#"{"kind": "node", "lifetime_seconds": 59}"#,
        r#"{"kind": "node", "lifetime_seconds": 18446744073709551615}"#,
        r#"{"kind": "node", "node": "alpha"}"#,
        r#"{"kind": "node", "secret": "x"}"#,
    ] {
        http.send("POST", "/api/v1/join-tokens", &JSON, body).await.expect(400).await;
    }
}

#[tokio::test]
async fn an_operator_calls_with_a_token_as_far_as_its_role_goes() {
    let world = World::start_with(|config| config.listen.push("http://127.0.0.1:0".parse().expect("an address"))).await;
    let http = Http::of(&world).await;
    let put = http.send("PUT", "/api/v1/operators/anna", &JSON, r#"{"role": "viewer", "deployments": ["*"]}"#).await;
    assert_eq!(put.expect(200).await, json!({ "name": "anna", "role": "viewer", "deployments": ["*"] }));
    let made = http.send("POST", "/api/v1/operators/anna/tokens", &JSON, "{}").await.expect(201).await;
    let login: orlop_identity::token::Login = made["login"].as_str().expect("a login").parse().expect("a login");

    let Some(Listen::Loopback(address)) = world.listening().last() else { panic!("{:?}", world.listening()) };
    let anna = Http::at(*address);
    let bearer = format!("Bearer {}", login.token);
    let by = [("authorization", bearer.as_str())];
    anna.send("GET", "/api/v1/status", &by, "").await.expect(200).await;
    let refused = anna.send("DELETE", "/api/v1/deployments/shop", &by, "").await.expect(403).await;
    assert_eq!(refused["code"], "permission_denied");
    anna.send("GET", "/api/v1/join-tokens", &by, "").await.expect(403).await;

    let id = made["id"].as_str().expect("an id");
    assert_eq!(http.send("DELETE", &format!("/api/v1/operator-tokens/{id}"), &[], "").await.status, 204);
    anna.send("GET", "/api/v1/status", &by, "").await.expect(401).await;
    assert_eq!(http.send("DELETE", "/api/v1/operators/anna", &[], "").await.status, 204);
    assert_eq!(http.get("/api/v1/operators").await.expect(200).await["operators"], json!([]));
    for body in [
        r#"{"role": "king", "deployments": ["*"]}"#,
        r#"{"role": "viewer", "deployments": []}"#,
        r#"{"role": "viewer", "deployments": ["Shop"]}"#,
        r#"{"role": "viewer"}"#,
    ] {
        http.send("PUT", "/api/v1/operators/anna", &JSON, body).await.expect(400).await;
    }
    http.send("PUT", "/api/v1/operators/An%20na", &JSON, r#"{"role": "viewer", "deployments": ["*"]}"#)
        .await
        .expect(400)
        .await;
}

#[tokio::test]
async fn a_node_is_cordoned_and_forgotten_only_when_it_is_gone() {
    let (world, http) = start().await;
    let node = world.agent("alpha").await.node;
    let path = format!("/api/v1/nodes/{node}");
    for word in ["cordoned", "draining", "open"] {
        let body = json!({ "scheduling": word }).to_string();
        http.send("PUT", &format!("{path}/scheduling"), &JSON, body).await.expect(200).await;
        assert_eq!(http.get(&path).await.expect(200).await["scheduling"], word);
    }
    http.send("PUT", &format!("{path}/scheduling"), &JSON, r#"{"scheduling": "closed"}"#).await.expect(400).await;
    http.send("DELETE", &path, &[], "").await.expect(409).await;
    http.send("DELETE", "/api/v1/nodes/node_0192345678909a7bcd8ef0123456789a", &[], "").await.expect(404).await;
}

#[tokio::test]
async fn a_stream_of_events_ends_with_the_token() {
    let world = World::start_with_loopback().await;
    let admin = Http::of(&world).await;
    let put = admin.send("PUT", "/api/v1/operators/anna", &JSON, r#"{"role": "viewer", "deployments": ["*"]}"#).await;
    put.expect(200).await;
    let made = admin.send("POST", "/api/v1/operators/anna/tokens", &JSON, "{}").await.expect(201).await;
    let login: orlop_identity::token::Login = made["login"].as_str().expect("a login").parse().expect("a login");
    let http = Http::at(world.loopback_address());
    let bearer = format!("Bearer {}", login.token);
    let mut stream = http.send("GET", "/api/v1/events/stream", &[("authorization", &bearer)], "").await;
    assert_eq!(stream.status, 200);
    admin.send("DELETE", "/api/v1/operators/anna", &[], "").await;
    // It would go on for as long as the reader likes, and does not look as if that was all.
    assert!(stream.broken_off().await);
    assert_eq!(http.send("GET", "/api/v1/events", &[("authorization", &bearer)], "").await.status, 401);
}
