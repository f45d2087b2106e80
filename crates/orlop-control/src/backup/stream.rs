//! A backup for whoever asks for one.

use crate::control::Control;
use crate::service::Answers;
use orlop_proto::admin::v1 as pb;
use std::io::{self, Write};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// The most bytes in one message.
const CHUNK_BYTES: usize = 1 << 20;
/// So many messages may wait for a reader who is slow.
const CHUNKS_MAX: usize = 4;

type Chunk = Result<pb::SaveSnapshotResponse, Status>;

impl Control {
    /// The state of now as a file, in pieces. An error in the middle ends the stream with it, so a file that was cut short is
    /// known to be.
    pub(crate) fn save_snapshot(&self) -> Result<Answers<pb::SaveSnapshotResponse>, Status> {
        let busy =
            || Status::resource_exhausted("a snapshot is being saved from this member already; try again after it");
        let one = self.saving.clone().try_acquire_owned().map_err(|_| busy())?;
        let (pieces, stream) = mpsc::channel(CHUNKS_MAX);
        let consensus = self.consensus.clone();
        self.tasks.spawn(async move {
            let _one = one;
            let writer = Pieces { pieces: pieces.clone(), pending: Vec::new() };
            if let Err(error) = consensus.save(writer).await {
                pieces.send(Err(Status::internal(orlop_client::chain(&error)))).await.ok();
            }
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

/// Hands on what is written, in pieces.
struct Pieces {
    pieces: mpsc::Sender<Chunk>,
    pending: Vec<u8>,
}

impl Pieces {
    fn send(&self, chunk: &[u8]) -> io::Result<()> {
        let message = pb::SaveSnapshotResponse { chunk: chunk.to_vec() };
        self.pieces.blocking_send(Ok(message)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        let whole = self.pending.len() / CHUNK_BYTES * CHUNK_BYTES;
        for chunk in self.pending[..whole].chunks(CHUNK_BYTES) {
            self.send(chunk)?;
        }
        self.pending.drain(..whole);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.send(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_arrives_whole_and_in_bounded_pieces() {
        let (pieces, mut stream) = mpsc::channel(64);
        let mut writer = Pieces { pieces, pending: Vec::new() };
        let written: Vec<u8> = (0..3 * CHUNK_BYTES + 7).map(|i| (i % 251) as u8).collect();
        for part in written.chunks(300_000) {
            writer.write_all(part).expect("it is taken");
        }
        writer.flush().expect("it is taken");
        drop(writer);
        let mut read = Vec::new();
        while let Some(chunk) = stream.blocking_recv() {
            let chunk = chunk.expect("a chunk").chunk;
            assert!(chunk.len() <= CHUNK_BYTES);
            read.extend(chunk);
        }
        assert!(read == written);
    }
}
