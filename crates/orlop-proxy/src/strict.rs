//! The strict reader in front of hyper: passes bytes on only when they are a request that everybody reads the same way.
//!
//! It follows requests on the wire: a head is held back until it is whole and good, a body is counted or its chunks
//! followed, and then the next head begins, also when both came in one packet. When a head is bad, hyper gets a small
//! request in its place that the service knows and answers with the reason, behind the answers that are still owed; and
//! nothing more is read. A body that turns bad later breaks the connection, and with it the request to the backend.
//!
//! After a request that asks for an upgrade nothing is passed on until it is decided what the bytes are: another
//! protocol's, or the next request's.

use bytes::{Buf, BytesMut};
use orlop_proxy_core::framing::{Body, Chunks, Violation, check_head, find_head_end};
use parking_lot::Mutex;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What hyper gets in place of a head that was refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";
/// How long a client that was refused may take to read why, before the connection is closed under its hands.
const LINGER: Duration = Duration::from_millis(500);
/// How much of what it still sends is read and thrown away meanwhile, in bytes.
const LINGER_BYTES: usize = 256 * 1024;

/// What the reader and the service of one connection tell each other.
#[derive(Debug, Default)]
pub(crate) struct Lane(Mutex<LaneState>);

#[derive(Debug, Default)]
struct LaneState {
    /// The place of the request that was refused, from 1, and why.
    refused: Option<(u64, Violation)>,
    /// The place of the last request that asked for an upgrade and was answered, and whether it got it.
    upgraded: Option<(u64, bool)>,
    waiting: Option<Waker>,
}

impl Lane {
    /// Why this request, by its place, is a stand-in; if it is one.
    pub(crate) fn refusal(&self, place: u64) -> Option<Violation> {
        self.0.lock().refused.filter(|(refused, _)| *refused == place).map(|(_, violation)| violation)
    }

    /// Tells whether a request, by its place, got the upgrade that it asked for.
    pub(crate) fn decide(&self, place: u64, upgraded: bool) {
        let mut state = self.0.lock();
        state.upgraded = Some((place, upgraded));
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }
}

#[derive(Debug)]
enum State {
    /// Before or in a head of which the first `seen` bytes were looked at.
    Head {
        seen: usize,
    },
    /// So much of a body is to come.
    Length(u64),
    Chunked(Chunks),
    /// Behind a request that asks for an upgrade.
    Undecided,
    /// Not HTTP any more.
    Raw,
    /// Nothing more is read.
    Refused,
}

/// A connection whose requests are checked as they are read.
#[derive(Debug)]
pub(crate) struct Strict<Io> {
    io: Io,
    lane: Arc<Lane>,
    state: State,
    /// Read and not passed on yet.
    held: BytesMut,
    /// So much of it may be passed on.
    released: usize,
    /// How many heads were passed on.
    heads: u64,
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<Io> Strict<Io> {
    pub(crate) fn new(io: Io, lane: Arc<Lane>) -> Self {
        let state = State::Head { seen: 0 };
        Self { io, lane, state, held: BytesMut::new(), released: 0, heads: 0, lingering: None }
    }

    fn refuse(&mut self, violation: Violation) {
        self.lane.0.lock().refused = Some((self.heads + 1, violation));
        self.state = State::Refused;
        self.held = BytesMut::from(STAND_IN);
        self.released = self.held.len();
    }

    /// Looks for a head in what is held; releases it with as much of its body as is there. Answers whether it did
    /// anything.
    fn take_head(&mut self, seen: usize) -> bool {
        let end = match find_head_end(&self.held, seen) {
            Ok(Some(end)) => end,
            Ok(None) => {
                self.state = State::Head { seen: self.held.len() };
                return false;
            }
            Err(violation) => {
                self.refuse(violation);
                return true;
            }
        };
        let head = match check_head(&self.held[..end]) {
            Ok(head) => head,
            Err(violation) => {
                self.refuse(violation);
                return true;
            }
        };
        let more = &self.held[end..];
        (self.released, self.state) = match head.body {
            _ if head.upgrade => (end, State::Undecided),
            Body::Length(length) => {
                let here = usize::try_from(length).unwrap_or(usize::MAX).min(more.len());
                (end + here, State::Length(length - here as u64))
            }
            Body::Chunked => {
                let mut chunks = Chunks::default();
                match chunks.advance(more) {
                    Ok(here) => (end + here, State::Chunked(chunks)),
                    // What came along with the head is still in time to be refused as a whole.
                    Err(violation) => {
                        self.refuse(violation);
                        return true;
                    }
                }
            }
        };
        self.heads += 1;
        true
    }
}

fn broken(violation: Violation) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, violation.to_string())
}

impl<Io: AsyncRead + Unpin> Strict<Io> {
    /// Reads into what is held. Answers how much came.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); 8 * 1024];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        self.held.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Strict<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.released > 0 {
                let length = this.released.min(buf.remaining());
                buf.put_slice(&this.held[..length]);
                this.held.advance(length);
                this.released -= length;
                if this.held.is_empty() {
                    // An idle connection holds no memory here.
                    this.held = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            match &mut this.state {
                State::Head { seen } => {
                    let seen = *seen;
                    if !this.take_head(seen) && ready!(this.poll_hold(cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                State::Length(0) => this.state = State::Head { seen: 0 },
                State::Length(left) if this.held.is_empty() => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.remaining());
                    let mut read = ReadBuf::new(buf.initialize_unfilled_to(most));
                    ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
                    let length = read.filled().len();
                    buf.advance(length);
                    *left -= length as u64;
                    return Poll::Ready(Ok(()));
                }
                State::Length(left) => {
                    this.released = usize::try_from(*left).unwrap_or(usize::MAX).min(this.held.len());
                    *left -= this.released as u64;
                }
                State::Chunked(chunks) if chunks.is_done() => this.state = State::Head { seen: 0 },
                State::Chunked(chunks) if this.held.is_empty() => {
                    let before = buf.filled().len();
                    ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                    let length = chunks.advance(&buf.filled()[before..]).map_err(broken)?;
                    this.held.extend_from_slice(&buf.filled()[before + length..]);
                    buf.set_filled(before + length);
                    return Poll::Ready(Ok(()));
                }
                State::Chunked(chunks) => this.released = chunks.advance(&this.held).map_err(broken)?,
                State::Undecided => {
                    let mut lane = this.lane.0.lock();
                    match lane.upgraded {
                        Some((place, true)) if place == this.heads => this.state = State::Raw,
                        Some((place, false)) if place == this.heads => this.state = State::Head { seen: 0 },
                        _ => {
                            lane.waiting = Some(cx.waker().clone());
                            return Poll::Pending;
                        }
                    }
                }
                State::Raw if this.held.is_empty() => return Pin::new(&mut this.io).poll_read(cx, buf),
                State::Raw => this.released = this.held.len(),
                // The answer to the stand-in closes the connection; an end of input here would cut that answer off.
                State::Refused => return Poll::Pending,
            }
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Strict<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    /// Closing a socket that has unread input resets it, and takes the answer from the client that should read it. So
    /// what a refused client still sends is read and thrown away for a short while.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            if !matches!(this.state, State::Refused) {
                return Poll::Ready(Ok(()));
            }
        }
        let (sleep, bytes) = this.lingering.get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER)), 0));
        loop {
            if *bytes > LINGER_BYTES || sleep.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut space = [MaybeUninit::uninit(); 4 * 1024];
            let mut read = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut this.io).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => *bytes += read.filled().len(),
                _ => return Poll::Ready(Ok(())),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }
}
