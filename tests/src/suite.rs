//! Runs the tests of one theme, each in a scene of its own, and says honestly what cannot run here.

use crate::{interrupt, lab};
use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::{
    cell::Cell,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;

/// What a test is given: a kind of place to build in, and a folder that goes away when it passes.
#[derive(Debug)]
pub struct Scene {
    place: Place,
    folder: TempDir,
    passed: Cell<bool>,
}

/// What a mesh under test is built on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Network namespaces: every node has a host of its own, links can be cut.
    Lab,
    /// 127.0.0.1: nodes differ by port only, and links cannot be cut.
    Loopback {
        /// Why there is no lab.
        why: String,
    },
}

impl Place {
    /// The lab where there can be one.
    pub fn best() -> Place {
        lab::unavailable().map_or(Place::Lab, |why| Place::Loopback { why })
    }
}

impl Scene {
    /// A scene at `place`.
    ///
    /// # Errors
    /// No temporary folder.
    pub fn new(place: Place) -> Result<Scene> {
        let folder = tempfile::Builder::new().prefix("holm-e2e-").tempdir().context("no temporary folder")?;
        Ok(Scene { place, folder, passed: Cell::new(false) })
    }

    /// The place.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// A folder of this scene, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Where the nodes' logs are.
    pub fn logs(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    /// The story ended well: nothing of it needs to be kept.
    pub fn passed(&self) {
        self.passed.set(true);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.passed.get() || interrupt::asked() {
            return;
        }
        self.folder.disable_cleanup(true);
        keep_only(self.folder.path(), &self.logs());
        eprintln!("the nodes' logs are kept in {}", self.logs().display());
    }
}

/// Removes everything in `folder` but `kept`: logs are worth keeping, databases are not.
fn keep_only(folder: &Path, kept: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path() != kept {
            // Best effort: this runs after a failure that is told in any case.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Tests of one theme.
#[must_use]
pub struct Suite {
    place: Arc<Place>,
    required: bool,
    trials: Vec<Trial>,
}

type Story = fn(&Scene) -> Result<()>;

impl Suite {
    /// A suite without tests.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Suite {
        let required = std::env::var("NETLAB").is_ok_and(|value| value == "require");
        Suite { place: Arc::new(Place::best()), required, trials: Vec::new() }
    }

    /// A test that runs anywhere, in the lab where there is one.
    pub fn test(mut self, name: &str, story: Story) -> Suite {
        let place = Arc::clone(&self.place);
        self.trials.push(Trial::test(name, move || play((*place).clone(), story).map_err(failed)));
        self
    }

    /// A test that needs the lab. Without one it counts as ignored, or as failed when `NETLAB=require`.
    pub fn lab(mut self, name: &str, story: Story) -> Suite {
        let (place, required) = (Arc::clone(&self.place), self.required);
        self.trials.push(Trial::ignorable_test(name, move || match &*place {
            Place::Loopback { why } if required => Err(failed(anyhow::anyhow!("NETLAB=require, but {why}"))),
            Place::Loopback { why } => Ok(Completion::ignored_with(why)),
            Place::Lab => play(Place::Lab, story).map(|()| Completion::Completed).map_err(failed),
        }));
        self
    }

    /// A test that needs the lab and something that a machine may lack even where tests are required: then it counts as ignored.
    pub fn lab_with(self, name: &str, missing: fn() -> Option<String>, story: Story) -> Suite {
        match missing() {
            None => self.lab(name, story),
            Some(why) => {
                let mut suite = self;
                let ignored = move || Ok(Completion::ignored_with(&why));
                suite.trials.push(Trial::ignorable_test(name, ignored));
                suite
            }
        }
    }

    /// Runs them, one after another unless the command line says otherwise, and ends the process.
    pub fn run(self) -> ! {
        if let Err(why) = interrupt::install() {
            eprintln!("Ctrl-C will not clean up: {why:#}");
        }
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(1);
        libtest_mimic::run(&arguments, self.trials).exit()
    }
}

fn play(place: Place, story: Story) -> Result<()> {
    if interrupt::asked() {
        bail!("interrupted");
    }
    let scene = Scene::new(place)?;
    story(&scene)?;
    scene.passed();
    Ok(())
}

fn failed(why: anyhow::Error) -> Failed {
    format!("{why:#}").into()
}
