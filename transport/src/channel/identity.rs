//! Who we are to a service, and how we know that it is itself: TLS under the connection, a token with every call. What is
//! read from files follows them when they change; what is no longer any good in a file changes nothing.

use std::fmt;
use std::sync::Arc;

use engine::failure::Code;
use http::header::HeaderValue;
use http::uri::{Authority, Scheme};

use super::fault::Fault;
use super::stream::Stream;
use super::target::Target;

mod https;
mod reloaded;
mod tls;
mod token;

pub use https::{FetchError, Https};
pub use reloaded::{Content, Contents, Refreshed, Reloaded, Source};
use tls::Tls;
pub use tls::TlsConfig;
pub(crate) use tls::{TlsError, certificates};
use token::Token;
pub use token::{Secret, TokenSource};

/// What is configured.
#[derive(Clone, Debug, Default)]
pub struct IdentityConfig {
    /// How the connection is encrypted; none where it is not, unless the address says so (`https://`).
    pub tls: Option<TlsConfig>,
    /// The bearer token that goes with every call; none where calls go without.
    pub token: Option<TokenSource>,
    /// Whether the token may go over a connection that is not encrypted.
    pub allow_insecure_token: bool,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct IdentityMistake {
    /// The key to blame, for example `tls.ca_file`.
    pub key: &'static str,
    /// What is wrong and what was expected.
    pub message: String,
}

impl IdentityMistake {
    fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into() }
    }
}

/// The identity of one channel. Clones share what was read. The default has neither TLS nor a token.
#[derive(Clone, Default)]
pub struct Identity(Option<Arc<Parts>>);

struct Parts {
    tls: Option<Tls>,
    token: Option<Token>,
}

impl Identity {
    /// Reads everything that it needs for the target, whose host is the name that the service must prove to have, where
    /// none is configured.
    ///
    /// # Errors
    /// All mistakes together.
    pub fn open(config: &IdentityConfig, target: &Target) -> Result<Self, Vec<IdentityMistake>> {
        let plain = TlsConfig::default();
        let tls = config.tls.as_ref().or(target.is_encrypted().then_some(&plain));
        let mut mistakes = Vec::new();
        if let (Some(source), None, false) = (&config.token, tls, config.allow_insecure_token) {
            let message =
                "anyone on the way could read it; expected a connection with TLS, or allow_insecure_token = true";
            mistakes.push(IdentityMistake::new(source.key(), message));
        }
        let tls = tls.and_then(|tls| kept(Tls::open(tls, target.host()), &mut mistakes));
        let token = config.token.as_ref().and_then(|source| kept(Token::open(source), &mut mistakes));
        match (mistakes.is_empty(), tls, token) {
            (true, None, None) => Ok(Self(None)),
            (true, tls, token) => Ok(Self(Some(Arc::new(Parts { tls, token })))),
            (false, ..) => Err(mistakes),
        }
    }

    /// Encrypts the stream where that is configured.
    pub(crate) async fn secure(&self, service: &str, stream: Stream) -> Result<Stream, TlsError> {
        let Some(tls) = self.0.as_ref().and_then(|parts| parts.tls.as_ref()) else { return Ok(stream) };
        // A connection is rare and a file is small: it never begins with what is outdated.
        self.refresh(service).await;
        tls.connect(stream).await
    }

    /// The scheme of requests.
    pub(crate) fn scheme(&self) -> Scheme {
        match &self.0 {
            Some(parts) if parts.tls.is_some() => Scheme::HTTPS,
            _ => Scheme::HTTP,
        }
    }

    /// The authority of requests, where it is not that of the address.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        self.0.as_ref()?.tls.as_ref()?.authority()
    }

    /// What goes with a call as `authorization`.
    ///
    /// # Errors
    /// UNAVAILABLE, and the call must not be sent (gRFC A97: what cannot be authorized may be later).
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, Fault> {
        let Some(token) = self.0.as_ref().and_then(|parts| parts.token.as_ref()) else { return Ok(None) };
        token.header().map(Some).map_err(|reason| Fault::withheld(Code::Unavailable, reason))
    }

    /// Looks at every file again. What has changed is in force from here on; what cannot be used is logged and left alone.
    pub async fn refresh(&self, service: &str) {
        let Some(parts) = self.0.as_ref().filter(|parts| parts.reads_files()) else { return };
        let parts = Arc::clone(parts);
        // It fails only where the process ends.
        let Ok(refreshed) = tokio::task::spawn_blocking(move || parts.refresh()).await else { return };
        for (what, refreshed) in refreshed {
            match refreshed {
                Refreshed::Same => {}
                Refreshed::Changed => tracing::info!(service, what, "files have changed and are in force"),
                Refreshed::Failed(error) => {
                    tracing::warn!(service, what, %error, "files cannot be used, those before stay in force");
                }
            }
        }
    }

    /// Why a file is not in force as it is; none while all of them are.
    pub fn error(&self) -> Option<String> {
        let parts = self.0.as_ref()?;
        let errors = [parts.tls.as_ref().and_then(Tls::error), parts.token.as_ref().and_then(Token::error)];
        let errors: Vec<String> = errors.into_iter().flatten().collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tls, token) = match &self.0 {
            Some(parts) => (parts.tls.is_some(), parts.token.is_some()),
            None => (false, false),
        };
        f.debug_struct("Identity").field("tls", &tls).field("token", &token).finish()
    }
}

impl Parts {
    fn reads_files(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::reads_files) || self.token.as_ref().is_some_and(Token::reads_files)
    }

    fn refresh(&self) -> [(&'static str, Refreshed); 2] {
        let tls = self.tls.as_ref().map_or(Refreshed::Same, Tls::refresh);
        [("tls", tls), ("token", self.token.as_ref().map_or(Refreshed::Same, Token::refresh))]
    }
}

fn kept<T>(result: Result<T, IdentityMistake>, mistakes: &mut Vec<IdentityMistake>) -> Option<T> {
    result.map_err(|mistake| mistakes.push(mistake)).ok()
}
