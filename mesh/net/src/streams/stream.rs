//! A stream as its owner sees it.

use libp2p::Stream;
use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

/// Bytes to and from one member, in order. Dropping it ends it; [`tokio::io::AsyncWriteExt::shutdown`] ends
/// one direction, so that the peer reads to the end.
pub struct NetStream {
    inner: Compat<Stream>,
    /// The place of an incoming stream among those of its connection.
    _place: Option<OwnedSemaphorePermit>,
    /// Tells that its connection is in use.
    _held: Arc<()>,
}

impl NetStream {
    pub(super) fn new(stream: Stream, place: Option<OwnedSemaphorePermit>, held: Arc<()>) -> NetStream {
        NetStream { inner: stream.compat(), _place: place, _held: held }
    }
}

impl fmt::Debug for NetStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetStream")
    }
}

impl AsyncRead for NetStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for NetStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
