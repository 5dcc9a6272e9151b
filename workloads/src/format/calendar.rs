//! Calendar stamps as seconds: `2024-02-29T12:30:00` with `T` or a space and an optional fraction. Zones are
//! ignored, because the logs that are read here carry none; only differences are ever used.

use super::decimal::{seconds, whole};
use crate::session::NS_PER_S;

/// Nanoseconds from 1970 by the stamp's own clock, or none if it is no stamp or before 1970.
pub fn stamp_ns(text: &[u8]) -> Option<u64> {
    let [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T' | b' ', h1, h2, b':', mi1, mi2, b':', rest @ ..] =
        text
    else {
        return None;
    };
    let number = |digits: &[u8]| whole(digits).ok();
    let (year, month, day) = (number(&[*y1, *y2, *y3, *y4])?, number(&[*mo1, *mo2])?, number(&[*d1, *d2])?);
    let (hour, minute) = (number(&[*h1, *h2])?, number(&[*mi1, *mi2])?);
    let second_ns = seconds(rest).ok()?;
    let leap_second_end_ns = 61 * NS_PER_S;
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second_ns >= leap_second_end_ns {
        return None;
    }
    let minutes = (days_before(year, month) + day - 1) * 1440 + hour * 60 + minute;
    // Nanoseconds since year 0 would overflow in the year 584; since 1970, in 2554.
    let since_1970 = minutes.checked_sub(days_before(1970, 1) * 1440)?;
    since_1970.checked_mul(60 * NS_PER_S)?.checked_add(second_ns)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the start of year 0 to the first of the month.
fn days_before(year: u64, month: u64) -> u64 {
    let leap_days = if year == 0 { 0 } else { (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 + 1 };
    year * 365 + leap_days + (1..month).map(|earlier| days_in_month(year, earlier)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_agree_with_unix_time() {
        let at = |text: &str| stamp_ns(text.as_bytes()).map(|ns| ns / NS_PER_S);
        assert_eq!(at("1970-01-01T00:00:00"), Some(0));
        assert_eq!(at("2002-07-28T07:04:05"), Some(1_027_839_845));
        assert_eq!(at("2024-02-29 12:00:00"), Some(1_709_208_000));
        assert_eq!(stamp_ns(b"1970-01-01 00:00:01.25"), Some(1_250_000_000));
    }

    #[test]
    fn what_is_no_stamp_is_refused() {
        for text in [
            "",
            "Unknown",
            "2023-02-29T00:00:00",
            "2024-13-01T00:00:00",
            "2024-01-01T24:00:00",
            "1969-12-31T23:59:59",
        ] {
            assert_eq!(stamp_ns(text.as_bytes()), None, "{text}");
        }
    }
}
