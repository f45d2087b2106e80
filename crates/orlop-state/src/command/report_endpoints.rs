//! Takes what the proxy of a node cannot serve: all of it, so that what is not named is served.
//!
//! A fault stays with its service until a report without it, or until the endpoint is changed or removed. Endpoints
//! that are not offered (any more) are passed over: the proxy follows the routes, a little behind. The same report
//! again changes nothing.

use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::history::{cut, of_service};
use crate::limit::{FAULTS_PER_SERVICE_MAX, UNSERVED_MAX};
use crate::route::offered;
use crate::state::{ServiceRecord, State};
use orlop_model::{EndpointFault, EndpointName, Level, NodeId, Reason, RouteKey, ServiceRef, Subject, Timestamp};
use std::collections::BTreeMap;

/// All public endpoints that the proxy of a node cannot serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportEndpoints {
    /// Which node.
    pub node: NodeId,
    /// At most [`UNSERVED_MAX`]; of an endpoint named twice the later counts.
    pub unserved: Vec<UnservedEndpoint>,
}

/// An endpoint that a proxy cannot serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnservedEndpoint {
    /// Which.
    pub route: RouteKey,
    /// Why, and what to do.
    pub reason: Reason,
}

type Said = BTreeMap<ServiceRef, BTreeMap<EndpointName, Reason>>;

impl ReportEndpoints {
    /// Would it change anything? What is refused would not.
    pub fn brings_news(&self, state: &State) -> bool {
        let said = self.said();
        self.check(state).is_ok()
            && state.services.iter().any(|(name, record)| {
                // The time of the report is only that of faults that are new, and those are a difference anyway.
                faults(record, self.node, said.get(name), Timestamp(0)) != record.state.faults
            })
    }

    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        self.check(change.state)?;
        let mut news = Vec::new();
        let said = self.said();
        for (name, record) in &mut change.state.services {
            let now = faults(record, self.node, said.get(name), change.now);
            if now == record.state.faults {
                continue;
            }
            let before = std::mem::replace(&mut record.state.faults, now);
            change.changed.insert(Entity::Service(name.clone()));
            news.push((name.clone(), before, record.state.faults.clone()));
        }
        for (name, before, after) in news {
            tell(change, &name, &before, &after);
        }
        Ok(Answer::Done)
    }

    fn check(&self, state: &State) -> Result<(), Refusal> {
        if self.unserved.len() > UNSERVED_MAX {
            let message = format!("{} endpoints at once; send at most {UNSERVED_MAX}", self.unserved.len());
            return Err(Refusal::invalid("too_many_endpoints", message));
        }
        if !state.nodes.contains_key(&self.node) {
            let message = format!("there is no node {}; it must register first", self.node);
            return Err(Refusal::not_found("node_not_found", message));
        }
        Ok(())
    }

    fn said(&self) -> Said {
        let mut said = Said::new();
        for UnservedEndpoint { route, reason } in &self.unserved {
            let mut reason = reason.clone();
            cut(&mut reason.message);
            said.entry(route.service.clone()).or_default().insert(route.endpoint.clone(), reason);
        }
        said
    }
}

/// The faults that a service has after a report of a node.
fn faults(
    record: &ServiceRecord,
    node: NodeId,
    said: Option<&BTreeMap<EndpointName, Reason>>,
    now: Timestamp,
) -> Vec<EndpointFault> {
    let had = &record.state.faults;
    let mut faults: Vec<EndpointFault> = had.iter().filter(|fault| fault.node != node).cloned().collect();
    for (endpoint, reason) in said.into_iter().flatten() {
        if offered(record).any(|e| e.name == *endpoint) {
            let before = had.iter().find(|fault| fault.node == node && fault.endpoint == *endpoint);
            let since = before.map_or(now, |fault| fault.since);
            faults.push(EndpointFault { endpoint: endpoint.clone(), node, since, reason: reason.clone() });
        }
    }
    faults.sort_by(|a, b| (&a.endpoint, a.node).cmp(&(&b.endpoint, b.node)));
    faults.truncate(FAULTS_PER_SERVICE_MAX);
    faults
}

/// Tells what came and what went.
fn tell(change: &mut Change<'_>, service: &ServiceRef, before: &[EndpointFault], after: &[EndpointFault]) {
    let same = |a: &EndpointFault, b: &EndpointFault| a.endpoint == b.endpoint && a.node == b.node;
    let subject = |node| Subject { node: Some(node), ..of_service(service) };
    for fault in after.iter().filter(|fault| !before.iter().any(|b| same(b, fault) && b.reason == fault.reason)) {
        change.tell(Level::Warning, subject(fault.node), &fault.reason.code, fault.reason.message.clone());
    }
    for fault in before.iter().filter(|fault| !after.iter().any(|a| same(a, fault))) {
        let node = change.state.nodes.get(&fault.node).map_or_else(|| fault.node.to_string(), |n| n.name.to_string());
        let message = format!("endpoint {} is served on {node} now", fault.endpoint);
        change.tell(Level::Info, subject(fault.node), "endpoint_served", message);
    }
}
