//! Page tokens (AIP-158): where the next page begins, bound to the arguments of the list.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Bytes of the arguments' hash in front of the cursor.
const HASH: usize = 8;

/// Longer tokens are not ours.
const MAX_TOKEN: usize = 1_024;

/// A token for the page after `cursor` of the list with these arguments.
pub(super) fn token(cursor: &[u8], arguments: &[u8]) -> String {
    let mut token = String::new();
    for byte in hash(arguments).iter().chain(cursor) {
        let _ = write!(token, "{byte:02x}");
    }
    token
}

/// The cursor in a token: none for the first page, an error where the token is not one of this list.
pub(super) fn cursor(token: &str, arguments: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    const NOT_OURS: &str = "expected the next_page_token of an earlier answer";
    if token.is_empty() {
        return Ok(None);
    }
    if token.len() > MAX_TOKEN || !token.len().is_multiple_of(2) || !token.is_ascii() {
        return Err(NOT_OURS);
    }
    let bytes: Option<Vec<u8>> = (0..token.len())
        .step_by(2)
        .map(|at| token.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    let mut bytes = bytes.filter(|bytes| bytes.len() > HASH).ok_or(NOT_OURS)?;
    let cursor = bytes.split_off(HASH);
    if bytes == hash(arguments) {
        Ok(Some(cursor))
    } else {
        Err("the token belongs to a list with other arguments; only page_size may change between pages")
    }
}

fn hash(arguments: &[u8]) -> [u8; HASH] {
    let digest: [u8; 32] = Sha256::digest(arguments).into();
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_leads_on_in_its_own_list_only() {
        let token = token(b"here", b"state=FAILED");
        assert_eq!(cursor(&token, b"state=FAILED"), Ok(Some(b"here".to_vec())));
        assert!(cursor(&token, b"state=RUNNING").is_err());
        assert_eq!(cursor("", b"anything"), Ok(None));
    }

    proptest! {
        #[test]
        fn arbitrary_tokens_never_panic(token in "\\PC{0,60}|[0-9a-f]{0,60}|\\+[0-9a-f]{17}") {
            let _ = cursor(&token, b"arguments");
        }
    }
}
