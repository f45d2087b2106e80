//! An agent with a defect: whoever waits for it learns of its end.

use crate::cluster::{Cluster, within};
use orlop_agent::Fault;
use orlop_model::spec::{Image, Signal};
use orlop_model::{Exit, Resources};
use orlop_runtime::container::{ContainerInfo, ContainerSpec, ExecProcess, ExecSpec, LostLogger};
use orlop_runtime::{Archive, ContainerRuntime, ImageInfo, ResolvedImage, RuntimeError};
use std::sync::Arc;

/// Panics in the agent's own loop, with the first thing that it is asked.
struct Defect;

#[tonic::async_trait]
impl ContainerRuntime for Defect {
    async fn list(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        panic!("a defect of the test")
    }

    async fn ensure_image(&self, _: &Image) -> Result<ResolvedImage, RuntimeError> {
        unreachable!()
    }

    async fn import(&self, _: Archive, _: Option<&str>) -> Result<Vec<ImageInfo>, RuntimeError> {
        unreachable!()
    }

    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        unreachable!()
    }

    async fn remove_image(&self, _: &str) -> Result<bool, RuntimeError> {
        unreachable!()
    }

    fn unenforced(&self, _: &Resources) -> Vec<&'static str> {
        unreachable!()
    }

    async fn create(&self, _: &ContainerSpec) -> Result<(), RuntimeError> {
        unreachable!()
    }

    async fn start(&self, _: &str) -> Result<(), RuntimeError> {
        unreachable!()
    }

    async fn wait(&self, _: &str) -> Result<Exit, RuntimeError> {
        unreachable!()
    }

    async fn signal(&self, _: &str, _: Signal) -> Result<(), RuntimeError> {
        unreachable!()
    }

    async fn remove(&self, _: &str) -> Result<(), RuntimeError> {
        unreachable!()
    }

    async fn mend_loggers(&self) -> Vec<LostLogger> {
        unreachable!()
    }

    async fn exec(&self, _: &str, _: ExecSpec) -> Result<Box<dyn ExecProcess>, RuntimeError> {
        unreachable!()
    }
}

#[tokio::test]
async fn an_agent_that_panics_has_ended_and_says_so() {
    let cluster = Cluster::start();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut agent = orlop_agent::start(cluster.config(), Arc::new(Defect), stop.clone()).await.expect("started");
    let fault = within(agent.ended()).await.expect_err("nobody asked it to end");
    assert!(matches!(&fault, Fault::Panicked(why) if why.contains("a defect of the test")), "{fault:?}");
    assert!(!stop.is_cancelled());
}
