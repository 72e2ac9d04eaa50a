//! Lines on a terminal that are overwritten by the next ones; none wraps, and all of them fit.

use std::io::Write as _;

const PLAIN: &str = "\x1b[0m";
/// Of a terminal that does not tell its size.
const ROWS: usize = 24;
const COLUMNS: usize = 80;

#[derive(Clone, Copy)]
pub(super) enum Style {
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
}

pub(super) fn styled(style: Style, text: &str) -> String {
    let code = match style {
        Style::Plain => return text.to_owned(),
        Style::Bold => "\x1b[1m",
        Style::Dim => "\x1b[2m",
        Style::Good => "\x1b[32m",
        Style::Bad => "\x1b[31m",
    };
    format!("{code}{text}{PLAIN}")
}

pub(super) struct Frame {
    lines: Vec<String>,
    /// Rows that the lines take.
    height: usize,
    /// Rows on the screen.
    drawn: usize,
    rows: usize,
    columns: usize,
}

impl Default for Frame {
    fn default() -> Self {
        Self { lines: Vec::new(), height: 0, drawn: 0, rows: ROWS, columns: COLUMNS }
    }
}

impl Frame {
    /// Begins a new frame for the present size of the terminal.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.height = 0;
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let or = |told: Option<u16>, default: usize| told.map(usize::from).filter(|told| *told > 0).unwrap_or(default);
        self.rows = or(size.map(|size| size.ws_row), ROWS);
        self.columns = or(size.map(|size| size.ws_col), COLUMNS);
    }

    /// Rows that are left.
    pub(super) fn room(&self) -> usize {
        // The cursor has a row of its own.
        self.rows.saturating_sub(self.height + 1)
    }

    /// A line that is cut where it is too long.
    pub(super) fn line(&mut self, line: &str) {
        self.push(cut(line, self.columns), 1);
    }

    /// A line that is never cut, for it is there to be copied. Without looks.
    pub(super) fn whole(&mut self, line: String) {
        let rows = self.rows_of(&line);
        self.push(line, rows);
    }

    /// How many rows a whole line takes.
    pub(super) fn rows_of(&self, line: &str) -> usize {
        line.chars().count().div_ceil(self.columns).max(1)
    }

    fn push(&mut self, line: String, rows: usize) {
        if self.room() >= rows {
            self.lines.push(line);
            self.height += rows;
        }
    }

    pub(super) fn blank(&mut self) {
        self.line("");
    }

    /// Puts the lines where the last ones were.
    pub(super) fn show(&mut self) -> std::io::Result<()> {
        let mut text = self.up();
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = self.height;
        write(&text)
    }

    /// A line that stays, above those that do not.
    pub(super) fn above(&mut self, line: &str) -> std::io::Result<()> {
        let text = format!("{}{}\n", self.up(), cut(line, self.columns));
        write(&text)?;
        self.drawn = 0;
        self.show()
    }

    /// To where the lines began, with everything cleared from there.
    fn up(&self) -> String {
        // The terminal may have written what was typed where the cursor is.
        if self.drawn > 0 { format!("\r\x1b[{}A\x1b[0J", self.drawn) } else { String::new() }
    }
}

fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// At most so many characters, not counting what only changes their looks.
fn cut(line: &str, columns: usize) -> String {
    let mut text = String::with_capacity(line.len());
    let (mut shown, mut escape) = (0, false);
    for character in line.chars() {
        match character {
            '\x1b' => escape = true,
            'm' if escape => escape = false,
            _ if escape => {}
            _ if shown == columns => continue,
            _ => shown += 1,
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_to_be_copied_takes_the_rows_that_it_needs() {
        let mut frame = Frame::default();
        frame.whole("x".repeat(COLUMNS));
        frame.whole("x".repeat(COLUMNS + 1));
        assert_eq!((frame.lines.len(), frame.height), (2, 3));
    }

    #[test]
    fn a_line_is_cut_without_its_looks_being_counted_or_lost() {
        let line = format!("{} and more", styled(Style::Good, "green"));
        assert_eq!(cut(&line, 7), format!("{} a", styled(Style::Good, "green")));
        assert_eq!(cut(&line, 3), styled(Style::Good, "gre"));
        assert_eq!(cut("short", 80), "short");
    }

    #[test]
    fn no_more_lines_are_taken_than_the_terminal_has() {
        let mut frame = Frame::default();
        (0..2 * ROWS).for_each(|_| frame.blank());
        assert_eq!((frame.lines.len(), frame.room()), (ROWS - 1, 0));
    }
}
