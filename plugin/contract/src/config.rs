//! The site's configuration: a TOML file, or the same keys as `key=value` arguments in plugstack.conf.

use crate::Compression;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The TOML cannot be read; the message names line and key.
    #[error("{0}")]
    Toml(String),
    /// An argument in plugstack.conf is not `key=value`.
    #[error("plugstack argument `{0}` is not key=value")]
    NotKeyValue(String),
    /// A path is not absolute.
    #[error("`{key}` must be an absolute path, not `{value}`")]
    RelativePath {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
}

/// What an administrator decides for all jobs of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteConfig {
    /// Folder on shared storage in which every user's images are kept.
    pub store: PathBuf,
    /// Further folders that every node shares, below which users may put their images.
    pub shared: Vec<PathBuf>,
    /// File with the site's key: 64 hexadecimal digits, readable by root alone, the same on all nodes.
    pub key: PathBuf,
    /// Folder with the programs `stasis-shepherd`, `stasis-capsule` and `stasis-reaper`.
    pub libexec: PathBuf,
    /// The CRIU program.
    pub criu: PathBuf,
    /// The pasta program, which joins a session's network to its node's.
    pub pasta: PathBuf,
    /// Folder on the node for what lives as long as a job, readable by root alone.
    pub state: PathBuf,
    /// Seconds before the end at which Slurm signals a job that does not say otherwise.
    pub grace_s: u32,
    /// Seconds between checkpoints of a job that does not say otherwise.
    pub interval_s: Option<u32>,
    /// How many committed images of a job are kept.
    pub keep: u32,
    /// How images are compressed.
    pub compression: Compression,
}

impl Default for SiteConfig {
    fn default() -> Self {
        Self {
            store: "/shared/stasis".into(),
            shared: Vec::new(),
            key: "/etc/stasis/key".into(),
            libexec: "/usr/libexec/stasis".into(),
            criu: "/usr/sbin/criu".into(),
            pasta: "/usr/bin/pasta".into(),
            state: "/run/stasis".into(),
            grace_s: 60,
            interval_s: None,
            keep: 2,
            compression: Compression::default(),
        }
    }
}

impl SiteConfig {
    /// Reads the TOML file's text.
    ///
    /// # Errors
    /// When the text is not TOML, a key is unknown, or a path is relative.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Toml(error.to_string()))?;
        config.check()
    }

    /// Reads plugstack.conf arguments such as `store=/scratch/stasis keep=3`.
    ///
    /// # Errors
    /// When an argument is not `key=value`, a key is unknown, or a path is relative.
    pub fn from_arguments<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        let mut text = String::new();
        for argument in arguments {
            let (key, value) =
                argument.split_once('=').ok_or_else(|| ConfigError::NotKeyValue(argument.to_owned()))?;
            text.push_str(&toml_line(key, value));
        }
        Self::from_toml(&text)
    }

    fn check(self) -> Result<Self, ConfigError> {
        let paths = [
            ("store", &self.store),
            ("key", &self.key),
            ("libexec", &self.libexec),
            ("criu", &self.criu),
            ("pasta", &self.pasta),
            ("state", &self.state),
        ];
        let shared = self.shared.iter().map(|path| ("shared", path));
        for (key, path) in paths.into_iter().chain(shared) {
            if !path.is_absolute() {
                return Err(ConfigError::RelativePath { key, value: path.display().to_string() });
            }
        }
        Ok(self)
    }

    /// Every folder below which images may be kept.
    pub fn shared_folders(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.store.as_path()).chain(self.shared.iter().map(PathBuf::as_path))
    }

    /// Whether the site says that every node sees this path.
    pub fn is_shared(&self, path: &Path) -> bool {
        self.shared_folders().any(|folder| path.starts_with(folder))
    }
}

/// One argument as a line of TOML: numbers as they are, `shared` as a list, all else as a string.
fn toml_line(key: &str, value: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let value = match key {
        "shared" => format!("[{}]", value.split(':').map(quoted).collect::<Vec<_>>().join(", ")),
        _ if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => value.to_owned(),
        _ => quoted(value),
    };
    let key = if key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !key.is_empty() {
        key.to_owned()
    } else {
        quoted(key)
    };
    format!("{key} = {value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arguments_and_toml_say_the_same() {
        let from_arguments = SiteConfig::from_arguments([
            "store=/scratch/stasis",
            "shared=/home:/project",
            "keep=3",
            "compression=zstd",
        ])
        .unwrap();
        let from_toml = SiteConfig::from_toml(
            "store = '/scratch/stasis'\nshared = ['/home', '/project']\nkeep = 3\ncompression = 'zstd'",
        )
        .unwrap();
        assert_eq!(from_arguments, from_toml);
        assert_eq!(from_toml.keep, 3);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = SiteConfig::from_arguments(["stroe=/x"]).unwrap_err().to_string();
        assert!(error.contains("unknown field `stroe`"), "{error}");
        assert!(SiteConfig::from_arguments(["keep=3", "keep=4"]).is_err(), "a key given twice");
    }

    #[test]
    fn relative_paths_are_refused() {
        let error = SiteConfig::from_toml("store = 'scratch'").unwrap_err().to_string();
        assert_eq!(error, "`store` must be an absolute path, not `scratch`");
    }

    proptest! {
        #[test]
        fn no_argument_panics(arguments in proptest::collection::vec("\\PC{0,24}", 0..4)) {
            let _ = SiteConfig::from_arguments(arguments.iter().map(String::as_str));
        }
    }
}
