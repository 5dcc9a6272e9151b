//! Which names may appear in the store. A name from a manifest or from a caller becomes a path component,
//! so nothing that is not plain may pass. No I/O here.

use crate::error::StoreError;
use std::ffi::OsStr;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// Largest image number: six digits.
pub(crate) const NUMBER_MAX: u32 = 999_999;
/// Name of the file that makes a folder an image.
pub(crate) const MANIFEST: &str = "manifest";
/// Name of a job's event log.
pub(crate) const EVENTS: &str = "events.jsonl";
/// What the names of unfinished images start with.
pub(crate) const STAGING_PREFIX: &str = ".tmp-";

/// Whether the name is one path component that can neither hide nor leave its folder.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+@:-".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('.') && name.bytes().all(plain)
}

/// Whether a file of an image may have this name.
pub(crate) fn is_file_name(name: &str) -> bool {
    is_plain(name) && name != MANIFEST
}

pub(crate) fn check_cluster(name: &str) -> Result<(), StoreError> {
    if is_plain(name) { Ok(()) } else { Err(StoreError::Name { what: "a cluster", name: name.into() }) }
}

pub(crate) fn check_file(name: &str) -> Result<(), StoreError> {
    if is_file_name(name) {
        Ok(())
    } else {
        Err(StoreError::Name { what: "a file of an image", name: name.into() })
    }
}

/// The folder's name of an image: six digits.
pub(crate) fn number_name(number: u32) -> Result<String, StoreError> {
    match number {
        1..=NUMBER_MAX => Ok(format!("{number:06}")),
        _ => Err(StoreError::Number(number)),
    }
}

/// The image's number, if this is the name of an image's folder.
pub(crate) fn parse_number(name: &OsStr) -> Option<u32> {
    let text =
        name.to_str().filter(|text| text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok().filter(|number| *number > 0)
}

/// An id such as a uid or a job id, written in the one way in which it is written.
pub(crate) fn parse_id(name: &OsStr) -> Option<u32> {
    let text = name.to_str()?;
    text.parse::<u32>().ok().filter(|id| id.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for name in ["core-1.img", "tmp.tar", "a", "x@y:z+1"] {
            assert!(is_file_name(name), "{name}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for name in ["", ".", "..", ".hidden", "a/b", "/a", "a\0b", "a b", "ü", "manifest", "a\n", &long] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }

    #[test]
    fn numbers_have_six_digits() {
        assert_eq!(number_name(7).unwrap(), "000007");
        assert!(number_name(0).is_err() && number_name(1_000_000).is_err());
        assert_eq!(parse_number(OsStr::new("000007")), Some(7));
        for name in ["7", "0000007", "000000", "+00007", "00000a", ".tmp-1"] {
            assert_eq!(parse_number(OsStr::new(name)), None, "{name}");
        }
        assert_eq!(parse_id(OsStr::new("1000")), Some(1000));
        assert_eq!(parse_id(OsStr::new("01000")), None);
    }
}
