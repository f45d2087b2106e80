//! Secrets: their versions, who uses them, and what a new value means to those.

use super::*;
use crate::sample::{READY, at, in_phase, refused, secrets_at, shop, start};
use orlop_model::spec::{Deployment, EnvValue, OnSecretChange, SecretFile, SecretMode, Signal};
use orlop_model::trust::SecretName;
use orlop_state::Entity;
use std::collections::BTreeSet;
use std::sync::Arc;

fn name(text: &str) -> SecretName {
    text.parse().expect("a name")
}

/// `shop/api` with a variable from a secret.
fn with_secret(image: &str, secret: &str) -> Deployment {
    let mut deployment = shop("shop", image, 1);
    for service in deployment.services.values_mut() {
        Arc::make_mut(&mut service.workload).env.insert("KEY".into(), EnvValue::Secret(name(secret)));
    }
    deployment
}

fn version(machine: &Machine, secret: &str) -> Option<u64> {
    machine.state.secret(&name(secret)).map(|s| s.version)
}

fn remove(machine: &mut Machine, secret: &str) -> Answer {
    trust(machine, TrustCommand::RemoveSecret(RemoveSecret { name: name(secret) }))
}

#[test]
fn a_version_never_means_two_values() {
    let mut machine = trusting();
    assert_eq!(set_secret(&mut machine, "key", b"one"), Answer::Done);
    assert_eq!(set_secret(&mut machine, "key", b"two"), Answer::Done);
    assert_eq!(version(&machine, "key"), Some(2));
    let late = SetSecret { name: name("key"), version: 2, sealed: b"late".as_slice().into(), key_version: 1 };
    assert_eq!(refused(&trust(&mut machine, TrustCommand::SetSecret(late))), "secret_changed");
    assert_eq!(remove(&mut machine, "key"), Answer::Done);
    assert_eq!(refused(&remove(&mut machine, "key")), "secret_unknown");
    set_secret(&mut machine, "key", b"three");
    assert_eq!(version(&machine, "key"), Some(3));
    for sealed in [vec![], vec![0; 64 * 1024 + 65]] {
        let set = SetSecret { name: name("key"), version: 4, sealed: sealed.into(), key_version: 1 };
        assert_eq!(refused(&trust(&mut machine, TrustCommand::SetSecret(set))), "secret_too_large");
    }
}

#[test]
fn a_service_names_secrets_that_are_there_and_they_stay_as_long_as_it_does() {
    let mut machine = trusting();
    assert_eq!(refused(&machine.deploy(&with_secret("a", "key"))), "secret_missing");
    set_secret(&mut machine, "key", b"one");
    machine.deploy(&with_secret("a", "key"));
    assert_eq!(refused(&remove(&mut machine, "key")), "secret_used");
    machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
    assert_eq!(secrets_at(&machine.state, NodeId::from_u128(1)), BTreeSet::from([name("key")]));
    assert!(secrets_at(&machine.state, NodeId::from_u128(2)).is_empty());
    // A replica of the generation before still needs it.
    machine.deploy(&shop("shop", "b", 1));
    assert_eq!(refused(&remove(&mut machine, "key")), "secret_used");
    assert!(!secrets_at(&machine.state, NodeId::from_u128(1)).is_empty());
    machine.report(1, 1, in_phase(Phase::Finished(Outcome::Stopped)));
    machine.plan(vec![crate::sample::forget(1)]);
    assert_eq!(remove(&mut machine, "key"), Answer::Done);
}

#[test]
fn a_new_value_replaces_the_replicas_of_users_and_of_nobody_else() {
    let mut machine = trusting();
    set_secret(&mut machine, "key", b"one");
    machine.deploy(&with_secret("a", "key"));
    machine.deploy(&shop("other", "a", 1));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1), start(2, "other/api", 0, 1, 2)]);
    machine.report(1, 1, in_phase(READY));
    let other = machine.state.service(&at("other/api")).cloned();

    let set = SetSecret { name: name("key"), version: 2, sealed: b"two".as_slice().into(), key_version: 1 };
    let applied = machine.apply(Kind::Trust(TrustCommand::SetSecret(set)));
    assert_eq!(applied.answer, Answer::Done);
    let service = machine.state.service(&at("shop/api")).expect("a service");
    assert_eq!((service.generation, service.workload_generation), (Generation(2), Generation(2)));
    assert_eq!(machine.state.generation_of(&"shop".parse().expect("a name")), Generation(2));
    assert_eq!(machine.state.service(&at("other/api")).cloned(), other);
    let replica = Entity::Replica { id: ReplicaId::from_u128(1), service: at("shop/api"), node: NodeId::from_u128(1) };
    assert!(applied.changed.contains(&replica), "its node hears of the new value");
    assert!(applied.changed.contains(&Entity::Service(at("shop/api"))), "and the scheduler of the generation");
    assert!(machine.codes().ends_with(&["secret_set", "secret_changed"]));
    // The replica of the generation before still has its workload.
    let replica = machine.state.replica(ReplicaId::from_u128(1)).expect("a replica");
    assert_eq!(replica.generation, Generation(1));
    let seen = orlop_state::view::snapshot(&machine.state, &View::Node(NodeId::from_u128(1)));
    assert!(matches!(&seen[..], [Object::Assignment(a)] if a.workload.secrets().contains(&name("key"))));
    assert_eq!(stored::decode_state(&stored::encode_state(&machine.state)), Ok(machine.state.clone()));
    // The planner can start one of the new generation.
    assert_eq!(machine.plan(vec![start(3, "shop/api", 1, 2, 2)]), []);
}

/// `shop/api` with a secret as a file.
fn with_file(secret: &str, on_change: OnSecretChange) -> Deployment {
    let mut deployment = shop("shop", "a", 1);
    for service in deployment.services.values_mut() {
        Arc::make_mut(&mut service.workload).secret_files.push(SecretFile {
            secret: name(secret),
            path: "/run/secrets/key".parse().expect("a path"),
            mode: SecretMode::ALL,
            uid: 0,
            gid: 0,
            on_change,
        });
    }
    deployment
}

#[test]
fn a_new_value_replaces_those_who_ask_for_it_and_goes_to_the_nodes_of_the_others_who_stay_as_they_are() {
    let hup = OnSecretChange::signal(Signal::from_number(1).expect("a signal")).expect("it is heard of");
    for (on_change, in_env_too, replaced) in [
        (OnSecretChange::Restart, false, true),
        (hup, false, false),
        (OnSecretChange::Nothing, false, false),
        // What is in a variable cannot change under a process, whatever a file of it says.
        (hup, true, true),
    ] {
        let mut machine = trusting();
        let mut deployment = with_file("key", on_change);
        assert_eq!(refused(&machine.deploy(&deployment)), "secret_missing");
        if in_env_too {
            for service in deployment.services.values_mut() {
                let env = &mut Arc::make_mut(&mut service.workload).env;
                env.insert("KEY".into(), EnvValue::Secret(name("key")));
            }
        }
        set_secret(&mut machine, "key", b"one");
        machine.deploy(&deployment);
        machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
        machine.report(1, 1, in_phase(READY));
        assert_eq!(refused(&remove(&mut machine, "key")), "secret_used");
        assert_eq!(secrets_at(&machine.state, NodeId::from_u128(1)), BTreeSet::from([name("key")]));

        let set = SetSecret { name: name("key"), version: 2, sealed: b"two".as_slice().into(), key_version: 1 };
        let applied = machine.apply(Kind::Trust(TrustCommand::SetSecret(set)));
        assert_eq!(applied.answer, Answer::Done);
        let service = machine.state.service(&at("shop/api")).expect("a service");
        let expected = Generation(if replaced { 2 } else { 1 });
        assert_eq!((service.generation, service.workload_generation), (expected, expected), "{on_change}");
        assert_eq!(machine.state.generation_of(&"shop".parse().expect("a name")), expected, "{on_change}");
        let (id, node) = (ReplicaId::from_u128(1), NodeId::from_u128(1));
        let replica = Entity::Replica { id, service: at("shop/api"), node };
        assert!(applied.changed.contains(&replica), "{on_change}: its node hears of the value");
        assert_eq!(applied.changed.contains(&Entity::Service(at("shop/api"))), replaced, "{on_change}");
        assert!(machine.codes().ends_with(&["secret_set", "secret_changed"]), "{on_change}");
    }
}

#[test]
fn who_is_being_stopped_is_not_told_of_a_new_value_and_gets_no_generation_for_it() {
    let mut machine = trusting();
    set_secret(&mut machine, "key", b"one");
    machine.deploy(&with_file("key", OnSecretChange::Restart));
    machine.plan(vec![start(1, "shop/api", 0, 1, 1)]);
    machine.deploy(&shop("shop", "b", 1));
    let before = machine.state.generation_of(&"shop".parse().expect("a name"));
    set_secret(&mut machine, "key", b"two");
    assert!(machine.codes().ends_with(&["secret_set"]), "{:?}", machine.codes());
    assert_eq!(machine.state.generation_of(&"shop".parse().expect("a name")), before);
}

#[test]
fn sealing_again_changes_no_value_and_no_user() {
    let mut machine = trusting();
    set_secret(&mut machine, "key", b"one");
    set_secret(&mut machine, "late", b"one");
    machine.deploy(&with_secret("a", "key"));
    set_secret(&mut machine, "late", b"two");
    let again = |key_version, secrets: &[(&str, u64)]| {
        let sealed: Arc<[u8]> = b"again".as_slice().into();
        let secrets = secrets.iter().map(|(secret, version)| ResealedSecret {
            name: name(secret),
            version: *version,
            sealed: sealed.clone(),
        });
        TrustCommand::SealSecretsAgain(SealSecretsAgain { key_version, secrets: secrets.collect() })
    };
    assert_eq!(trust(&mut machine, again(2, &[("key", 1), ("late", 1), ("gone", 1)])), Answer::Done);
    assert_eq!(machine.state.secret_key_version(), 2);
    let sealed: Vec<(u64, u32, &[u8])> =
        machine.state.secrets().map(|(_, s)| (s.version, s.key_version, &*s.sealed)).collect();
    assert_eq!(sealed, [(1, 2, &b"again"[..]), (2, 1, &b"two"[..])], "what was set in between stays");
    assert_eq!(machine.state.service(&at("shop/api")).map(|s| s.workload_generation), Some(Generation(1)));
    assert_eq!(refused(&trust(&mut machine, again(1, &[]))), "key_version_passed");
}
