//! Where `ringmain consume --from` starts.

use std::str::FromStr;

use ringmain_client::consumer::Start;
use ringmain_client::offsets::OffsetSpec;

/// The value of `--from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// The earliest record.
    Beginning,
    /// Behind the last record.
    End,
    /// An offset.
    Offset(i64),
    /// The first record with this time, in milliseconds since 1970, or a later one.
    Timestamp(i64),
}

impl From {
    /// What it is to the consumer.
    pub(super) fn start(self) -> Start {
        match self {
            Self::Beginning => Start::At(OffsetSpec::Earliest),
            Self::End => Start::At(OffsetSpec::Latest),
            Self::Offset(offset) => Start::Offset(offset),
            Self::Timestamp(millis) => Start::At(OffsetSpec::Timestamp(millis)),
        }
    }
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "give beginning, end, an offset, or timestamp: followed by milliseconds \
                      since 1970 or a time like 2026-01-31T12:00:00Z";
        let offset = text.parse::<i64>().ok().filter(|offset| *offset >= 0);
        match (text, offset, text.strip_prefix("timestamp:")) {
            ("beginning", ..) => Ok(Self::Beginning),
            ("end", ..) => Ok(Self::End),
            (_, Some(offset), _) => Ok(Self::Offset(offset)),
            (_, _, Some(time)) => time_millis(time).map(Self::Timestamp).map_err(|_| wanted.to_owned()),
            _ => Err(wanted.to_owned()),
        }
    }
}

/// A time: milliseconds since 1970, or like `2026-01-31T12:00:00Z`.
pub(crate) fn time_millis(text: &str) -> Result<i64, String> {
    let millis = text.parse::<i64>().ok().filter(|millis| *millis >= 0);
    let millis = millis.or_else(|| millis_of_rfc3339(text));
    millis.ok_or_else(|| {
        "give milliseconds since 1970 or a time like 2026-01-31T12:00:00Z, at or after 1970".to_owned()
    })
}

/// Milliseconds since 1970 of a time like `2026-01-31T12:00:00.5+01:00`; none for other texts
/// and for times before 1970.
fn millis_of_rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone_at);
    let (year, rest) = date.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
    let (hour_minute, seconds) = time.rsplit_once(':')?;
    let (hour, minute) = hour_minute.split_once(':')?;
    let (hour, minute) = (number(hour, 2)?, number(minute, 2)?);
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let second = number(second, 2)?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days_max = *month_days.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    // 60 is a leap second; it is taken for the first second after it.
    if !(1..=days_max).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis =
        fraction.bytes().chain(*b"00").take(3).fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0'));
    let zone_minutes = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign, offset) => {
            let (hours, minutes) = offset.split_once(':')?;
            let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if sign == "-" { -1 } else { 1 }
        }
    };
    let days_of_months: i64 = month_days[..(month - 1) as usize].iter().sum();
    let days = days_before_year(year) - days_before_year(1970) + days_of_months + day - 1;
    let seconds = ((days * 24 + hour) * 60 + minute - zone_minutes) * 60 + second;
    Some(seconds * 1000 + millis).filter(|millis| *millis >= 0)
}

/// Days from the start of year 1 to the start of this year.
fn days_before_year(year: i64) -> i64 {
    let before = year - 1;
    before * 365 + before / 4 - before / 100 + before / 400
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let valid = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        assert_eq!("beginning".parse(), Ok(From::Beginning));
        assert_eq!("end".parse(), Ok(From::End));
        assert_eq!("42".parse(), Ok(From::Offset(42)));
        assert_eq!("timestamp:1700000000123".parse(), Ok(From::Timestamp(1_700_000_000_123)));
        assert_eq!("timestamp:2023-11-14T22:13:20.123Z".parse(), Ok(From::Timestamp(1_700_000_000_123)));
        for wrong in ["", "-1", "start", "timestamp:", "timestamp:-5", "timestamp:yesterday"] {
            assert!(wrong.parse::<From>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_known_milliseconds() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600_000)),
            ("2024-12-31T23:59:60Z", Some(1_735_689_600_000)),
            ("2026-01-31T12:00:00.5+01:00", Some(1_769_857_200_500)),
            ("2026-01-31t12:00:00-01:30", Some(1_769_866_200_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2023-13-01T00:00:00Z", None),
            ("2023-01-01T24:00:00Z", None),
            ("2023-01-01T00:00:00", None),
            ("2023-01-01T00:00:00.Z", None),
            ("2023-1-1T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2023-01-01T00:00:00Zulu", None),
        ] {
            assert_eq!(millis_of_rfc3339(text), millis, "{text}");
        }
    }
}
