//! Bearer tokens that somebody else signs (JWT, RFC 7519): a ServiceAccount token of Kubernetes, or one of an OIDC provider.
//!
//! Only asymmetric signatures: a key that verifies cannot sign. The algorithm is one of those that are configured and fits
//! the key, whatever the token says of itself.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm as Signature, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};
use transport::channel::files::{Contents, FileMistake, Refreshed, Reloaded, Source};

use super::{Denied, Principal, is_name};
use crate::text::echo;

/// Clocks of issuers may differ by this.
const LEEWAY: Duration = Duration::from_secs(30);

/// The longest token that is looked at; the headers of a call have no more room.
const LONGEST_TOKEN: usize = 12 << 10;

const MOST_KEYS: usize = 100;
const MOST_GROUPS: usize = 200;

const KEYS_FILE: &str = "keys_file";

/// Whose tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtConfig {
    /// The `iss` that a token must have.
    pub issuer: String,
    /// The `aud` that a token must have.
    pub audience: String,
    /// The public keys of the issuer, a JSON Web Key Set. The file is read again when it changes.
    pub keys_file: PathBuf,
    /// The algorithms of signatures that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// The claim with the groups of the caller.
    pub groups_claim: String,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            keys_file: PathBuf::new(),
            algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
            groups_claim: String::from("groups"),
        }
    }
}

/// The algorithms that there are; none of them is symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE", try_from = "String")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl TryFrom<String> for Algorithm {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        Ok(match word.as_str() {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => {
                let expected = "expected RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA";
                return Err(format!("{} is not accepted; {expected}", echo(&word)));
            }
        })
    }
}

impl From<Algorithm> for Signature {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Rs384 => Self::RS384,
            Algorithm::Rs512 => Self::RS512,
            Algorithm::Ps256 => Self::PS256,
            Algorithm::Ps384 => Self::PS384,
            Algorithm::Ps512 => Self::PS512,
            Algorithm::Es256 => Self::ES256,
            Algorithm::Es384 => Self::ES384,
            Algorithm::EdDsa => Self::EdDSA,
        }
    }
}

/// Verifies tokens of one issuer.
pub struct Jwt {
    keys: Reloaded<Vec<Key>>,
    validation: Validation,
    groups_claim: String,
}

/// A public key, and what it is for.
struct Key {
    id: Option<String>,
    algorithm: Option<KeyAlgorithm>,
    curve: Option<EllipticCurve>,
    key: DecodingKey,
}

impl Key {
    /// Whether it verifies signatures of this algorithm. The library looks at the family, not at the curve.
    fn fits(&self, algorithm: Signature) -> bool {
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
}

impl Jwt {
    /// Reads the keys for the first time. A mistake is noted with the key below `admin.jwt`.
    pub fn open(config: &JwtConfig, note: &mut dyn FnMut(&'static str, String)) -> Option<Self> {
        let JwtConfig { issuer, audience, keys_file, algorithms, groups_claim } = config;
        let mut complete = true;
        for (key, is_missing, expected) in [
            ("issuer", issuer.is_empty(), "the `iss` of its tokens"),
            ("audience", audience.is_empty(), "the `aud` of tokens that are meant for this orchestrator"),
            (KEYS_FILE, keys_file.as_os_str().is_empty(), "a file with the public keys of the issuer (JWKS)"),
            ("algorithms", algorithms.is_empty(), "at least one algorithm"),
        ] {
            if is_missing {
                note(key, format!("expected {expected}"));
                complete = false;
            }
        }
        if !complete {
            return None;
        }
        let source = Source { key: KEYS_FILE, path: keys_file.clone() };
        let keys =
            Reloaded::open(vec![source], keys).map_err(|FileMistake { message, .. }| note(KEYS_FILE, message)).ok()?;
        let algorithms = algorithms.iter().map(|algorithm| Signature::from(*algorithm)).collect();
        let mut validation =
            Validation { algorithms, validate_nbf: true, leeway: LEEWAY.as_secs(), ..Validation::default() };
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        Some(Self { keys, validation, groups_claim: groups_claim.clone() })
    }

    /// Looks at the file with the keys again; what cannot be used there leaves those before in force.
    pub fn refresh(&self) -> Refreshed {
        self.keys.refresh()
    }

    /// Who the token is for, and how long it is in force.
    ///
    /// # Errors
    /// It proves nothing.
    pub fn verify(&self, token: &str) -> Result<(Principal, SystemTime), Denied> {
        let malformed = || Denied::BadToken("it is no JWT that can be read");
        if token.len() > LONGEST_TOKEN {
            return Err(malformed());
        }
        let header = decode_header(token).map_err(|_| malformed())?;
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(Denied::BadToken("its algorithm is not accepted"));
        }
        let keys = self.keys.current();
        let named = |key: &&Key| header.kid.is_none() || header.kid == key.id;
        let mut refused = Denied::BadToken("it is signed by no key of the issuer that is known here");
        for key in keys.iter().filter(|key| key.fits(header.alg)).filter(named) {
            // Narrowed, so that a list of algorithms is never a way from one to another.
            let mut validation = self.validation.clone();
            validation.algorithms = vec![header.alg];
            match decode::<serde_json::Map<String, serde_json::Value>>(token, &key.key, &validation) {
                Ok(token) => return self.principal(&token.claims),
                Err(error) => match reason(error.kind()) {
                    // Another key may have signed it.
                    None => {}
                    Some(reason) => refused = Denied::BadToken(reason),
                },
            }
        }
        Err(refused)
    }

    fn principal(
        &self,
        claims: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<(Principal, SystemTime), Denied> {
        let subject = claims.get("sub").and_then(serde_json::Value::as_str).filter(|subject| is_name(subject));
        let subject = subject.ok_or(Denied::BadToken("its subject is no name of visible ASCII characters"))?;
        let expires = claims.get("exp").and_then(serde_json::Value::as_f64).unwrap_or_default();
        let expires =
            Duration::try_from_secs_f64(expires).ok().and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
        // A time that this system cannot have is beyond all that it will.
        let expires = expires.unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX)));
        let groups = claims.get(&self.groups_claim).and_then(serde_json::Value::as_array);
        let groups = groups.into_iter().flatten().filter_map(serde_json::Value::as_str);
        let groups =
            groups.filter(|group| is_name(group)).take(MOST_GROUPS).map(|group| format!("group:{group}")).collect();
        Ok((Principal { name: format!("jwt:{subject}"), also: groups }, expires + LEEWAY))
    }
}

/// What is wrong with a token whose signature is right; none where it is the signature.
fn reason(error: &ErrorKind) -> Option<&'static str> {
    Some(match error {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not in force yet",
        ErrorKind::InvalidIssuer => "it is of another issuer",
        ErrorKind::InvalidAudience => "it is meant for another audience",
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => {
            "it lacks one of the claims exp, iss, aud and sub"
        }
        _ => return None,
    })
}

fn keys(contents: &Contents<'_>) -> Result<Vec<Key>, FileMistake> {
    let Some(content) = contents.get(KEYS_FILE) else { return Ok(Vec::new()) };
    let set: JwkSet = serde_json::from_slice(content.bytes)
        .map_err(|error| content.mistake(format!("is no JSON Web Key Set: {error}")))?;
    if set.keys.len() > MOST_KEYS {
        return Err(content.mistake(format!("has {} keys; expected at most {MOST_KEYS}", set.keys.len())));
    }
    let keys: Vec<Key> = set.keys.iter().filter_map(key).collect();
    if keys.is_empty() { Err(content.mistake("has no public key that verifies signatures")) } else { Ok(keys) }
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
