//! A node in one file: who it is, and what it holds that follows from nothing else. No file of RocksDB, so it can be
//! read by another version, and on a host of another kind.

mod file;

use crate::{data_dir::DataDir, environment};
use anyhow::{Context as _, Result, bail, ensure};
use file::{Header, Piece, Reader, Writer};
use holm_state::{Kept, Rebuild, Rebuilt, StoreError, salvage};
use holm_state_rocks::RocksStore;
use holm_types::{Label, MeshId, NodeId, Wall};
use serde::Serialize;
use std::{fs, io::BufWriter, os::unix::fs::OpenOptionsExt as _, path::Path};

/// What makes the node itself. The authority's key is not among it: it is kept offline, in one place.
const FILES: [&str; 2] = ["identity.key", "node.json"];
/// Opening what a running node writes can find its files just removed.
const TRIES: usize = 5;

/// What a backup holds.
#[derive(Debug, Serialize)]
pub struct Told {
    /// The mesh's name.
    pub mesh: Label,
    /// The node's name.
    pub node: Label,
    /// When it was made, in ms since 1970.
    pub made_at: Wall,
    /// Signed changes in it.
    pub changes: u64,
    /// Documents that they belong to.
    pub documents: u64,
    /// Its size.
    pub bytes: u64,
}

/// Writes the backup of a node to `target`, whole or not at all. The node may run.
pub fn write(dir: &DataDir, target: &Path) -> Result<Told> {
    let settings = dir.settings()?;
    let chain = settings.chain()?;
    let claims = chain.verify(&settings.mesh)?;
    let header = Header {
        format: file::FORMAT,
        mesh: settings.mesh,
        mesh_name: claims.mesh_name.clone(),
        node: dir.identity()?.node_id(),
        name: claims.name.clone(),
        made_at: environment::wall(),
    };
    let name = target.file_name().with_context(|| format!("{} names no file", target.display()))?;
    let temporary = target.with_file_name(format!(".{}.new", name.to_string_lossy()));
    let written = write_to(dir, &header, &temporary).and_then(|told| {
        fs::rename(&temporary, target)?;
        fs::File::open(folder_of(target))?.sync_all()?;
        Ok(told)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("no backup was written to {}", target.display()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_to(dir: &DataDir, header: &Header, path: &Path) -> Result<Told> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut writer = Writer::new(BufWriter::new(file), header)?;
    for name in FILES {
        let path = dir.join(name);
        writer.file(name, &fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?)?;
    }
    let (mut changes, mut documents) = (0, 0);
    let db = dir.join("db");
    // A node that was never started has none.
    if db.exists() {
        let store = open_as_it_is(&db)?;
        let unread = salvage(&[store], |kept| {
            if let Kept::Changes(of_one) = &kept {
                (changes, documents) = (changes + of_one.len() as u64, documents + 1);
            }
            writer.kept(&kept)
        })?;
        if let Some(first) = unread.first {
            bail!(
                "{} places of the database cannot be read ({first}): is the disk failing? Stop the node and start it again: it \
                 looks after its database then",
                unread.places
            );
        }
    }
    let file = writer.finish()?.into_inner().map_err(|e| e.into_error())?;
    file.sync_all()?;
    let bytes = file.metadata()?.len();
    Ok(Told {
        mesh: header.mesh_name.clone(),
        node: header.name.clone(),
        made_at: header.made_at,
        changes,
        documents,
        bytes,
    })
}

fn open_as_it_is(db: &Path) -> Result<RocksStore> {
    let mut opened = RocksStore::open_read_only(db);
    for _ in 1..TRIES {
        if opened.is_ok() {
            break;
        }
        opened = RocksStore::open_read_only(db);
    }
    opened.map_err(|error| match error {
        StoreError::Corrupt(why) => anyhow::anyhow!(
            "the database {} is damaged ({why}): start the node, which makes it again from what can be read and from its peers",
            db.display()
        ),
        other => anyhow::anyhow!("the database {} cannot be read: {other}", db.display()),
    })
}

/// Makes a data folder from a backup. A try that fails leaves nothing behind.
pub fn restore(dir: &DataDir, source: &Path) -> Result<(Told, Rebuilt)> {
    dir.must_be_new()?;
    for there in ["db", "db.new", "identity.key"].map(|name| dir.join(name)) {
        ensure!(
            !there.exists(),
            "{} is there already: a backup is restored into a folder without a node, choose another one with --data-dir",
            there.display()
        );
    }
    // All of it is looked at before anything is made of it.
    let told = look(source)?;
    let existed = dir.path().exists();
    dir.create()?;
    let filled = fill(dir, source);
    if filled.is_err() {
        // Neither was there before.
        for made in ["db.new", "db"] {
            let _ = fs::remove_dir_all(dir.join(made));
        }
        let _ = fs::remove_file(dir.join("identity.key"));
        if !existed {
            // Only goes while it is empty.
            let _ = fs::remove_dir(dir.path());
        }
    }
    Ok((told, filled?))
}

/// What a backup holds, after a look at all of it.
fn look(source: &Path) -> Result<Told> {
    let mut reader = open(source)?;
    let (mut changes, mut documents, mut last) = (0, 0, None);
    while let Some(piece) = reader.next()? {
        if let Piece::Kept(Kept::Changes(of_one)) = piece {
            changes += of_one.len() as u64;
            let doc = of_one.first().map(|signed| signed.doc);
            documents += u64::from(doc != last);
            last = doc;
        }
    }
    let header = reader.header;
    Ok(Told {
        mesh: header.mesh_name,
        node: header.name,
        made_at: header.made_at,
        changes,
        documents,
        bytes: fs::metadata(source)?.len(),
    })
}

fn open(source: &Path) -> Result<Reader<std::io::BufReader<fs::File>>> {
    let file = fs::File::open(source).with_context(|| format!("cannot read {}", source.display()))?;
    Reader::new(std::io::BufReader::new(file), source)
}

/// The settings come last: with them the folder belongs to a node.
fn fill(dir: &DataDir, source: &Path) -> Result<Rebuilt> {
    let mut reader = open(source)?;
    let (mesh, node): (MeshId, NodeId) = (reader.header.mesh, reader.header.node);
    let (mut settings, mut rebuild) = (None, None);
    while let Some(piece) = reader.next()? {
        match piece {
            Piece::File { name, bytes } if name == FILES[0] => dir.write(FILES[0], &bytes)?,
            Piece::File { name, bytes } if name == FILES[1] => settings = Some(bytes),
            // Of a later version.
            Piece::File { .. } => {}
            Piece::Kept(kept) => {
                let rebuild = match &mut rebuild {
                    Some(rebuild) => rebuild,
                    none => none.insert(Rebuild::new(mesh, dir.identity()?, fresh(&dir.join("db.new"))?)),
                };
                rebuild.take(kept, environment::wall())?;
            }
        }
    }
    ensure!(dir.identity()?.node_id() == node, "{} holds the key of another node", source.display());
    let rebuilt = rebuild.map(Rebuild::finish).transpose()?.unwrap_or_default();
    if dir.join("db.new").exists() {
        fs::rename(dir.join("db.new"), dir.join("db"))?;
    }
    dir.write(FILES[1], &settings.with_context(|| format!("{} holds no {}", source.display(), FILES[1]))?)?;
    Ok(rebuilt)
}

fn fresh(path: &Path) -> Result<RocksStore> {
    RocksStore::open(path, Default::default()).with_context(|| format!("cannot make the database {}", path.display()))
}
