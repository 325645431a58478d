//! Yamux with a bounded receive window.
//!
//! libp2p's own adapter exposes only the number of streams and leaves the auto-tuned window of a
//! connection at 1 GiB: one fast peer could make a small node hold that much. This adapter is as
//! thin, and sets both.

use crate::limits::Limits;
use futures::{AsyncRead, AsyncWrite, future, ready};
use libp2p::core::{
    muxing::{StreamMuxer, StreamMuxerEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
};
use std::{
    collections::VecDeque,
    convert::Infallible,
    iter,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use yamux::{Connection, ConnectionError, Mode};

/// The upgrade from an authenticated byte stream to a multiplexed connection.
#[derive(Debug, Clone)]
pub(crate) struct Yamux {
    config: yamux::Config,
    streams: usize,
}

impl Yamux {
    /// Yamux within the (checked) limits.
    pub(crate) fn new(limits: &Limits) -> Yamux {
        let mut config = yamux::Config::default();
        // The order matters: either setter asserts that the window covers the streams.
        config.set_max_num_streams(limits.streams());
        config.set_max_connection_receive_window(Some(limits.connection_window));
        Yamux { config, streams: limits.streams() }
    }

    fn start<C: AsyncRead + AsyncWrite + Unpin>(self, io: C, mode: Mode) -> Muxer<C> {
        Muxer {
            connection: Connection::new(io, self.config, mode),
            inbound: VecDeque::new(),
            max_inbound: self.streams,
            waiting: None,
        }
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = future::Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(self.start(io, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = future::Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(self.start(io, Mode::Client)))
    }
}

/// A yamux connection.
///
/// Yamux makes progress only while it is asked for inbound streams, so [`StreamMuxer::poll`] must
/// take them even when nobody wants one: they wait in a queue, as long as streams may be at all.
pub(crate) struct Muxer<C> {
    connection: Connection<C>,
    inbound: VecDeque<yamux::Stream>,
    max_inbound: usize,
    waiting: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, ConnectionError>> {
        Poll::Ready(ready!(self.connection.poll_next_inbound(cx)).unwrap_or(Err(ConnectionError::Closed)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = ConnectionError;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        if let Some(stream) = self.inbound.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let accepted = self.poll_accept(cx);
        if accepted.is_pending() {
            self.waiting = Some(cx.waker().clone());
        }
        accepted
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        self.connection.poll_new_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connection.poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        let stream = ready!(self.poll_accept(cx))?;
        // Dropping a stream resets it, which is all the answer that a flood of streams gets.
        if self.inbound.len() < self.max_inbound {
            self.inbound.push_back(stream);
            if let Some(waker) = self.waiting.take() {
                waker.wake();
            }
        }
        // There may be more; others run first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{AsyncReadExt, AsyncWriteExt};
    use libp2p::core::muxing::StreamMuxerExt;
    use tokio_util::compat::TokioAsyncReadCompatExt;

    async fn drive<C: AsyncRead + AsyncWrite + Unpin>(mut muxer: Muxer<C>) {
        // Ends with the connection.
        let _ = future::poll_fn(|cx| muxer.poll_unpin(cx)).await;
    }

    /// Far more bytes than a stream's window, both ways on one stream, arrive unchanged.
    #[tokio::test]
    async fn a_large_transfer_passes_the_window() {
        const LEN: usize = 6 << 20;
        let limits = Limits { connection_window: 4 << 20, ..Limits::default() };
        let (near, far) = tokio::io::duplex(64 << 10);
        let mut client = Yamux::new(&limits).start(near.compat(), Mode::Client);
        let mut server = Yamux::new(&limits).start(far.compat(), Mode::Server);

        let mut up = future::poll_fn(|cx| client.poll_outbound_unpin(cx)).await.unwrap();
        let data: Vec<u8> = (0..LEN).map(|i| (i % 251) as u8).collect();
        let sent = data.clone();
        let mut pumps = tokio::task::JoinSet::new();
        let mut writers = tokio::task::JoinSet::new();
        pumps.spawn(drive(client));
        writers.spawn(async move {
            up.write_all(&sent).await.unwrap();
            up.flush().await.unwrap();
            let mut echo = vec![0; LEN];
            up.read_exact(&mut echo).await.unwrap();
            up.close().await.unwrap();
            echo
        });
        let mut down = future::poll_fn(|cx| server.poll_inbound_unpin(cx)).await.unwrap();
        pumps.spawn(drive(server));
        let mut got = vec![0; LEN];
        down.read_exact(&mut got).await.unwrap();
        assert!(got == data, "what arrived differs");
        down.write_all(&got).await.unwrap();
        down.flush().await.unwrap();
        assert!(writers.join_next().await.unwrap().unwrap() == data, "what came back differs");
    }
}
