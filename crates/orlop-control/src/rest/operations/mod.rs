//! What is done for each operation, and how it is described.

pub(super) mod about;
pub(super) mod deployments;
pub(super) mod events;
pub(super) mod logs;
pub(super) mod nodes;
pub(super) mod operators;
pub(super) mod replicas;
pub(super) mod services;
pub(super) mod tokens;

use super::input::Input;
use super::operation::PAGE_DEFAULT;
use super::problem::Problem;
use super::serve::Member;
use orlop_client::ClusterState;
use orlop_proto::operator::v1 as pb;

const GET_STATE: &str = "/orlop.operator.v1.OperatorService/GetState";

/// The state now, of one deployment or, when the name is empty, of all.
async fn state_of(member: &Member, input: &Input, deployment: String) -> Result<ClusterState, Problem> {
    let answer = member.operator().get_state(input.call(pb::GetStateRequest { deployment })).await;
    let wire = answer.map_err(|status| Problem::of_status(&status, false))?.into_inner();
    wire.try_into().map_err(Problem::unreadable)
}

/// The part of a list that was asked for, and after what the next part begins. The list is in the order of the keys.
fn page<T>(input: &Input, all: impl Iterator<Item = (String, T)>) -> (Vec<T>, Option<String>) {
    let limit = usize::try_from(input.number("limit").unwrap_or(PAGE_DEFAULT)).unwrap_or(usize::MAX);
    let mut rest = all.skip_while(|(key, _)| input.maybe("after").is_some_and(|after| key.as_str() <= after));
    let (mut items, mut last) = (Vec::new(), None);
    for (key, item) in rest.by_ref().take(limit) {
        items.push(item);
        last = Some(key);
    }
    (items, last.filter(|_| rest.next().is_some()))
}
