//! Pages of a list (AIP-158): how much goes into one, and the token that says where the next begins, bound to the
//! arguments of the list.

use std::fmt::Write;

use prost::Message;
use sha2::{Digest, Sha256};

/// Bytes of a page, about; gRPC clients take 4 MiB unless told otherwise.
const PAGE_BYTES: usize = 3 << 20;

/// Bytes of the hash in front of the cursor.
const HASH: usize = 8;

/// Longer tokens are not ours.
const MAX_TOKEN: usize = 1_024;

/// Cuts a page to `most` items, and before that to what fits into one answer; returns whether it was cut.
pub(super) fn cut<M: Message>(items: &mut Vec<M>, most: usize) -> bool {
    let mut bytes = 0;
    let fits = items.iter().take(most).take_while(|item| {
        let is_first = bytes == 0;
        bytes += item.encoded_len();
        is_first || bytes <= PAGE_BYTES
    });
    let fits = fits.count();
    let cut = fits < items.len();
    items.truncate(fits);
    cut
}

/// A token for the page after `cursor` of the list with these arguments.
pub(super) fn token(cursor: &[u8], arguments: &[u8]) -> String {
    let mut token = String::new();
    for byte in hash(arguments, cursor).iter().chain(cursor) {
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
    if bytes == hash(arguments, &cursor) {
        Ok(Some(cursor))
    } else {
        Err("the token was changed, or belongs to a list with other arguments; only page_size may change between pages")
    }
}

/// Covers the cursor too, so that a token that was cut is not taken for one of an earlier place.
fn hash(arguments: &[u8], cursor: &[u8]) -> [u8; HASH] {
    let lengths = [arguments.len() as u64, cursor.len() as u64].map(u64::to_be_bytes).concat();
    let digest: [u8; 32] =
        Sha256::new().chain_update(lengths).chain_update(arguments).chain_update(cursor).finalize().into();
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

    #[test]
    fn a_token_that_was_cut_or_changed_is_refused() {
        let token = token(&[7; 16], b"arguments");
        for length in 1..token.len() {
            assert!(cursor(&token[..length], b"arguments").is_err(), "{length}");
        }
        let mut changed = token.clone();
        changed.replace_range(token.len() - 2.., "08");
        assert!(cursor(&changed, b"arguments").is_err());
    }

    #[test]
    fn a_page_ends_early_before_it_gets_too_large_and_never_empty() {
        let rows = |length: usize, count: usize| vec!["x".repeat(length); count];
        for (length, count, most, left) in
            [(10, 5, 10, 5), (10, 5, 3, 3), (1 << 20, 9, 9, 2), (5 << 20, 2, 9, 1), (5 << 20, 1, 9, 1)]
        {
            let mut items = rows(length, count);
            assert_eq!(cut(&mut items, most), left < count);
            assert_eq!(items.len(), left, "{length} {count} {most}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_tokens_never_panic(token in "\\PC{0,60}|[0-9a-f]{0,60}|\\+[0-9a-f]{17}") {
            let _ = cursor(&token, b"arguments");
        }
    }
}
