//! The programs under test: found beside the running one, or where the environment says, and put where a site would
//! have them; and the key that they need there.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::spec::InstallFile;

/// Where the nodes have the SPANK plugin, for plugstack.conf.
pub const HOOKS: &str = "/usr/lib/x86_64-linux-gnu/slurm-wlm/spank_stasis.so";
/// Where the nodes have the key that authenticates images.
const KEY: &str = "/etc/stasis/key";
/// Environment variable with the folder of the built programs.
pub(crate) const FOLDER: &str = "STASIS_ARTIFACTS";

/// What is built, and where the nodes have it.
const FILES: [(&str, &str); 5] = [
    ("libspank_stasis.so", HOOKS),
    ("stasis-shepherd", "/usr/libexec/stasis/stasis-shepherd"),
    ("stasis-capsule", "/usr/libexec/stasis/stasis-capsule"),
    ("stasis-reaper", "/usr/libexec/stasis/stasis-reaper"),
    ("stasis", "/usr/bin/stasis"),
];

/// The folder of the built programs: where the environment says, or else where cargo puts those of this program's
/// profile. That is the folder of a program, and the one above `deps` of a test or a bench.
///
/// # Errors
/// When this program does not know its own path.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Ok(folder.into());
    }
    let own = std::env::current_exe().map_err(Error::sys("find this program's own path"))?;
    let in_profile = own.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    Ok(in_profile.unwrap_or(Path::new("/")).to_owned())
}

/// The programs in `folder`, to be installed into every node.
///
/// # Errors
/// [`Error::NotBuilt`], which tells how to build them.
pub fn find(folder: &Path) -> Result<Vec<InstallFile>> {
    let install = |(name, to): (&str, &str)| {
        let from = folder.join(name);
        if !from.is_file() {
            return Err(Error::NotBuilt { path: from });
        }
        Ok(InstallFile { from, to: to.into(), mode: Some(0o755) })
    };
    FILES.into_iter().map(install).collect()
}

/// Gives a new site's key to every node of a cluster.
///
/// # Errors
/// When a node cannot write it.
pub fn install_key(cluster: &Cluster) -> Result<()> {
    cluster.install_content(random_hex(32)?.as_bytes(), KEY.as_ref(), 0o600)
}

/// Random bytes as hexadecimal digits: a key, a token.
///
/// # Errors
/// When the system has none.
pub fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    let source = "/dev/urandom";
    let read = std::fs::File::open(source).and_then(|mut file| file.read_exact(&mut random));
    read.map_err(Error::io("read", source))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_built_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let release = folder.path().join("release");
        std::fs::create_dir(&release).unwrap();
        for (name, _) in FILES {
            let error = find(&release).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("cargo build --release -p"), "{error}");
            std::fs::write(release.join(name), "").unwrap();
        }
        assert_eq!(find(&release).unwrap().len(), FILES.len());
    }

    #[test]
    fn a_test_finds_the_folder_of_its_profile() {
        assert!(std::env::var_os(FOLDER).is_some() || folder().unwrap().join("deps").is_dir());
    }
}
