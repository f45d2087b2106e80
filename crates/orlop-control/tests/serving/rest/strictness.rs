//! What is not understood is refused, and said so in the same form everywhere.

use super::http::Http;
use super::{spec, start};
use crate::world::World;
use orlop_control::Listen;

#[tokio::test]
async fn what_a_request_has_too_much_is_refused() {
    let (_world, http) = start().await;
    for (method, path, status, code) in [
        ("GET", "/api/v1/nope", 404, "not_found"),
        ("GET", "/api", 404, "not_found"),
        ("GET", "/api/v1/deployments/", 404, "not_found"),
        ("GET", "/api/v1/deployments?limits=3", 400, "unknown_parameter"),
        ("GET", "/api/v1/deployments?limit=3&limit=3", 400, "invalid_parameter"),
        ("GET", "/api/v1/deployments?limit=0", 400, "invalid_parameter"),
        ("GET", "/api/v1/deployments?limit=1001", 400, "invalid_parameter"),
        ("GET", "/api/v1/deployments?limit=", 400, "invalid_parameter"),
        ("GET", "/api/v1/deployments?stale=1", 400, "invalid_parameter"),
        ("GET", "/api/v1/deployments/Shop", 400, "invalid_parameter"),
        ("GET", "/api/v1/deployments/%ff%fe%fd", 400, "invalid_parameter"),
        ("GET", "/api/v1/nodes/alpha", 400, "invalid_parameter"),
        ("GET", "/healthz?verbose", 400, "unknown_parameter"),
        ("DELETE", "/api/v1/deployments/shop?force=yes", 400, "invalid_parameter"),
        ("DELETE", "/api/v1/deployments", 405, "method_not_allowed"),
        ("PATCH", "/api/v1/status", 405, "method_not_allowed"),
        ("BREW", "/api/v1/status", 405, "method_not_allowed"),
    ] {
        let answer = http.send(method, path, &[], "").await;
        assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}");
        let problem = answer.expect(status).await;
        assert_eq!(problem["code"], code, "{method} {path}: {problem:#}");
        assert_eq!(problem["status"], status, "{method} {path}");
        assert!(!problem["remedy"].as_str().unwrap_or_default().is_empty(), "{method} {path}");
    }
    let long = format!("/api/v1/deployments?after={}", "a".repeat(9_000));
    assert_eq!(http.get(&long).await.expect(400).await["code"], "invalid_parameter");
    let problem = http.send("GET", "/api/v1/status", &[], "a body").await.expect(400).await;
    assert_eq!(problem["code"], "unexpected_body");
}

#[tokio::test]
async fn forms_that_are_not_spoken_are_refused() {
    let (_world, http) = start().await;
    for headers in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/json; charset=latin1")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/yaml"), ("content-encoding", "gzip")],
    ] {
        let problem = http.send("PUT", "/api/v1/deployments/shop", headers, spec("shop", "1")).await.expect(415).await;
        assert_eq!(problem["code"], "unsupported_media_type", "{headers:?}");
    }
    let problem = http.send("GET", "/api/v1/status", &[("accept", "text/html")], "").await.expect(406).await;
    assert_eq!(problem["code"], "not_acceptable");
    let large = format!("{}# {}\n", spec("shop", "1"), "x".repeat(1 << 20));
    assert_eq!(http.deploy("shop", large, &[]).await.expect(413).await["code"], "payload_too_large");
    let headers = [("content-type", "application/json")];
    let path = "/api/v1/deployments/shop/services/api/scale";
    let large = format!("{{\"replicas\": 1{}}}", " ".repeat(64 << 10));
    assert_eq!(http.send("PUT", path, &headers, large).await.expect(413).await["code"], "payload_too_large");
}

#[tokio::test]
async fn head_and_options_say_what_there_is() {
    let (_world, http) = start().await;
    let head = http.send("HEAD", "/api/v1/status", &[], "").await;
    assert_eq!((head.status, head.header("content-type")), (200, "application/json"));
    assert!(head.header("content-length").parse::<usize>().is_ok_and(|length| length > 0));
    assert_eq!(head.text().await, "");
    let options = http.send("OPTIONS", "/api/v1/deployments/shop", &[], "").await;
    assert_eq!((options.status, options.header("allow")), (204, "DELETE, GET, PUT, HEAD, OPTIONS"));
    let refused = http.send("POST", "/api/v1/deployments/shop", &[], "").await;
    assert_eq!((refused.status, refused.header("allow")), (405, "DELETE, GET, PUT, HEAD, OPTIONS"));
}

#[tokio::test]
async fn a_port_that_anybody_reaches_asks_who_calls() {
    let world = World::start_with(|config| config.listen.push("http://127.0.0.1:0".parse().expect("an address"))).await;
    let Some(Listen::Loopback(address)) = world.listening().last() else { panic!("{:?}", world.listening()) };
    let http = Http::at(*address);
    for headers in [&[][..], &[("authorization", "Bearer nonsense")], &[("authorization", "Basic YTpi")]] {
        let refused = http.send("GET", "/api/v1/status", headers, "").await;
        assert_eq!(refused.header("www-authenticate"), "Bearer", "{headers:?}");
        assert_eq!(refused.expect(401).await["code"], "unauthenticated", "{headers:?}");
    }
    for open in ["/healthz", "/readyz", "/api/v1/openapi.json", "/api/v1/docs"] {
        assert_eq!(http.get(open).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn a_member_says_that_it_is_well_and_what_it_serves() {
    let (_world, http) = start().await;
    assert_eq!(http.get("/healthz").await.expect(200).await["status"], "ok");
    assert_eq!(http.get("/readyz").await.expect(200).await["status"], "ready");
    let document = http.get("/api/v1/openapi.json").await.expect(200).await;
    assert_eq!(document["openapi"], "3.1.1");
    let page = http.get("/api/v1/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let text = page.text().await;
    assert!(text.contains("openapi.json") && !text.contains("https://"), "the page loads nothing from elsewhere");
}
