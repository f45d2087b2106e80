//! The way from a node to the control plane's socket over the network of the hosts, so that what is cut there is cut for it
//! too: the control plane listens on this machine's sockets only.

use orlop_testbed::Host;
use std::io::{self, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Serves `socket` of this machine at an address of a host.
pub(crate) fn serve(host: &Host, socket: PathBuf) -> SocketAddr {
    let bind = || TcpListener::bind((host.address(), 0));
    let listener = host.within(bind).expect("a host").expect("an address of the host");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(inner) = UnixStream::connect(&socket) {
                join(stream, inner);
            }
        }
    });
    address
}

/// Leads whoever connects to `socket` to an address, from a host.
pub(crate) fn lead(host: Host, socket: PathBuf, to: SocketAddr) {
    let listener = UnixListener::bind(&socket).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let host = host.clone();
            // Whoever is cut off waits here, and others must not wait for it.
            std::thread::spawn(move || {
                let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(1));
                if let Ok(Ok(outer)) = host.within(connect) {
                    join(outer, stream);
                }
            });
        }
    });
}

fn join(outer: TcpStream, inner: UnixStream) {
    let _ = outer.set_nodelay(true);
    let (outer, inner) = (Arc::new(outer), Arc::new(inner));
    let (there, back) = ((outer.clone(), inner.clone()), (outer, inner));
    std::thread::spawn(move || pass(&*there.0, &*there.1, &there.0, &there.1));
    std::thread::spawn(move || pass(&*back.1, &*back.0, &back.0, &back.1));
}

fn pass(mut from: impl io::Read, mut to: impl io::Write, outer: &TcpStream, inner: &UnixStream) {
    let _ = copy(&mut from, &mut to);
    let _ = (outer.shutdown(Shutdown::Both), inner.shutdown(Shutdown::Both));
}
