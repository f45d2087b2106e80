//! The network between members: connections through which bytes can be held back, for each direction by itself.

use hyper_util::rt::TokioIo;
use orlop_consensus::{Dial, tune};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

/// So much is under way on a connection, at most.
const BUFFER: usize = 256 << 10;

/// What goes through from one member to another, if not everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hindrance {
    /// Nothing; the connections stay as they are.
    Cut,
    /// So many bytes in a second.
    Slow(u64),
}

#[derive(Default)]
pub(crate) struct Network {
    /// Where members really listen, by address.
    listening: Mutex<BTreeMap<String, (u64, u16)>>,
    hindrances: watch::Sender<BTreeMap<(u64, u64), Hindrance>>,
}

impl Network {
    /// A member listens on the port and is known at the address.
    pub(crate) fn place(&self, member: u64, address: &str, port: u16) {
        let mut listening = self.listening.lock().unwrap();
        listening.retain(|_, (other, _)| *other != member);
        listening.insert(address.to_owned(), (member, port));
    }

    fn hinder(&self, from: u64, to: u64, hindrance: Hindrance) {
        self.hindrances.send_modify(|all| {
            all.insert((from, to), hindrance);
        });
    }

    /// Nothing goes from one member to another any more.
    pub(crate) fn cut(&self, from: u64, to: u64) {
        self.hinder(from, to, Hindrance::Cut);
    }

    /// What goes from one member to another is as slow as this, in bytes per second, on each connection.
    pub(crate) fn slow(&self, from: u64, to: u64, rate: u64) {
        self.hinder(from, to, Hindrance::Slow(rate));
    }

    /// Nothing comes from or goes to a member.
    pub(crate) fn isolate(&self, member: u64, all: &[u64]) {
        for other in all.iter().copied().collect::<BTreeSet<_>>().into_iter().filter(|other| *other != member) {
            self.cut(member, other);
            self.cut(other, member);
        }
    }

    pub(crate) fn heal(&self) {
        self.hindrances.send_modify(BTreeMap::clear);
    }

    async fn connect(self: Arc<Self>, from: u64, address: String) -> io::Result<DuplexStream> {
        let found = self.listening.lock().unwrap().get(&address).copied();
        let (to, port) = found.ok_or(io::ErrorKind::ConnectionRefused)?;
        // A connection is not made through a cut: it waits, as it would for packets that are dropped.
        self.pass(from, to, 0).await;
        self.pass(to, from, 0).await;
        let far = TcpStream::connect(("127.0.0.1", port)).await?;
        far.set_nodelay(true)?;
        let (near, ours) = duplex(BUFFER);
        let (mut far_in, mut far_out) = far.into_split();
        let (mut near_in, mut near_out) = tokio::io::split(ours);
        tokio::spawn(async move {
            // Either end closes both.
            tokio::select! {
                () = self.carry(from, to, &mut near_in, &mut far_out) => {}
                () = self.carry(to, from, &mut far_in, &mut near_out) => {}
            }
        });
        Ok(near)
    }

    async fn carry(
        &self,
        from: u64,
        to: u64,
        input: &mut (impl AsyncReadExt + Unpin),
        output: &mut (impl AsyncWriteExt + Unpin),
    ) {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let Ok(read @ 1..) = input.read(&mut buffer).await else { return };
            self.pass(from, to, read).await;
            if output.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    /// Waits until so many bytes may go through.
    async fn pass(&self, from: u64, to: u64, bytes: usize) {
        let mut hindrances = self.hindrances.subscribe();
        loop {
            let hindrance = hindrances.borrow_and_update().get(&(from, to)).copied();
            match hindrance {
                None => return,
                Some(Hindrance::Slow(rate)) => {
                    return tokio::time::sleep(std::time::Duration::from_secs_f64(bytes as f64 / rate as f64)).await;
                }
                Some(Hindrance::Cut) => hindrances.changed().await.unwrap(),
            }
        }
    }

    /// How a member dials.
    pub(crate) fn dial(self: &Arc<Self>, from: u64) -> Arc<dyn Dial> {
        Arc::new(Dialler { network: self.clone(), from })
    }
}

struct Dialler {
    network: Arc<Network>,
    from: u64,
}

impl Dial for Dialler {
    fn channel(&self, _member: u64, address: &str) -> Channel {
        let (network, from, address) = (self.network.clone(), self.from, address.to_owned());
        tune(Endpoint::from_static("http://member")).connect_with_connector_lazy(tower::service_fn(move |_| {
            let connecting = network.clone().connect(from, address.clone());
            async move { connecting.await.map(TokioIo::new) }
        }))
    }
}
