//! An issuer of JWTs for tests: its keys, the file that publishes them, and tokens of every kind.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use server::configuration::JwtConfig;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "orchestrator";

pub(crate) struct Issuer {
    folder: tempfile::TempDir,
    key: EncodingKey,
    pub(crate) jwk: Jwk,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let (key, jwk) = key("first");
        let issuer = Self { folder: tempfile::tempdir().unwrap(), key, jwk };
        issuer.publish(std::slice::from_ref(&issuer.jwk));
        issuer
    }

    pub(crate) fn keys_file(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    pub(crate) fn publish(&self, keys: &[Jwk]) {
        let set = serde_json::to_vec(&JwkSet { keys: keys.to_vec() }).unwrap();
        std::fs::write(self.keys_file(), set).unwrap();
    }

    pub(crate) fn configuration(&self) -> JwtConfig {
        JwtConfig {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            keys_file: self.keys_file(),
            ..JwtConfig::default()
        }
    }

    /// A token for this subject.
    pub(crate) fn token(&self, subject: &str) -> String {
        self.sign(&claims(subject))
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        sign_with(&self.key, "first", claims)
    }
}

/// A key of that name, and how it is published.
pub(crate) fn key(id: &str) -> (EncodingKey, Jwk) {
    let pair = KeyPair::generate().unwrap();
    let key = EncodingKey::from_ec_der(&pair.serialize_der());
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some(id.to_owned());
    (key, jwk)
}

pub(crate) fn sign_with(key: &EncodingKey, id: &str, claims: &Value) -> String {
    let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) };
    encode(&header, claims, key).unwrap()
}

/// The claims of a token that is accepted.
pub(crate) fn claims(subject: &str) -> Value {
    json!({"sub": subject, "iss": ISSUER, "aud": [AUDIENCE, "others"], "exp": now() + 600, "groups": ["staff"]})
}

pub(crate) fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}
