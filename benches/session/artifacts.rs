//! The programs that are measured: the release builds beside this program, or where the environment says.

use anyhow::{Context, ensure};
use stasis_testbed::InstallFile;
use std::path::PathBuf;

/// Where the nodes have the SPANK plugin.
pub const HOOKS: &str = "/usr/lib/x86_64-linux-gnu/slurm-wlm/spank_stasis.so";
/// Environment variable with the folder of the built programs, as for the suites.
const FOLDER: &str = "STASIS_ARTIFACTS";
const BUILD: &str = "cargo build --release -p spank-stasis -p stasis-shepherd -p stasis-capsule";

/// What is built, and where the nodes have it.
const FILES: [(&str, &str); 3] = [
    ("libspank_stasis.so", HOOKS),
    ("stasis-shepherd", "/usr/libexec/stasis/stasis-shepherd"),
    ("stasis-reaper", "/usr/libexec/stasis/stasis-reaper"),
];

/// The built programs, to be installed into every node.
pub fn find() -> anyhow::Result<Vec<InstallFile>> {
    let folder = folder()?;
    let install = |(name, to): (&str, &str)| {
        let from = folder.join(name);
        ensure!(from.is_file(), "{} is not built: run `{BUILD}`, or set {FOLDER}", from.display());
        Ok(InstallFile { from, to: to.into(), mode: Some(0o755) })
    };
    FILES.into_iter().map(install).collect()
}

/// `target/release` of a bench that runs as `target/release/deps/session-0123456789abcdef`.
fn folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Ok(folder.into());
    }
    let own = std::env::current_exe().context("this program is nowhere")?;
    Ok(own.ancestors().nth(2).context("this program is in no folder")?.to_owned())
}
