//! Durations as people write them, such as `90s`, `5m` or `1h 30m`.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serializer, de};

/// Reads a duration; the message of a failure says what was expected.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is no duration; expected one such as `90s`, `5m` or `1h 30m`");
    let signed: SignedDuration = text.parse().map_err(|_| expected())?;
    Duration::try_from(signed).map_err(|_| expected())
}

/// Writes a duration so that [`parse`] reads the same one.
pub(crate) fn format(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| String::from("too long"), |signed| format!("{signed:#}"))
}

pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}
