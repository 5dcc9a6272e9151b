//! CRIU's small files in one file of the image: there are hundreds, a few KiB each, and a network file system takes
//! longer to make each of them than to write them all.
//!
//! For each file: length of its name (u16, little-endian) and of its content (u32, little-endian), name, content.

use std::collections::BTreeMap;

/// The bundle's name in the image.
pub const NAME: &str = "criu.bundle";

/// The files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// All files in one. `None` if a name or a content is too long for the format.
pub fn join(files: &Files) -> Option<Vec<u8>> {
    let mut bundle = Vec::new();
    for (name, content) in files {
        bundle.extend(u16::try_from(name.len()).ok()?.to_le_bytes());
        bundle.extend(u32::try_from(content.len()).ok()?.to_le_bytes());
        bundle.extend(name.as_bytes());
        bundle.extend(content);
    }
    Some(bundle)
}

/// The files of a bundle; `None` if it is none.
pub fn split(mut bundle: &[u8]) -> Option<Files> {
    let mut files = Files::new();
    while !bundle.is_empty() {
        let (name_length, rest) = bundle.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*name_length).into())?;
        let (content, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        files.insert(String::from_utf8(name.to_vec()).ok()?, content.to_vec());
        bundle = rest;
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_joined_is_split_again(
            files in proptest::collection::btree_map(".{0,20}", proptest::collection::vec(any::<u8>(), 0..300), 0..9)
        ) {
            prop_assert_eq!(split(&join(&files).unwrap()), Some(files));
        }

        #[test]
        fn what_is_no_bundle_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = split(&bytes);
        }
    }

    #[test]
    fn a_bundle_that_was_cut_is_none() {
        let files = Files::from([("core-1.img".into(), vec![7; 40]), ("mm-1.img".into(), vec![8; 3])]);
        let whole = join(&files).unwrap();
        let one = 2 + 4 + "core-1.img".len() + 40;
        for length in 0..whole.len() {
            assert_eq!(split(&whole[..length]).is_some(), length == 0 || length == one, "{length} bytes");
        }
    }
}
