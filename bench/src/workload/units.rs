//! Sizes and times in workload files: a number, or a text with a unit. In JSON they are numbers.

use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::quantity::{parse_bytes, parse_duration};

/// A number of bytes: `4096`, `"64KiB"`, `"1GB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u64);

/// A time: `10`, `0.5`, `"250ms"`, `"2m"`; seconds as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Duration);

impl Time {
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    pub(crate) fn as_secs_f64(self) -> f64 {
        self.0.as_secs_f64()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(self.0)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_f64(self.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NumberOrText { expecting: "bytes, such as 4096 or \"64KiB\"" }).and_then(
            |found| match found {
                Found::Number(number) if number >= 0.0 && number.fract() == 0.0 => Ok(Self(number as u64)),
                Found::Number(number) => {
                    Err(D::Error::invalid_value(Unexpected::Float(number), &"a whole number of bytes"))
                }
                Found::Text(text) => parse_bytes(&text).map(Self).map_err(D::Error::custom),
            },
        )
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let found =
            from.deserialize_any(NumberOrText { expecting: "a time, such as 10, \"250ms\" or \"2m\"" })?;
        match found {
            Found::Number(number) => Duration::try_from_secs_f64(number).map(Self).map_err(D::Error::custom),
            Found::Text(text) if text.starts_with('0') && text.parse::<f64>() == Ok(0.0) => {
                Ok(Self(Duration::ZERO))
            }
            Found::Text(text) => parse_duration(&text).map(Self).map_err(D::Error::custom),
        }
    }
}

enum Found {
    Number(f64),
    Text(String),
}

struct NumberOrText {
    expecting: &'static str,
}

impl Visitor<'_> for NumberOrText {
    type Value = Found;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.expecting)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Found, E> {
        Ok(Found::Number(value as f64))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Found, E> {
        Ok(Found::Number(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Found, E> {
        Ok(Found::Number(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Found, E> {
        Ok(Found::Text(value.to_owned()))
    }
}
