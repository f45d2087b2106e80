//! The calls, one file for each service of `proto/`: each reads its request into domain types, asks the rest of the
//! crate, and writes the answer.

mod admin;
mod identity;
mod node;
mod operator;
mod scheduler;
mod watch;

use crate::control::Control;
use orlop_proto::admin::v1::admin_service_server::AdminServiceServer;
use orlop_proto::identity::v1::identity_service_server::IdentityServiceServer;
use orlop_proto::node::v1::node_service_server::NodeServiceServer;
use orlop_proto::operator::v1::operator_service_server::OperatorServiceServer;
use orlop_proto::scheduler::v1::scheduler_service_server::SchedulerServiceServer;
use orlop_proto::watch::v1::watch_service_server::WatchServiceServer;
use orlop_proto::{InvalidWire, Within};
use std::pin::Pin;
use tonic::Status;
use tonic::service::Routes;

/// The largest request.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// The largest answer; the state of a large cluster.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;

pub(crate) type Answers<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

/// All services, over one control plane.
pub(crate) fn routes(control: &Control) -> Routes {
    macro_rules! limited {
        ($server:ident, $service:expr) => {
            $server::new($service)
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(ANSWER_BYTES_MAX)
        };
    }
    let mut routes = Routes::builder();
    routes
        .add_service(limited!(AdminServiceServer, admin::Service(control.clone())))
        .add_service(control.consensus.peer_service())
        .add_service(limited!(IdentityServiceServer, identity::Service(control.clone())))
        .add_service(limited!(OperatorServiceServer, operator::Service(control.clone())))
        .add_service(limited!(NodeServiceServer, node::Service(control.clone())))
        .add_service(limited!(SchedulerServiceServer, scheduler::Service(control.clone())))
        .add_service(limited!(WatchServiceServer, watch::Service(control.clone())));
    routes.routes()
}

fn required<W, T>(field: &str, value: Option<W>) -> Result<T, InvalidWire>
where
    T: TryFrom<W, Error = InvalidWire>,
{
    value.ok_or_else(|| InvalidWire::missing(field)).and_then(|v| T::try_from(v).within(field))
}

fn parsed<T>(field: &str, text: &str) -> Result<T, InvalidWire>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    text.parse().map_err(|e: T::Err| InvalidWire::new(field, e.to_string()))
}

/// A text where the empty one stands for nothing.
fn parsed_if_set<T>(field: &str, text: &str) -> Result<Option<T>, InvalidWire>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    if text.is_empty() { Ok(None) } else { parsed(field, text).map(Some) }
}
