//! `backup` and `restore`.

use super::{client::Context, output};
use crate::{backup, data_dir::DataDir};
use anyhow::Result;
use clap::Args;
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, Args)]
pub struct Backup {
    /// Where to write it; a file that is there is replaced. It holds the node's secret key: keep it as safe as the node.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// What `holm backup` wrote.
    file: PathBuf,
}

/// Writes a backup of the node of the data folder.
pub fn write(context: &Context, args: &Backup) -> Result<ExitCode> {
    let dir = &context.data_dir;
    let told = backup::write(dir, &args.file)?;
    let authority = dir.authority()?.is_some();
    let without = match authority {
        true => "\nthe mesh's authority.key is not in it: keep a copy of that apart, offline",
        false => "",
    };
    let text = format!(
        "{} holds node {} of mesh {}: {} changes of {} documents, {} bytes{without}\n\
         it holds the node's secret key: keep it as safe as the node\nto restore, when this node is gone for good: holm restore {} --data-dir DIR",
        args.file.display(),
        told.node,
        told.mesh,
        told.changes,
        told.documents,
        told.bytes,
        args.file.display(),
    );
    let mut answer = serde_json::to_value(&told)?;
    answer["file"] = args.file.display().to_string().into();
    answer["authority_key"] = false.into();
    context.output.say(&answer, &text);
    Ok(ExitCode::SUCCESS)
}

/// Makes the data folder from a backup.
pub fn restore(context: &Context, args: &Restore) -> Result<ExitCode> {
    let dir: &DataDir = &context.data_dir;
    let (told, rebuilt) = backup::restore(dir, &args.file)?;
    if rebuilt.dropped > 0 {
        output::complain(&format!(
            "{} changes of it could not be taken: peers have them, if anyone has",
            rebuilt.dropped
        ));
    }
    let text = format!(
        "{} is node {} of mesh {} again, as it was {}: {} changes of {} documents; the rest comes from its peers\n\
         start it only if the other one with this identity will never run again\nnext: holm up{}",
        dir.path().display(),
        told.node,
        told.mesh,
        output::date(told.made_at),
        rebuilt.changes,
        rebuilt.documents,
        dir.flag()
    );
    let mut answer = serde_json::to_value(&told)?;
    answer["restored_changes"] = rebuilt.changes.into();
    answer["dropped_changes"] = rebuilt.dropped.into();
    context.output.say(&answer, &text);
    Ok(ExitCode::SUCCESS)
}
