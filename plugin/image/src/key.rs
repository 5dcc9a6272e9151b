//! The site's key, and what is derived from it for each purpose.
//!
//! Images belong to the user; that they are the site's own work is known by this key alone, so it must
//! never reach a log, a message or another process's memory. This file reads one file and does arithmetic.

use nix::fcntl::OFlag;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Why the key cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// There is none.
    #[error(
        "no key at {0}: as root put 64 random hexadecimal digits there, mode 0400, the same on all nodes"
    )]
    Missing(PathBuf),
    /// It is a link, device or folder.
    #[error("the key {0} is not a regular file (a symbolic link is not followed): put the file itself there")]
    NotAFile(PathBuf),
    /// Somebody else could have chosen it.
    #[error("the key {path} belongs to uid {owner}, not to root: make a new one, since its owner knows it")]
    Owner {
        /// The key's path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Somebody else can read it.
    #[error("the key {path} has mode {mode:04o}: make a new one with mode 0400, since others could read it")]
    Mode {
        /// The key's path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a key.
    #[error("the key {0} is not 64 hexadecimal digits: make a new one")]
    Content(PathBuf),
    /// The system refused.
    #[error("cannot {verb} the key {path}: {source}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The key's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The site's key. Wiped from memory when dropped, and never printed.
#[derive(Clone)]
pub struct Key {
    manifest: [u8; KEY_BYTES],
    files: [u8; KEY_BYTES],
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(..)")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.manifest.zeroize();
        self.files.zeroize();
    }
}

impl Key {
    /// Reads the key file: 64 hexadecimal digits, a regular file of root's that nobody else can read.
    ///
    /// # Errors
    /// When any of that does not hold, with what to do about it.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyError::Missing(path.into()));
            }
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(KeyError::NotAFile(path.into()));
            }
            Err(source) => return Err(KeyError::Io { verb: "open", path: path.into(), source }),
        };
        check_key_file(&file, path)?;
        let mut text = Zeroizing::new([0u8; 2 * KEY_BYTES + 2]);
        let length = read_up_to(file, &mut text[..]).map_err(|source| KeyError::Io {
            verb: "read",
            path: path.into(),
            source,
        })?;
        let digits = text[..length].strip_suffix(b"\n").unwrap_or(&text[..length]);
        let secret = parse_hex(digits).ok_or_else(|| KeyError::Content(path.into()))?;
        Ok(Self::from_secret(&secret))
    }

    /// Makes a new random key file with mode 0400. An existing file is never replaced: its images would
    /// all be refused.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(path: &Path) -> Result<(), KeyError> {
        let failed = |verb| move |source| KeyError::Io { verb, path: path.into(), source };
        let mut secret = Zeroizing::new([0u8; KEY_BYTES]);
        getrandom::fill(&mut secret[..]).map_err(io::Error::other).map_err(failed("draw"))?;
        let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES + 1));
        for byte in secret.iter() {
            fmt::Write::write_fmt(&mut *text, format_args!("{byte:02x}")).expect("a string takes any text");
        }
        text.push('\n');
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o400).open(path).map_err(failed("create"))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"))
    }

    fn from_secret(secret: &[u8; KEY_BYTES]) -> Self {
        Self {
            manifest: blake3::derive_key("stasis-image format 1 manifest", secret),
            files: blake3::derive_key("stasis-image format 1 files", secret),
        }
    }

    /// Authenticates a manifest's text.
    pub(crate) fn manifest_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.manifest)
    }

    /// The key of one purpose of one file of one image: nothing made under it passes anywhere else.
    pub(crate) fn file_key(&self, purpose: &str, place: &[u8]) -> FileKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.files);
        hasher.update(&(purpose.len() as u64).to_le_bytes()).update(purpose.as_bytes()).update(place);
        let key = FileKey(*hasher.finalize().as_bytes());
        hasher.zeroize();
        key
    }

    /// A key from given bytes, for tests that have no root.
    #[cfg(test)]
    pub(crate) fn for_tests(byte: u8) -> Self {
        Self::from_secret(&[byte; KEY_BYTES])
    }
}

/// A derived key. Wiped when dropped, and never printed.
pub(crate) struct FileKey([u8; KEY_BYTES]);

impl FileKey {
    pub(crate) fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.0)
    }
}

impl Drop for FileKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("FileKey(..)")
    }
}

fn check_key_file(file: &File, path: &Path) -> Result<(), KeyError> {
    let metadata =
        file.metadata().map_err(|source| KeyError::Io { verb: "look at", path: path.into(), source })?;
    if !metadata.is_file() {
        return Err(KeyError::NotAFile(path.into()));
    }
    if metadata.uid() != 0 {
        return Err(KeyError::Owner { path: path.into(), owner: metadata.uid() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & !0o600 != 0 {
        return Err(KeyError::Mode { path: path.into(), mode });
    }
    Ok(())
}

fn read_up_to(mut file: File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn parse_hex(digits: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let mut secret = Zeroizing::new([0u8; KEY_BYTES]);
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(secret)
}
