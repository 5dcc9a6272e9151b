//! Numbers that are checked while they are read, so that an error in a TOML file carries the line of the
//! number. For `#[serde(deserialize_with = ...)]` only.

use serde::de::{Deserialize, Deserializer, Error};

/// A finite number above 0.
pub fn positive<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    accept(input, "must be a finite number above 0", |x| x > 0.0)
}

/// A finite number of 0 or more.
pub fn non_negative<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    accept(input, "must be a finite number of 0 or more", |x| x >= 0.0)
}

/// A number above 0 and at most 1.
pub fn share<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    accept(input, "must be above 0 and at most 1", |x| x > 0.0 && x <= 1.0)
}

/// A finite number of 1 or more.
pub fn at_least_one<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    accept(input, "must be a finite number of 1 or more", |x| x >= 1.0)
}

fn accept<'de, D: Deserializer<'de>>(
    input: D,
    rule: &str,
    ok: impl Fn(f64) -> bool,
) -> Result<f64, D::Error> {
    let number = f64::deserialize(input)?;
    if number.is_finite() && ok(number) { Ok(number) } else { Err(Error::custom(format!("{number} {rule}"))) }
}
