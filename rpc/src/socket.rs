//! A connection's socket: gives up on a peer that does not take what it is sent, and tells when the peer has left
//! while nothing is read from it.

use crate::counters::Counters;
use std::{
    io::{self, IoSlice},
    os::fd::AsFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// Bytes that a peer must take at least in each time that it has. With less, one that takes a byte now and then
/// would hold its answers in memory for ever.
const LEAST: usize = 64 << 10;

/// A socket with patience. What waits to be written must be taken in time.
pub(crate) struct Socket {
    stream: TcpStream,
    patience: Duration,
    counters: Arc<Counters>,
    /// The time that runs, and what the peer has taken in it. None while nothing waits.
    owed: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, patience: Duration, counters: Arc<Counters>) -> Socket {
        Socket { stream, patience, counters, owed: None }
    }

    /// Watches over one attempt to write `offered` bytes.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        offered: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                let taken = self.owed.as_ref().map_or(0, |(_, taken)| *taken) + bytes;
                match &mut self.owed {
                    Some((_, so_far)) if bytes < offered && taken < LEAST => *so_far = taken,
                    _ => self.owed = None,
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let patience = self.patience;
                let (time, _) = self.owed.get_or_insert_with(|| (Box::pin(sleep(patience)), 0));
                ready!(time.as_mut().poll(cx));
                self.counters.too_slow();
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not take what it is sent")))
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, bytes.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.watch(cx, parts.iter().map(|part| part.len()).sum(), written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Tells when the peer has closed the connection, also while there are bytes of it that nobody reads.
pub(crate) struct Hangup(TcpStream);

impl Hangup {
    /// Watches a descriptor of its own: the runtime's notes about the other one belong to who reads from it.
    pub(crate) fn of(socket: &Socket) -> io::Result<Hangup> {
        let own = socket.stream.as_fd().try_clone_to_owned()?;
        Ok(Hangup(TcpStream::from_std(own.into())?))
    }

    /// Comes back when the peer has closed.
    pub(crate) async fn happened(&self) {
        // An error means that the runtime ends: then nothing is served any more either.
        while let Ok(ready) = self.0.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            // There are bytes, and they are not for us: wait for the next thing that happens.
            let _ = self.0.try_io(Interest::READABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let (near, far) = tokio::join!(listener.accept(), TcpStream::connect(address));
        (near.expect("accepted").0, far.expect("connected"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_and_counted() {
        let (near, _far) = pair().await;
        let counters = Arc::new(Counters::default());
        let mut socket = Socket::new(near, Duration::from_secs(10), Arc::clone(&counters));
        let begun = tokio::time::Instant::now();
        let failed = socket.write_all(&vec![0; 64 << 20]).await.expect_err("nobody reads");
        assert_eq!((failed.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, 10));
        let mut shown = String::new();
        counters.render(&mut shown);
        assert!(shown.contains("holm_rpc_too_slow_total 1\n"), "{shown}");
    }

    #[tokio::test]
    async fn one_that_takes_all_may_take_its_time_between() {
        let (near, mut far) = pair().await;
        let mut socket = Socket::new(near, Duration::ZERO, Arc::default());
        for _ in 0..3 {
            socket.write_all(b"hello").await.expect("there is room in the socket");
            let mut read = [0; 5];
            far.read_exact(&mut read).await.expect("read");
        }
        assert!(socket.owed.is_none());
    }

    #[tokio::test]
    async fn a_hangup_is_seen_behind_bytes_that_nobody_reads() {
        let (near, mut far) = pair().await;
        let near = Socket::new(near, Duration::ZERO, Arc::default());
        let hangup = Hangup::of(&near).expect("a descriptor");
        far.write_all(b"unread").await.expect("sent");
        near.stream.readable().await.expect("there they are");
        assert!(hangup.happened().now_or_never().is_none(), "bytes are no hangup");
        drop(far);
        hangup.happened().await;
        let mut left = [0; 6];
        assert_eq!(near.stream.try_read(&mut left).expect("still to be read"), 6);
    }
}
