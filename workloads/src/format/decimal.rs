//! Numbers in text, read and written exactly: seconds with up to nine decimals are whole nanoseconds, so
//! no `f64` comes between a file and a trace. It must not know which column a number is in.

use super::lines::quoted;
use crate::session::NS_PER_S;
use std::io::{self, Write};

/// A whole number of 0 or more.
pub fn whole(field: &[u8]) -> Result<u64, String> {
    if field.is_empty() {
        return Err("is empty".into());
    }
    let mut number: u64 = 0;
    for &byte in field {
        if !byte.is_ascii_digit() {
            return Err(match field[0] {
                b'-' => format!("{} is negative", quoted(field)),
                _ => format!("{} is not a whole number", quoted(field)),
            });
        }
        let digit = u64::from(byte - b'0');
        number = number
            .checked_mul(10)
            .and_then(|n| n.checked_add(digit))
            .ok_or_else(|| format!("{} is too large", quoted(field)))?;
    }
    Ok(number)
}

/// A whole number of 0 or more that fits 32 bits.
pub fn whole_u32(field: &[u8]) -> Result<u32, String> {
    u32::try_from(whole(field)?).map_err(|_| format!("{} is too large", quoted(field)))
}

/// Seconds of 0 or more with up to nine decimals, as nanoseconds.
pub fn seconds(field: &[u8]) -> Result<u64, String> {
    scaled(field, NS_PER_S)
}

/// A decimal number of 0 or more in units of `unit_ns` nanoseconds, as nanoseconds. Decimals beyond the
/// ninth are an error, since they would be lost.
pub fn scaled(field: &[u8], unit_ns: u64) -> Result<u64, String> {
    let too_large = || format!("{} is too large", quoted(field));
    let (integer, fraction) = match field.iter().position(|&byte| byte == b'.') {
        Some(point) => (&field[..point], &field[point + 1..]),
        None => (field, &b"0"[..]),
    };
    let whole_units = whole(integer).map_err(|_| not_decimal(field))?;
    if fraction.len() > 9 {
        return Err(format!("{} has more than nine decimals", quoted(field)));
    }
    let digits = whole(fraction).map_err(|_| not_decimal(field))?;
    // At most 10^9 - 1 times a unit: u128 cannot overflow.
    let part = u128::from(digits) * u128::from(unit_ns) / 10_u128.pow(fraction.len() as u32);
    let part = u64::try_from(part).map_err(|_| too_large())?;
    whole_units.checked_mul(unit_ns).and_then(|ns| ns.checked_add(part)).ok_or_else(too_large)
}

fn not_decimal(field: &[u8]) -> String {
    match field.first() {
        None => "is empty".into(),
        Some(b'-') => format!("{} is negative", quoted(field)),
        Some(_) => format!("{} is not a decimal number", quoted(field)),
    }
}

/// Writes nanoseconds as seconds, without needless zeros.
pub fn write_seconds(out: &mut impl Write, ns: u64) -> io::Result<()> {
    let (whole, mut fraction) = (ns / NS_PER_S, ns % NS_PER_S);
    if fraction == 0 {
        return write!(out, "{whole}");
    }
    let mut width = 9;
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        width -= 1;
    }
    write!(out, "{whole}.{fraction:0width$}")
}
