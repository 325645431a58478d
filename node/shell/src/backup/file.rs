//! How a backup is spelled: a line that says what it is, then pieces, each with its kind, its length and its bytes.
//! The last one has the digest of all before it, so that a file that was cut off or changed is found out.
//!
//! ```text
//! "holm backup\n"
//! H  JSON: format, mesh, node, when
//! F  length of the name, name, bytes          a file of the data folder
//! L  length of the key, key, value            a small thing of the database
//! C  (length, signed change)*                 changes of one document, in causal order
//! E  digest of the kinds, lengths and bytes of all pieces before it
//! ```
//!
//! Lengths are 32 bits, the most significant byte first.

use anyhow::{Context as _, Result, bail, ensure};
use holm_state::Kept;
use holm_types::{Digest, Label, MeshId, NodeId, Wall, change::SignedChange};
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// The only one so far.
pub const FORMAT: u32 = 1;
const MAGIC: &[u8] = b"holm backup\n";
/// Bytes of a piece, at most.
const MAX_PIECE: usize = 16 << 20;
/// A piece of changes is closed when it has so many bytes.
const FULL_PIECE: usize = 1 << 20;

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// How the rest is spelled.
    pub format: u32,
    /// The mesh.
    pub mesh: MeshId,
    /// Its name.
    pub mesh_name: Label,
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: Label,
    /// When it was made.
    pub made_at: Wall,
}

/// What is in a backup.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A file of the data folder.
    File {
        /// Its name in the folder.
        name: String,
        /// What is in it.
        bytes: Vec<u8>,
    },
    /// What the database held.
    Kept(Kept),
}

/// Writes a backup.
pub struct Writer<W> {
    out: W,
    chain: Digest,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    pub fn new(mut out: W, header: &Header) -> Result<Writer<W>> {
        out.write_all(MAGIC)?;
        let mut writer = Writer { out, chain: begin() };
        writer.piece(b'H', &serde_json::to_vec(header)?)?;
        Ok(writer)
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.piece(b'F', &pair(name.as_bytes(), bytes))
    }

    /// Adds what the database held.
    pub fn kept(&mut self, kept: &Kept) -> Result<()> {
        match kept {
            Kept::Local { key, value } => self.piece(b'L', &pair(key, value)),
            Kept::Changes(changes) => {
                let mut body = Vec::new();
                for change in changes {
                    let bytes = change.encode()?;
                    body.extend((bytes.len() as u32).to_be_bytes());
                    body.extend(bytes);
                    if body.len() >= FULL_PIECE {
                        self.piece(b'C', &std::mem::take(&mut body))?;
                    }
                }
                if body.is_empty() { Ok(()) } else { self.piece(b'C', &body) }
            }
        }
    }

    /// Ends it.
    pub fn finish(mut self) -> Result<W> {
        self.piece(b'E', &self.chain.0.clone())?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn piece(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        ensure!(body.len() <= MAX_PIECE, "a piece of {} bytes is too large", body.len());
        self.chain = next(&self.chain, kind, body);
        self.out.write_all(&[kind])?;
        self.out.write_all(&(body.len() as u32).to_be_bytes())?;
        Ok(self.out.write_all(body)?)
    }
}

/// Reads a backup.
pub struct Reader<R> {
    from: R,
    source: PathBuf,
    chain: Digest,
    ended: bool,
    /// What it is of.
    pub header: Header,
}

impl<R: Read> Reader<R> {
    /// Reads the header. `source` is what errors name.
    pub fn new(mut from: R, source: &Path) -> Result<Reader<R>> {
        let named = source.display();
        let mut magic = [0; MAGIC.len()];
        ensure!(from.read_exact(&mut magic).is_ok() && magic == MAGIC, "{named} is no backup of a node of Holm");
        let (kind, body) = read_piece(&mut from).with_context(|| damaged(source))?;
        let header: Option<Header> = if kind == b'H' { serde_json::from_slice(&body).ok() } else { None };
        let header =
            header.with_context(|| format!("{named}: its header cannot be read: was it made by a later version?"))?;
        ensure!(header.format == FORMAT, "{named} was made by a later version (format {})", header.format);
        Ok(Reader { from, source: source.to_owned(), chain: next(&begin(), kind, &body), ended: false, header })
    }

    /// The next piece; none after the last one. Only then was it whole.
    pub fn next(&mut self) -> Result<Option<Piece>> {
        if self.ended {
            return Ok(None);
        }
        let (kind, body) = read_piece(&mut self.from).with_context(|| damaged(&self.source))?;
        if kind == b'E' {
            ensure!(body == self.chain.0, "{}: what is in it was changed", damaged(&self.source));
            self.ended = true;
            return Ok(None);
        }
        self.chain = next(&self.chain, kind, &body);
        read_body(kind, &body).map(Some).with_context(|| damaged(&self.source))
    }
}

fn damaged(source: &Path) -> String {
    format!("the backup {} is damaged", source.display())
}

fn begin() -> Digest {
    Digest::of("holm backup v1", &[])
}

fn next(before: &Digest, kind: u8, body: &[u8]) -> Digest {
    Digest::of("holm backup v1", &[&before.0, &[kind], body])
}

fn pair(first: &[u8], second: &[u8]) -> Vec<u8> {
    [&(first.len() as u32).to_be_bytes()[..], first, second].concat()
}

fn read_piece(from: &mut impl Read) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head).context("it ends too early")?;
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    ensure!(length <= MAX_PIECE, "a piece of {length} bytes is larger than any can be");
    let mut body = Vec::new();
    // Grows with what is there, whatever the length says.
    from.take(length as u64).read_to_end(&mut body)?;
    ensure!(body.len() == length, "it ends too early");
    Ok((kind, body))
}

fn read_body(kind: u8, body: &[u8]) -> Result<Piece> {
    Ok(match kind {
        b'F' => {
            let (name, bytes) = split(body)?;
            Piece::File { name: String::from_utf8(name.to_vec())?, bytes: bytes.to_vec() }
        }
        b'L' => {
            let (key, value) = split(body)?;
            Piece::Kept(Kept::Local { key: key.to_vec(), value: value.to_vec() })
        }
        b'C' => {
            let (mut changes, mut rest) = (Vec::new(), body);
            while !rest.is_empty() {
                let (encoded, left) = split(rest)?;
                changes.push(SignedChange::decode(encoded)?);
                rest = left;
            }
            Piece::Kept(Kept::Changes(changes))
        }
        other => bail!("there is no piece of the kind {other}"),
    })
}

/// What has its length before it, and the rest.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>().context("a piece is too short")?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize).context("a piece is too short")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            format: FORMAT,
            mesh: MeshId([1; 32]),
            mesh_name: "m".parse().unwrap(),
            node: NodeId([2; 32]),
            name: "gw-1".parse().unwrap(),
            made_at: Wall(3),
        }
    }

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), &header()).unwrap();
        writer.file("node.json", b"{}").unwrap();
        writer.kept(&Kept::Local { key: b"u/k".to_vec(), value: vec![7; 300] }).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Piece>> {
        let mut reader = Reader::new(bytes, Path::new("gw-1.backup"))?;
        let mut pieces = Vec::new();
        while let Some(piece) = reader.next()? {
            pieces.push(piece);
        }
        Ok(pieces)
    }

    #[test]
    fn what_was_written_is_read() {
        let pieces = read(&written()).unwrap();
        assert_eq!(
            pieces,
            [
                Piece::File { name: "node.json".into(), bytes: b"{}".to_vec() },
                Piece::Kept(Kept::Local { key: b"u/k".to_vec(), value: vec![7; 300] })
            ]
        );
    }

    #[test]
    fn a_file_that_was_cut_off_or_changed_is_found_out() {
        let whole = written();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "cut off at {length}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(read(&changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([b'H', 0xFF, 0xFF, 0xFF, 0xFF, 1, 2]);
        let told = format!("{:#}", read(&bytes).unwrap_err());
        assert!(told.contains("gw-1.backup is damaged"), "{told}");
    }
}
