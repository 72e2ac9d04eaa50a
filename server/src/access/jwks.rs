//! The public keys of an issuer of JWTs: from a file, or from where the issuer publishes them (JWKS, RFC 7517).
//!
//! What is published is read before it is needed. A token of a key that is not known asks for another look, but no caller can
//! make that happen more often than every half minute. What cannot be read leaves the last good keys in force for a day.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm as Signature, DecodingKey, Header};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};
use transport::channel::Https;
use transport::channel::files::{Contents, FileMistake, Refreshed, Reloaded, Source};

const MOST_KEYS: usize = 100;

const KEYS_FILE: &str = "keys_file";
const KEYS_URL: &str = "keys_url";
const CA_FILE: &str = "keys_url_ca_file";

/// The largest set that is read.
const MOST_BYTES: usize = 256 << 10;
const WITHIN: Duration = Duration::from_secs(10);

/// How often what is published is read, and how soon after a failure or for a key that is not known.
const EVERY: Duration = Duration::from_mins(10);
const AT_LEAST: Duration = Duration::from_secs(30);

/// Keys that were not seen at their issuer for so long are not in force any more: it may have withdrawn them.
const LONGEST: Duration = Duration::from_hours(24);

/// A public key, and what it is for.
pub(super) struct Key {
    id: Option<String>,
    algorithm: Option<KeyAlgorithm>,
    curve: Option<EllipticCurve>,
    key: DecodingKey,
}

impl Key {
    /// Whether it verifies signatures of this algorithm. The library looks at the family, not at the curve.
    pub(super) fn fits(&self, algorithm: Signature) -> bool {
        let curve = match algorithm {
            Signature::ES256 => Some(EllipticCurve::P256),
            Signature::ES384 => Some(EllipticCurve::P384),
            Signature::EdDSA => Some(EllipticCurve::Ed25519),
            _ => None,
        };
        self.key.family() == algorithm.family()
            && self.curve == curve
            && self.algorithm.is_none_or(|only| only == KeyAlgorithm::from(algorithm))
    }

    /// Whether it is the one that a token names, if it names one.
    pub(super) fn is_named(&self, header: &Header) -> bool {
        header.kid.is_none() || header.kid == self.id
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.key
    }
}

/// The keys of one issuer.
pub(super) enum Keys {
    File(Reloaded<Vec<Key>>),
    Published(Box<Published>),
}

/// Keys that are read from an address.
pub(super) struct Published {
    https: Https,
    last: RwLock<Option<(Arc<Vec<Key>>, Instant)>>,
    missed: Notify,
}

impl Keys {
    /// Reads a file for the first time. A mistake is noted with the key below `admin.jwt`.
    pub(super) fn open(
        [keys_file, ca_file]: [&Path; 2],
        keys_url: &str,
        note: &mut dyn FnMut(&'static str, String),
    ) -> Option<Self> {
        let ca_file = Some(ca_file.to_owned()).filter(|path| !path.as_os_str().is_empty());
        match (keys_file.as_os_str().is_empty(), keys_url.is_empty()) {
            (true, true) => {
                let expected = "expected a file with the public keys of the issuer (JWKS), or keys_url";
                note(KEYS_FILE, String::from(expected));
                None
            }
            (false, false) => {
                note(KEYS_URL, String::from("expected either this or keys_file"));
                None
            }
            (false, true) if ca_file.is_some() => {
                note(CA_FILE, String::from("is for keys_url, which is not set"));
                None
            }
            (false, true) => {
                let source = Source { key: KEYS_FILE, path: keys_file.to_owned() };
                let keys = Reloaded::open(vec![source], of_file);
                keys.map(Self::File).map_err(|FileMistake { message, .. }| note(KEYS_FILE, message)).ok()
            }
            (true, false) => {
                let https = Https::open(keys_url, ca_file).map_err(|FileMistake { key, message }| {
                    note(if key == "url" { KEYS_URL } else { CA_FILE }, message);
                });
                let published = Published { https: https.ok()?, last: RwLock::default(), missed: Notify::new() };
                Some(Self::Published(Box::new(published)))
            }
        }
    }

    /// Those that are in force.
    pub(super) fn current(&self) -> Arc<Vec<Key>> {
        match self {
            Self::File(file) => file.current(),
            Self::Published(published) => published.current(),
        }
    }

    /// A token was signed by none of them.
    pub(super) fn miss(&self) {
        if let Self::Published(published) = self {
            published.missed.notify_one();
        }
    }

    /// Looks at the files again. Blocks.
    pub(super) fn refresh(&self) -> Refreshed {
        match self {
            Self::File(file) => file.refresh(),
            Self::Published(published) => published.https.refresh(),
        }
    }

    /// Reads what is published, if something is.
    pub(super) async fn read(&self) -> Result<(), String> {
        match self {
            Self::File(_) => Ok(()),
            Self::Published(published) => published.read().await,
        }
    }

    /// Reads what is published again and again, until this is dropped. Keys of a file have nothing to follow.
    pub(super) async fn follow(&self) {
        match self {
            Self::File(_) => std::future::pending().await,
            Self::Published(published) => published.follow().await,
        }
    }
}

impl Published {
    fn current(&self) -> Arc<Vec<Key>> {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(_, seen)| seen.elapsed() < LONGEST).map(|(keys, _)| Arc::clone(keys)).unwrap_or_default()
    }

    async fn follow(&self) {
        let mut told = None;
        loop {
            let began = Instant::now();
            let read = self.read().await;
            let next = if read.is_ok() { EVERY } else { AT_LEAST };
            // Told once, however often it is tried.
            if told.as_ref() != Some(&read) {
                match &read {
                    Ok(()) => info!("the keys of the issuer of JWTs are read"),
                    Err(reason) => {
                        warn!(%reason, "the keys of the issuer of JWTs cannot be read, those before stay in force for a day");
                    }
                }
                told = Some(read);
            }
            sleep_until(began + AT_LEAST).await;
            tokio::select! {
                () = sleep(next.saturating_sub(AT_LEAST)) => {}
                () = self.missed.notified() => {}
            }
        }
    }

    async fn read(&self) -> Result<(), String> {
        let bytes = self.https.get(MOST_BYTES, WITHIN).await.map_err(|error| error.to_string())?;
        let keys = read(&bytes)?;
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some((Arc::new(keys), Instant::now()));
        Ok(())
    }
}

fn of_file(contents: &Contents<'_>) -> Result<Vec<Key>, FileMistake> {
    let Some(content) = contents.get(KEYS_FILE) else { return Ok(Vec::new()) };
    read(content.bytes).map_err(|reason| content.mistake(reason))
}

/// The keys of a JSON Web Key Set.
fn read(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_slice(bytes).map_err(|error| format!("is no JSON Web Key Set: {error}"))?;
    if set.keys.len() > MOST_KEYS {
        return Err(format!("has {} keys; expected at most {MOST_KEYS}", set.keys.len()));
    }
    let keys: Vec<Key> = set.keys.iter().filter_map(key).collect();
    if keys.is_empty() { Err(String::from("has no public key that verifies signatures")) } else { Ok(keys) }
}

/// The key, where it is one that verifies signatures. A symmetric one would be a secret, and is none of an issuer's.
fn key(jwk: &Jwk) -> Option<Key> {
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return None;
    }
    let curve = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => None,
        AlgorithmParameters::EllipticCurve(parameters) => Some(parameters.curve.clone()),
        AlgorithmParameters::OctetKeyPair(parameters) => Some(parameters.curve.clone()),
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key { id: jwk.common.key_id.clone(), algorithm: jwk.common.key_algorithm, curve, key })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_set_of_keys_is_bounded_and_has_one_that_verifies() {
        let key = "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\
                    \"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}";
        let set = |keys: &[&str]| format!("{{\"keys\":[{}]}}", keys.join(","));
        assert_eq!(read(set(&[key]).as_bytes()).unwrap().len(), 1);
        let secret = "{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}";
        assert_eq!(read(set(&[key, secret]).as_bytes()).unwrap().len(), 1, "a secret is no key of an issuer");
        for (broken, told) in [
            (String::new(), "is no JSON Web Key Set"),
            (set(&[]), "has no public key"),
            (set(&[secret]), "has no public key"),
            (set(&vec![key; MOST_KEYS + 1]), "has 101 keys; expected at most 100"),
        ] {
            assert!(read(broken.as_bytes()).err().unwrap().contains(told), "{broken:.40}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_sets_never_panic(text in "\\PC{0,200}|\\{\"keys\":\\[(\\{(\"(kty|crv|x|y|n|e|alg|use|kid)\":\"[A-Za-z0-9_-]{0,50}\",?){0,6}\\},?){0,3}\\]\\}") {
            let _ = read(text.as_bytes());
        }
    }
}
