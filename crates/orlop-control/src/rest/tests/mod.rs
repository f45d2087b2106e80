//! The document held against what it said before, and the way from a request to the gRPC services.

mod breaking;
mod calls;
mod document;
