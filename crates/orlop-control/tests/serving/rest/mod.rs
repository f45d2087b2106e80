//! JSON over HTTP, against a control plane that listens on a loopback address.

mod changes;
mod documents;
mod http;
mod schemathesis;
mod streams;
mod strictness;

use crate::world::World;
use http::Http;

/// A control plane that speaks HTTP on a port of its own.
async fn start() -> (World, Http) {
    let world = World::start_with(|config| config.listen.push("http://127.0.0.1:0".parse().expect("an address"))).await;
    let http = Http::of(&world);
    (world, http)
}

/// A spec of one service, as a file would have it.
fn spec(deployment: &str, tag: &str) -> String {
    format!(
        "version: v1\ndeployment: {deployment}\nservices:\n  api:\n    image: {{ name: registry.example/shop/api:{tag} }}\n"
    )
}
