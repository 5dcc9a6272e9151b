//! Files that appear whole or not at all: written under a temporary name beside their place, synced, and
//! renamed into it.

use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file.
///
/// # Errors
/// It cannot be created, written, synced or renamed; then nothing has appeared. The message names it.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = |verb: &str, error: &io::Error| {
        io::Error::new(error.kind(), format!("couldn't {verb} {}: {error}", path.display()))
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".stasis-sim-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666)); // less the umask
    }
    let mut file = builder.tempfile_in(directory).map_err(|e| named("create", &e))?;
    file.write_all(bytes).map_err(|e| named("write", &e))?;
    file.as_file().sync_all().map_err(|e| named("sync", &e))?;
    file.persist(path).map_err(|e| named("rename into place", &e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_appear_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("taken");
        std::fs::create_dir(&path).expect("a directory in its place");
        let error = write(&path, b"x").expect_err("a directory is there").to_string();
        assert!(error.contains("taken"), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).expect("listing").count(), 1);
        write(&directory.path().join("free"), b"x").expect("written");
        assert_eq!(std::fs::read(directory.path().join("free")).expect("read"), b"x");
    }
}
