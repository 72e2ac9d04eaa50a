//! Texts of others, made fit to be shown: what could steer a terminal, or pass for a line or a field of ours, is escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest text of a caller that an error repeats.
const LONGEST_ECHO: usize = 100;

/// What a terminal or a reader's eye may act on: control characters of both sets, marks that change the direction of
/// text, line separators, and characters without width.
pub(crate) fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// The text on one line, with whatever is hidden in it as an escape that JSON, TOML and Rust have in common.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// The same with its lines as they are.
pub(crate) fn plain_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |char| char != '\n' && is_hidden(char))
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match char {
            char if !hidden(char) => plain.push(char),
            '\n' => plain.push_str("\\n"),
            '\r' => plain.push_str("\\r"),
            '\t' => plain.push_str("\\t"),
            // All of them have four digits.
            char => drop(write!(plain, "\\u{:04x}", u32::from(char))),
        }
    }
    Cow::Owned(plain)
}

/// At most so many characters of the text; what is left out shows as `…`.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((at, _)) => {
            let kept = text.get(..at).unwrap_or_default();
            Cow::Owned(format!("{kept}…"))
        }
    }
}

/// What a caller said, as an error repeats it: quoted, plain, and not all of it where it is long.
pub(crate) fn echo(text: &str) -> String {
    format!("\"{}\"", plain(&cut(text, LONGEST_ECHO)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(
            plain("no \x1b[2J\x07\rfine\nState\u{9b}\u{7f}"),
            "no \\u001b[2J\\u0007\\rfine\\nState\\u009b\\u007f"
        );
        assert_eq!(plain("a\u{202e}b\u{2066}c\u{2028}d"), "a\\u202eb\\u2066c\\u2028d");
        assert_eq!(plain("Zoë 東京 🙂"), "Zoë 東京 🙂");
        assert_eq!(plain_lines("one\ntwo\r\n"), "one\ntwo\\r\n");
    }

    #[test]
    fn an_echo_is_short_and_on_one_line() {
        assert_eq!(echo("no\nname"), "\"no\\nname\"");
        assert_eq!(echo(&"é".repeat(5_000)), format!("\"{}…\"", "é".repeat(100)));
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left_and_json_says_the_same(text in any::<String>()) {
            prop_assert!(!plain(&text).contains(is_hidden));
            let json = serde_json::Value::from(text.as_str()).to_string();
            let read: String = serde_json::from_str(&plain(&json)).unwrap();
            prop_assert_eq!(read, text);
        }
    }
}
