//! Bearer tokens that somebody else signs (JWT, RFC 7519): a ServiceAccount token of Kubernetes, or one of an OIDC provider.
//!
//! Only asymmetric signatures: a key that verifies cannot sign. The algorithm is one of those that are configured and fits
//! the key, whatever the token says of itself.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm as Signature, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};
use transport::channel::files::Refreshed;

use super::jwks::{Key, Keys};
use super::{Denied, Principal, is_name};
use crate::text::echo;

/// Clocks of issuers may differ by this.
const LEEWAY: Duration = Duration::from_secs(30);

/// The longest token that is looked at; the headers of a call have no more room.
const LONGEST_TOKEN: usize = 12 << 10;

const MOST_GROUPS: usize = 200;

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
    /// Where the issuer publishes them, instead of a file.
    pub keys_url: String,
    /// PEM with the roots that the certificate of that address must lead to; those of the system if there is none.
    pub keys_url_ca_file: PathBuf,
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
            keys_url: String::new(),
            keys_url_ca_file: PathBuf::new(),
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
    keys: Keys,
    validation: Validation,
    groups_claim: String,
}

impl Jwt {
    /// Reads the keys for the first time. A mistake is noted with the key below `admin.jwt`.
    pub fn open(config: &JwtConfig, note: &mut dyn FnMut(&'static str, String)) -> Option<Self> {
        let JwtConfig { issuer, audience, keys_file, keys_url, keys_url_ca_file, algorithms, groups_claim } = config;
        let keys = Keys::open([keys_file, keys_url_ca_file], keys_url, note);
        let mut complete = keys.is_some();
        for (key, is_missing, expected) in [
            ("issuer", issuer.is_empty(), "the `iss` of its tokens"),
            ("audience", audience.is_empty(), "the `aud` of tokens that are meant for this orchestrator"),
            ("algorithms", algorithms.is_empty(), "at least one algorithm"),
        ] {
            if is_missing {
                note(key, format!("expected {expected}"));
                complete = false;
            }
        }
        let keys = keys.filter(|_| complete)?;
        let algorithms = algorithms.iter().map(|algorithm| Signature::from(*algorithm)).collect();
        let mut validation =
            Validation { algorithms, validate_nbf: true, leeway: LEEWAY.as_secs(), ..Validation::default() };
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        Some(Self { keys, validation, groups_claim: groups_claim.clone() })
    }

    /// Looks at the files again; what cannot be used there leaves what was before in force.
    pub fn refresh(&self) -> Refreshed {
        self.keys.refresh()
    }

    /// Reads the keys that the issuer publishes at an address, if there is one.
    pub(super) async fn read_keys(&self) -> Result<(), String> {
        self.keys.read().await
    }

    /// Follows the keys that the issuer publishes at an address, if there is one, until this is dropped.
    pub async fn follow(&self) {
        self.keys.follow().await;
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
        let fitting: Vec<&Key> = keys.iter().filter(|key| key.is_named(&header) && key.fits(header.alg)).collect();
        if fitting.is_empty() {
            self.keys.miss();
        }
        let mut refused = Denied::BadToken("it is signed by no key of the issuer that is known here");
        for key in fitting {
            // Narrowed, so that a list of algorithms is never a way from one to another.
            let mut validation = self.validation.clone();
            validation.algorithms = vec![header.alg];
            match decode::<serde_json::Map<String, serde_json::Value>>(token, key.decoding(), &validation) {
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
