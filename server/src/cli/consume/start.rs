//! Where `ringmain consume --from` starts.

use jiff::Timestamp;
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
    /// So many records before the end of each partition.
    Last(i64),
    /// An offset.
    Offset(i64),
    /// The first record with this time, in milliseconds since 1970, or a later one.
    Timestamp(i64),
}

impl From {
    /// What it is to the consumer, for a partition that ends at `latest`.
    pub(super) fn start(self, latest: i64) -> Start {
        match self {
            Self::Beginning => Start::At(OffsetSpec::Earliest),
            Self::End => Start::At(OffsetSpec::Latest),
            // Where that is before the first record, the consumer goes to the first.
            Self::Last(count) => Start::Offset(latest.saturating_sub(count).max(0)),
            Self::Offset(offset) => Start::Offset(offset),
            Self::Timestamp(millis) => Start::At(OffsetSpec::Timestamp(millis)),
        }
    }
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "give beginning, end, an offset, -N for N records before the end, or timestamp: \
                      followed by milliseconds since 1970 or a time like 2026-01-31T12:00:00Z";
        let last = text.strip_prefix('-').and_then(|count| count.parse::<i64>().ok());
        if let Some(count) = last.filter(|count| *count > 0) {
            return Ok(Self::Last(count));
        }
        let offset = text.parse::<i64>().ok().filter(|_| !text.starts_with('-'));
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
    let instant = || text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    let millis = text.parse::<i64>().ok().or_else(instant).filter(|millis| *millis >= 0);
    millis.ok_or_else(|| {
        "give milliseconds since 1970 or a time like 2026-01-31T12:00:00Z, at or after 1970".to_owned()
    })
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
        assert_eq!("-10".parse(), Ok(From::Last(10)));
        for wrong in ["", "-0", "--1", "-x", "start", "timestamp:", "timestamp:-5", "timestamp:yesterday"] {
            assert!(wrong.parse::<From>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_known_milliseconds() {
        for (text, millis) in [
            ("0", Some(0)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600_000)),
            ("2026-01-31T12:00:00.5+01:00", Some(1_769_857_200_500)),
            ("2026-01-31t12:00:00-01:30", Some(1_769_866_200_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2023-01-01T25:00:00Z", None),
            ("2023-01-01T00:00:00", None),
            ("2023-1-1T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2023-01-01T00:00:00Zulu", None),
        ] {
            assert_eq!(time_millis(text).ok(), millis, "{text}");
        }
    }

    #[test]
    fn the_last_records_start_so_many_before_the_end() {
        assert_eq!(From::Last(10).start(15), Start::Offset(5));
        assert_eq!(From::Last(10).start(3), Start::Offset(0));
    }
}
