//! Where a service listens.

use std::fmt;
use std::str::FromStr;

use http::uri::{Authority, Scheme, Uri};

/// An address of the form `http://host:port`.
#[derive(Clone, Debug)]
pub struct Address {
    authority: Authority,
    port: u16,
}

/// The text is not an address that we can connect to.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no address: {reason}; expected http://host:port")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl Address {
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The host as a resolver wants it, an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = |reason| AddressError { text: text.to_owned(), reason };
        let uri: Uri = text.parse().map_err(|_| refused("it is no URI"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(refused("the scheme is not http"));
        }
        let authority = uri.authority().ok_or_else(|| refused("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("it carries credentials"));
        }
        if authority.host().is_empty() {
            return Err(refused("it has no host"));
        }
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(refused("it has a path"));
        }
        let port = authority.port_u16().filter(|port| *port != 0).ok_or_else(|| refused("it has no port"))?;
        Ok(Self { authority: authority.clone(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_over_http() {
        let address: Address = "http://users.guras.svc:50051".parse().unwrap();
        assert_eq!((address.host(), address.port()), ("users.guras.svc", 50051));
        assert_eq!(address.to_string(), "http://users.guras.svc:50051");
        let address: Address = "http://[::1]:80/".parse().unwrap();
        assert_eq!((address.host(), address.authority().as_str()), ("::1", "[::1]:80"));
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, reason) in [
            ("", "it is no URI"),
            ("users:50051", "the scheme is not http"),
            ("https://users:50051", "the scheme is not http"),
            ("http://users", "it has no port"),
            ("http://users:0", "it has no port"),
            ("http://users:70000", "it has no port"),
            ("http://me@users:1", "it carries credentials"),
            ("http://users:1/v1", "it has a path"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
        }
    }
}
