//! Files outside the session that it has open for writing.
//!
//! They are not in the image but reopened by path, as they are by then. CRIU insists that each has the size that it
//! had at the dump, which is not so for a log that was written on after an earlier checkpoint, nor for a database
//! that two sessions of a user share; and it has no option against that. So the sizes are taken out of `files.img`
//! before a restore. Those of files open for reading alone stay: among them are libraries, and with another
//! library in place of the one it has mapped a program crashes.
//!
//! The file is CRIU's: eight bytes of magic, then entries of four bytes of length and a protobuf message
//! (images/fdinfo.proto: file_entry; images/regfile.proto: reg_file_entry).

/// The image that this is about.
pub const FILES: &str = "files.img";
const MAGIC_BYTES: usize = 8;
/// Field of file_entry: the reg_file_entry.
const REG: u64 = 3;
/// Fields of reg_file_entry.
const FLAGS: u64 = 2;
const SIZE: u64 = 8;

/// The image without the sizes of files that are open for writing; `None` when it is not as CRIU makes it.
pub fn without_sizes(image: &[u8]) -> Option<Vec<u8>> {
    let (magic, mut rest) = image.split_at_checked(MAGIC_BYTES)?;
    let mut out = magic.to_vec();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (entry, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let entry = entry_without_size(entry)?;
        out.extend(u32::try_from(entry.len()).ok()?.to_le_bytes());
        out.extend(entry);
        rest = after;
    }
    Some(out)
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
