//! The site's configuration, found by the rules of the plugin: the arguments of its line in plugstack.conf, or the
//! file that this line names. An administrator can point to another file; where nothing is found, the defaults are
//! what the plugin would use too, and the user is told.

use crate::error::{CliError, Result};
use serde::Serialize;
use stasis_contract::SiteConfig;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where Slurm keeps plugstack.conf, beside the folder of `SLURM_CONF`.
const FOLDERS: [&str; 6] = [
    "/etc/slurm",
    "/run/slurm/conf",
    "/var/spool/slurmd/conf-cache",
    "/etc/slurm-llnl",
    "/usr/local/etc/slurm",
    "/opt/slurm/etc",
];
/// Files that may include each other before it is taken for a circle.
const FILES_MAX: usize = 256;

/// Where a configuration came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file that `--config` or `STASIS_CONFIG` named.
    Given(PathBuf),
    /// The plugin's line in a plugstack.conf.
    Plugstack {
        /// The file.
        file: PathBuf,
        /// Number of the line.
        line: usize,
        /// The file that the line names, if it does.
        config: Option<PathBuf>,
    },
    /// Nowhere.
    Defaults,
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(path) => write!(out, "{}", path.display()),
            Self::Plugstack { file, line, config: None } => write!(out, "{}, line {line}", file.display()),
            Self::Plugstack { file, line, config: Some(config) } => {
                write!(out, "{} ({}, line {line})", config.display(), file.display())
            }
            Self::Defaults => out.write_str("the built-in defaults"),
        }
    }
}

/// A configuration that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it says.
    pub config: SiteConfig,
    /// Where it was.
    pub source: Source,
    /// The plugin as plugstack.conf names it.
    pub plugin: Option<PathBuf>,
}

/// One line of a plugstack.conf that is not empty or a remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// `include PATTERN`
    Include(String),
    /// `required|optional PLUGIN [ARGUMENT...]`
    Plugin {
        /// The plugin's file, relative to Slurm's plugin folder if it is not absolute.
        path: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// Looks for the configuration: the given file, else plugstack.conf, else none.
///
/// # Errors
/// When what is found cannot be read or is wrong.
pub fn find(given: Option<&Path>) -> Result<Found> {
    if let Some(path) = given {
        let config = read_toml(path)?;
        let plugin = plugin_line().map(|(_, _, path, _)| path);
        return Ok(Found { config, source: Source::Given(path.into()), plugin });
    }
    let Some((file, line, plugin, arguments)) = plugin_line() else {
        return Ok(Found { config: SiteConfig::default(), source: Source::Defaults, plugin: None });
    };
    let place = format!("{}, line {line}", file.display());
    let (config, named) = from_arguments(&arguments, &place)?;
    Ok(Found { config, source: Source::Plugstack { file, line, config: named }, plugin: Some(plugin) })
}

/// As the plugin reads them, see plugin/spank/src/config.rs.
fn from_arguments(arguments: &[String], place: &str) -> Result<(SiteConfig, Option<PathBuf>)> {
    match arguments {
        [only] if only.starts_with("config=") => {
            let path = PathBuf::from(&only["config=".len()..]);
            Ok((read_toml(&path)?, Some(path)))
        }
        _ => SiteConfig::from_arguments(arguments.iter().map(String::as_str))
            .map(|config| (config, None))
            .map_err(|error| CliError::Config {
                place: place.into(),
                reason: of_argument(&error.to_string()),
            }),
    }
}

fn read_toml(path: &Path) -> Result<SiteConfig> {
    let config = |reason| CliError::Config { place: path.display().to_string(), reason };
    let text =
        std::fs::read_to_string(path).map_err(|error| config(format!("it cannot be read: {error}")))?;
    SiteConfig::from_toml(&text).map_err(|error| config(one_line(&error.to_string())))
}

/// A parser's complaint without the excerpt that it draws below: `TOML parse error at line 1, column 1: unknown...`.
fn one_line(complaint: &str) -> String {
    let drawn =
        |line: &&str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    let told = complaint.lines().filter(|line| !line.trim().is_empty() && !drawn(line));
    told.collect::<Vec<_>>().join(": ")
}

/// Arguments become TOML on the way, so a line and column of that say nothing.
fn of_argument(complaint: &str) -> String {
    let line = one_line(complaint);
    match line.split_once(": ") {
        Some((place, rest)) if place.starts_with("TOML parse error") => rest.to_owned(),
        _ => line,
    }
}

/// The plugin's line in whichever plugstack.conf has one: file, line number, plugin, arguments.
fn plugin_line() -> Option<(PathBuf, usize, PathBuf, Vec<String>)> {
    places().into_iter().find_map(|file| walk(&file, &mut BTreeSet::new()))
}

/// The plugstack.conf files that are looked at, in this order.
pub fn places() -> Vec<PathBuf> {
    let conf = std::env::var_os("SLURM_CONF").map(PathBuf::from);
    let own = conf.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    own.into_iter().chain(FOLDERS.map(PathBuf::from)).map(|folder| folder.join("plugstack.conf")).collect()
}

fn walk(file: &Path, seen: &mut BTreeSet<PathBuf>) -> Option<(PathBuf, usize, PathBuf, Vec<String>)> {
    // The same file has many names, such as d/../plugstack.conf.
    let real = file.canonicalize().ok()?;
    if seen.len() >= FILES_MAX || !seen.insert(real) {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    for (number, line) in parse(&text) {
        match line {
            Line::Include(pattern) => {
                // Slurm takes a relative pattern as one below the file's own folder.
                let pattern = file.parent().unwrap_or(Path::new("/")).join(pattern);
                let files = glob::glob(&pattern.to_string_lossy()).ok();
                let found = files.into_iter().flatten().flatten().find_map(|path| walk(&path, seen));
                if found.is_some() {
                    return found;
                }
            }
            Line::Plugin { path, arguments } if is_ours(&path) => {
                return Some((file.into(), number, path, arguments));
            }
            Line::Plugin { .. } => {}
        }
    }
    None
}

fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("stasis"))
}

/// The lines of a plugstack.conf with their numbers, from 1.
pub fn parse(text: &str) -> Vec<(usize, Line)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    numbered.filter_map(|(number, line)| Some((number, parse_line(line)?))).collect()
}

fn parse_line(line: &str) -> Option<Line> {
    let mut words = line.split('#').next()?.split_whitespace().map(str::to_owned);
    match words.next()?.as_str() {
        "include" => Some(Line::Include(words.next()?)),
        "required" | "optional" => {
            Some(Line::Plugin { path: words.next()?.into(), arguments: words.collect() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::hostile_text;
    use proptest::prelude::*;
    use std::fs;

    #[test]
    fn lines_are_read_as_slurm_reads_them() {
        let text = "# a remark\n\ninclude plugstack.conf.d/*\nrequired  /opt/private-tmp.so base=/x # why\n\
                    optional spank_stasis.so store=/s keep=3\nnonsense here\n";
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let expected = vec![
            (3, Line::Include("plugstack.conf.d/*".into())),
            (4, Line::Plugin { path: "/opt/private-tmp.so".into(), arguments: words(&["base=/x"]) }),
            (5, Line::Plugin { path: "spank_stasis.so".into(), arguments: words(&["store=/s", "keep=3"]) }),
        ];
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn includes_are_followed_and_circles_end() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("plugstack.conf");
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::write(&main, "include d/*.conf\n").unwrap();
        fs::write(folder.path().join("d/a.conf"), "include ../plugstack.conf\ninclude *.conf\n").unwrap();
        let last = folder.path().join("d/b.conf");
        fs::write(&last, "required other.so\nrequired spank_stasis.so keep=5\n").unwrap();
        let (file, line, plugin, arguments) = walk(&main, &mut BTreeSet::new()).unwrap();
        assert_eq!((file, line), (last, 2));
        assert_eq!((plugin, arguments), ("spank_stasis.so".into(), vec!["keep=5".to_owned()]));
    }

    #[test]
    fn arguments_or_a_file_that_they_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stasis.toml");
        fs::write(&file, "keep = 7\n").unwrap();
        let argument = format!("config={}", file.display());
        assert_eq!(from_arguments(&[argument], "x").unwrap().0.keep, 7);
        assert_eq!(from_arguments(&["keep=9".into()], "x").unwrap().0.keep, 9);
        fs::write(&file, "kepe = 7\n").unwrap();
        let error = find(Some(&file)).unwrap_err().to_string();
        let begin = format!("{}: TOML parse error at line 1, column 1: unknown field `kepe`", file.display());
        assert!(error.starts_with(&begin) && error.lines().count() == 1, "{error}");
        let error = from_arguments(&["kepe=9".into()], "/etc/p, line 3").unwrap_err().to_string();
        assert!(error.starts_with("/etc/p, line 3: unknown field `kepe`"), "{error}");
    }

    proptest! {
        #[test]
        fn no_plugstack_panics(text in hostile_text()) {
            parse(&text);
        }
    }
}
