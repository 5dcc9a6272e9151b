//! The option `--stasis[=key=value,...]` as users write it, and the job it describes once the site's
//! defaults are filled in.

use crate::units::{UnitError, parse_duration_s};
use crate::{Compression, SiteConfig};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};
use thiserror::Error;

/// Keys that `--stasis=` knows, for messages.
const KEYS: &str = "grace, interval, store, keep, port, compress";
/// No more ports than a person would name by hand.
const PORTS_MAX: usize = 16;

/// Why `--stasis=...` was refused. Every message names the key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionError {
    /// The key does not exist.
    #[error("--stasis: unknown key `{key}`{}; the keys are {KEYS}", did_you_mean(.key))]
    UnknownKey {
        /// What was written.
        key: String,
    },
    /// A key without a value.
    #[error("--stasis: `{0}` needs a value, as in `{0}=...`")]
    NoValue(String),
    /// A key given twice.
    #[error("--stasis: `{0}` is given twice")]
    Twice(String),
    /// A duration that cannot be read.
    #[error("--stasis: {key} {source}")]
    Unit {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        source: UnitError,
    },
    /// A value that can be read but makes no sense.
    #[error("--stasis: {key}={value}: {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why it is refused, and what would do.
        reason: String,
    },
}

fn did_you_mean(key: &str) -> String {
    let close = KEYS.split(", ").find(|known| {
        let shared = known.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
        shared >= 3 || (known.len() <= 4 && shared >= 2)
    });
    close.map(|known| format!(" (did you mean `{known}`?)")).unwrap_or_default()
}

/// What the user wrote; `None` where the site's default applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserOptions {
    /// Seconds before the end at which Slurm is asked to signal the job.
    pub grace_s: Option<u32>,
    /// Seconds between checkpoints while the session runs.
    pub interval_s: Option<u32>,
    /// Where images are kept.
    pub store: Option<PathBuf>,
    /// How many committed images are kept.
    pub keep: Option<u32>,
    /// Ports that the session listens on.
    pub ports: Vec<u16>,
    /// How images are compressed.
    pub compression: Option<Compression>,
}

impl UserOptions {
    /// Reads `key=value,key=value`. `port` may be repeated; nothing else may.
    ///
    /// # Errors
    /// The first thing that is wrong, naming its key.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (key, value) = match item.split_once('=') {
                Some((key, value)) => (key.trim(), value.trim()),
                None => (item, ""),
            };
            if !KEYS.split(", ").any(|known| known == key) {
                return Err(OptionError::UnknownKey { key: key.into() });
            }
            if value.is_empty() {
                return Err(OptionError::NoValue(key.into()));
            }
            options.set(key, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        let fresh = match key {
            "grace" => self.grace_s.replace(at_least("grace", value, 1)?).is_none(),
            "interval" => self.interval_s.replace(at_least("interval", value, 10)?).is_none(),
            "store" => self.store.replace(store_path(value)?).is_none(),
            "keep" => self.keep.replace(keep(value)?).is_none(),
            "compress" => self.compression.replace(compression(value)?).is_none(),
            _ => {
                self.ports.push(port(value)?);
                if self.ports.len() > PORTS_MAX {
                    return Err(refuse("port", value, &format!("at most {PORTS_MAX} ports")));
                }
                let last = self.ports.len() - 1;
                !self.ports[..last].contains(&self.ports[last])
            }
        };
        if fresh { Ok(()) } else { Err(OptionError::Twice(key.into())) }
    }
}

fn refuse(key: &'static str, value: &str, reason: &str) -> OptionError {
    OptionError::Value { key, value: value.into(), reason: reason.into() }
}

fn at_least(key: &'static str, value: &str, least_s: u32) -> Result<u32, OptionError> {
    let seconds = parse_duration_s(value).map_err(|source| OptionError::Unit { key, source })?;
    if seconds < least_s {
        return Err(refuse(key, value, &format!("must be at least {least_s}s")));
    }
    Ok(seconds)
}

fn store_path(value: &str) -> Result<PathBuf, OptionError> {
    let path = Path::new(value);
    if !path.is_absolute() {
        return Err(refuse("store", value, "must be an absolute path"));
    }
    if path.components().any(|part| matches!(part, Component::ParentDir)) {
        return Err(refuse("store", value, "must not contain `..`"));
    }
    Ok(path.into())
}

fn keep(value: &str) -> Result<u32, OptionError> {
    match value.parse() {
        Ok(keep @ 1..=1000) => Ok(keep),
        _ => Err(refuse("keep", value, "must be a number of images from 1 to 1000")),
    }
}

fn port(value: &str) -> Result<u16, OptionError> {
    match value.parse() {
        Ok(port @ 1024..) => Ok(port),
        _ => Err(refuse("port", value, "must be a port from 1024 to 65535")),
    }
}

fn compression(value: &str) -> Result<Compression, OptionError> {
    match value {
        "none" => Ok(Compression::None),
        "lz4" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::Zstd),
        _ => Err(refuse("compress", value, "must be none, lz4 or zstd")),
    }
}

/// What the shepherd is to do for one job: the user's options over the site's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Seconds before the end at which Slurm signals the job.
    pub grace_s: u32,
    /// Seconds between checkpoints while the session runs; `None` for none but on a trigger.
    pub interval_s: Option<u32>,
    /// Where images are kept.
    pub store: PathBuf,
    /// How many committed images are kept.
    pub keep: u32,
    /// Ports that the session listens on; empty means whichever it binds.
    pub ports: Vec<u16>,
    /// How images are compressed.
    pub compression: Compression,
}

impl JobSpec {
    /// Fills what the user left open from the site's configuration.
    ///
    /// # Errors
    /// When the user's store lies outside every folder that the site calls shared.
    pub fn resolve(user: &UserOptions, site: &SiteConfig) -> Result<Self, OptionError> {
        let store = user.store.clone().unwrap_or_else(|| site.store.clone());
        if !site.is_shared(&store) {
            let shared: Vec<_> = site.shared_folders().map(|path| path.display().to_string()).collect();
            let reason = format!(
                "is not on storage that every node shares; choose a folder under {}, or ask your site to add it to \
                 `shared` in its configuration",
                shared.join(" or ")
            );
            return Err(refuse("store", &store.display().to_string(), &reason));
        }
        Ok(Self {
            grace_s: user.grace_s.unwrap_or(site.grace_s),
            interval_s: user.interval_s.or(site.interval_s),
            store,
            keep: user.keep.unwrap_or(site.keep),
            ports: user.ports.clone(),
            compression: user.compression.unwrap_or(site.compression),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(text: &str) -> String {
        UserOptions::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn everything_at_once() {
        let options = UserOptions::parse(
            "grace=45s,interval=5m,store=/scratch/a,keep=3,port=8888,port=6006,compress=zstd",
        )
        .unwrap();
        assert_eq!(options.grace_s, Some(45));
        assert_eq!(options.interval_s, Some(300));
        assert_eq!(options.store, Some("/scratch/a".into()));
        assert_eq!(options.keep, Some(3));
        assert_eq!(options.ports, [8888, 6006]);
        assert_eq!(options.compression, Some(Compression::Zstd));
        assert_eq!(UserOptions::parse("").unwrap(), UserOptions::default());
    }

    #[test]
    fn every_refusal_names_its_key() {
        assert_eq!(
            message("intervall=5m"),
            "--stasis: unknown key `intervall` (did you mean `interval`?); the keys are grace, interval, store, keep, port, \
             compress"
        );
        assert_eq!(message("interval=-5m"), "--stasis: interval `-5m` is negative");
        assert_eq!(message("interval=1s"), "--stasis: interval=1s: must be at least 10s");
        assert_eq!(message("grace"), "--stasis: `grace` needs a value, as in `grace=...`");
        assert_eq!(message("keep=1,keep=2"), "--stasis: `keep` is given twice");
        assert_eq!(message("port=80"), "--stasis: port=80: must be a port from 1024 to 65535");
        assert_eq!(message("store=a/b"), "--stasis: store=a/b: must be an absolute path");
        assert_eq!(message("store=/a/../etc"), "--stasis: store=/a/../etc: must not contain `..`");
    }

    #[test]
    fn a_store_outside_the_shared_folders_is_refused() {
        let site = SiteConfig { store: "/shared/stasis".into(), ..SiteConfig::default() };
        let inside = UserOptions { store: Some("/shared/stasis/mine".into()), ..UserOptions::default() };
        assert_eq!(JobSpec::resolve(&inside, &site).unwrap().store, Path::new("/shared/stasis/mine"));
        let outside = UserOptions { store: Some("/shared/stasis2".into()), ..UserOptions::default() };
        let refusal = JobSpec::resolve(&outside, &site).unwrap_err().to_string();
        assert!(refusal.starts_with("--stasis: store=/shared/stasis2: is not on storage"), "{refusal}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,64}") {
            let _ = UserOptions::parse(&text);
        }

        #[test]
        fn mangled_options_never_panic(key in "(grace|interval|store|keep|port|compress)", value in "\\PC{0,16}") {
            let _ = UserOptions::parse(&format!("{key}={value}"));
        }
    }
}
