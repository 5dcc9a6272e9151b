//! The manifest's text: a first line that authenticates, then JSON. Nothing is parsed before it is authentic.
//!
//! The first line is `stasis-image <format> <keyed BLAKE3 in hexadecimal>`; what is authenticated is that
//! line without the last word, and everything after it. No I/O here.

use crate::key::Key;
use crate::refusal::Refusal;
use stasis_contract::{FORMAT_VERSION, Manifest};

/// Longest manifest, in bytes, that is written or read.
pub(crate) const MANIFEST_BYTES_MAX: usize = 16 << 20;
/// First word of every manifest.
const MAGIC: &str = "stasis-image";
/// Longest first line, in bytes.
const LINE_BYTES_MAX: usize = 128;

/// The manifest as it stands in the store.
pub(crate) fn write(manifest: &Manifest, key: &Key) -> Vec<u8> {
    let json = serde_json::to_vec_pretty(manifest).expect("a manifest has only what JSON can say");
    let mut text = first_line(manifest.format, &authenticate(key, manifest.format, &json)).into_bytes();
    text.extend(json);
    text.push(b'\n');
    text
}

/// The first line, in the one way in which it is written.
fn first_line(format: u32, mac: &blake3::Hash) -> String {
    format!("{MAGIC} {format} {}\n", mac.to_hex())
}

/// The final newline is left out here and demanded by [`split`].
fn authenticate(key: &Key, format: u32, json: &[u8]) -> blake3::Hash {
    key.manifest_hasher().update(format!("{MAGIC} {format}\n").as_bytes()).update(json).finalize()
}

/// What the first line claims.
struct Claim<'a> {
    line: &'a [u8],
    format: u32,
    mac: blake3::Hash,
    json: &'a [u8],
}

fn split(text: &[u8]) -> Result<Claim<'_>, Refusal> {
    let malformed = |what: &str| Refusal::Malformed(what.into());
    let start = &text[..text.len().min(LINE_BYTES_MAX)];
    let length = start.iter().position(|byte| *byte == b'\n').ok_or_else(|| malformed("no first line"))? + 1;
    let (line, json) = text.split_at(length);
    let words =
        std::str::from_utf8(&line[..length - 1]).map_err(|_| malformed("no text in its first line"))?;
    let mut words = words.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(malformed("it does not begin with `stasis-image`"));
    }
    let format: u32 = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| malformed("no format in its first line"))?;
    if format > FORMAT_VERSION {
        return Err(Refusal::Newer { found: format, known: FORMAT_VERSION });
    }
    if format != FORMAT_VERSION {
        return Err(Refusal::Malformed(format!("there is no format {format}")));
    }
    let mac = words.next().and_then(|word| blake3::Hash::from_hex(word).ok());
    let mac = mac.ok_or_else(|| malformed("no authentication in its first line"))?;
    let json = json.strip_suffix(b"\n").ok_or_else(|| malformed("its last line is cut off"))?;
    Ok(Claim { line, format, mac, json })
}

fn parse(json: &[u8]) -> Result<Manifest, Refusal> {
    let manifest: Manifest =
        serde_json::from_slice(json).map_err(|error| Refusal::Malformed(error.to_string()))?;
    if manifest.format != FORMAT_VERSION {
        return Err(Refusal::Malformed(format!("it says format {} inside", manifest.format)));
    }
    Ok(manifest)
}

/// Authenticates a manifest and reads it.
pub(crate) fn verify(text: &[u8], key: &Key) -> Result<Manifest, Refusal> {
    let claim = split(text)?;
    let mac = authenticate(key, claim.format, claim.json);
    // The first comparison takes the same time wherever they differ; the second allows one spelling only.
    if mac != claim.mac || first_line(claim.format, &mac).as_bytes() != claim.line {
        return Err(Refusal::Edited("its manifest".into()));
    }
    parse(claim.json)
}

/// Reads a manifest without authenticating it, for display.
pub(crate) fn peek(text: &[u8]) -> Result<Manifest, Refusal> {
    parse(split(text)?.json)
}
