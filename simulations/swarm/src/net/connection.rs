//! Both ends of one connection.

use super::{Host, Micros};
use std::{collections::VecDeque, task::Waker};

/// Counts connections from the beginning of the network.
pub(crate) type ConnectionId = u64;

/// One end of a connection, as a process holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Half {
    pub(crate) connection: ConnectionId,
    /// 0: who dialled, 1: who was dialled.
    pub(crate) end: usize,
}

/// What travels.
#[derive(Debug)]
pub(crate) enum Segment {
    Data(Vec<u8>),
    /// The sender has nothing more to say.
    End,
}

impl Segment {
    /// What it costs on the wire.
    pub(crate) fn len(&self) -> usize {
        const HEADER: usize = 40;
        match self {
            Segment::Data(bytes) => bytes.len(),
            Segment::End => HEADER,
        }
    }
}

/// The state of one end.
#[derive(Debug)]
pub(crate) struct End {
    /// Its host, and the life of the process that holds it.
    pub(crate) host: Host,
    pub(crate) life: u32,
    /// What arrived and was not read: pieces, and how far the first one was.
    pub(crate) arrived: VecDeque<Vec<u8>>,
    pub(crate) read: usize,
    /// The other end has nothing more to say.
    pub(crate) ended: bool,
    /// Bytes that this end sent and the other has not read.
    pub(crate) in_flight: usize,
    /// When the last thing that it sent arrives: nothing overtakes it.
    pub(crate) last_arrival: Micros,
    /// What it sent and a cut holds back.
    pub(crate) held: VecDeque<Segment>,
    /// Since when what it sent is not acknowledged.
    pub(crate) stalled: Option<Micros>,
    /// It has said that it has nothing more to say.
    pub(crate) finished: bool,
    /// Nothing goes on at this end.
    pub(crate) reset: bool,
    /// A process holds it.
    pub(crate) open: bool,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

impl End {
    fn new(host: Host, life: u32) -> End {
        End {
            host,
            life,
            arrived: VecDeque::new(),
            read: 0,
            ended: false,
            in_flight: 0,
            last_arrival: 0,
            held: VecDeque::new(),
            stalled: None,
            finished: false,
            reset: false,
            open: true,
            reader: None,
            writer: None,
        }
    }

    /// Copies out what arrived; the number of bytes.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let Some(piece) = self.arrived.front() else { break };
            let rest = &piece[self.read..];
            let count = rest.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&rest[..count]);
            done += count;
            self.read += count;
            if self.read == piece.len() {
                self.arrived.pop_front();
                self.read = 0;
            }
        }
        done
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    /// A NAT on the way has forgotten it.
    pub(crate) forgotten: bool,
}

impl Connection {
    pub(crate) fn new(dialler: (Host, u32), listener: (Host, u32)) -> Connection {
        Connection { ends: [End::new(dialler.0, dialler.1), End::new(listener.0, listener.1)], forgotten: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_in_any_portion() {
        let mut end = End::new(0, 0);
        end.arrived.extend([vec![1, 2, 3], vec![4], vec![5, 6]]);
        let mut buffer = [0; 2];
        let mut got = Vec::new();
        loop {
            let count = end.take(&mut buffer);
            got.extend_from_slice(&buffer[..count]);
            if count == 0 {
                break;
            }
        }
        assert_eq!(got, [1, 2, 3, 4, 5, 6]);
    }
}
