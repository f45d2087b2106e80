//! Writing events: the bounded history of the cluster, for people.

use crate::command::Change;
use crate::entity::Entity;
use crate::limit::EVENTS_MAX;
use orlop_model::{
    DeploymentName, Event, Level, NodeId, Reason, Replica, ServiceRef, Subject, Timestamp, limit::MESSAGE_BYTES_MAX,
};
use std::sync::Arc;

impl Change<'_> {
    /// Records an event at the command's time.
    pub(crate) fn tell(&mut self, level: Level, subject: Subject, code: &str, message: impl Into<String>) {
        self.tell_at(self.now, level, subject, Reason::new(code, message));
    }

    /// Records an event that happened at a time of its own.
    pub(crate) fn tell_at(&mut self, at: Timestamp, level: Level, subject: Subject, mut reason: Reason) {
        cut(&mut reason.message);
        self.state.events_recorded += 1;
        let sequence = self.state.events_recorded;
        self.state.events.push_back(Arc::new(Event { sequence, at, level, subject, reason }));
        while self.state.events.len() > EVENTS_MAX {
            self.state.events.pop_front();
        }
        self.changed.insert(Entity::Event(sequence));
    }
}

/// Keeps a message that was put together from others within the bound that its stored form has.
pub(crate) fn cut(message: &mut String) {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX - '…'.len_utf8()));
        message.push('…');
    }
}

pub(crate) fn of_deployment(name: &DeploymentName) -> Subject {
    Subject { deployment: Some(name.clone()), ..Subject::default() }
}

pub(crate) fn of_service(name: &ServiceRef) -> Subject {
    Subject { service: Some(name.service.clone()), ..of_deployment(&name.deployment) }
}

pub(crate) fn of_replica(replica: &Replica) -> Subject {
    Subject {
        replica: Some(replica.id),
        slot: Some(replica.slot),
        node: Some(replica.node),
        ..of_service(&replica.service)
    }
}

pub(crate) fn of_node(id: NodeId) -> Subject {
    Subject { node: Some(id), ..Subject::default() }
}
