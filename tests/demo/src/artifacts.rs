//! The programs that the nodes get: found beside this one, put where a site would have them.

use std::path::{Path, PathBuf};

use stasis_testbed::InstallFile;

use crate::error::{Error, Result};

/// Where the nodes have the SPANK plugin.
pub const HOOKS: &str = "/usr/lib/x86_64-linux-gnu/slurm-wlm/spank_stasis.so";
/// Where the nodes have the key that authenticates images.
pub const KEY: &str = "/etc/stasis/key";

/// What is built, where the nodes have it, and whether the demonstration can do without it.
const FILES: [(&str, &str, bool); 4] = [
    ("libspank_stasis.so", HOOKS, true),
    ("stasis-shepherd", "/usr/libexec/stasis/stasis-shepherd", true),
    ("stasis-reaper", "/usr/libexec/stasis/stasis-reaper", true),
    ("stasis", "/usr/bin/stasis", false),
];

/// The folder of this program, where cargo puts the others of its profile too.
pub fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(Error::system("find this program's own path"))?;
    Ok(own.parent().unwrap_or(Path::new("/")).to_owned())
}

/// The programs in `folder`, to be installed into every node.
pub fn find(folder: &Path) -> Result<Vec<InstallFile>> {
    let mut files = Vec::new();
    for (name, to, needed) in FILES {
        let from = folder.join(name);
        if from.is_file() {
            files.push(InstallFile { from, to: to.into(), mode: Some(0o755) });
        } else if needed {
            return Err(Error::NotBuilt { path: from });
        }
    }
    Ok(files)
}

/// Whether the command `stasis` is among them.
pub fn has_cli(files: &[InstallFile]) -> bool {
    files.iter().any(|file| file.to == Path::new(FILES[3].1))
}

/// Random bytes as hexadecimal digits: a key, a token.
pub fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(Error::system("get random bytes"))?;
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    Ok(random.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
}
