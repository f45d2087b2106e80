//! Deploying, looking, scaling, stopping.

use super::{spec, start};
use serde_json::json;

#[tokio::test]
async fn a_deployment_is_made_looked_at_scaled_and_stopped() {
    let (world, http) = start().await;
    let deployed = http.deploy("shop", spec("shop", "1"), &[]).await;
    assert_eq!(deployed.header("etag"), "\"1\"");
    let deployed = deployed.expect(200).await;
    assert_eq!(deployed["changes"], json!([{ "service": "api", "change": "added", "fields": [] }]));

    // The same as JSON changes nothing.
    let same = json!({ "version": "v1", "deployment": "shop",
        "services": { "api": { "image": { "name": "registry.example/shop/api:1" } } } });
    let headers = [("content-type", "application/json; charset=utf-8")];
    let again = http.send("PUT", "/api/v1/deployments/shop", &headers, same.to_string()).await.expect(200).await;
    assert_eq!((&again["generation"], &again["changes"][0]["change"]), (&json!(1), &json!("unchanged")));

    let found = http.get("/api/v1/deployments/shop").await;
    assert_eq!(found.header("etag"), "\"1\"");
    let found = found.expect(200).await;
    assert_eq!(found["services"][0]["image"], "registry.example/shop/api:1");

    let path = "/api/v1/deployments/shop/services/api";
    let scale = format!("{path}/scale");
    let headers = [("content-type", "application/json")];
    let scaled = http.send("PUT", &scale, &headers, r#"{"replicas": 3}"#).await.expect(200).await;
    assert_eq!((&scaled["previous"], &scaled["replicas"]), (&json!(1), &json!(3)));
    // JSON knows one kind of number.
    http.send("PUT", &scale, &headers, r#"{"replicas": 2.0}"#).await.expect(200).await;
    assert_eq!(http.get(path).await.expect(200).await["replicas_wanted"], 2);
    for body in [
        r#"{"replicas": 2.5}"#,
        r#"{"replicas": -1}"#,
        r#"{"replicas": 10001}"#,
        r#"{"replicas": 1, "x": 1}"#,
        "{}",
        "",
    ] {
        http.send("PUT", &scale, &headers, body).await.expect(400).await;
    }

    let stopped = http.send("DELETE", &format!("{path}?force=true"), &[], "").await.expect(202).await;
    assert_eq!((&stopped["name"], &stopped["forced"]), (&json!("shop/api"), &json!(true)));
    http.send("DELETE", "/api/v1/deployments/shop", &[], "").await.expect(202).await;
    assert!(world.operator().state(None).await.expect("the state").deployments.values().all(|d| d.stopping));
}

#[tokio::test]
async fn a_deploy_on_a_condition_is_refused_when_somebody_was_faster() {
    let (_world, http) = start().await;
    http.deploy("shop", spec("shop", "1"), &[("if-none-match", "*")]).await.expect(200).await;
    let problem = http.deploy("shop", spec("shop", "2"), &[("if-none-match", "*")]).await.expect(412).await;
    assert_eq!(problem["code"], "generation_changed");

    http.deploy("shop", spec("shop", "2"), &[("if-match", "\"1\"")]).await.expect(200).await;
    http.deploy("shop", spec("shop", "3"), &[("if-match", "\"1\"")]).await.expect(412).await;
    http.deploy("shop", spec("shop", "3"), &[]).await.expect(200).await;
    // What could be meant otherwise than it is taken, is not taken.
    for headers in [
        &[("if-match", "1")][..],
        &[("if-match", "*")],
        &[("if-match", "")],
        &[("if-match", "W/\"3\"")],
        &[("if-match", "\"2\", \"3\"")],
        &[("if-match", "\"3\""), ("if-match", "\"3\"")],
        &[("if-none-match", "\"3\"")],
        &[("idempotency-key", "mine")],
    ] {
        let problem = http.deploy("shop", spec("shop", "4"), headers).await.expect(400).await;
        assert_eq!(problem["code"], "invalid_parameter", "{headers:?}");
    }
    http.deploy("shop", spec("shop", "4"), &[("if-match", "\"3\""), ("if-none-match", "*")]).await.expect(412).await;
    let image = &http.get("/api/v1/deployments/shop").await.expect(200).await["services"][0]["image"];
    assert_eq!(image, "registry.example/shop/api:3");
}

#[tokio::test]
async fn a_plan_says_what_a_deploy_would_do_and_does_nothing() {
    let (world, http) = start().await;
    let _node = world.agent("alpha").await;
    let headers = [("content-type", "application/yaml")];
    let plan = http.send("POST", "/api/v1/deployments/shop/plan", &headers, spec("shop", "1")).await.expect(200).await;
    assert_eq!(plan["generation"], 0);
    assert_eq!(plan["changes"][0]["change"], "added");
    assert_eq!((&plan["steps"][0]["step"], &plan["steps"][0]["service"]), (&json!("start"), &json!("shop/api")));
    http.get("/api/v1/deployments/shop").await.expect(404).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_spec_is_told_with_its_places() {
    let (_world, http) = start().await;
    let wrong = "version: v1\ndeployment: shop\nservices:\n  api:\n    imag: { name: x }\n    scale: { mode: fixed, replicas: -1 }\n";
    let problem = http.deploy("shop", wrong.into(), &[]).await.expect(422).await;
    assert_eq!(problem["code"], "invalid_spec");
    let places: Vec<_> =
        problem["errors"].as_array().expect("a list").iter().map(|e| (&e["line"], &e["path"])).collect();
    assert!(places.contains(&(&json!(5), &json!("services.api.imag"))), "{problem:#}");
    assert!(places.contains(&(&json!(6), &json!("services.api.scale.replicas"))), "{problem:#}");

    let json = "{\"version\": \"v1\",\n \"deployment\": \"shop\",\n \"services\": {\"api\": {\"image\": 3}}}";
    let headers = [("content-type", "application/json")];
    let problem = http.send("PUT", "/api/v1/deployments/shop", &headers, json).await.expect(422).await;
    assert_eq!(problem["errors"][0]["line"], 3, "{problem:#}");
    let problem = http.send("PUT", "/api/v1/deployments/shop", &headers, spec("shop", "1")).await.expect(400).await;
    assert_eq!(problem["code"], "invalid_body", "YAML is not JSON");
    let problem = http.deploy("shop", spec("bank", "1"), &[]).await.expect(422).await;
    assert_eq!(problem["code"], "other_deployment");
}

#[tokio::test]
async fn lists_come_in_pages_and_are_narrowed() {
    let (world, http) = start().await;
    let (alpha, beta) = (world.agent("alpha").await, world.agent("beta").await);
    for (i, name) in ["one", "two", "six", "ten"].into_iter().enumerate() {
        world.place(name, if i % 2 == 0 { alpha.node } else { beta.node }).await;
    }
    let (mut path, mut names) = ("/api/v1/deployments?limit=3".to_owned(), Vec::new());
    loop {
        let page = http.get(&path).await.expect(200).await;
        let found = page["deployments"].as_array().expect("a list");
        names.extend(found.iter().map(|d| d["name"].as_str().expect("a name").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/deployments?limit=3&after={next}");
    }
    assert_eq!(names, ["one", "six", "ten", "two"]);

    let ids = async |query: &str| {
        let page = http.get(&format!("/api/v1/replicas{query}")).await.expect(200).await;
        page["replicas"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|r| r["service"].as_str().unwrap_or("").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("").await.len(), 4);
    assert_eq!(ids("?deployment=ten").await, ["ten/api"]);
    assert_eq!(ids(&format!("?node={}", beta.node)).await, ["two/api", "ten/api"], "by id");
    assert!(ids("?service=db").await.is_empty());

    let replica = &http.get("/api/v1/replicas?deployment=one").await.expect(200).await["replicas"][0];
    let id = replica["id"].as_str().expect("an id");
    assert_eq!(&http.get(&format!("/api/v1/replicas/{id}")).await.expect(200).await, replica);
    let node = http.get(&format!("/api/v1/nodes/{}", alpha.node)).await.expect(200).await;
    assert_eq!((&node["name"], &node["state"], &node["replicas"]), (&json!("alpha"), &json!("alive"), &json!(2)));
    let status = http.get("/api/v1/status").await.expect(200).await;
    assert_eq!((&status["nodes"], &status["deployments"]), (&json!(2), &json!(4)));
    for missing in ["rep_0192345678909a7bcd8ef0123456789a", "node_0192345678909a7bcd8ef0123456789a"] {
        let list = if missing.starts_with("rep") { "replicas" } else { "nodes" };
        http.get(&format!("/api/v1/{list}/{missing}")).await.expect(404).await;
    }
    http.get("/api/v1/deployments/none/services").await.expect(404).await;
    http.get("/api/v1/deployments/one/services/none").await.expect(404).await;
}
