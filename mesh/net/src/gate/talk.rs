//! One stream of a connection that is not the swarm's yet.

use futures::{AsyncReadExt, AsyncWriteExt, future::poll_fn};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, SubstreamBox};
use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

/// A peer that should have stopped talking is heard this much longer.
const LINGER: Duration = Duration::from_secs(1);
/// Reads of up to 1 KiB in that time.
const LINGER_READS: usize = 64;

/// A connection and its first stream, on which frames of at most 64 KiB go back and forth.
pub(crate) struct Talk {
    muxer: StreamMuxerBox,
    stream: SubstreamBox,
}

impl Talk {
    /// Opens the first stream: the part of the side that dialled.
    pub(crate) async fn open(mut muxer: StreamMuxerBox) -> io::Result<Talk> {
        let stream = poll_fn(|cx| {
            let stream = Pin::new(&mut muxer).poll_outbound(cx)?;
            poll_muxer(&mut muxer, cx, stream)
        })
        .await?;
        Ok(Talk { muxer, stream })
    }

    /// Waits for the first stream: the part of the side that listened.
    pub(crate) async fn accept(mut muxer: StreamMuxerBox) -> io::Result<Talk> {
        let stream = poll_fn(|cx| {
            let stream = Pin::new(&mut muxer).poll_inbound(cx)?;
            poll_muxer(&mut muxer, cx, stream)
        })
        .await?;
        Ok(Talk { muxer, stream })
    }

    /// Sends one frame.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u16::try_from(bytes.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the frame is longer than 64 KiB"))?;
        let frame = [&length.to_be_bytes(), bytes].concat();
        let Talk { muxer, stream } = self;
        drive(muxer, async {
            stream.write_all(&frame).await?;
            stream.flush().await
        })
        .await
    }

    /// Receives one frame of at most `max` bytes; a longer one is not read.
    pub(crate) async fn receive(&mut self, max: usize) -> io::Result<Vec<u8>> {
        let Talk { muxer, stream } = self;
        drive(muxer, async {
            let mut length = [0; 2];
            stream.read_exact(&mut length).await?;
            let length = usize::from(u16::from_be_bytes(length));
            if length > max {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a frame of {length} bytes, at most {max} are allowed here"),
                ));
            }
            let mut bytes = vec![0; length];
            stream.read_exact(&mut bytes).await?;
            Ok(bytes)
        })
        .await
    }

    /// Waits until the peer has read what was sent: it acknowledges with an empty frame, or hangs up.
    /// A peer that has more to say is heard out for a while, since closing on unread bytes may take
    /// the answer with it.
    pub(crate) async fn linger(&mut self) {
        if !matches!(self.receive(0).await, Err(e) if e.kind() == io::ErrorKind::InvalidData) {
            return;
        }
        let Talk { muxer, stream } = self;
        let drain = drive(muxer, async {
            let mut scratch = [0; 1024];
            for _ in 0..LINGER_READS {
                if stream.read(&mut scratch).await? == 0 {
                    break;
                }
            }
            Ok(())
        });
        // How it ends makes no difference any more.
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    /// The connection, for the swarm. What was sent on the stream still arrives: both multiplexers
    /// deliver it before the end of the stream.
    pub(crate) fn finish(self) -> StreamMuxerBox {
        self.muxer
    }

    /// Closes the connection in an orderly way, or drops it when that takes long.
    pub(crate) async fn hang_up(self) {
        let Talk { mut muxer, stream } = self;
        drop(stream);
        let close = poll_fn(|cx| Pin::new(&mut muxer).poll_close(cx));
        // How it ends makes no difference any more.
        let _ = tokio::time::timeout(LINGER, close).await;
    }
}

/// Runs `work` on a stream of `muxer`, and the muxer beside it: without that, no byte moves.
async fn drive<T>(muxer: &mut StreamMuxerBox, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        match poll_muxer::<T>(muxer, cx, Poll::Pending) {
            // The last bytes may have come with the end of the connection.
            Poll::Ready(Err(gone)) => match work.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(done),
                Poll::Pending => Poll::Ready(Err(gone)),
            },
            other => other,
        }
    })
    .await
}

/// Passes a finished result on; otherwise lets the connection make progress.
fn poll_muxer<T>(muxer: &mut StreamMuxerBox, cx: &mut std::task::Context<'_>, done: Poll<T>) -> Poll<io::Result<T>> {
    if let Poll::Ready(value) = done {
        return Poll::Ready(Ok(value));
    }
    // The only event is a change of the remote address, which nobody needs yet.
    while let Poll::Ready(event) = Pin::new(&mut *muxer).poll(cx) {
        event?;
    }
    Poll::Pending
}
