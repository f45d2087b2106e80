//! JSON over HTTP, against a control plane in this process.

mod changes;
mod documents;
mod http;
mod identity;
mod schemathesis;
mod streams;
mod strictness;

use crate::world::World;
use http::Http;

/// A control plane, and a way to it for who speaks HTTP over TCP only. Calls are of this machine's administrator, whom no
/// limit holds.
async fn start() -> (World, Http) {
    let world = World::start().await;
    let http = Http::of(&world).await;
    (world, http)
}

/// A spec of one service, as a file would have it.
fn spec(deployment: &str, tag: &str) -> String {
    format!(
        "version: v1\ndeployment: {deployment}\nservices:\n  api:\n    image: {{ name: registry.example/shop/api:{tag} }}\n"
    )
}
