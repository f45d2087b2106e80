//! Finds what a person named: `shop/api`, `shop/api/0`, `rep_0192…`, `alpha`. On a miss, says what is there instead.

use crate::error::Error;
use crate::state::ClusterState;
use orlop_model::similar::distance;
use orlop_model::{DeploymentName, DeploymentState, Desired, Node, Replica, ServiceRef, ServiceState};
use std::collections::BTreeSet;

/// The shortest beginning of an id that is looked up, its kind included.
pub const PREFIX_MIN: usize = 8;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// A deployment, `shop`.
    Deployment(&'a DeploymentState),
    /// A service, `shop/api`.
    Service(&'a ServiceState),
    /// A replica, `shop/api/0` or `rep_…`.
    Replica(&'a Replica),
    /// A node, by its name or `node_…`.
    Node(&'a Node),
}

/// Finds a deployment, a service, a replica or a node. A node that has the name of a deployment goes by its id.
pub fn anything<'a>(state: &'a ClusterState, text: &str) -> Result<Found<'a>, Error> {
    if text.starts_with("rep_") || text.matches('/').count() == 2 {
        return replica(state, text).map(Found::Replica);
    }
    if let Some((_, deployment)) = state.deployments.iter().find(|(name, _)| name.as_str() == text) {
        return Ok(Found::Deployment(deployment));
    }
    if text.starts_with("node_") || (!text.contains('/') && state.nodes.values().any(|n| n.name.as_str() == text)) {
        return node(state, text).map(Found::Node);
    }
    service(state, text).map(Found::Service)
}

/// Finds a service by `deployment/service`.
pub fn service<'a>(state: &'a ClusterState, text: &str) -> Result<&'a ServiceState, Error> {
    if let Ok(name) = text.parse::<ServiceRef>()
        && let Some(service) = state.services.get(&name)
    {
        return Ok(service);
    }
    let names: Vec<String> = state.services.keys().map(ToString::to_string).collect();
    if names.is_empty() {
        return Err(Error::NotFound(format!(
            "no service {text}: nothing is deployed; deploy an application with `orlopctl deploy -f FILE`"
        )));
    }
    // Half a name is the commonest slip: the service without its deployment, or the deployment alone.
    let halves: Vec<&String> =
        names.iter().filter(|name| name.split('/').any(|half| half == text.trim_matches('/'))).collect();
    let near = if halves.is_empty() { nearest(text, &names) } else { halves };
    Err(Error::NotFound(miss("service", text, &near, &names)))
}

/// Finds a deployment that has services, by its name.
pub fn deployment(state: &ClusterState, text: &str) -> Result<DeploymentName, Error> {
    let names: BTreeSet<String> = state
        .deployments
        .keys()
        .map(ToString::to_string)
        .chain(state.services.keys().map(|name| name.deployment.to_string()))
        .collect();
    match text.parse::<DeploymentName>() {
        Ok(name) if names.contains(text) => Ok(name),
        _ => {
            let names: Vec<String> = names.into_iter().collect();
            Err(Error::NotFound(miss("deployment", text, &nearest(text, &names), &names)))
        }
    }
}

/// Finds a replica by `deployment/service/slot`, by id, or by the beginning of an id ([`PREFIX_MIN`] characters).
///
/// Of several replicas in one slot, as in the middle of an update, the one that is wanted and newest is meant.
pub fn replica<'a>(state: &'a ClusterState, text: &str) -> Result<&'a Replica, Error> {
    if text.starts_with("rep_") {
        return by_id("replica", text, state.replicas.values().map(|r| (r.id.to_string(), r)));
    }
    if let Some((name, slot)) = text.rsplit_once('/')
        && name.contains('/')
    {
        let service = service(state, name)?;
        let Ok(slot) = slot.parse::<u32>() else {
            return Err(Error::NotFound(format!("{slot:?} is no slot: write {name}/0, or a replica's id")));
        };
        let in_slot = state.replicas_of(&service.name).filter(|r| r.slot == slot);
        let best =
            in_slot.max_by_key(|r| (r.desired == Desired::Run, !r.status.phase.is_finished(), r.generation, r.id));
        return best.ok_or_else(|| {
            let slots: BTreeSet<u32> = state.replicas_of(&service.name).map(|r| r.slot).collect();
            let slots: Vec<String> = slots.iter().map(u32::to_string).collect();
            Error::NotFound(match slots.is_empty() {
                true => format!("{name} has no replicas; `orlopctl why {name}` says why"),
                false => format!("{name} has no replica in slot {slot}; it has slots {}", slots.join(", ")),
            })
        });
    }
    Err(Error::NotFound(format!("no replica {text}: write deployment/service/slot or rep_… (see `orlopctl ps`)")))
}

/// Finds a node by its name, its id, or the beginning of its id.
pub fn node<'a>(state: &'a ClusterState, text: &str) -> Result<&'a Node, Error> {
    if let Some(node) = state.nodes.values().find(|node| node.name.as_str() == text) {
        return Ok(node);
    }
    if text.starts_with("node_") {
        return by_id("node", text, state.nodes.values().map(|n| (n.id.to_string(), n)));
    }
    let names: Vec<String> = state.nodes.values().map(|node| node.name.to_string()).collect();
    Err(Error::NotFound(miss("node", text, &nearest(text, &names), &names)))
}

fn by_id<T>(kind: &str, text: &str, all: impl Iterator<Item = (String, T)>) -> Result<T, Error> {
    if text.len() < PREFIX_MIN {
        return Err(Error::NotFound(format!(
            "{text} is too short for a {kind}'s id: give {PREFIX_MIN} characters or more"
        )));
    }
    let mut found: Vec<(String, T)> = all.filter(|(id, _)| id.starts_with(text)).collect();
    match found.len() {
        0 => Err(Error::NotFound(format!("no {kind} {text}; see `orlopctl ps -o yaml` for the ids there are"))),
        1 => Ok(found.remove(0).1),
        n => {
            let ids: Vec<&str> = found.iter().take(5).map(|(id, _)| id.as_str()).collect();
            Err(Error::NotFound(format!("{text} is the beginning of {n} ids, give more of it: {}", ids.join(", "))))
        }
    }
}

fn miss(kind: &str, text: &str, near: &[&String], all: &[String]) -> String {
    let listed = |names: &[&String]| names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
    if !near.is_empty() {
        return format!("no {kind} {text}; did you mean {}?", listed(near));
    }
    match all.len() {
        0 => format!("no {kind} {text}: there is none at all"),
        1..=5 => format!("no {kind} {text}; there is {}", listed(&all.iter().collect::<Vec<_>>())),
        n => format!("no {kind} {text}; there are {n}, `orlopctl ps` lists them"),
    }
}

/// The names that a slip of the fingers would turn into `text`: the nearest, or several that are as near, three at most.
fn nearest<'a>(text: &str, names: &'a [String]) -> Vec<&'a String> {
    let most = 1 + text.len() / 4;
    let mut near: Vec<(usize, &String)> =
        names.iter().map(|name| (distance(text, name), name)).filter(|(d, _)| *d <= most).collect();
    near.sort();
    let least = near.first().map_or(0, |(d, _)| *d);
    near.into_iter().take_while(|(d, _)| *d == least).take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use orlop_model::{Generation, Phase, StopOrder};

    fn cluster() -> ClusterState {
        let mut state = sample::state();
        sample::add_service(&mut state, "shop/api", 2);
        sample::add_service(&mut state, "shop/db", 1);
        sample::add_replica(&mut state, "shop/api", 0, 0x11, Phase::Starting);
        sample::add_replica(&mut state, "shop/api", 1, 0x12, Phase::Starting);
        state
    }

    #[test]
    fn things_are_found_by_the_names_that_people_use() {
        let mut state = cluster();
        let shop = DeploymentState {
            name: "shop".parse().expect("a name"),
            generation: Generation(1),
            changed_at: orlop_model::Timestamp(0),
            stopping: false,
        };
        state.deployments.insert(shop.name.clone(), shop);
        let id = state.replicas.keys().next().expect("there are two").to_string();
        for (text, kind) in [
            ("shop", "deployment"),
            ("shop/api", "service"),
            ("shop/api/1", "replica"),
            (id.as_str(), "replica"),
            ("alpha", "node"),
            ("node_0000000000000000000000000000000a", "node"),
            ("node_00000000", "node"),
        ] {
            let found = match anything(&state, text).unwrap_or_else(|e| panic!("{text}: {e}")) {
                Found::Deployment(_) => "deployment",
                Found::Service(_) => "service",
                Found::Replica(_) => "replica",
                Found::Node(_) => "node",
            };
            assert_eq!(found, kind, "{text}");
        }
    }

    #[test]
    fn a_miss_says_what_is_there_instead() {
        let state = cluster();
        for (text, expected) in [
            ("shop/ap", "no service shop/ap; did you mean shop/api?"),
            ("shop/pai", "no service shop/pai; did you mean shop/api?"),
            ("api", "no service api; did you mean shop/api?"),
            ("shop", "no service shop; did you mean shop/api, shop/db?"),
            ("web/front", "no service web/front; there is shop/api, shop/db"),
            ("shop/api/7", "shop/api has no replica in slot 7; it has slots 0, 1"),
            ("shop/api/x", "\"x\" is no slot: write shop/api/0, or a replica's id"),
            ("shop/db/0", "shop/db has no replicas; `orlopctl why shop/db` says why"),
            ("rep_0", "rep_0 is too short for a replica's id: give 8 characters or more"),
            ("rep_9999", "no replica rep_9999; see `orlopctl ps -o yaml` for the ids there are"),
        ] {
            let message = anything(&state, text).map(|_| ()).map_err(|e| e.to_string());
            assert_eq!(message, Err(expected.to_owned()), "{text}");
        }
        let ambiguous = anything(&state, "rep_0000").map(|_| ()).map_err(|e| e.to_string());
        assert!(ambiguous.is_err_and(|m| m.starts_with("rep_0000 is the beginning of 2 ids, give more of it: rep_0")));
        let empty = service(&ClusterState::default(), "shop/api").map(|_| ()).map_err(|e| e.to_string());
        assert!(empty.is_err_and(|m| m.contains("orlopctl deploy -f")));
    }

    #[test]
    fn in_an_update_a_slot_means_the_replica_that_is_wanted_and_newest() {
        let mut state = cluster();
        let old = sample::add_replica(&mut state, "shop/db", 0, 0x30, Phase::Starting);
        let new = sample::add_replica(&mut state, "shop/db", 0, 0x20, Phase::Pending);
        for replica in state.replicas.values_mut() {
            if replica.id == old {
                replica.desired = Desired::Stop(StopOrder::Graceful);
            } else if replica.id == new {
                replica.generation = Generation(9);
            }
        }
        assert_eq!(replica(&state, "shop/db/0").map(|r| r.id), Ok(new));
    }
}
