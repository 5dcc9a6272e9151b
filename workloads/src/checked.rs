//! Numbers that are checked while they are read, so that an error in a TOML file carries the line of the
//! number and not just the name of the table. For `#[serde(deserialize_with = ...)]` only.

use serde::de::{Deserialize, Deserializer, Error};

/// A finite number above 0.
///
/// # Errors
/// Anything else.
pub fn positive<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    accept(input, "must be a finite number above 0", |x| x > 0.0)
}

/// A finite number of 0 or more.
///
/// # Errors
/// Anything else.
pub fn non_negative<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    accept(input, "must be a finite number of 0 or more", |x| x >= 0.0)
}

/// A number from 0 to 1.
///
/// # Errors
/// Anything else.
pub fn fraction<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    accept(input, "must be a number from 0 to 1", |x| (0.0..=1.0).contains(&x))
}

fn accept<'de, D: Deserializer<'de>>(
    input: D,
    rule: &str,
    ok: impl Fn(f64) -> bool,
) -> Result<f64, D::Error> {
    let number = f64::deserialize(input)?;
    if number.is_finite() && ok(number) { Ok(number) } else { Err(Error::custom(format!("{number} {rule}"))) }
}
