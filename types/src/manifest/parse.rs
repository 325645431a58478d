//! Reading a manifest, with errors that point at the line and say what is allowed.

use super::{AppType, MAX_SLOTS, Manifest, Run};
use std::fmt;

/// A manifest's text is never longer than this, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;
const MAX_ENV: usize = 128;

/// The fields of a manifest.
pub(super) const FIELDS: &[&str] = &[
    "name",
    "namespace",
    "type",
    "replicas",
    "tasks",
    "parallel",
    "retries",
    "schedule",
    "env",
    "run",
    "resources",
    "place",
    "priority",
    "partition",
    "update",
    "health",
    "restart",
];

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

/// What is wrong with a manifest, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong and what is allowed.
    pub message: String,
    /// The text of that line.
    pub excerpt: Option<String>,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, &self.excerpt) {
            (Some(line), Some(text)) => write!(f, "line {line}: {}\n  {line:>4} | {text}", self.message),
            (Some(line), None) => write!(f, "line {line}: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

impl ManifestError {
    pub(super) fn field(name: &str, why: &str) -> ManifestError {
        ManifestError { line: None, message: format!("{name}: {why}"), excerpt: None }
    }

    fn at_line(text: &str, line: Option<usize>, message: String) -> ManifestError {
        let line = line.filter(|n| *n >= 1);
        let excerpt = line.and_then(|n| text.lines().nth(n - 1)).map(|l| l.chars().take(120).collect());
        ManifestError { line, message, excerpt }
    }

    /// The same error at the first line that sets `key`, as near as a look at the text can tell.
    fn locate(self, text: &str) -> ManifestError {
        let path = self.message.split(':').next().unwrap_or("");
        let key = path.rsplit('.').next().unwrap_or(path);
        let starts = |line: &str| {
            let line = line.trim_start().trim_start_matches(['[', '"', '-', ' ']);
            line.strip_prefix(key)
                .or_else(|| line.strip_prefix(path))
                .is_some_and(|rest| rest.trim_start_matches('"').trim_start().starts_with(['=', ':', ']', '.']))
        };
        let line = text.lines().position(starts).map(|n| n + 1);
        ManifestError::at_line(text, line, self.message)
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str, format: Format) -> Result<Manifest, ManifestError> {
        if text.len() > MAX_MANIFEST_BYTES {
            let message = format!("the manifest is {} bytes, at most {MAX_MANIFEST_BYTES} are allowed", text.len());
            return Err(ManifestError { line: None, message, excerpt: None });
        }
        let manifest = match format {
            Format::Toml => toml::from_str(text).map_err(|e| toml_error(text, &e))?,
            Format::Yaml => serde_saphyr::from_str(text).map_err(|e| yaml_error(text, &e))?,
        };
        let manifest: Manifest = manifest;
        manifest.check().map_err(|e| e.locate(text))?;
        Ok(manifest)
    }

    /// The rules that concern more than one field, or more than a field's type.
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        self.check_counts()?;
        self.check_env()?;
        self.check_run()
    }

    fn check_counts(&self) -> Result<(), ManifestError> {
        let only = |name: &str, set: bool, kinds: &[AppType], say: &str| match set && !kinds.contains(&self.kind) {
            true => Err(ManifestError::field(name, &format!("only an app of type {say} has it"))),
            false => Ok(()),
        };
        only("replicas", self.replicas.is_some(), &[AppType::Service], "\"service\"")?;
        let jobs = [AppType::Job, AppType::Cron];
        only("tasks", self.tasks.is_some(), &jobs, "\"job\" or \"cron\"")?;
        only("parallel", self.parallel.is_some(), &jobs, "\"job\" or \"cron\"")?;
        only("retries", self.retries.is_some(), &jobs, "\"job\" or \"cron\"")?;
        only("schedule", self.schedule.is_some(), &[AppType::Cron], "\"cron\"")?;
        if self.kind == AppType::Cron && self.schedule.is_none() {
            return Err(ManifestError::field("schedule", "an app of type \"cron\" needs one, such as \"*/5 * * * *\""));
        }
        for (name, count, least) in
            [("replicas", self.replicas, 0), ("tasks", self.tasks, 1), ("parallel", self.parallel, 1)]
        {
            if count.is_some_and(|n| n < least || n > MAX_SLOTS) {
                return Err(ManifestError::field(name, &format!("must be {least} to {MAX_SLOTS}")));
            }
        }
        match self.retries {
            Some(n) if n > 100 => Err(ManifestError::field("retries", "must be 0 to 100")),
            _ => Ok(()),
        }
    }

    fn check_env(&self) -> Result<(), ManifestError> {
        if self.env.len() > MAX_ENV {
            return Err(ManifestError::field("env", &format!("{} entries, at most {MAX_ENV}", self.env.len())));
        }
        for (key, value) in &self.env {
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                return Err(ManifestError::field(&format!("env.{key}"), "names have no '=', and no value has a NUL"));
            }
            if key.starts_with("HOLM_") {
                return Err(ManifestError::field(&format!("env.{key}"), "names that begin with HOLM_ are Holm's own"));
            }
        }
        Ok(())
    }

    fn check_run(&self) -> Result<(), ManifestError> {
        match &self.run {
            Run::Process(run) if run.command.first().is_none_or(String::is_empty) => Err(ManifestError::field(
                "command",
                "needs at least the program, such as [\"/usr/bin/env\", \"python3\", \"app.py\"]",
            )),
            Run::Process(run) if run.command.iter().any(|arg| arg.contains('\0')) => {
                Err(ManifestError::field("command", "an argument has a NUL byte"))
            }
            _ => Ok(()),
        }
    }
}

fn toml_error(text: &str, error: &toml::de::Error) -> ManifestError {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    ManifestError::at_line(text, line, one_line(error.message()))
}

fn yaml_error(text: &str, error: &serde_saphyr::Error) -> ManifestError {
    let line = error.location().map(|at| at.line() as usize);
    let message = one_line(&error.without_snippet().to_string());
    ManifestError::at_line(text, line, message)
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of `INTERFACE.md`.
    const EXAMPLE: &str = r#"
name = "hello"
namespace = "default"
type = "service"
replicas = 3
env = { GREETING = "hi" }

[run.process]
command = ["/usr/bin/env", "python3", "-m", "http.server", "8080"]

[resources]
cpu = "200m"
memory = "64Mi"

[place]
site = "plant-7"
labels = { tier = "gateway" }

[priority]
class = "normal"

[partition]
policy = "keep-running"
after = "30s"

[update]
max_surge = 1
max_unavailable = 0
rollback = true

[health]
http = { path = "/", port = 8080, every = "5s" }

[restart]
policy = "always"
"#;

    #[test]
    fn toml_yaml_and_fields_are_one_model() {
        let toml = Manifest::parse(EXAMPLE, Format::Toml).unwrap();
        let yaml = serde_json::to_string_pretty(&toml).unwrap();
        assert_eq!(Manifest::parse(&yaml, Format::Yaml).unwrap(), toml);
        let fields = toml.to_fields();
        let back = Manifest::from_fields(fields.iter().map(|(k, v)| (k.as_str(), v.as_str()))).unwrap();
        assert_eq!(back, toml);
        assert_eq!(toml.resources.cpu.0, 200);
        let mut names: Vec<_> = FIELDS.to_vec();
        names.sort_unstable();
        let known = schemars::schema_for!(Manifest);
        let mut said: Vec<_> = known.get("properties").unwrap().as_object().unwrap().keys().cloned().collect();
        said.sort_unstable();
        assert_eq!(names, said, "FIELDS names every field of the model");
    }

    #[test]
    fn an_unknown_field_of_a_later_version_is_left_out() {
        let mut fields = Manifest::parse(EXAMPLE, Format::Toml).unwrap().to_fields();
        fields.insert("colour".into(), "\"red\"".into());
        assert!(Manifest::from_fields(fields.iter().map(|(k, v)| (k.as_str(), v.as_str()))).is_ok());
    }

    #[test]
    fn errors_point_at_the_line_and_say_what_is_allowed() {
        let cases = [
            ("name = \"a\"\ntype = \"servise\"\n[run.process]\ncommand = [\"x\"]", 2, "service"),
            ("name = \"a\"\ntype = \"service\"\nreplica = 3\n[run.process]\ncommand = [\"x\"]", 3, "replicas"),
            ("name = \"A b\"\ntype = \"service\"\n[run.process]\ncommand = [\"x\"]", 1, "a-z"),
            (
                "name = \"a\"\ntype = \"job\"\n[run.process]\ncommand = [\"x\"]\n[resources]\nmemory = \"64Qi\"",
                6,
                "64Mi",
            ),
            ("name = \"a\"\ntype = \"job\"\nreplicas = 3\n[run.process]\ncommand = [\"x\"]", 3, "service"),
            ("name = \"a\"\ntype = \"job\"\ntasks = 0\n[run.process]\ncommand = [\"x\"]", 3, "1 to 100000"),
            ("name = \"a\"\ntype = \"job\"\n[run.process]\ncommand = []", 4, "program"),
            ("name = \"a\"\ntype = \"job\"\n[run.process\ncommand = []", 3, ""),
        ];
        for (text, line, says) in cases {
            let error = Manifest::parse(text, Format::Toml).unwrap_err();
            assert_eq!(error.line, Some(line), "{error}\nin\n{text}");
            assert!(error.to_string().contains(says), "{error} should mention {says}");
        }
        let error = Manifest::parse("name: a\ntype: job\nreplica: 1\nrun: {process: {command: [x]}}", Format::Yaml);
        let error = error.unwrap_err();
        assert_eq!(error.line, Some(3), "{error}");
    }

    #[test]
    fn hostile_sizes_and_depths_are_refused() {
        let deep = format!("name: {}1{}", "[".repeat(1000), "]".repeat(1000));
        assert!(Manifest::parse(&deep, Format::Yaml).is_err());
        let deep = format!("name = {}1{}", "[".repeat(1000), "]".repeat(1000));
        assert!(Manifest::parse(&deep, Format::Toml).is_err());
        let bomb =
            "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nname: *c";
        assert!(Manifest::parse(bomb, Format::Yaml).is_err());
        assert!(Manifest::parse(&"#".repeat(MAX_MANIFEST_BYTES + 1), Format::Toml).is_err());
    }

    #[test]
    fn the_format_is_guessed_from_the_name_or_the_text() {
        assert_eq!(Format::guess("a.yml", ""), Format::Yaml);
        assert_eq!(Format::guess("-", "# c\nname: x"), Format::Yaml);
        assert_eq!(Format::guess("-", "{\"name\": 1}"), Format::Yaml);
        assert_eq!(Format::guess("-", "name = \"a:b\""), Format::Toml);
    }
}
