//! JSON over HTTP at `/api/v1`, beside gRPC on the same listeners, with an OpenAPI 3.1 document of itself at
//! `/api/v1/openapi.json` and a page to read it at `/api/v1/docs`.
//!
//! Nothing is decided here. Each operation is a call of the gRPC services of this member, made without a socket and with
//! the extensions of the HTTP request, so that who calls, what they may do, what is written down of it and which member
//! answers are the same on both ways in.
//!
//! - `table` names the operations; the router (`serve`) and the document (`openapi`) are both made from it;
//! - `input` reads a request strictly: what the operation does not know is refused, not passed over;
//! - `types` are what is said, `problem` what goes wrong.

mod accept;
mod input;
mod openapi;
mod operation;
mod operations;
mod page;
mod parameter;
mod problem;
mod reply;
mod serve;
mod spec;
mod table;
mod types;

#[cfg(test)]
mod tests;

pub(crate) use problem::of_status;
pub(crate) use serve::router;
