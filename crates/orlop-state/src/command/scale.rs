//! Sets how many replicas a service has, until the next deploy, or for good with `scale: {mode: manual}`.

use crate::answer::{Answer, Refusal};
use crate::command::Change;
use crate::entity::Entity;
use crate::history::of_service;
use orlop_model::check::REPLICAS_MAX;
use orlop_model::{Generation, Level, ServiceRef};

/// Sets how many replicas a service has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// Which service.
    pub service: ServiceRef,
    /// How many; at most [`REPLICAS_MAX`].
    pub replicas: u32,
}

impl Scale {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let name = &self.service;
        if self.replicas > REPLICAS_MAX {
            let message = format!("{} replicas are more than the {REPLICAS_MAX} a service may have", self.replicas);
            return Err(Refusal::invalid("too_many_replicas", message));
        }
        let Some(record) = change.state.services.get_mut(name) else {
            return Err(Refusal::not_found(
                "service_not_found",
                format!("there is no service {name}; `ps` lists them"),
            ));
        };
        if record.state.stopping.is_some() {
            let message = format!("{name} is being removed; deploy it again instead");
            return Err(Refusal::precondition("service_stopping", message));
        }
        let previous = record.state.replicas;
        if previous == self.replicas {
            return Ok(Answer::Scaled { previous });
        }
        let Some(deployment) = change.state.deployments.get_mut(&name.deployment) else {
            return Err(Refusal::not_found(
                "deployment_not_found",
                format!("there is no deployment {}", name.deployment),
            ));
        };
        deployment.generation = Generation(deployment.generation.0.saturating_add(1));
        deployment.changed_at = change.now;
        record.state.replicas = self.replicas;
        record.state.generation = deployment.generation;
        record.state.changed_at = change.now;
        record.state.status.dependency_fault = None;
        change.changed.insert(Entity::Deployment(name.deployment.clone()));
        change.changed.insert(Entity::Service(name.clone()));
        let message = format!("{name} was scaled from {previous} to {} replicas", self.replicas);
        change.tell(Level::Info, of_service(name), "scaled", message);
        Ok(Answer::Scaled { previous })
    }
}
