//! Where a rule is stated, so that one that is not checked can be named.

use prost_reflect::{DynamicMessage, ReflectMessage};

use crate::Unchecked;

/// Where a rule is stated, to name one that is not checked.
pub(crate) struct Place<'r> {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) unchecked: &'r mut Vec<Unchecked>,
}

impl Place<'_> {
    pub(crate) fn unchecked(&mut self, reason: impl Into<String>) {
        let (file, place) = (self.file.clone(), self.name.clone());
        self.unchecked.push(Unchecked { file, place, reason: reason.into() });
    }

    /// Names what the message has beyond the rules of this release.
    pub(crate) fn only_known(&mut self, rules: &DynamicMessage) {
        if let Some((extension, _)) = rules.extensions().next() {
            let name = extension.full_name().to_owned();
            self.unchecked(format!("the rule {name} is defined by an expression; expected one of the standard rules"));
        }
        if let Some(unknown) = rules.unknown_fields().next() {
            let (number, of) = (unknown.number(), rules.descriptor().full_name().to_owned());
            self.unchecked(format!("the rule with number {number} of {of} is not known; expected a standard rule"));
        }
    }

    pub(crate) fn expression(&mut self) {
        self.unchecked("the rule is an expression (CEL); expected one of the standard rules");
    }
}
