//! Compares the effects of two runs of one workflow at its services.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::services::Identity;

/// Effects by method and request.
pub(super) type Effects = BTreeMap<(&'static str, Bytes), Identity>;

/// Every effect of the whole run happened, nothing else did, and each was applied once under one key. Of a run that did
/// not end, `is_over` is false: what it left out is no difference.
///
/// A request may have the key of another call in it, as that of an undo usually does; two runs have other keys. So such a
/// key stands for the call that has it.
pub(super) fn compare(whole: &Effects, seen: &Effects, is_over: bool) -> Option<String> {
    let (whole, seen) = (by_calls(whole), by_calls(seen));
    for (effect, identity) in &seen {
        let method = name(effect.0);
        let Some(once) = whole.get(effect) else { return Some(format!("{method} is called with another request")) };
        if identity.keys.len() != once.keys.len() {
            return Some(format!("{method} arrives under {} keys, not {}", identity.keys.len(), once.keys.len()));
        }
        if identity.applied != once.applied {
            return Some(format!("{method} is applied {} times, not {}", identity.applied, once.applied));
        }
    }
    let missing = whole.keys().find(|effect| is_over && !seen.contains_key(*effect));
    missing.map(|(method, _)| format!("{} does not happen", name(method)))
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The same effects, with each key in a request replaced by one that is derived from the call that has it.
fn by_calls(effects: &Effects) -> Effects {
    let keys: Vec<Uuid> = effects.values().flat_map(|identity| identity.keys.iter().copied()).collect();
    let without_keys = |request: &Bytes| replaced(request, keys.iter().map(|key| (*key, Uuid::nil())));
    let mut calls = Vec::new();
    for ((method, request), identity) in effects {
        let call = derived(method, &without_keys(request));
        calls.extend(identity.keys.iter().map(|key| (*key, call)));
    }
    let mut same = Effects::new();
    for ((method, request), identity) in effects {
        let request = replaced(request, calls.iter().copied());
        let merged = same.entry((*method, request.into())).or_default();
        merged.keys.extend(&identity.keys);
        merged.arrivals += identity.arrivals;
        merged.applied += identity.applied;
    }
    same
}

fn derived(method: &str, request: &[u8]) -> Uuid {
    let hash = Sha256::new().chain_update(method).chain_update([0]).chain_update(request).finalize();
    Uuid::from_slice(&hash[..16]).unwrap_or_default()
}

/// Replaces keys, in each of the forms in which a request can have one; none of them changes the length.
fn replaced(request: &[u8], keys: impl Iterator<Item = (Uuid, Uuid)>) -> Vec<u8> {
    let mut bytes = request.to_vec();
    for (from, to) in keys {
        let forms = [
            (from.hyphenated().to_string().into_bytes(), to.hyphenated().to_string().into_bytes()),
            (from.simple().to_string().into_bytes(), to.simple().to_string().into_bytes()),
            (from.as_bytes().to_vec(), to.as_bytes().to_vec()),
        ];
        for (from, to) in forms {
            let mut at = 0;
            while let Some(found) =
                bytes.get(at..).and_then(|rest| rest.windows(from.len()).position(|part| part == from))
            {
                let end = at + found + from.len();
                bytes[at + found..end].copy_from_slice(&to);
                at = end;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(key: u128) -> Identity {
        Identity { keys: vec![Uuid::from_u128(key)], arrivals: 1, applied: 1 }
    }

    #[test]
    fn a_message_is_what_makes_an_effect_the_same() {
        let effect = ("/s/M", Bytes::from_static(b"request"));
        let whole = Effects::from([(effect.clone(), once(1))]);
        let sent_again = Effects::from([(effect.clone(), Identity { arrivals: 2, ..once(1) })]);
        assert_eq!(compare(&whole, &sent_again, true), None);
        let doubled = Effects::from([(effect, Identity { applied: 2, ..once(1) })]);
        assert_eq!(compare(&whole, &doubled, true).as_deref(), Some("M is applied 2 times, not 1"));
        assert_eq!(compare(&whole, &Effects::new(), true).as_deref(), Some("M does not happen"));
        assert_eq!(compare(&whole, &Effects::new(), false), None);
    }

    #[test]
    fn a_key_in_a_request_stands_for_the_call_that_has_it() {
        let effects = |reserve: u128, release: u128, form: fn(Uuid) -> Vec<u8>| {
            let release_request = [b"release ", &form(Uuid::from_u128(reserve))[..]].concat();
            Effects::from([
                (("/s/Reserve", Bytes::from_static(b"room")), once(reserve)),
                (("/s/Release", release_request.into()), once(release)),
            ])
        };
        let forms: [fn(Uuid) -> Vec<u8>; 3] = [
            |key| key.to_string().into_bytes(),
            |key| key.simple().to_string().into_bytes(),
            |key| key.as_bytes().to_vec(),
        ];
        for form in forms {
            assert_eq!(compare(&effects(1 << 90, 2, form), &effects(3 << 90, 4, form), true), None);
        }
        let mut others = effects(3 << 90, 4, forms[0]);
        others.remove(&("/s/Reserve", Bytes::from_static(b"room")));
        others.insert(("/s/Reserve", Bytes::from_static(b"hall")), once(3 << 90));
        assert!(compare(&effects(1 << 90, 2, forms[0]), &others, true).is_some(), "it takes back another call");
    }
}
