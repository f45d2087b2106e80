//! Ends a deployment, or one service of it. It is forgotten when nothing of it runs. A forced stop may follow a graceful
//! one; what is being removed already stays so.

use crate::answer::{Answer, Refusal};
use crate::command::{Change, deploy};
use crate::entity::Entity;
use orlop_model::{DeploymentName, Generation, ServiceName, ServiceRef, StopOrder};

/// Ends a deployment, or one service of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Which deployment.
    pub deployment: DeploymentName,
    /// Only this service of it.
    pub service: Option<ServiceName>,
    /// How its replicas end.
    pub order: StopOrder,
}

impl Stop {
    pub(super) fn apply(self, change: &mut Change<'_>) -> Result<Answer, Refusal> {
        let name = &self.deployment;
        let Some(deployment) = change.state.deployments.get(name) else {
            let message = format!("there is no deployment {name}; `ps` lists them");
            return Err(Refusal::not_found("deployment_not_found", message));
        };
        let generation = Generation(deployment.generation.0.saturating_add(1));
        if let Some(service) = &self.service {
            let service = ServiceRef { deployment: name.clone(), service: service.clone() };
            if !change.state.services.contains_key(&service) {
                let message = format!("there is no service {service}; `ps` lists them");
                return Err(Refusal::not_found("service_not_found", message));
            }
        }
        let firmer = |stopping: Option<StopOrder>| match stopping {
            None => true,
            Some(StopOrder::Graceful) => self.order == StopOrder::Forced,
            Some(StopOrder::Forced) => false,
        };
        let services = change.state.services_of(name);
        let chosen = services.filter(|(own, _)| self.service.as_ref().is_none_or(|only| own.service == *only));
        let ending: Vec<ServiceRef> =
            chosen.filter(|(_, s)| firmer(s.state.stopping)).map(|(name, _)| name.clone()).collect();
        if ending.is_empty() {
            return Ok(Answer::Done);
        }
        if let Some(deployment) = change.state.deployments.get_mut(name) {
            deployment.generation = generation;
            deployment.changed_at = change.now;
        }
        change.changed.insert(Entity::Deployment(name.clone()));
        for service in ending {
            deploy::remove(change, &service, generation, self.order);
        }
        Ok(Answer::Done)
    }
}
