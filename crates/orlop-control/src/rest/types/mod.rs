//! What REST says, as types of its own: the OpenAPI document is made from them. Objects are those of `orlopctl -o json`,
//! field for field where both have them; fields are added, never renamed or removed.
//!
//! Times are RFC 3339 in UTC; cpu is in cores, memory in bytes.

mod deployment;
mod event;
mod identity;
mod log;
mod node;
mod plan;
mod replica;
mod status;

pub(super) use deployment::{
    Deployed, Deployment, DeploymentDetail, Deployments, Scale, Scaled, Service, ServiceDetail, Services, Stopped,
};
pub(super) use event::{Event, EventFrame, Events};
pub(super) use identity::{
    JoinKind, JoinToken, JoinTokenMade, JoinTokens, MakeJoinToken, MakeOperatorToken, Operator, OperatorTokenMade,
    Operators, PutOperator,
};
pub(super) use log::{LogFrame, LogLine};
pub(super) use node::{Node, NodeChanged, Nodes, ScheduleNode};
pub(super) use plan::Plan;
pub(super) use replica::{Replica, Replicas};
pub(super) use status::{Health, HealthWord, Status};

use orlop_model::Timestamp;
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// Why something is as it is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Reason {
    /// A stable snake_case word, for programs.
    code: String,
    /// One sentence, for people.
    message: String,
}

impl From<&orlop_model::Reason> for Reason {
    fn from(reason: &orlop_model::Reason) -> Self {
        Self { code: reason.code.clone(), message: reason.message.clone() }
    }
}

/// How something is ended.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StopOrder {
    /// The stop signal, then SIGKILL when the grace period is over.
    Graceful,
    /// SIGKILL at once.
    Forced,
}

impl From<orlop_model::StopOrder> for StopOrder {
    fn from(order: orlop_model::StopOrder) -> Self {
        match order {
            orlop_model::StopOrder::Graceful => StopOrder::Graceful,
            orlop_model::StopOrder::Forced => StopOrder::Forced,
        }
    }
}

/// A point in time, RFC 3339 in UTC.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Time(#[schemars(extend("format" = "date-time"))] String);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        let latest = jiff::Timestamp::MAX;
        let at = i64::try_from(at.0).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
        Self(at.unwrap_or(latest).to_string())
    }
}

impl Time {
    /// A time in nanoseconds since the Unix epoch, always with nine decimals.
    fn of_nanos(at: u64) -> Self {
        let at = jiff::Timestamp::from_nanosecond(at.into()).unwrap_or(jiff::Timestamp::MAX);
        Self(format!("{at:.9}"))
    }
}

/// A whole number, which in JSON may also be written as `3.0`.
fn whole<'de, D: Deserializer<'de>, N: TryFrom<u64>>(from: D) -> Result<N, D::Error> {
    /// Up to here every whole number is a float.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let number = serde_json::Number::deserialize(from)?;
    let float = || number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..=EXACT_MAX).contains(float));
    let whole = number.as_u64().or_else(|| float().map(|float| float as u64));
    let fits = whole.and_then(|whole| N::try_from(whole).ok());
    fits.ok_or_else(|| D::Error::custom(format!("found {number}; expected a whole number that is not so large")))
}
