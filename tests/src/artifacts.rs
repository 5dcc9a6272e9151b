//! The programs under test: found beside the running test, or where the environment says, and put where a site
//! would have them.

use std::io::Read;
use std::path::{Path, PathBuf};

use stasis_testbed::InstallFile;

/// Where the nodes have the SPANK plugin.
pub const HOOKS: &str = "/usr/lib/x86_64-linux-gnu/slurm-wlm/spank_stasis.so";
/// Where the nodes have the shepherd.
pub const SHEPHERD: &str = "/usr/libexec/stasis/stasis-shepherd";
/// Environment variable with the folder of the built programs.
const FOLDER: &str = "STASIS_ARTIFACTS";
const BUILD: &str = "cargo build -p spank-stasis -p stasis-shepherd -p stasis-capsule -p stasis-cli";

/// What is built, and where the nodes have it.
const FILES: [(&str, &str); 4] = [
    ("libspank_stasis.so", HOOKS),
    ("stasis-shepherd", SHEPHERD),
    ("stasis-reaper", "/usr/libexec/stasis/stasis-reaper"),
    ("stasis", "/usr/bin/stasis"),
];

/// The built programs, to be installed into every node; or what is missing and how to get it.
pub fn find() -> Result<Vec<InstallFile>, String> {
    let folder = folder()?;
    let mut files = Vec::new();
    for (name, to) in FILES {
        let from = folder.join(name);
        if from.is_file() {
            files.push(InstallFile { from, to: to.into(), mode: Some(0o755) });
        } else {
            return Err(format!("{} is not built: run `{BUILD}`, or set {FOLDER}", from.display()));
        }
    }
    Ok(files)
}

/// One line that says which builds these are, so that a log of a failure tells what it was a failure of.
pub fn describe(files: &[InstallFile]) -> String {
    let hash = |path: &Path| -> std::io::Result<String> {
        let mut hasher = blake3::Hasher::new();
        std::io::copy(&mut std::fs::File::open(path)?.by_ref(), &mut hasher)?;
        Ok(hasher.finalize().to_hex()[..12].to_owned())
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words = files.iter().map(|file| {
        format!("{} {}", name(&file.from), hash(&file.from).unwrap_or_else(|error| error.to_string()))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// `target/debug` of a test that runs as `target/debug/deps/walk-0123456789abcdef`.
fn folder() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Ok(folder.into());
    }
    let test = std::env::current_exe().map_err(|error| format!("this program is nowhere: {error}"))?;
    test.ancestors().nth(2).map(Path::to_owned).ok_or_else(|| format!("set {FOLDER}"))
}
