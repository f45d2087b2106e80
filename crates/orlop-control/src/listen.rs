//! Binding addresses of this machine, and serving calls on them.

use crate::Error;
use crate::config::Listen;
use crate::connection::Tracked;
use futures::StreamExt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

/// Something that is bound.
pub(crate) struct Listener {
    listen: Listen,
    socket: Socket,
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    pub(crate) async fn bind(listen: &Listen) -> Result<Self, Error> {
        let failed = |remedy: &str, source| Error::Bind { listen: listen.clone(), remedy: remedy.into(), source };
        match listen {
            Listen::Unix(path) => {
                let socket = bind_unix(path).await.map_err(|source| match source.kind() {
                    io::ErrorKind::AddrInUse => failed("another process answers there; stop it first", source),
                    io::ErrorKind::PermissionDenied => failed("run as root, or give a path that is yours", source),
                    _ => failed("is the path right?", source),
                })?;
                Ok(Self { listen: listen.clone(), socket: Socket::Unix(socket) })
            }
            Listen::Loopback(address) => {
                // Listen's own reading refuses others too; this is for addresses that were put together in code.
                if !address.ip().is_loopback() {
                    let refused = io::Error::from(io::ErrorKind::PermissionDenied);
                    return Err(failed("calls carry no identity yet, so only loopback addresses are served", refused));
                }
                let bound = TcpListener::bind(address).await;
                let socket = bound.map_err(|source| failed("is something else listening there?", source))?;
                let address = socket.local_addr().map_err(|source| failed("the address is not known", source))?;
                Ok(Self { listen: Listen::Loopback(address), socket: Socket::Tcp(socket) })
            }
        }
    }

    pub(crate) fn listen(&self) -> &Listen {
        &self.listen
    }

    /// Serves until `stop` is cancelled and the calls have ended.
    pub(crate) async fn serve(self, routes: Routes, stop: CancellationToken) -> Result<(), Error> {
        let mut server = Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_concurrent_streams(1_000)
            .tcp_nodelay(true);
        let served = match self.socket {
            Socket::Unix(socket) => {
                let incoming = UnixListenerStream::new(socket).map(|stream| stream.map(Tracked::new));
                server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop.cancelled()).await
            }
            Socket::Tcp(socket) => {
                let incoming = TcpListenerStream::new(socket).map(|stream| stream.map(Tracked::new));
                server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop.cancelled()).await
            }
        };
        served.map_err(|source| Error::Server { listen: self.listen, source })
    }
}

/// Binds a socket in place of one that a dead process left. Who answers there is not disturbed.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            return Err(io::Error::other("something that is no socket is there"));
        }
        Ok(_) => {
            if tokio::net::UnixStream::connect(path).await.is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}
