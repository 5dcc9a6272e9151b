//! `stasis keygen`: the site's key, made once and copied to every node.

use crate::error::{CliError, Result};
use stasis_image::Key;
use std::path::Path;

/// What the fingerprint of a key is derived for; no key that images are made with.
const PURPOSE: &str = "stasis key fingerprint 1";
/// Enough to tell keys apart by eye.
const FINGERPRINT_DIGITS: usize = 12;

/// Makes a new key file and returns its fingerprint.
///
/// # Errors
/// When the file exists already or cannot be written.
pub fn run(path: &Path) -> Result<String> {
    Key::create(path)?;
    fingerprint(path)
}

/// A short text that is the same on nodes with the same key, and says nothing else about it.
///
/// # Errors
/// When the file is no key, or not a safe one.
pub fn fingerprint(path: &Path) -> Result<String> {
    Key::load(path)?;
    let text = std::fs::read_to_string(path)
        .map_err(|source| CliError::Io { what: format!("read {}", path.display()), source })?;
    let text = zeroize::Zeroizing::new(text);
    Ok(fingerprint_of(&text))
}

fn fingerprint_of(text: &str) -> String {
    let digits = zeroize::Zeroizing::new(text.trim().to_ascii_lowercase());
    let derived = blake3::Hash::from(blake3::derive_key(PURPOSE, digits.as_bytes()));
    derived.to_hex()[..FINGERPRINT_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_the_key_and_not_of_how_it_is_written() {
        let key = "ab".repeat(32);
        assert_eq!(fingerprint_of(&key), fingerprint_of(&(key.to_uppercase() + "\n")));
        assert_ne!(fingerprint_of(&key), fingerprint_of(&"ac".repeat(32)));
        assert_eq!(fingerprint_of(&key).len(), 12);
    }
}
