//! Durations and sizes as people write them: `90s`, `5m`, `1h30m`, `64M`, `1.5GiB`.

use thiserror::Error;

/// Why a duration or a size could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// A sign was given; neither a duration nor a size can be negative.
    #[error("`{0}` is negative")]
    Negative(String),
    /// There is a number without a unit where a unit is required, or the unit is unknown.
    #[error("`{0}` is not a duration such as 90s, 5m, 1h30m or 2d")]
    Duration(String),
    /// Not a size.
    #[error("`{0}` is not a size such as 64M, 1.5GiB or 4096")]
    Bytes(String),
    /// The value does not fit.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

/// Reads a duration in whole seconds. A bare number means seconds, as in Slurm's `--signal`.
///
/// # Errors
/// When the text is empty, negative, has an unknown unit, repeats a unit or puts a smaller one first, or
/// overflows.
pub fn parse_duration_s(text: &str) -> Result<u32, UnitError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(UnitError::Empty);
    }
    if text.starts_with('-') {
        return Err(UnitError::Negative(text.into()));
    }
    let bad = || UnitError::Duration(text.into());
    let large = || UnitError::TooLarge(text.into());
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_err(|_| large());
    }
    let (mut total, mut rest, mut last_unit_s) = (0u64, text, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = match rest.get(..digits) {
            Some("") | None => return Err(bad()),
            Some(digits) => digits.parse().map_err(|_| large())?,
        };
        let unit = rest[digits..].chars().next().ok_or_else(bad)?;
        let unit_s = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(bad()),
        };
        if unit_s >= last_unit_s {
            return Err(bad());
        }
        last_unit_s = unit_s;
        total = number.checked_mul(unit_s).and_then(|s| total.checked_add(s)).ok_or_else(large)?;
        rest = &rest[digits + 1..];
    }
    u32::try_from(total).map_err(|_| large())
}

/// Reads a size in bytes. `K`, `M`, `G`, `T` (with or without `B` or `iB`) are powers of 1024, as in Slurm.
///
/// # Errors
/// When the text is empty, negative, not a number with a known unit, or overflows.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(UnitError::Empty);
    }
    if text.starts_with('-') {
        return Err(UnitError::Negative(text.into()));
    }
    let bad = || UnitError::Bytes(text.into());
    let number_len = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(number_len);
    let unit = unit.trim().trim_end_matches(['B', 'b']).trim_end_matches('i');
    let shift = match unit {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return Err(bad()),
    };
    let large = || UnitError::TooLarge(text.into());
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(large);
    }
    let value: f64 = number.parse().map_err(|_| bad())?;
    let bytes = value * (1u64 << shift) as f64;
    if bytes >= 9e18 { Err(large()) } else { Ok(bytes as u64) }
}

/// Writes a size for people: `1.4 GiB`.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Writes seconds for people: `0.84 s`, `12.1 s`, `3m 05s`, `2h 10m`.
pub fn format_seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3_600.0 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3_600, whole % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_written() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5_400), ("2d", 172_800)] {
            assert_eq!(parse_duration_s(text), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn durations_that_make_no_sense_are_refused() {
        assert_eq!(parse_duration_s(""), Err(UnitError::Empty));
        assert_eq!(parse_duration_s("-5m"), Err(UnitError::Negative("-5m".into())));
        for text in ["5x", "m", "5m3", "1m1h", "1s1s", "5 m", "1.5h", "é"] {
            assert!(matches!(parse_duration_s(text), Err(UnitError::Duration(_))), "{text}");
        }
        assert!(matches!(parse_duration_s("99999999d"), Err(UnitError::TooLarge(_))));
    }

    #[test]
    fn sizes_read_as_written() {
        for (text, bytes) in
            [("4096", 4096), ("1K", 1024), ("64M", 64 << 20), ("1.5GiB", 3 << 29), ("2TB", 2 << 40)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "-1", "x", "1P", "1..5G", "99999999999999999999"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            let _ = parse_duration_s(&text);
            let _ = parse_bytes(&text);
        }

        #[test]
        fn whole_seconds_round_trip(d in 0u32..100, h in 0u32..24, m in 0u32..60, s in 0u32..60) {
            let want = d * 86_400 + h * 3_600 + m * 60 + s;
            prop_assert_eq!(parse_duration_s(&format!("{d}d{h}h{m}m{s}s")), Ok(want));
        }
    }
}
