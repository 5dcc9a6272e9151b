//! How this machine reaches Debian's archive and Python's packages, read from its own configuration: the
//! testbed names no host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;
use crate::error::{Error, Result};

/// Suites that only Debian's main archive has (other archives call theirs `nodistro`, `cloud-sdk-bookworm`, ...).
const DEBIAN_SUITES: [&str; 11] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "experimental",
];

/// pip's settings that say where packages come from. Others, like `user`, would change what the build does.
const PIP_KEYS: [&str; 12] = [
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "trusted-host",
    "cert",
    "client-cert",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
    "disable-pip-version-check",
];

/// The Debian archive that the machine's apt uses.
pub(crate) fn mirror() -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let mut more: Vec<_> = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().collect();
    more.sort_by_key(fs::DirEntry::file_name);
    files.extend(more.iter().map(fs::DirEntry::path));
    let uri = files.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let deb822 = file.extension().is_some_and(|end| end == "sources");
        if deb822 { archive_in_deb822(&text) } else { archive_in_lines(&text) }
    });
    let uri = uri.ok_or(Error::NoMirror)?;
    match uri.strip_prefix("mirror+file:") {
        None => Ok(uri),
        Some(list) => first_mirror(Path::new(list)),
    }
}

/// The first entry of a list of mirrors, which debootstrap cannot read itself.
fn first_mirror(list: &Path) -> Result<String> {
    let text = fs::read_to_string(list).map_err(Error::io("read", list))?;
    let word = text.split_whitespace().find(|word| word.contains("://"));
    word.map(str::to_owned).ok_or(Error::NoMirror)
}

fn is_debian(suite: &str, components: &str) -> bool {
    DEBIAN_SUITES.contains(&suite) && components.split_whitespace().any(|component| component == "main")
}

/// `deb [options] URI SUITE COMPONENT...`
fn archive_in_lines(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?.trim().strip_prefix("deb")?;
        let line = line.strip_prefix(char::is_whitespace)?.trim();
        let line = if line.starts_with('[') { line.split_once(']')?.1.trim() } else { line };
        let (uri, rest) = line.split_once(char::is_whitespace)?;
        let (suite, components) = rest.trim().split_once(char::is_whitespace)?;
        is_debian(suite, components).then(|| uri.to_owned())
    })
}

/// Stanzas of `Key: value`, separated by empty lines.
fn archive_in_deb822(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).find_map(|stanza| {
        let field = |name: &str| {
            let of = |line: &&str| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            };
            stanza.iter().find_map(of)
        };
        let enabled = field("Enabled").is_none_or(|value| !matches!(value.as_str(), "no" | "false"));
        let binary = field("Types")?.split_whitespace().any(|kind| kind == "deb");
        let components = field("Components")?;
        let debian = field("Suites")?.split_whitespace().any(|suite| is_debian(suite, &components));
        (enabled && binary && debian).then(|| field("URIs"))??.split_whitespace().next().map(str::to_owned)
    })
}

/// Where the machine's pip gets packages from, as lines `KEY=VALUE` in the form of pip's environment variables.
/// Empty if there is no pip, or if it has no settings: then its defaults do.
pub(crate) fn pip_settings() -> String {
    let listed = ["pip", "pip3"].iter().find_map(|pip| {
        let output = run(Command::new(pip).args(["config", "list"]), b"").ok()?;
        output.success().then_some(output.stdout)
    });
    let settings: Vec<String> = listed.iter().flat_map(|text| text.lines()).filter_map(pip_setting).collect();
    settings.join("\n")
}

/// Reads `global.index-url='...'`.
fn pip_setting(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let key = key.rsplit('.').next()?;
    let value = value.trim().trim_matches(['\'', '"']).replace("\\n", " ");
    PIP_KEYS.contains(&key).then(|| format!("{}={}", key.replace('-', "_").to_uppercase(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "http://mirror.example/debian";

    #[test]
    fn finds_the_archive_in_one_line_form() {
        let text = format!(
            "# deb {URI}/no trixie main\ndeb-src {URI}/no trixie main\ndeb {URI}/no other main\n\
             deb {URI}/no trixie-security main\ndeb [arch=amd64 signed-by=/k] {URI} trixie contrib main\n"
        );
        assert_eq!(archive_in_lines(&text).as_deref(), Some(URI));
        assert_eq!(archive_in_lines("deb http://mirror.example nodistro main"), None);
    }

    #[test]
    fn finds_the_archive_in_deb822_form() {
        let security =
            format!("Types: deb\nURIs: {URI}-security\nSuites: bookworm-security\nComponents: main\n");
        let off = format!("Enabled: no\nTypes: deb\nURIs: {URI}/off\nSuites: trixie\nComponents: main\n");
        let main = format!(
            "Types: deb deb-src\n# a remark\nURIs: {URI} http://b\nSuites: bookworm bookworm-updates\nComponents: main\n"
        );
        let text = [security.as_str(), &off, &main].join("\n");
        assert_eq!(archive_in_deb822(&text).as_deref(), Some(URI));
        assert_eq!(archive_in_deb822(&security), None);
    }

    #[test]
    fn reads_pip_settings_that_say_where_from() {
        assert_eq!(pip_setting("global.cert='/a/b.crt'").as_deref(), Some("CERT=/a/b.crt"));
        let links = pip_setting(r":env:.find-links='/a\n/b'");
        assert_eq!(links.as_deref(), Some("FIND_LINKS=/a /b"));
        assert_eq!(pip_setting("global.user='true'"), None);
    }
}
