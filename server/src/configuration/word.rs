//! Settings that are one word of several. The configuration library would not say which words there are.
//!
//! For a field of an enum: `#[serde(deserialize_with = "server::configuration::word::deserialize")]`.

use serde::de::value::StringDeserializer;
use serde::de::{Deserialize, Deserializer, IntoDeserializer};

/// Reads one of the words of an enum; the message of a failure lists them.
///
/// # Errors
/// It is not one of them.
pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    let word: StringDeserializer<D::Error> = String::deserialize(deserializer)?.into_deserializer();
    T::deserialize(word)
}

/// The same of a setting that can be left out, which needs `#[serde(default)]`.
pub mod optional {
    use super::{Deserialize, Deserializer};

    /// Reads one of the words of an enum.
    ///
    /// # Errors
    /// It is not one of them.
    pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use config::{Value, ValueKind};

    use crate::configuration::Own;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Carrier {
        Train,
        Ship,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Settings {
        #[serde(deserialize_with = "super::deserialize")]
        carrier: Carrier,
        #[serde(default, deserialize_with = "super::optional::deserialize")]
        other: Option<Carrier>,
    }

    fn own(carrier: &str) -> Own {
        let table = [(String::from("carrier"), Value::new(None, carrier))].into_iter().collect();
        Own(Value::new(None, ValueKind::Table(table)))
    }

    #[test]
    fn a_word_of_a_teams_own_settings_is_told_with_those_that_there_are() {
        assert_eq!(own("ship").read::<Settings>().unwrap(), Settings { carrier: Carrier::Ship, other: None });
        let mistake = own("pigeon").read::<Settings>().unwrap_err();
        let expected = "own.carrier: unknown variant `pigeon`, expected `train` or `ship`";
        assert!(mistake.to_string().starts_with(expected), "{mistake}");
    }
}
