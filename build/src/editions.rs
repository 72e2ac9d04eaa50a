//! Contracts of protobuf editions: lowered to what the parser and prost know, or refused with file, line and reason.
//!
//! The parser and prost know `proto2` and `proto3` only. A file of an edition is first spelled in the grammar of
//! `proto2`, on the same lines (`rewrite`); then its features become labels, types and options of descriptors (`lower`).

use std::fmt;

use prost_types::FileDescriptorProto;

mod features;
mod lower;
mod rewrite;
mod scan;

/// The editions that are known.
const KNOWN: [&str; 2] = ["2023", "2024"];

/// Why a file of an edition is refused.
pub(crate) struct Refused {
    file: String,
    /// Counted from 1.
    line: usize,
    reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.reason)
    }
}

/// The compiler shows the errors of others in this form.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Refused {}

/// Reads a file of an edition; none if the file states no edition.
///
/// # Errors
/// The edition, or something in the file, is not known or cannot be lowered; or the file cannot be parsed.
pub(crate) fn parse(
    name: &str,
    source: &str,
) -> Result<Option<FileDescriptorProto>, Box<dyn std::error::Error + Send + Sync>> {
    let refused = |(line, reason): (usize, String)| Refused { file: name.to_owned(), line, reason };
    let Some(edition) = rewrite::edition(source) else { return Ok(None) };
    if !KNOWN.contains(&edition.value.as_str()) {
        let reason = format!("edition {} is not known; expected {}", edition.value, KNOWN.join(" or "));
        return Err(refused((edition.line, reason)).into());
    }
    let mut file = protox_parse::parse(name, &rewrite::as_proto2(source, &edition))?;
    lower::lower(&mut file).map_err(refused)?;
    Ok(Some(file))
}
