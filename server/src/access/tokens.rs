//! Static tokens: only their hashes are kept, so a configuration that is read by others gives nothing away.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::is_name;

/// A token that a program has, for example one for a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticToken {
    /// The principal is `token:` and this.
    pub name: String,
    /// The SHA-256 of the token, 64 hexadecimal digits.
    pub sha256: String,
}

/// The names of tokens by their hashes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens(HashMap<[u8; 32], String>);

impl Tokens {
    /// Checks what is configured. A mistake is noted with the key below `admin.tokens`.
    pub fn read(tokens: &[StaticToken], note: &mut dyn FnMut(String, String)) -> Self {
        let mut read = HashMap::new();
        for (at, token) in tokens.iter().enumerate() {
            if !is_name(&token.name) {
                note(format!("[{at}].name"), String::from("expected 1 to 200 visible ASCII characters"));
            }
            match from_hex(&token.sha256) {
                Some(hash) if hash == Self::hash("") => {
                    note(format!("[{at}].sha256"), String::from("is the hash of an empty token"));
                }
                Some(hash) => {
                    if read.insert(hash, token.name.clone()).is_some() {
                        note(format!("[{at}].sha256"), String::from("is there twice"));
                    }
                }
                None => {
                    let expected = "expected the SHA-256 of the token, 64 hexadecimal digits";
                    note(format!("[{at}].sha256"), String::from(expected));
                }
            }
        }
        Self(read)
    }

    /// What is kept of a token.
    pub fn hash(token: &str) -> [u8; 32] {
        Sha256::digest(token.as_bytes()).into()
    }

    /// The name of the token with this hash. Looking for a hash tells nothing of the token by the time that it takes.
    pub fn name(&self, hash: &[u8; 32]) -> Option<&str> {
        self.0.get(hash).map(String::as_str)
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, sha256: &str) -> StaticToken {
        StaticToken { name: name.to_owned(), sha256: sha256.to_owned() }
    }

    #[test]
    fn a_token_is_known_by_its_hash_and_by_nothing_else() {
        // echo -n hunter2 | sha256sum
        let hash = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";
        let tokens = Tokens::read(&[token("ci", hash)], &mut |_, _| panic!("no mistake was expected"));
        assert_eq!(tokens.name(&Tokens::hash("hunter2")), Some("ci"));
        for other in ["hunter3", "", hash] {
            assert_eq!(tokens.name(&Tokens::hash(other)), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_hash_what_is_there_twice_and_the_empty_token_are_mistakes() {
        let hash = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let tokens =
            [token("", hash), token("a", hash), token("b", "hunter2"), token("c", empty), token("d", &"é".repeat(32))];
        let mut noted = Vec::new();
        Tokens::read(&tokens, &mut |key, _| noted.push(key));
        assert_eq!(noted, ["[0].name", "[1].sha256", "[2].sha256", "[3].sha256", "[4].sha256"]);
    }
}
