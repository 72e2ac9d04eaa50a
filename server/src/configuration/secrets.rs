//! Which values are never printed, neither by `config show` nor in a mistake.

use config::{Value, ValueKind};

pub(super) const MASK: &str = "********";

/// Words in the name of a key whose value is never shown, unless it is the path of a file.
const SECRET_WORDS: [&str; 8] =
    ["password", "passphrase", "secret", "token", "credentials", "authorization", "api_key", "private_key"];

/// Whether what stands under a key of this name may be a secret.
pub(super) fn may_be_secret(key: &str) -> bool {
    SECRET_WORDS.iter().any(|word| key.contains(word)) && !key.ends_with("_file")
}

/// Whether a secret may stand at this path, or in a table there.
fn is_secret_path(path: &str) -> bool {
    path.split('.').any(may_be_secret)
}

/// Whether a text may carry a secret wherever it stands: the address of a service with a user and a password in it.
fn carries_secret(text: &str) -> bool {
    text.contains('@')
}

/// A message about the value at a path, without the value where that may be a secret.
pub(super) fn masked(path: &str, message: &str, value: Option<&Value>) -> String {
    let text = match value.map(|value| &value.kind) {
        Some(ValueKind::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if !is_secret_path(path) && !text.is_some_and(carries_secret) {
        return message.to_owned();
    }
    // What serde says begins with the value and ends with what it expected.
    if message.starts_with("invalid ")
        && let Some((_, expected)) = message.rsplit_once(", expected ")
    {
        return format!("the value does not fit; expected {expected}");
    }
    match text {
        None | Some("") => message.to_owned(),
        Some(text) => message.replace(text, MASK).replace(&format!("{text:?}"), MASK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_about_a_secret_says_what_was_expected_and_not_what_is_there() {
        let value = Value::new(None, "hunter2");
        let message = "invalid type: string \"hunter2\", expected a boolean";
        assert_eq!(masked("a.token", message, Some(&value)), "the value does not fit; expected a boolean");
        assert_eq!(masked("a.token.below", message, None), "the value does not fit; expected a boolean");
        assert_eq!(masked("a.password", "`hunter2` is short", Some(&value)), "`********` is short");
        assert_eq!(masked("a.listen", message, Some(&value)), message);
        let address = Value::new(None, "http://ada:hunter2@host");
        assert_eq!(masked("a.address", "`http://ada:hunter2@host` is no URI", Some(&address)), "`********` is no URI");
    }
}
