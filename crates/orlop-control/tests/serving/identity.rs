//! Who is who, over the calls: joining, tokens, operators, secrets, and what is recorded of them.

use crate::world::*;
use operator::operator_service_client::OperatorServiceClient;
use orlop_client::{Address, IdentityDirectory, Joining};
use orlop_identity::authority::PrivateKey;
use orlop_identity::token::{JoinToken, Login};
use orlop_identity::{Identity, PeerCertificate};
use orlop_model::trust::{AuditRecord, Digest, SecretName, verify_audit};
use orlop_model::{NodeId, Object, ReplicaId, Subject, Timestamp, View};
use orlop_proto::identity::v1 as pb;
use orlop_proto::node::v1 as node;
use orlop_proto::operator::v1 as operator;
use orlop_proto::watch::v1 as watch;
use pb::identity_service_client::IdentityServiceClient;
use std::sync::Arc;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use watch::watch_service_client::WatchServiceClient;

pub(crate) fn client(world: &World) -> IdentityServiceClient<Channel> {
    IdentityServiceClient::new(world.channel())
}

pub(crate) fn request_for(token: &str, node: u128) -> pb::JoinRequest {
    pb::JoinRequest {
        token: token.to_owned(),
        certificate_request: PrivateKey::generate().expect("a key").request().expect("a request"),
        node: NodeId::from_u128(node).to_string(),
        ..pb::JoinRequest::default()
    }
}

pub(crate) async fn node_token(client: &mut IdentityServiceClient<Channel>, uses: u32) -> String {
    let create = pb::CreateJoinTokenRequest { kind: pb::JoinKind::Node.into(), uses, ..Default::default() };
    client.create_join_token(create).await.expect("a token").into_inner().token
}

#[tokio::test]
async fn a_node_joins_with_a_token_as_often_as_it_says() {
    let world = World::start().await;
    let mut client = client(&world);
    let token = node_token(&mut client, 1).await;
    let fingerprint = token.parse::<JoinToken>().expect("a token").fingerprint;
    let joined = client.join(request_for(&token, 7)).await.expect("it joins").into_inner();
    let certificate = joined.certificate.expect("a certificate");
    assert_eq!(Digest::of(&certificate.authority), fingerprint);
    let found = PeerCertificate::read(&certificate.certificate).expect("one of ours").identity;
    assert!(matches!(found, Identity::Node { node, .. } if node == NodeId::from_u128(7)), "{found}");
    assert_eq!(joined.cluster_key, Vec::<u8>::new(), "only members get it");

    let refused = client.join(request_for(&token, 8)).await.expect_err("it is used up");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("token create"), "{refused}");
    let fresh = node_token(&mut client, 1).await;
    let last = if fresh.ends_with('a') { 'b' } else { 'a' };
    let miscopied = format!("{}{last}", &fresh[..fresh.len() - 1]);
    let refused = client.join(request_for(&miscopied, 8)).await.expect_err("a slip of the pen");
    assert!(refused.message().contains("copy it again"), "{refused}");
    client.join(request_for(&fresh, 8)).await.expect("it cost no use");
}

#[tokio::test]
async fn a_member_that_joins_gets_the_cluster_key() {
    let world = World::start().await;
    let mut client = client(&world);
    let create = pb::CreateJoinTokenRequest { kind: pb::JoinKind::Member.into(), ..Default::default() };
    let token = client.create_join_token(create).await.expect("a token").into_inner().token;
    let request = pb::JoinRequest {
        member_name: "two".into(),
        member_address: "10.0.0.2:7700".into(),
        addresses: vec!["10.0.0.2".into(), "two.example".into()],
        node: String::new(),
        ..request_for(&token, 0)
    };
    let joined = client.join(request).await.expect("it joins").into_inner();
    assert_eq!(joined.cluster_key.len(), 32);
    let certificate = joined.certificate.expect("a certificate");
    assert!(certificate.identity.contains("/member/"), "{}", certificate.identity);
    assert_eq!(joined.members, ["10.0.0.2:7700"], "the first one is reached on its own machine only");
}

/// Calls in the name of an operator, as they would come over the network.
fn as_operator(world: &World, login: &str) -> IdentityServiceClient<InterceptedService<Channel, Bearer>> {
    let token = login.parse::<Login>().expect("a login").token;
    IdentityServiceClient::with_interceptor(world.loopback(), Bearer(token))
}

#[derive(Clone)]
pub(crate) struct Bearer(pub(crate) String);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.0).parse().expect("a value"));
        Ok(request)
    }
}

async fn who_am_i(world: &World, login: &str) -> Result<pb::WhoAmIResponse, Status> {
    as_operator(world, login).who_am_i(pb::WhoAmIRequest {}).await.map(tonic::Response::into_inner)
}

pub(crate) async fn put_operator(client: &mut IdentityServiceClient<Channel>, role: pb::Role) {
    let operator = pb::Operator { name: "anna".into(), role: role.into(), deployments: vec!["shop-*".into()] };
    client.put_operator(pb::PutOperatorRequest { operator: Some(operator) }).await.expect("put");
}

pub(crate) async fn login_of(client: &mut IdentityServiceClient<Channel>) -> pb::IssueOperatorTokenResponse {
    let issue = pb::IssueOperatorTokenRequest { operator: "anna".into(), lifetime_ms: 0 };
    client.issue_operator_token(issue).await.expect("a token").into_inner()
}

#[tokio::test]
async fn an_operator_is_who_the_token_says_and_may_do_what_the_state_says() {
    let world = World::start_with_loopback().await;
    let mut client = client(&world);
    put_operator(&mut client, pb::Role::Viewer).await;
    let issued = login_of(&mut client).await;
    let found = who_am_i(&world, &issued.login).await.expect("known");
    assert_eq!(found.caller, "operator/anna");
    assert_eq!(found.operator.map(|o| o.role()), Some(pb::Role::Viewer));

    // The role changes at once, with the same token.
    put_operator(&mut client, pb::Role::Admin).await;
    let found = who_am_i(&world, &issued.login).await.expect("known");
    assert_eq!(found.operator.map(|o| o.role()), Some(pb::Role::Admin));
    // An admin of some deployments is none of the cluster.
    let listing = as_operator(&world, &issued.login).list_operators(pb::ListOperatorsRequest {}).await;
    let denied = listing.expect_err("limited");
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");

    // Another token of the same operator lives on when one is revoked; none does when the operator is removed.
    let other = login_of(&mut client).await;
    client.revoke_operator_token(pb::RevokeOperatorTokenRequest { id: issued.id }).await.expect("revoked");
    assert_eq!(who_am_i(&world, &issued.login).await.expect_err("revoked").code(), Code::Unauthenticated);
    assert!(who_am_i(&world, &other.login).await.is_ok());
    client.remove_operator(pb::RemoveOperatorRequest { name: "anna".into() }).await.expect("removed");
    assert_eq!(who_am_i(&world, &other.login).await.expect_err("removed").code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_operator_acts_on_deployments_of_the_pattern_only() {
    let world = World::start_with_loopback().await;
    let mut client = client(&world);
    put_operator(&mut client, pb::Role::Deployer).await;
    let token = login_of(&mut client).await.login.parse::<Login>().expect("a login").token;
    let mut anna = OperatorServiceClient::with_interceptor(world.loopback(), Bearer(token));
    world.deploy("other").await;
    for (name, allowed) in [("shop-eu", true), ("other", false)] {
        let deployment = deployment(name, &[("api", "a/api:1")]);
        let deploy = operator::DeployRequest { deployment: Some((&deployment).into()), expected_generation: None };
        let plan = operator::PlanRequest { deployment: Some((&deployment).into()) };
        let outcomes = [
            anna.plan(plan).await.map(drop),
            anna.deploy(deploy).await.map(drop),
            anna.get_state(operator::GetStateRequest { deployment: name.into() }).await.map(drop),
            anna.stop(operator::StopRequest { deployment: name.into(), ..Default::default() }).await.map(drop),
        ];
        for (i, outcome) in outcomes.into_iter().enumerate() {
            let expected = if allowed { None } else { Some(Code::PermissionDenied) };
            assert_eq!(outcome.err().map(|status| status.code()), expected, "{name}, call {i}");
        }
    }
    let all = anna.get_state(operator::GetStateRequest::default()).await.expect("what anna may see").into_inner();
    let seen: Vec<String> = all.services.into_iter().filter_map(|s| s.name).map(|name| name.deployment).collect();
    assert_eq!(seen, ["shop-eu"], "of all deployments those that anna is responsible for");
    let log = client.list_audit(pb::ListAuditRequest::default()).await.expect("a log").into_inner().records;
    let said: Vec<String> = log.iter().map(|r| format!("{} {} {}", r.caller, r.action, r.subject)).collect();
    assert!(said.contains(&"operator/anna deploy shop-eu".to_owned()), "{said:?}");
    assert!(!said.contains(&"operator/anna deploy other".to_owned()), "{said:?}");

    let mut stranger = OperatorServiceClient::new(world.loopback());
    let refused = stranger.get_state(operator::GetStateRequest::default()).await.expect_err("nobody is known");
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_rotated_key_lets_old_tokens_live_for_the_overlap_only() {
    let world = World::start_with_loopback().await;
    let mut client = client(&world);
    put_operator(&mut client, pb::Role::Viewer).await;
    let first = login_of(&mut client).await.login;
    client.rotate_signing_key(pb::RotateSigningKeyRequest { overlap_ms: None }).await.expect("rotated");
    let second = login_of(&mut client).await.login;
    assert!(who_am_i(&world, &first).await.is_ok());
    assert!(who_am_i(&world, &second).await.is_ok());
    client.rotate_signing_key(pb::RotateSigningKeyRequest { overlap_ms: Some(0) }).await.expect("rotated");
    assert_eq!(who_am_i(&world, &first).await.expect_err("retired").code(), Code::Unauthenticated);
    assert_eq!(who_am_i(&world, &second).await.expect_err("retired").code(), Code::Unauthenticated);
    assert!(who_am_i(&world, &login_of(&mut client).await.login).await.is_ok());
}

#[tokio::test]
async fn a_node_whose_certificate_is_revoked_is_cut_off_in_the_middle_of_a_watch() {
    let world = World::start_with_tls().await;
    let mut client = client(&world);
    let token: JoinToken = node_token(&mut client, 2).await.parse().expect("a token");
    let mut watches = Vec::new();
    for id in [7, 8] {
        let directory = IdentityDirectory::new(world.folder().join(format!("node-{id}")));
        let node = NodeId::from_u128(id);
        let joined = orlop_client::join(&[world.tls()], &token, &Joining::Node(node)).await.expect("it joins");
        joined.keep(&directory).expect("kept");
        let identity = joined.identity;
        // The members do not say where they are when nobody told them.
        directory.write_members(&[world.tls()]).expect("written");
        let channel = Address::Joined(directory.path().to_owned()).channel().expect("a channel");
        let view = Some((&View::Node(node)).into());
        let watching = WatchServiceClient::new(channel.clone())
            .watch(watch::WatchRequest { view, since: 0, cluster: String::new() })
            .await;
        let mut stream = watching.expect("a watch").into_inner();
        stream.message().await.expect("an answer").expect("a message");
        watches.push((identity, stream, channel));
    }
    let (identity, mut revoked, channel) = watches.remove(0);
    let revoke = pb::RevokeIdentityRequest { identity: identity.to_string() };
    client.revoke_identity(revoke).await.expect("revoked");
    let cut = async { while let Ok(Some(_)) = revoked.message().await {} };
    tokio::time::timeout(PATIENCE, cut).await.expect("the watch ends");
    let again = IdentityServiceClient::new(channel).who_am_i(pb::WhoAmIRequest {}).await.expect_err("revoked");
    assert_eq!(again.code(), Code::Unauthenticated, "{again}");
    // The other one has heard nothing of it.
    let (_, mut other, channel) = watches.remove(0);
    let who = IdentityServiceClient::new(channel).who_am_i(pb::WhoAmIRequest {}).await.expect("known").into_inner();
    assert!(who.caller.ends_with(&NodeId::from_u128(8).to_string()), "{}", who.caller);
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(1), other.message()).await;
    assert!(quiet.is_err() || quiet.is_ok_and(|message| message.is_ok_and(|m| m.is_some())), "it goes on");
}

#[tokio::test]
async fn a_secret_reaches_the_node_that_needs_it_and_stands_nowhere_on_disk() {
    let world = World::start().await;
    let mut client = client(&world);
    let value = b"correct-horse-battery".to_vec();
    let set = |value: &[u8]| pb::SetSecretRequest { name: "key".into(), value: value.to_vec() };
    assert_eq!(client.set_secret(set(&value)).await.expect("set").into_inner().version, 1);

    let agent = world.agent("alpha").await;
    let node = agent.node;
    let mut deployment = deployment("shop", &[("api", "a/api:1")]);
    for service in deployment.services.values_mut() {
        let env = &mut Arc::make_mut(&mut service.workload).env;
        env.insert("KEY".into(), orlop_model::spec::EnvValue::Secret("key".parse().expect("a name")));
    }
    world.operator().deploy(&deployment, None).await.expect("deployed");
    let mut scheduler = world.scheduler("one").await;
    assert_eq!(scheduler.submit(vec![start("shop", 1, 0, 1, node)]).await.expect("a plan"), []);
    let name: SecretName = "key".parse().expect("a name");
    assert_eq!(value_at(&world, node, &name).await, value);

    let rotated = client.rotate_secrets(pb::RotateSecretsRequest {}).await.expect("rotated").into_inner();
    assert_eq!((rotated.key_version, rotated.secrets), (2, 1));
    assert_eq!(value_at(&world, node, &name).await, value, "it is the same value");
    client.set_secret(set(b"another")).await.expect("set");
    assert_eq!(value_at(&world, node, &name).await, b"another");
    let listed = client.list_secrets(pb::ListSecretsRequest {}).await.expect("a list").into_inner().secrets;
    assert_eq!((listed[0].version, listed[0].key_version), (2, 2));
    assert_eq!(listed[0].users, ["shop/api"]);
    let used = client.remove_secret(pb::RemoveSecretRequest { name: "key".into() }).await.expect_err("used");
    assert_eq!(used.code(), Code::FailedPrecondition);

    let mut looked = 0;
    for entry in walk(world.folder()) {
        let bytes = std::fs::read(&entry).unwrap_or_default();
        looked += bytes.len();
        assert!(!bytes.windows(value.len()).any(|window| window == value), "{} has it", entry.display());
    }
    assert!(looked > 1000, "only {looked} bytes were found");
}

/// The value that the node of the one replica is told.
async fn value_at(world: &World, node: NodeId, name: &SecretName) -> Vec<u8> {
    let mut watcher = world.watch(View::Node(node), None).await;
    watcher.update().await;
    let assignments: Vec<&Object> = watcher.objects.values().collect();
    let [Object::Assignment(assignment)] = assignments[..] else { panic!("{assignments:?}") };
    assignment.secrets[name].0.to_vec()
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}

#[tokio::test]
async fn the_audit_log_names_who_did_what_and_proves_it() {
    let world = World::start().await;
    let mut client = client(&world);
    node_token(&mut client, 1).await;
    let unknown = client.remove_operator(pb::RemoveOperatorRequest { name: "nobody".into() }).await;
    assert!(unknown.is_err());
    let log = client.list_audit(pb::ListAuditRequest::default()).await.expect("a log").into_inner();
    let digest = |bytes: &[u8]| Digest(bytes.try_into().expect("32 bytes"));
    let records: Vec<AuditRecord> = log
        .records
        .iter()
        .map(|r| AuditRecord {
            sequence: r.sequence,
            at: Timestamp(r.at_ms),
            caller: r.caller.clone(),
            action: r.action.clone(),
            subject: r.subject.clone(),
            outcome: r.outcome.clone(),
            hash: digest(&r.hash),
        })
        .collect();
    let said: Vec<String> = records.iter().map(|r| format!("{} {} {}", r.caller, r.action, r.outcome)).collect();
    assert_eq!(said, ["local token.create taken", "local operator.remove operator_unknown"]);
    let before = digest(&log.before_hash);
    let head = digest(&log.head_hash);
    assert_eq!(verify_audit(&records, Some(&before), (log.head_sequence, &head)), Ok(2));
    let later = pb::ListAuditRequest { since: 2, limit: 10 };
    let later = client.list_audit(later).await.expect("a log").into_inner();
    assert_eq!((later.records.len(), digest(&later.before_hash)), (1, records[0].hash));
}

#[tokio::test]
async fn a_node_speaks_of_itself_and_its_own_replicas_only() {
    let world = World::start_with_tls().await;
    let mut client = client(&world);
    let token: JoinToken = node_token(&mut client, 1).await.parse().expect("a token");
    let directory = IdentityDirectory::new(world.folder().join("node"));
    let joined = orlop_client::join(&[world.tls()], &token, &Joining::Node(NodeId::from_u128(7))).await;
    joined.expect("it joins").keep(&directory).expect("kept");
    directory.write_members(&[world.tls()]).expect("written");
    let (own, other) = (world.agent_with_id("alpha", NodeId::from_u128(7)).await, world.agent("beta").await);
    let (mine, foreign) = (world.place("shop", own.node).await, world.place("other", other.node).await);
    let channel = Address::Joined(directory.path().to_owned()).channel().expect("a channel");
    let mut node = node::node_service_client::NodeServiceClient::new(channel);
    let subject = |of: Option<NodeId>, replica: Option<ReplicaId>| Subject { node: of, replica, ..Subject::default() };
    let forged = Subject { deployment: Some("other".parse().expect("a name")), ..subject(Some(own.node), None) };
    for (subject, expected) in [
        (subject(None, None), Some(Code::InvalidArgument)),
        (subject(None, Some(mine)), Some(Code::InvalidArgument)),
        (subject(Some(other.node), None), Some(Code::PermissionDenied)),
        (subject(Some(own.node), Some(foreign)), Some(Code::PermissionDenied)),
        (subject(Some(own.node), Some(mine)), None),
        (forged, None),
    ] {
        let event = node::EventRecord {
            at_ms: 1,
            level: orlop_proto::cluster::v1::Level::Info.into(),
            subject: Some((&subject).into()),
            reason: Some((&orlop_model::Reason::new("noted", "something")).into()),
        };
        let recorded = node.record_events(node::RecordEventsRequest { events: vec![event] }).await;
        assert_eq!(recorded.err().map(|status| status.code()), expected, "{subject:?}");
    }
    let (events, _) = world.operator().events(&Default::default(), 2).await.expect("events");
    let about: Vec<_> = events.iter().map(|e| (e.subject.replica, e.subject.deployment.as_ref())).collect();
    assert_eq!(about, [(Some(mine), Some(&"shop".parse().expect("a name"))), (None, None)]);
}

#[tokio::test]
async fn a_node_that_joins_right_after_its_revocation_is_believed() {
    let world = World::start_with_tls().await;
    let mut client = client(&world);
    let mut identity = String::new();
    // Certificates know whole seconds, and all of this takes less than one.
    for round in 0..3 {
        let token: JoinToken = node_token(&mut client, 1).await.parse().expect("a token");
        let joined = orlop_client::join(&[world.tls()], &token, &Joining::Node(NodeId::from_u128(7))).await;
        let joined = joined.expect("it joins");
        let directory = IdentityDirectory::new(world.folder().join(format!("node-{round}")));
        joined.keep(&directory).expect("kept");
        directory.write_members(&[world.tls()]).expect("written");
        let channel = Address::Joined(directory.path().to_owned()).channel().expect("a channel");
        let who = IdentityServiceClient::new(channel).who_am_i(pb::WhoAmIRequest {}).await.expect("believed");
        identity = who.into_inner().caller;
        client.revoke_identity(pb::RevokeIdentityRequest { identity: identity.clone() }).await.expect("revoked");
    }
    assert!(identity.contains("/node/"), "{identity}");
}
