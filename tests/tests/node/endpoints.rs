//! Public endpoints: what cannot be served is said for as long as it is so; a proxy is replaced without anybody noticing.

use crate::specs::{PATIENCE, app, explain, hello, shell, testbed, wait_for_why};
use orlop_testbed::{Hammer, Layout, Options, Role, Testbed, wait_for};
use std::net::{TcpListener, TcpStream};

/// A service with a public TCP endpoint.
fn tcp(name: &str, port: u16) -> String {
    let endpoint = format!("    endpoints: [ {{ name: raw, protocol: tcp, port: {port}, expose: public }} ]\n");
    shell(name, "exec sleep 1000", &endpoint)
}

fn faults(testbed: &Testbed, service: &str) -> Vec<(String, String)> {
    let status = testbed.ctl_json(&["status"]);
    let service = status["services"].as_array().and_then(|all| all.iter().find(|s| s["name"] == service)).cloned();
    let faults = service.map(|service| service["endpoint_faults"].as_array().cloned().unwrap_or_default());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    faults.unwrap_or_default().iter().map(|f| (text(&f["reason"]["code"]), text(&f["reason"]["message"]))).collect()
}

#[test]
fn an_endpoint_whose_port_is_taken_is_said_to_be_until_the_port_is_free() {
    let mut testbed = testbed(Options { layout: Layout::ProcessPerRole, ..Options::default() });
    let thief = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = thief.local_addr().expect("an address").port();
    let http = testbed.http().port();
    testbed.deploy(&app(&(tcp("taken", port) + &tcp("own", http) + &hello("web", 1, ""))), &["--wait"]);
    wait_for_why(&testbed, "app/taken", &["Not served on", "another process has the port; stop that process"]);
    wait_for_why(&testbed, "app/own", &["Not served on", "the proxy itself serves HTTP endpoints there"]);
    let status = testbed.ctl_ok(&["status"]);
    assert!(status.contains("ready, port_taken"), "{status}");
    assert!(status.contains(&format!("endpoint raw is not served on 127.0.0.1:{port}")), "{status}");
    let described = testbed.ctl_ok(&["describe", "app/taken"]);
    assert!(described.contains("Not served"), "{described}");
    assert_eq!(orlop_testbed::get(testbed.http(), "/").expect("an answer").status, 200, "nothing else is disturbed");

    // It outlives the control plane, and the proxy that said so: it is state.
    testbed.kill(Role::ControlPlane);
    testbed.kill(Role::Proxy);
    testbed.start_role(Role::ControlPlane);
    wait_for(
        "the state of before",
        PATIENCE,
        || (testbed.ctl(&["status"]).code == 0).then_some(()),
        || testbed.logs_of_programs(),
    );
    assert_eq!(faults(&testbed, "app/taken").len(), 1);
    std::fs::remove_file(testbed.run().join("http.address")).expect("the address file");
    drop(thief);
    testbed.start_role(Role::Proxy);
    wait_for(
        "the fault to be over",
        PATIENCE,
        || faults(&testbed, "app/taken").is_empty().then_some(()),
        || explain(&testbed, "app/taken"),
    );
    TcpStream::connect(("127.0.0.1", port)).expect("the port is served");
    wait_for_why(&testbed, "app/taken", &["endpoint raw is served on"]);
}

#[test]
fn a_proxy_is_replaced_under_load_without_a_failed_request() {
    let mut testbed = testbed(Options { layout: Layout::ProcessPerRole, ..Options::default() });
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    testbed.deploy(&app(&(hello("web", 2, "") + &tcp("raw", port))), &["--wait"]);
    wait_for(
        "the TCP endpoint",
        PATIENCE,
        || TcpStream::connect(("127.0.0.1", port)).ok(),
        || explain(&testbed, "app/raw"),
    );
    let http = testbed.http();
    let hammers: Vec<Hammer> = (0..4).map(|_| Hammer::start(http, "/")).collect();
    let more = |testbed: &Testbed| {
        let seen = hammers[0].good();
        wait_for(
            "more answers",
            PATIENCE,
            || (hammers[0].good() > seen + 30).then_some(()),
            || explain(testbed, "app/web"),
        );
    };
    for _ in 0..4 {
        more(&testbed);
        let ended = testbed.replace(Role::Proxy);
        assert!(ended.success(), "{ended}");
        assert_eq!(testbed.http(), http, "the successor has the same address, though any would have done");
        TcpStream::connect(("127.0.0.1", port)).expect("the port is listened on all the time");
        more(&testbed);
    }
    for hammer in hammers {
        let (good, failures) = hammer.finish();
        assert_eq!(failures, Vec::<String>::new(), "besides {good} good ones");
    }
}
