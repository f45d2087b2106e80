use super::*;
use crate::authority::PeerCertificate;
use crate::caller::OperatorCaller;
use crate::identity::ProgramRole;
use orlop_model::trust::DeploymentPattern;
use orlop_model::{ClusterId, MemberId, Millis, OperatorTokenId};
use prost::Message;
use std::collections::BTreeSet;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn certificate(identity: Identity, not_after: Timestamp) -> Caller {
    let not_before = Timestamp(0);
    Caller::Certificate(PeerCertificate { identity, not_before, not_after, serial: "1".into() })
}

fn member() -> Identity {
    Identity::Member { cluster: ClusterId::from_u128(1), member: MemberId(1) }
}

fn node(id: u128) -> Identity {
    Identity::Node { cluster: ClusterId::from_u128(1), node: NodeId::from_u128(id) }
}

fn scheduler() -> Identity {
    Identity::Role { cluster: ClusterId::from_u128(1), role: ProgramRole::Scheduler }
}

fn operator(role: Role, pattern: &str) -> Caller {
    let deployments: Vec<DeploymentPattern> = vec![pattern.parse().unwrap()];
    let token = OperatorTokenId::from_u128(1);
    Caller::Operator(OperatorCaller { name: "anna".parse().unwrap(), role, deployments, token })
}

/// All methods of all services in `proto/`.
fn methods() -> BTreeSet<(String, String)> {
    let set = prost_types::FileDescriptorSet::decode(orlop_proto::DESCRIPTORS).unwrap();
    let mut found = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            found.extend(service.method.iter().map(|method| (name.clone(), method.name().to_owned())));
        }
    }
    found
}

#[test]
fn the_table_has_every_method_of_every_service_once_and_no_other() {
    let there: BTreeSet<String> = methods()
        .into_iter()
        .filter(|(service, _)| !ELSEWHERE.contains(&service.as_str()))
        .map(|(service, method)| format!("{service}/{method}"))
        .collect();
    assert!(there.len() > 30, "only {there:?} were found");
    let listed: BTreeSet<String> = TABLE.iter().map(|rule| rule.method.to_owned()).collect();
    assert_eq!(listed, there, "left: the table; right: proto/");
    assert_eq!(listed.len(), TABLE.len(), "a method stands in the table twice");
    for service in ELSEWHERE {
        assert!(methods().iter().any(|(found, _)| found == service), "{service} is not in proto/");
    }
}

#[test]
fn nobody_known_may_join_and_do_nothing_else() {
    let open: Vec<&str> = TABLE.iter().filter(|rule| rule.anonymous).map(|rule| rule.method).collect();
    assert_eq!(open, ["orlop.identity.v1.IdentityService/Join"]);
    for rule in TABLE.iter().filter(|rule| !rule.anonymous) {
        let denied = check(rule.method, &Caller::Anonymous, NOW);
        assert_eq!(denied, Err(Denied::Unauthenticated { method: rule.method }));
    }
}

#[test]
fn a_certificate_that_has_ended_renews_and_does_nothing_else() {
    for (identity, renews) in [(member(), false), (node(1), true), (scheduler(), true)] {
        let ended = certificate(identity, Timestamp(NOW.0 - 1000));
        let allowed = TABLE.iter().filter(|rule| check(rule.method, &ended, NOW).is_ok()).map(|rule| rule.method);
        let allowed: Vec<&str> = allowed.collect();
        let renewal = renews.then_some("orlop.identity.v1.IdentityService/Renew");
        let expected: Vec<&str> = ["orlop.identity.v1.IdentityService/Join"].into_iter().chain(renewal).collect();
        assert_eq!(allowed, expected, "{identity}");
        let good = certificate(identity, NOW);
        assert!(check("/orlop.identity.v1.IdentityService/WhoAmI", &good, NOW).is_ok());
    }
}

#[test]
fn operators_are_held_by_role_and_by_deployments() {
    let deploy = "/orlop.operator.v1.OperatorService/Deploy";
    let import = "/orlop.operator.v1.OperatorService/ImportImage";
    let put = "/orlop.identity.v1.IdentityService/PutOperator";
    let ok = |method, caller: &Caller| check(method, caller, NOW).is_ok();
    for (role, may_deploy, may_put) in
        [(Role::Viewer, false, false), (Role::Deployer, true, false), (Role::Admin, true, true)]
    {
        let (all, some) = (operator(role, "*"), operator(role, "shop-*"));
        assert_eq!((ok(deploy, &all), ok(deploy, &some)), (may_deploy, may_deploy), "{role}");
        assert_eq!((ok(import, &all), ok(import, &some)), (may_deploy, false), "{role}");
        assert_eq!((ok(put, &all), ok(put, &some)), (may_put, false), "{role}");
        assert!(ok("/orlop.identity.v1.IdentityService/WhoAmI", &some), "{role}");
        assert!(!ok("/orlop.node.v1.NodeService/Report", &all), "{role}");
        assert!(!ok("/orlop.scheduler.v1.SchedulerService/SubmitPlan", &all), "{role}");
    }
    let limited = check(import, &operator(Role::Deployer, "shop"), NOW).unwrap_err();
    assert_eq!(limited, Denied::Limited { caller: "operator/anna".into(), method: &import[1..] });
    let low = check(deploy, &operator(Role::Viewer, "*"), NOW).unwrap_err().to_string();
    assert_eq!(
        low,
        "operator/anna is viewer, and orlop.operator.v1.OperatorService/Deploy needs deployer; ask an admin"
    );
}

#[test]
fn programs_have_their_own_services_only() {
    let later = NOW + Millis(1);
    for (identity, own) in [(node(1), "orlop.node."), (scheduler(), "orlop.scheduler.")] {
        let caller = certificate(identity, later);
        for rule in TABLE {
            let shared =
                ["/Join", "/Renew", "/WhoAmI", "/Watch", "/GetCluster"].iter().any(|name| rule.method.ends_with(name));
            let expected = shared || rule.method.starts_with(own);
            assert_eq!(check(rule.method, &caller, NOW).is_ok(), expected, "{identity}: {}", rule.method);
        }
    }
}

#[test]
fn what_is_not_in_the_table_is_refused() {
    for method in ["", "/", "/orlop.operator.v1.OperatorService/Delete", "/orlop.overlay.v1.OverlayService/Attach"] {
        assert_eq!(check(method, &Caller::LocalAdmin, NOW), Err(Denied::NoSuchMethod(method.into())));
    }
    assert!(rule("//orlop.operator.v1.OperatorService/Deploy").is_none());
}

#[test]
fn a_node_sees_its_own_assignments_and_nobody_else_over_the_network_does() {
    let later = NOW + Millis(1);
    let own = View::Node(NodeId::from_u128(1));
    let callers = [
        (certificate(node(1), later), true),
        (certificate(node(2), later), false),
        (certificate(member(), later), false),
        (certificate(scheduler(), later), false),
        (operator(Role::Admin, "*"), false),
        (Caller::LocalAdmin, true),
        (Caller::Anonymous, false),
    ];
    for (caller, expected) in callers {
        assert_eq!(may_watch(&caller, &own), expected, "{caller:?}");
    }
    let shop = Some("shop".parse().unwrap());
    let node = certificate(node(1), later);
    for (view, by_node, by_scheduler, by_viewer_of_shop, by_viewer_of_all) in [
        (View::Routes, true, false, false, true),
        (View::Mesh, true, false, false, true),
        (View::Scheduler, false, true, false, true),
        (View::Operator(None), false, false, false, true),
        (View::Operator(shop.clone()), false, false, true, true),
        (View::Events(shop), false, false, true, true),
        (View::Events(None), false, false, false, true),
    ] {
        assert_eq!(may_watch(&node, &view), by_node, "{view:?}");
        assert_eq!(may_watch(&certificate(scheduler(), later), &view), by_scheduler, "{view:?}");
        assert_eq!(may_watch(&operator(Role::Viewer, "shop"), &view), by_viewer_of_shop, "{view:?}");
        assert_eq!(may_watch(&operator(Role::Viewer, "*"), &view), by_viewer_of_all, "{view:?}");
        assert!(may_watch(&Caller::LocalAdmin, &view) && !may_watch(&Caller::Anonymous, &view), "{view:?}");
    }
}
