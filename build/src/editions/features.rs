//! The features of an edition, and how they are stated and inherited.

use prost_types::UninterpretedOption;

/// What decides how a field is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features {
    pub(super) presence: Presence,
    pub(super) closed_enum: bool,
    pub(super) packed: bool,
    pub(super) delimited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Explicit,
    Implicit,
    Required,
}

/// The defaults of editions 2023 and 2024, which are the same for what is read here.
pub(super) const DEFAULTS: Features =
    Features { presence: Presence::Explicit, closed_enum: false, packed: true, delimited: false };

impl Features {
    /// These features with what the options state. The options that state features are taken out.
    pub(super) fn stated(mut self, options: &mut Vec<UninterpretedOption>) -> Result<Self, String> {
        for option in options.extract_if(.., |option| is_feature(option)) {
            self.state(&option)?;
        }
        Ok(self)
    }

    fn state(&mut self, option: &UninterpretedOption) -> Result<(), String> {
        match option.name.get(1) {
            // Of one language each, and not ours.
            Some(part) if part.is_extension => Ok(()),
            Some(part) => self.set(&part.name_part, option.identifier_value()),
            None => {
                let mut words = option.aggregate_value().split(|c: char| !c.is_alphanumeric() && c != '_');
                let words: Vec<&str> = words.by_ref().filter(|word| !word.is_empty()).collect();
                for pair in words.chunks(2) {
                    let [name, value] = pair else { return Err(String::from("features have no value")) };
                    self.set(name, value)?;
                }
                Ok(())
            }
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match (name, value) {
            ("field_presence", "EXPLICIT") => self.presence = Presence::Explicit,
            ("field_presence", "IMPLICIT") => self.presence = Presence::Implicit,
            ("field_presence", "LEGACY_REQUIRED") => self.presence = Presence::Required,
            ("enum_type", "OPEN") => self.closed_enum = false,
            ("enum_type", "CLOSED") => self.closed_enum = true,
            ("repeated_field_encoding", "PACKED") => self.packed = true,
            ("repeated_field_encoding", "EXPANDED") => self.packed = false,
            ("message_encoding", "LENGTH_PREFIXED") => self.delimited = false,
            ("message_encoding", "DELIMITED") => self.delimited = true,
            // Strings are always held to UTF-8 here, which is the stricter reading.
            ("utf8_validation", "VERIFY" | "NONE") => {}
            ("json_format", "ALLOW" | "LEGACY_BEST_EFFORT") => {}
            // These are rules for who writes contracts.
            ("enforce_naming_style" | "default_symbol_visibility" | "enforce_proto_limits", _) => {}
            _ => return Err(format!("feature {name} = {value} is not known")),
        }
        Ok(())
    }
}

fn is_feature(option: &UninterpretedOption) -> bool {
    option.name.first().is_some_and(|part| part.name_part == "features" && !part.is_extension)
}
