//! The job's input: real texts of this machine, one file a task.

use anyhow::{Context, Result, ensure};
use holm_tests::rows::Outcome;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Texts, at most.
const MOST: usize = 40;
/// Shorter texts are left out.
const SHORTEST: u64 = 1000;

/// How often each word is there.
pub type Counts = BTreeMap<String, u64>;

/// A folder of texts named `0.txt`, `1.txt`, ...
pub struct Input {
    /// The folder.
    pub folder: PathBuf,
    /// The word counts of each text, made here to check the job against.
    pub expected: Vec<Counts>,
    /// All bytes.
    pub bytes: usize,
}

impl Input {
    /// Copies texts of this machine to `folder`: licences, this repository's documents, copyright files.
    ///
    /// # Errors
    /// There are no texts, or they cannot be copied.
    pub fn collect(folder: PathBuf) -> Result<Input> {
        let mut input = Input { folder, expected: Vec::new(), bytes: 0 };
        for path in texts() {
            let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            fs::write(input.folder.join(format!("{}.txt", input.expected.len())), &text)?;
            input.bytes += text.len();
            input.expected.push(count(&text));
        }
        ensure!(!input.expected.is_empty(), "there is no text on this machine to count words in");
        Ok(input)
    }

    /// Brings the results of all tasks together, after checking each against a count made here.
    ///
    /// # Errors
    /// A result is missing, or wrong.
    pub fn merge(&self, results: &[Outcome]) -> Result<Counts> {
        ensure!(results.len() == self.expected.len(), "{} results for {} texts", results.len(), self.expected.len());
        let mut total = Counts::new();
        for (row, expected) in results.iter().zip(&self.expected) {
            for line in row.output.lines() {
                let (number, word) = line.split_once(' ').with_context(|| format!("slot {}: {line:?}", row.slot))?;
                let number: u64 = number.parse()?;
                ensure!(expected.get(word) == Some(&number), "slot {} counts {number} of {word:?}", row.slot);
                *total.entry(word.to_owned()).or_default() += number;
            }
        }
        Ok(total)
    }
}

/// The most frequent words, as a table of two columns.
pub fn top(counts: &Counts, many: usize) -> String {
    let mut rows: Vec<(&String, &u64)> = counts.iter().collect();
    rows.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), (*word).clone()));
    rows.iter().take(many).map(|(word, count)| format!("{count:>7}  {word}\n")).collect()
}

fn count(text: &[u8]) -> Counts {
    let mut counts = Counts::new();
    let text = text.to_ascii_lowercase();
    for word in text.split(|byte| !byte.is_ascii_lowercase()).filter(|word| !word.is_empty()) {
        *counts.entry(String::from_utf8_lossy(word).into_owned()).or_default() += 1;
    }
    counts
}

fn texts() -> Vec<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let documents = files_in(&repository).into_iter().filter(|path| path.extension().is_some_and(|end| end == "md"));
    let packages = files_in(Path::new("/usr/share/doc")).into_iter().map(|folder| folder.join("copyright"));
    let all = files_in(Path::new("/usr/share/common-licenses")).into_iter().chain(documents).chain(packages);
    // Some of them are links to others.
    let mut seen = BTreeSet::new();
    all.filter_map(|path| path.canonicalize().ok())
        .filter(|path| fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() >= SHORTEST))
        .filter(|path| seen.insert(path.clone()))
        .take(MOST)
        .collect()
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    paths
}
