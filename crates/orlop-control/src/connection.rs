//! Connections that can be told apart, and whose end is heard of: the end of a process shows there first.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::Connected;

static OPENED: AtomicU64 = AtomicU64::new(0);

/// A connection, as every call on it knows it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// No other connection of this process has the same.
    pub(crate) number: u64,
    /// Cancelled when the connection has ended.
    pub(crate) ended: CancellationToken,
}

/// A stream whose end is heard of.
pub(crate) struct Tracked<S> {
    stream: S,
    connection: Connection,
    _ends: DropGuard,
}

impl<S> Tracked<S> {
    pub(crate) fn new(stream: S) -> Self {
        let ended = CancellationToken::new();
        let _ends = ended.clone().drop_guard();
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        Self { stream, connection: Connection { number, ended }, _ends }
    }
}

impl<S> Connected for Tracked<S> {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tracked<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
