//! Messages given on the command line.

use std::io::Read;

use super::super::exit::CommandError;

/// JSON as it is given with `--input`: itself, `@FILE` for what a file has, `-` for stdin.
pub(in super::super) fn read_input(given: &str) -> Result<String, CommandError> {
    let unreadable = |what: &str, error: std::io::Error| CommandError::usage(format!("--input {what}: {error}"));
    if given == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| unreadable("-", error))?;
        return Ok(text);
    }
    match given.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|error| unreadable(given, error)),
        None => Ok(given.to_owned()),
    }
}
