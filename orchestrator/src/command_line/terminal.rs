//! Where data and talk go; tests give buffers.

use std::io::Write;

use super::exit::CommandError;

/// The two streams of a command.
pub struct Terminal<'a> {
    /// Data.
    pub out: &'a mut dyn Write,
    /// Talk: what a person wants to know and a program does not.
    pub talk: &'a mut dyn Write,
}

impl Terminal<'_> {
    /// Writes a line of data.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CommandError> {
        writeln!(self.out, "{text}")?;
        self.out.flush()?;
        Ok(())
    }

    /// Writes a line of talk; a failure to talk is nobody's concern.
    pub(super) fn talk(&mut self, text: &str) {
        let _ = writeln!(self.talk, "{text}");
    }
}
