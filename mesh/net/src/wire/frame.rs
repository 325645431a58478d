//! Frames on a stream: a length (`u32`, big endian), then the bytes. Both halves are polled, since
//! a connection handler has no task of its own.

use futures::{AsyncRead, AsyncWrite, ready};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

/// A frame is read into memory as it arrives, in steps of this, not as it is announced.
const STEP: usize = 64 << 10;

/// Reads frames.
pub(crate) struct FrameReader<S> {
    stream: S,
    max: usize,
    header: [u8; 4],
    /// Bytes read of the header, then of the body.
    have: usize,
    /// The body's length, once the header was read.
    want: Option<usize>,
    body: Vec<u8>,
}

impl<S: AsyncRead + Unpin> FrameReader<S> {
    pub(crate) fn new(stream: S, max: usize) -> FrameReader<S> {
        FrameReader { stream, max, header: [0; 4], have: 0, want: None, body: Vec::new() }
    }

    /// The next frame; `None` at an orderly end between two frames.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        let want = match self.want {
            Some(want) => want,
            None => match ready!(self.poll_header(cx))? {
                Some(want) => want,
                None => return Poll::Ready(Ok(None)),
            },
        };
        while self.have < want {
            if self.body.len() == self.have {
                self.body.resize(want.min(self.have + STEP), 0);
            }
            let n = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut self.body[self.have..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.have += n;
        }
        self.want = None;
        self.have = 0;
        Poll::Ready(Ok(Some(std::mem::take(&mut self.body))))
    }

    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<usize>>> {
        while self.have < self.header.len() {
            let n = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut self.header[self.have..]))?;
            match (n, self.have) {
                (0, 0) => return Poll::Ready(Ok(None)),
                (0, _) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                _ => self.have += n,
            }
        }
        let want = u32::from_be_bytes(self.header) as usize;
        if want > self.max {
            let why = format!("a frame of {want} bytes, at most {} are allowed", self.max);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        self.have = 0;
        self.want = Some(want);
        Poll::Ready(Ok(Some(want)))
    }
}

/// Writes frames, one at a time.
pub(crate) struct FrameWriter<S> {
    stream: S,
    header: [u8; 4],
    body: Option<Vec<u8>>,
    /// Bytes written of the header and the body together.
    done: usize,
}

impl<S: AsyncWrite + Unpin> FrameWriter<S> {
    pub(crate) fn new(stream: S) -> FrameWriter<S> {
        FrameWriter { stream, header: [0; 4], body: None, done: 0 }
    }

    /// Whether the last frame was handed to the stream in full.
    pub(crate) fn is_idle(&self) -> bool {
        self.body.is_none()
    }

    /// Begins a frame; the last one must be through.
    pub(crate) fn start(&mut self, body: Vec<u8>) {
        debug_assert!(self.is_idle());
        // No frame is near 4 GiB: the sender's limit is far below.
        self.header = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
        self.body = Some(body);
        self.done = 0;
    }

    /// Hands the current frame to the stream.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(body) = &self.body {
            let rest = match self.done.checked_sub(self.header.len()) {
                None => &self.header[self.done..],
                Some(written) if written < body.len() => &body[written..],
                Some(_) => {
                    self.body = None;
                    break;
                }
            };
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.done += n;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// The frame that was not written in full, if any.
    pub(crate) fn into_unsent(self) -> Option<Vec<u8>> {
        self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::poll_fn, io::Cursor};
    use proptest::prelude::*;

    fn written(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = FrameWriter::new(Cursor::new(Vec::new()));
        for frame in frames {
            writer.start(frame.clone());
            poll_fn(|cx| writer.poll_write(cx)).now_or_never().unwrap().unwrap();
        }
        writer.stream.into_inner()
    }

    fn read(bytes: &[u8], max: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut reader = FrameReader::new(bytes, max);
        let mut frames = Vec::new();
        while let Some(frame) = poll_fn(|cx| reader.poll_frame(cx)).now_or_never().unwrap()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8)) {
            prop_assert_eq!(read(&written(&frames), 300).unwrap(), frames);
        }

        #[test]
        fn a_cut_stream_is_an_error(frame in prop::collection::vec(any::<u8>(), 1..300), cut: prop::sample::Index) {
            let bytes = written(&[frame]);
            let cut = 1 + cut.index(bytes.len() - 1);
            prop_assert!(read(&bytes[..cut], 300).is_err());
        }
    }

    #[test]
    fn a_large_frame_is_read_in_steps_and_a_larger_one_refused() {
        let frame = vec![7; 5 * STEP + 3];
        assert_eq!(read(&written(std::slice::from_ref(&frame)), frame.len()).unwrap(), std::slice::from_ref(&frame));
        let error = read(&written(std::slice::from_ref(&frame)), frame.len() - 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
