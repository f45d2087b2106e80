//! Bytes both ways, until both sides have said that they are through.

use crate::upstream::UnderWay;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::io;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// How much is taken over at once.
const CHUNK: usize = 64 * 1024;
/// How many buffers wait for use.
const SPARE_MAX: usize = 16;

/// Buffers for connections that move bytes right now. An idle connection has none.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Box<[u8]>>>);

impl Buffers {
    fn take(&self) -> Box<[u8]> {
        self.0.lock().pop().unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice())
    }

    fn give(&self, buffer: Box<[u8]>) {
        let mut spare = self.0.lock();
        if spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    }
}

/// Joins two connections. When one side is through sending, the other is told, and may go on sending itself.
pub(crate) async fn join(mut client: TcpStream, mut backend: TcpStream, buffers: &Buffers) -> io::Result<()> {
    let (client_read, client_write) = client.split();
    let (backend_read, backend_write) = backend.split();
    tokio::try_join!(pump(client_read, backend_write, buffers), pump(backend_read, client_write, buffers))?;
    Ok(())
}

async fn pump(from: ReadHalf<'_>, mut to: WriteHalf<'_>, buffers: &Buffers) -> io::Result<()> {
    loop {
        from.readable().await?;
        let mut buffer = buffers.take();
        let through = loop {
            match from.try_read(&mut buffer) {
                Ok(0) => break true,
                Ok(length) => to.write_all(&buffer[..length]).await?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) => return Err(error),
            }
        };
        buffers.give(buffer);
        if through {
            return to.shutdown().await;
        }
    }
}

/// Joins what has left HTTP on both sides.
pub(crate) async fn upgraded(client: OnUpgrade, backend: OnUpgrade, under_way: UnderWay) {
    let joined = async {
        let (client, backend) = tokio::try_join!(client, backend)?;
        let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
        tokio::io::copy_bidirectional(&mut client, &mut backend).await?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    };
    if let Err(error) = joined.await {
        tracing::debug!(%error, "an upgraded connection broke off");
    }
    drop(under_way);
}
