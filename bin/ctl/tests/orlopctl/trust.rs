//! Tokens, operators, secrets and the audit log, as somebody at a terminal has them.

use crate::world::World;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("json")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_logs_in_over_the_network_and_may_do_what_the_role_says() {
    let (world, address) = World::over_tls().await;
    world.ctl("operator add anna --role deployer --deployment shop --deployment web-*").await.expect(0);
    let issued = world.ctl("operator token anna --lifetime 1h").await;
    issued.expect(0);
    let login = issued.out.clone();
    assert!(login.starts_with("orlop1-o-"), "{login}");

    // Nobody is known before the login, and a token that was miscopied says so.
    let stranger = world.logged_in(&format!("--address {address} whoami"), "").await.expect(2);
    assert!(stranger.contains("orlopctl login"), "{stranger}");
    let slip = login.replacen("orlop1-o-", "orlop1-o-a", 1);
    let miscopied = world.logged_in(&format!("login {address}"), &slip).await.expect(2);
    assert!(miscopied.contains("miscopied"), "{miscopied}");

    let said = world.logged_in(&format!("login {address} --name test"), &login).await.expect(0);
    assert!(said.contains("Logged in as operator/anna"), "{said}");
    assert!(!said.contains("ey"), "the token is not printed: {said}");
    let contexts = json(&world.logged_in("context ls -o json", "").await.expect(0));
    assert_eq!((&contexts[0]["name"], &contexts[0]["current"]), (&"test".into(), &true.into()));
    let who = world.logged_in("whoami", "").await.expect(0);
    assert!(who.contains("operator/anna") && who.contains("deployer of shop, web-*"), "{who}");

    let file = world.spec(&[("api", "good", 1)]);
    world.logged_in(&format!("deploy -f {file}"), "").await.expect(0);
    let other = world.file(
        "other.yaml",
        "version: v1\ndeployment: other\nservices:\n  a: { image: { name: registry.example/b:1 } }\n",
    );
    let denied = world.logged_in(&format!("deploy -f {other}"), "").await;
    assert_ne!(denied.code, 0);
    assert!(denied.err.contains("ask an admin"), "{}", denied.err);
    let denied = world.logged_in("operator ls", "").await;
    assert!(denied.code != 0 && denied.err.contains("needs admin"), "{}", denied.err);

    // A removed operator is out at once.
    world.ctl("operator rm anna").await.expect(0);
    let out = world.logged_in("whoami", "").await;
    assert!(out.code != 0 && out.err.contains("operator token"), "{}", out.err);
    world.logged_in("context rm test", "").await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_believes_no_cluster_but_the_one_of_its_token() {
    let (world, _) = World::over_tls().await;
    let (_impostor, elsewhere) = World::over_tls().await;
    world.ctl("operator add anna --role admin").await.expect(0);
    let login = world.ctl("operator token anna").await.out;
    let refused = world.logged_in(&format!("login {elsewhere}"), &login).await;
    assert_ne!(refused.code, 0, "{}", refused.out);
    assert!(!world.folder.path().join("contexts.json").exists(), "nothing is kept of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_secrets_and_keys_come_and_go() {
    let world = World::control_only().await;
    let made = json(&world.ctl("token create node --uses 2 --lifetime 10m -o json").await.expect(0));
    let id = made["id"].as_str().expect("an id").to_owned();
    assert!(made["token"].as_str().is_some_and(|token| token.contains(&id)), "{made}");
    let listed = world.ctl("token ls").await.expect(0);
    assert!(listed.contains(&id) && listed.contains("2 left"), "{listed}");
    world.ctl(&format!("token revoke {id}")).await.expect(0);
    assert!(world.ctl("token ls").await.expect(0).contains("no join tokens"));
    world.ctl(&format!("token revoke {id}")).await.expect(4);
    let long = world.ctl("token create node --lifetime 31d").await;
    assert!(long.code != 0 && long.err.contains("30d"), "{}", long.err);

    let set = world.ctl_with("secret set api-key", "hunter2\n").await.expect(0);
    assert!(set.contains("version 1") && !set.contains("hunter2"), "{set}");
    let text = "version: v1\ndeployment: shop\nservices:\n  api: { image: { name: registry.example/b:1 }, env: { KEY: $S:api-key } }\n";
    let file = world.file("shop.yaml", text);
    world.ctl(&format!("deploy -f {file}")).await.expect(0);
    let used = world.ctl("secret rm api-key").await;
    assert!(used.code != 0 && used.err.contains("shop/api"), "{}", used.err);
    world.ctl_with("secret set api-key", "hunter3").await.expect(0);
    let listed = json(&world.ctl("secret ls -o json").await.expect(0));
    assert_eq!((&listed[0]["version"], &listed[0]["users"][0]), (&2.into(), &"shop/api".into()));
    let status = json(&world.ctl("status -o json").await.expect(0));
    assert_eq!(status["services"][0]["workload_generation"], 2, "its replicas are replaced: {status}");
    assert!(world.ctl("secret rotate").await.expect(0).contains("1 secrets are sealed with version 2"));
    let missing = world.file("missing.yaml", &text.replace("api-key", "no-key"));
    let missing = world.ctl(&format!("deploy -f {missing}")).await;
    assert!(missing.code != 0 && missing.err.contains("orlopctl secret set no-key"), "{}", missing.err);

    world.ctl("operator rotate --overlap 0s").await.expect(0);
    let keys = json(&world.ctl("operator keys -o json").await.expect(0));
    assert_eq!(keys.as_array().map(Vec::len), Some(1), "{keys}");

    let audit = world.ctl("audit").await.expect(0);
    for said in ["token.create", "secret.set", "secret.rotate", "deploy", "signing_key.rotate", "secret_used", "local"]
    {
        assert!(audit.contains(said), "{said} is not in {audit}");
    }
    let verified = world.ctl("audit verify").await.expect(0);
    assert!(verified.contains("prove each other, from 1 to"), "{verified}");
}
