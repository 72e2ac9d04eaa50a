//! The bearer token that goes with every call to a service.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::HeaderValue;

use super::IdentityMistake;
use super::reloaded::{Refreshed, Reloaded, Source};

/// The longest token. Servers commonly take no more than 8 to 16 kB of metadata.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Where a token comes from.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// The token itself.
    Inline(Secret),
    /// A file that holds nothing else, for example a projected service account token.
    File(PathBuf),
}

impl TokenSource {
    /// The key that names it.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Inline(_) => "token",
            Self::File(_) => "token_file",
        }
    }
}

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text must not be shown from here on.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::REDACTED)
    }
}

pub(super) struct Token {
    value: Reloaded<Bearer>,
    /// How it is spoken of.
    name: String,
}

/// The token as a header.
struct Bearer {
    header: HeaderValue,
    /// Where the token is a JWT that says so.
    expires: Option<SystemTime>,
}

impl Token {
    pub(super) fn open(source: &TokenSource) -> Result<Self, IdentityMistake> {
        let (value, name) = match source {
            TokenSource::Inline(secret) => {
                let secret = secret.clone();
                let parse = move || bearer(secret.reveal()).map_err(|reason| IdentityMistake::new("token", reason));
                (Reloaded::open(Vec::new(), move |_| parse())?, String::from("token"))
            }
            TokenSource::File(path) => {
                let source = Source { key: source.key(), path: path.clone() };
                let key = source.key;
                let value = Reloaded::open(vec![source], move |contents| {
                    let content = contents.get(key).ok_or_else(|| IdentityMistake::new(key, "was not read"))?;
                    let text = std::str::from_utf8(content.bytes).map_err(|_| content.mistake("is no text"))?;
                    bearer(text.trim_ascii()).map_err(|reason| content.mistake(reason))
                });
                (value?, format!("token in {}", path.display()))
            }
        };
        Ok(Self { value, name })
    }

    /// The value of `authorization`, or why it is missing.
    pub(super) fn header(&self) -> Result<HeaderValue, String> {
        let bearer: Arc<Bearer> = self.value.current();
        match bearer.expires {
            Some(expires) if expires <= SystemTime::now() => {
                let reason = self.value.error().map(|error| format!(" ({error})")).unwrap_or_default();
                Err(format!("the {} has expired and there is no newer one{reason}", self.name))
            }
            _ => Ok(bearer.header.clone()),
        }
    }

    pub(super) fn refresh(&self) -> Refreshed {
        self.value.refresh()
    }

    pub(super) fn error(&self) -> Option<String> {
        self.value.error()
    }

    pub(super) fn reads_files(&self) -> bool {
        self.value.has_files()
    }
}

fn bearer(token: &str) -> Result<Bearer, &'static str> {
    if token.is_empty() {
        return Err("holds no token");
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err("is longer than a token may be (16384 bytes)");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("is no token; expected visible ASCII without spaces");
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| "is no token")?;
    // Keeps it out of the tables of the header compression and out of what `Debug` shows.
    header.set_sensitive(true);
    Ok(Bearer { header, expires: expiry(token) })
}

/// What a JWT says of its own end (RFC 7519, `exp`). Whether it is genuine is for the service to say.
fn expiry(token: &str) -> Option<SystemTime> {
    let (_, rest) = token.split_once('.')?;
    let (claims, _) = rest.split_once('.')?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let seconds = claims.get("exp")?.as_f64()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("{}.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode("{}"), BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    fn inline(token: &str) -> Result<Token, IdentityMistake> {
        Token::open(&TokenSource::Inline(Secret::new(token)))
    }

    #[test]
    fn a_token_is_a_header_that_is_not_shown() {
        let header = inline("abc").unwrap().header().unwrap();
        assert_eq!(header, "Bearer abc");
        assert!(header.is_sensitive());
        assert_eq!(format!("{header:?}"), "Sensitive");
        assert_eq!(format!("{:?}", TokenSource::Inline(Secret::new("abc"))), "Inline([redacted])");
    }

    #[test]
    fn what_is_no_token_says_why_and_not_what_it_is() {
        for (text, reason) in [
            ("", "holds no token"),
            ("two words", "expected visible ASCII"),
            ("line\nbreak", "expected visible ASCII"),
            ("zoë", "expected visible ASCII"),
            (&"x".repeat(MAX_TOKEN_BYTES + 1), "longer than a token may be"),
        ] {
            let mistake = inline(text).err().unwrap();
            assert!(mistake.message.contains(reason) && mistake.key == "token", "{mistake}");
            assert!(text.is_empty() || !mistake.message.contains(text), "{mistake}");
        }
    }

    #[test]
    fn the_line_end_of_a_file_is_no_part_of_the_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc\n").unwrap();
        let token = Token::open(&TokenSource::File(file.path().to_owned())).unwrap();
        assert_eq!(token.header().unwrap(), "Bearer abc");
    }

    #[test]
    fn a_token_that_says_it_has_expired_is_not_used() {
        let expired = inline(&jwt(r#"{"exp": 1700000000}"#)).unwrap().header();
        assert_eq!(expired.unwrap_err(), "the token has expired and there is no newer one");
        for fresh in [r#"{"exp": 99999999999}"#, r#"{"exp": "soon"}"#, r#"{"exp": -1}"#, "{}", "no JSON"] {
            assert!(inline(&jwt(fresh)).unwrap().header().is_ok(), "{fresh}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_does_harm(text in "\\PC{0,40}|[a-z]{0,3}\\.[A-Za-z0-9_-]{0,30}\\.[a-z]{0,3}") {
            if let Ok(token) = inline(&text) {
                let _ = token.header();
            }
        }
    }
}
