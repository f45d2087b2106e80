//! Clients: each does one thing at a time at some member, over mTLS with an operator's token, and notes what it heard.

use crate::record::{Did, Heard, KEYS, Record};
use orlop_client::{Address, Calls};
use orlop_history::chance::Chance;
use orlop_proto::cluster::v1::{ServiceRef, ServiceState};
use orlop_proto::metadata::{REQUEST_ID, STALE};
use orlop_proto::operator::v1 as pb;
use pb::operator_service_client::OperatorServiceClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

/// So long one attempt may take; members that are cut off or stopped say nothing.
const ATTEMPT: Duration = Duration::from_millis(800);
/// So long a write is asked for again; what became of it then, nobody knows.
const WRITE: Duration = Duration::from_secs(8);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(40);
/// What no fault is a reason for: that what is there is not, that what was asked for makes no sense, or a defect.
pub(crate) const WRONG: &str = "wrong";
/// The longest that a client waits before it does the next thing, in milliseconds.
const IDLE_MS: u64 = 50;

/// The deployment of a key; it has one service, whose scale is the register.
pub(crate) fn deployment(key: usize) -> String {
    format!("key-{key:02}")
}

/// The name of each key's service.
pub(crate) const SERVICE: &str = "register";

/// The key that a service is, and its value.
pub(crate) fn register(service: &ServiceState) -> Option<(usize, u64)> {
    let name = service.name.as_ref().filter(|name| name.service == SERVICE)?;
    let key = name.deployment.strip_prefix("key-")?.parse().ok().filter(|key| *key < KEYS)?;
    Some((key, u64::from(service.replicas)))
}

pub(crate) struct Client {
    pub(crate) record: Arc<Record>,
    /// Of all of them, for messages.
    pub(crate) address: Address,
    /// One for each member.
    pub(crate) members: Vec<OperatorServiceClient<Calls>>,
    pub(crate) chance: Chance,
}

impl Client {
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let key = self.chance.below(KEYS);
            let value = if self.chance.per_mille(500) { self.record.value(key) } else { None };
            match value {
                Some(value) => self.write(key, value).await,
                None => self.read(key).await,
            }
            sleep(Duration::from_millis(self.chance.between(0, IDLE_MS))).await;
        }
    }

    fn member(&mut self) -> OperatorServiceClient<Calls> {
        self.members[self.chance.below(self.members.len())].clone()
    }

    /// Asks one member after the other, under one id, until one says that it is done.
    async fn write(&mut self, key: usize, value: u64) {
        let id = self.id();
        let service = ServiceRef { deployment: deployment(key), service: SERVICE.into() };
        let replicas = u32::try_from(value).expect("a small value");
        let request = pb::ScaleRequest { service: Some(service), replicas };
        let mut did = Did { key, write: Some(value), called: self.record.now(), heard: None, attempts: 0 };
        let until = Instant::now() + WRITE;
        while did.heard.is_none() && Instant::now() < until {
            did.attempts += 1;
            let mut call = Request::new(request.clone());
            call.metadata_mut().insert(REQUEST_ID, id.parse().expect("a UUID is text"));
            let mut member = self.member();
            match timeout(ATTEMPT, member.scale(call)).await {
                Ok(Ok(answer)) => {
                    let pb::ScaleResponse { revision, previous } = answer.into_inner();
                    did.heard = Some(Heard { at: self.record.now(), told: u64::from(previous), revision });
                }
                Ok(Err(status)) => self.no(&status, &format!("write {value} to key {key}")),
                Err(_) => self.record.no("no answer in time", "of a write"),
            }
            if did.heard.is_none() {
                sleep(AGAIN).await;
            }
        }
        self.record.push(did);
    }

    async fn read(&mut self, key: usize) {
        let called = self.record.now();
        let mut member = self.member();
        match timeout(ATTEMPT, read(&mut member, key, false)).await {
            Ok(Ok((told, revision))) => {
                let heard = Some(Heard { at: self.record.now(), told, revision });
                self.record.push(Did { key, write: None, called, heard, attempts: 1 });
            }
            Ok(Err(status)) => self.no(&status, &format!("read key {key}")),
            Err(_) => self.record.no("no answer in time", "of a read"),
        }
    }

    /// What a person would have been told.
    fn no(&self, status: &Status, what: &str) {
        use orlop_client::Error;
        let error = Error::from_status(status, &self.address);
        let kind = match error {
            Error::Unreachable { .. } | Error::Lost { .. } => "no connection",
            Error::Unavailable(_) => "unavailable for now",
            Error::TimedOut(_) => "not known whether it was done",
            Error::Refused(_) => "refused",
            _ => WRONG,
        };
        self.record.no(kind, &format!("{what}: {error}"));
    }

    fn id(&mut self) -> String {
        let (high, low) = (self.chance.next(), self.chance.next());
        let (version, variant) = (high & 0xfff, low >> 52 & 0x3ff | 0x800);
        format!(
            "{:08x}-{:04x}-4{version:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            variant << 2,
            low & 0xffff_ffff_ffff
        )
    }
}

/// The value of a key, and the revision that it is of; a stale one is what the member knows by itself.
pub(crate) async fn read(
    member: &mut OperatorServiceClient<Calls>,
    key: usize,
    stale: bool,
) -> Result<(u64, u64), Status> {
    let mut call = Request::new(pb::GetStateRequest { deployment: deployment(key) });
    if stale {
        call.metadata_mut().insert(STALE, "true".parse().expect("text"));
    }
    let state = member.get_state(call).await?.into_inner();
    match state.services.iter().find_map(register) {
        Some((_, value)) => Ok((value, state.revision)),
        None => Err(Status::not_found(format!("key {key} is not in the state of revision {}", state.revision))),
    }
}
