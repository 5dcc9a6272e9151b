//! Turning a chunk's content into the bytes that are kept, and back. No keys, no files.
//!
//! Decoding must only ever see bytes that were authenticated before: it calls into C.

use stasis_contract::Compression;
use std::io;

/// How one chunk is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Encoding {
    /// As it is: it would not compress, or should not.
    Raw = 0,
    /// One LZ4 block.
    Lz4 = 1,
    /// One Zstandard frame.
    Zstd = 2,
    /// Nothing but zeros, of which nothing is kept.
    Zero = 3,
}

/// Zstandard's level. See the table in the crate's documentation.
const ZSTD_LEVEL: i32 = 1;
/// A chunk is kept compressed only if that saves one part in this many; else decoding costs more than it saves.
const SAVING_PART: usize = 16;
/// Zeros are looked for in blocks of this many bytes, so that other content is left at once.
const ZERO_BLOCK: usize = 4096;

impl Encoding {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Raw, Self::Lz4, Self::Zstd, Self::Zero].into_iter().find(|encoding| *encoding as u8 == byte)
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZERO_BLOCK).all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0)
}

/// Compresses chunks, one at a time. One per thread.
pub(crate) struct Encoder {
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self { zstd: None }
    }

    /// Encodes `plain`, into `out` unless it is kept raw or not at all. Returns how, and the bytes in `out`.
    /// `out` must be as long as `plain` at least.
    pub(crate) fn encode(
        &mut self,
        compression: Compression,
        plain: &[u8],
        out: &mut [u8],
    ) -> io::Result<(Encoding, usize)> {
        if is_zero(plain) {
            return Ok((Encoding::Zero, 0));
        }
        let room = plain.len() - plain.len().div_ceil(SAVING_PART);
        let out = &mut out[..room];
        // An error of the compressors says that the result does not fit, which is what `room` is for.
        let (encoding, length) = match compression {
            Compression::None => (Encoding::Raw, None),
            Compression::Lz4 => (Encoding::Lz4, lz4::block::compress_to_buffer(plain, None, false, out).ok()),
            Compression::Zstd => (Encoding::Zstd, self.zstd()?.compress_to_buffer(plain, out).ok()),
        };
        Ok(length.map_or((Encoding::Raw, plain.len()), |length| (encoding, length)))
    }

    fn zstd(&mut self) -> io::Result<&mut zstd::bulk::Compressor<'static>> {
        if self.zstd.is_none() {
            self.zstd = Some(zstd::bulk::Compressor::new(ZSTD_LEVEL)?);
        }
        Ok(self.zstd.as_mut().expect("was just made"))
    }
}

/// Decompresses chunks, one at a time. One per thread.
pub(crate) struct Decoder {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { zstd: None }
    }

    /// Decodes compressed bytes that were authenticated; the result must fill `plain` exactly.
    pub(crate) fn decode(&mut self, encoding: Encoding, stored: &[u8], plain: &mut [u8]) -> io::Result<()> {
        let length = match encoding {
            Encoding::Raw | Encoding::Zero => return Err(io::Error::other("not a compressed chunk")),
            Encoding::Lz4 => {
                let size = i32::try_from(plain.len()).map_err(io::Error::other)?;
                lz4::block::decompress_to_buffer(stored, Some(size), plain)?
            }
            Encoding::Zstd => self.zstd()?.decompress_to_buffer(stored, plain)?,
        };
        if length == plain.len() {
            Ok(())
        } else {
            Err(io::Error::other("a chunk decodes to another length"))
        }
    }

    fn zstd(&mut self) -> io::Result<&mut zstd::bulk::Decompressor<'static>> {
        if self.zstd.is_none() {
            self.zstd = Some(zstd::bulk::Decompressor::new()?);
        }
        Ok(self.zstd.as_mut().expect("was just made"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_is_encoded_decodes(
            seed in proptest::collection::vec(any::<u8>(), 1..300),
            repeat in 1usize..60,
            zstd in any::<bool>(),
        ) {
            let plain = seed.repeat(repeat);
            let compression = if zstd { Compression::Zstd } else { Compression::Lz4 };
            let mut out = vec![0; plain.len()];
            let (encoding, length) = Encoder::new().encode(compression, &plain, &mut out).unwrap();
            prop_assert!(length <= plain.len());
            match encoding {
                Encoding::Zero => prop_assert!(plain.iter().all(|byte| *byte == 0)),
                Encoding::Raw => prop_assert_eq!(length, plain.len()),
                _ => {
                    let mut back = vec![0; plain.len()];
                    Decoder::new().decode(encoding, &out[..length], &mut back).unwrap();
                    prop_assert_eq!(back, plain);
                }
            }
        }
    }

    #[test]
    fn each_kind_of_content_gets_its_encoding() {
        let mut out = vec![0; 8192];
        let mut encode =
            |compression, plain: &[u8]| Encoder::new().encode(compression, plain, &mut out).unwrap();
        assert_eq!(encode(Compression::Lz4, &[0; 8192]), (Encoding::Zero, 0));
        assert_eq!(encode(Compression::None, &[0; 8192]), (Encoding::Zero, 0));
        assert_eq!(encode(Compression::None, &[1; 8192]), (Encoding::Raw, 8192));
        assert_eq!(encode(Compression::Lz4, &[1; 8192]).0, Encoding::Lz4);
        assert_eq!(encode(Compression::Zstd, &[1; 8192]).0, Encoding::Zstd);
        let noise: Vec<u8> = (0..8192u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(encode(Compression::Lz4, &noise[..300]), (Encoding::Raw, 300));
        assert_eq!(encode(Compression::Lz4, &[7]), (Encoding::Raw, 1));
        let mut late = [0; 8192];
        late[8191] = 1;
        assert_ne!(encode(Compression::Lz4, &late).0, Encoding::Zero);
    }
}
