//! Reading a manifest: text, then a tree with places, then what the schema allows, then the rules.

use super::{
    Manifest, check,
    error::{Fault, ManifestError},
    read_toml, read_yaml, rules,
};

/// A manifest's text is never longer than this, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;

/// How a manifest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML.
    Toml,
    /// YAML, and JSON, which is YAML too.
    Yaml,
}

impl Format {
    /// The format of a file by its name, or by a look at the text when the name does not say.
    pub fn guess(name: &str, text: &str) -> Format {
        let name = name.to_ascii_lowercase();
        if name.ends_with(".toml") {
            return Format::Toml;
        }
        if [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end)) {
            return Format::Yaml;
        }
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or("");
        let colon = line.find(':').unwrap_or(usize::MAX);
        let equals = line.find('=').unwrap_or(usize::MAX);
        if line.starts_with('{') || line.starts_with("---") || colon < equals { Format::Yaml } else { Format::Toml }
    }
}

impl Manifest {
    /// Reads and checks a manifest. What this version cannot do is refused, too.
    ///
    /// # Errors
    /// All that is wrong, each with its place.
    pub fn parse(text: &str, format: Format) -> Result<Manifest, ManifestError> {
        if text.len() > MAX_MANIFEST_BYTES {
            let message = format!("the manifest is {} bytes, at most {MAX_MANIFEST_BYTES} are allowed", text.len());
            return Err(ManifestError::one(None, message));
        }
        let tree = match format {
            Format::Toml => read_toml::read(text)?,
            Format::Yaml => read_yaml::read(text)?,
        };
        let check::Checked { value, mut faults } = check::check(&tree);
        // The rules are applied to the part that fits, so that one run tells as much as possible. Where
        // the schema found a fault already, a broken rule would only follow from it.
        let manifest = serde_json::from_value::<Manifest>(value);
        if let Ok(manifest) = &manifest {
            let broken = rules::broken(manifest).into_iter();
            let broken = broken.map(|rule| Fault { at: tree.locate(&rule.path()), message: rule.to_string() });
            let fresh: Vec<Fault> = broken.filter(|rule| faults.iter().all(|fault| fault.at != rule.at)).collect();
            faults.extend(fresh);
        }
        match (ManifestError::all(faults), manifest) {
            (Some(error), _) => Err(error),
            (None, Ok(manifest)) => Ok(manifest),
            (None, Err(error)) => Err(ManifestError::one(None, error.to_string())),
        }
    }
}
