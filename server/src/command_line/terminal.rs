//! Where data and talk go; tests give buffers. Nothing leaves here that a terminal would act on.

use std::io::Write;

use super::exit::{CommandError, Exit};
use crate::text::{plain, plain_lines};

/// The two streams of a command.
pub struct Terminal<'a> {
    /// Data.
    pub out: &'a mut dyn Write,
    /// Messages for people.
    pub talk: &'a mut dyn Write,
}

impl Terminal<'_> {
    /// Writes data, whose lines are ours: a text of others in it was made one line before.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CommandError> {
        writeln!(self.out, "{}", plain_lines(text))?;
        self.out.flush()?;
        Ok(())
    }

    /// Writes one line of data, whatever texts of others are in it.
    pub(super) fn row(&mut self, text: &str) -> Result<(), CommandError> {
        self.line(&plain(text))
    }

    /// Writes talk, whose lines are ours; a failure to write it is ignored.
    pub(super) fn talk(&mut self, text: &str) {
        let _ = writeln!(self.talk, "{}", plain_lines(text));
    }

    /// Says why a command failed; returns how it ends.
    pub(super) fn ended(&mut self, done: Result<(), CommandError>) -> Exit {
        match done {
            Ok(()) => Exit::Ok,
            Err(CommandError { exit, message }) => {
                if !message.is_empty() {
                    self.talk(&format!("error: {message}"));
                }
                exit
            }
        }
    }
}
