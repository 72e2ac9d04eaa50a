//! Settings that are one word of several. The configuration library would not say which words there are.

use serde::de::value::StringDeserializer;
use serde::de::{Deserialize, Deserializer, IntoDeserializer};

/// Reads one of the words of an enum; the message of a failure lists them.
pub(super) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    let word: StringDeserializer<D::Error> = String::deserialize(deserializer)?.into_deserializer();
    T::deserialize(word)
}

/// The same of a setting that can be left out.
pub(super) mod optional {
    use super::{Deserialize, Deserializer};

    pub(in crate::configuration) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}
