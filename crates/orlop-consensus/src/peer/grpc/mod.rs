//! Members over gRPC.

mod client;
pub(super) mod server;

use super::{Lane, Peer, Peers};
use client::Link;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// The largest message: entries come in batches of a megabyte, and one entry has at most four.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Makes connections to other members.
pub trait Dial: Send + Sync + 'static {
    /// A new connection to a member, which both ends have proven themselves on before anything else is said. It is made
    /// when it is first used, and again when it was lost; a request fails at once while it cannot be made. Called again
    /// for a member whose connection does not answer. [`tune`] has settings that suit.
    fn channel(&self, member: u64, address: &str) -> Channel;
}

/// Settings for connections between members: no delay for small packets, and what is dead is noticed soon.
pub fn tune(endpoint: Endpoint) -> Endpoint {
    endpoint
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(1))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(3))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
}

/// Finds members by dialling them.
pub(crate) struct Dialled {
    dial: Arc<dyn Dial>,
    links: Mutex<BTreeMap<(u64, Lane), Arc<Link>>>,
}

impl Dialled {
    pub(crate) fn new(dial: Arc<dyn Dial>) -> Self {
        Self { dial, links: Mutex::default() }
    }
}

impl Peers for Dialled {
    fn peer(&self, member: u64, address: &str, lane: Lane) -> Arc<dyn Peer> {
        let mut links = self.links.lock();
        match links.get(&(member, lane)) {
            Some(link) if link.address() == address => link.clone(),
            _ => {
                let link = Arc::new(Link::new(self.dial.clone(), member, address));
                links.insert((member, lane), link.clone());
                link
            }
        }
    }
}
