//! What CRIU's images say of the files that a session has open.
//!
//! Those outside the session are not in the image but reopened by path, as they are by then. CRIU insists that each has
//! the size that it had at the dump, which is not so for a log that was written on after an earlier checkpoint, nor for
//! a database that two sessions of a user share; and it has no option against that. So the sizes of files open for
//! writing are taken out of `files.img` before a restore. Those of files open for reading alone stay: among them are
//! libraries, and with another library in place of the one it has mapped a program crashes.
//!
//! A file that was deleted, and of which there is another hard link, gets a new name from CRIU beside the old one
//! (`--link-remap`); `remap-fpath.img` says so.
//!
//! The files are CRIU's: eight bytes of magic, then entries of four bytes of length and a protobuf message
//! (images/fdinfo.proto: file_entry; images/regfile.proto: reg_file_entry; images/remap-file-path.proto).

/// The image with the open files.
pub const FILES: &str = "files.img";
/// The image with those that were deleted.
pub const REMAPS: &str = "remap-fpath.img";
const MAGIC_BYTES: usize = 8;
/// Field of file_entry: the reg_file_entry.
const REG: u64 = 3;
/// Fields of reg_file_entry.
const FLAGS: u64 = 2;
const SIZE: u64 = 8;

/// Field of remap_file_path_entry, and its value when it is not there: the file has another name.
const REMAP_TYPE: u64 = 3;
const LINKED: u64 = 0;

/// The image [`FILES`] without the sizes of files that are open for writing; `None` when it is not as CRIU makes it.
pub fn without_sizes(image: &[u8]) -> Option<Vec<u8>> {
    let mut out = image.get(..MAGIC_BYTES)?.to_vec();
    for entry in entries(image)? {
        let entry = entry_without_size(entry)?;
        out.extend(u32::try_from(entry.len()).ok()?.to_le_bytes());
        out.extend(entry);
    }
    Some(out)
}

/// Whether CRIU has made a name for a file that was deleted, by the image [`REMAPS`]; also when it is not as CRIU
/// makes it.
pub fn has_links(image: &[u8]) -> bool {
    let is_link = |entry: &&[u8]| {
        let kind = fields(entry).find_map(|field| match field {
            Some(Field { number: REMAP_TYPE, payload: Payload::Number(kind), .. }) => Some(kind),
            _ => None,
        });
        kind.is_none_or(|kind| kind == LINKED)
    };
    entries(image).is_none_or(|entries| entries.iter().any(is_link))
}

/// The messages of an image; `None` when it is not as CRIU makes it.
fn entries(image: &[u8]) -> Option<Vec<&[u8]>> {
    let (_, mut rest) = image.split_at_checked(MAGIC_BYTES)?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (entry, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        entries.push(entry);
        rest = after;
    }
    Some(entries)
}

fn entry_without_size(entry: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(entry.len());
    for field in fields(entry) {
        let field = field?;
        match field.payload {
            Payload::Bytes(file) if field.number == REG => {
                let file = file_without_size(file)?;
                out.extend(varint(REG << 3 | WIRE_BYTES));
                out.extend(varint(file.len() as u64));
                out.extend(file);
            }
            _ => out.extend(field.raw),
        }
    }
    Some(out)
}

fn file_without_size(file: &[u8]) -> Option<Vec<u8>> {
    let fields: Vec<Field<'_>> = fields(file).collect::<Option<_>>()?;
    let flags = fields.iter().find_map(|field| match field.payload {
        Payload::Number(flags) if field.number == FLAGS => Some(flags),
        _ => None,
    })?;
    let read_only = flags as i32 & libc::O_ACCMODE == libc::O_RDONLY;
    let kept = fields.iter().filter(|field| read_only || field.number != SIZE);
    Some(kept.flat_map(|field| field.raw).copied().collect())
}

const WIRE_NUMBER: u64 = 0;
const WIRE_EIGHT: u64 = 1;
const WIRE_BYTES: u64 = 2;
const WIRE_FOUR: u64 = 5;

/// A field of a protobuf message.
struct Field<'a> {
    number: u64,
    /// All of it, with its tag.
    raw: &'a [u8],
    payload: Payload<'a>,
}

enum Payload<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message in their order; ends with `None` where it is no message.
fn fields(mut message: &[u8]) -> impl Iterator<Item = Option<Field<'_>>> {
    std::iter::from_fn(move || {
        if message.is_empty() {
            return None;
        }
        let field = first_field(message);
        message = field.as_ref().map_or(&[], |field| &message[field.raw.len()..]);
        Some(field)
    })
}

fn first_field(message: &[u8]) -> Option<Field<'_>> {
    let (tag, after) = read_varint(message)?;
    let (payload, after) = match tag & 7 {
        WIRE_NUMBER => {
            let (number, after) = read_varint(after)?;
            (Payload::Number(number), after)
        }
        WIRE_BYTES => {
            let (length, after) = read_varint(after)?;
            let (bytes, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
            (Payload::Bytes(bytes), after)
        }
        WIRE_EIGHT => (Payload::Other, after.split_at_checked(8)?.1),
        WIRE_FOUR => (Payload::Other, after.split_at_checked(4)?.1),
        _ => return None,
    };
    Some(Field { number: tag >> 3, raw: &message[..message.len() - after.len()], payload })
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * index as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of one regular file with these flags, and a size or not.
    fn image(flags: i32, size: Option<u64>) -> Vec<u8> {
        let mut file = [varint(1 << 3), varint(7), varint(FLAGS << 3), varint(flags as u64)].concat();
        file.extend([varint(6 << 3 | WIRE_BYTES), varint(3), b"a/b".to_vec()].concat());
        file.extend(size.map(|size| [varint(SIZE << 3), varint(size)].concat()).unwrap_or_default());
        file.extend([varint(10 << 3), varint(0o644)].concat());
        let mut entry = [varint(1 << 3), varint(1), varint(2 << 3), varint(300)].concat();
        entry.extend([varint(REG << 3 | WIRE_BYTES), varint(file.len() as u64), file].concat());
        [b"12345678".to_vec(), (entry.len() as u32).to_le_bytes().to_vec(), entry].concat()
    }

    #[test]
    fn sizes_go_where_the_file_is_open_for_writing() {
        for flags in [libc::O_WRONLY, libc::O_RDWR | libc::O_CREAT] {
            assert_eq!(without_sizes(&image(flags, Some(28_672))).unwrap(), image(flags, None));
        }
        let library = image(libc::O_RDONLY, Some(2_000_000));
        assert_eq!(without_sizes(&library).unwrap(), library);
    }

    #[test]
    fn links_are_told_from_other_deleted_files() {
        let image = |kinds: &[Option<u64>]| {
            let mut image = b"12345678".to_vec();
            for kind in kinds {
                let mut entry = [varint(1 << 3), varint(9), varint(2 << 3), varint(300)].concat();
                entry.extend(
                    kind.map(|kind| [varint(REMAP_TYPE << 3), varint(kind)].concat()).unwrap_or_default(),
                );
                image.extend((entry.len() as u32).to_le_bytes());
                image.extend(entry);
            }
            image
        };
        let (ghost, procfs) = (Some(1), Some(2));
        assert!(!has_links(&image(&[])));
        assert!(!has_links(&image(&[ghost, procfs, ghost])));
        assert!(has_links(&image(&[ghost, Some(LINKED)])));
        assert!(has_links(&image(&[None, ghost])), "the oldest CRIUs knew of nothing else");
        assert!(has_links(&image(&[ghost])[..13]), "who knows what is in the rest");
    }

    #[test]
    fn what_is_no_image_is_refused_and_never_panics() {
        let whole = image(libc::O_RDWR, Some(1 << 40));
        for length in 0..whole.len() {
            let cut = without_sizes(&whole[..length]);
            assert_eq!(cut.is_some(), length == MAGIC_BYTES, "{length} bytes");
            let mut flipped = whole.clone();
            flipped[length] ^= 0xff;
            let _ = without_sizes(&flipped);
        }
    }
}
