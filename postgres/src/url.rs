//! Where the database is and how connections to it are encrypted, as a URL says it.

use std::net::IpAddr;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::tls::Encryption;

/// Why a URL does not say where the database is. It does not repeat the URL, which may have a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("expected a URL such as postgres://user@host:5432/database")]
    Unreadable,
    #[error("it names no host")]
    NoHost,
    #[error("it has a password in it; put that into a file")]
    Password,
    #[error("sslmode is none of disable, verify-ca and verify-full")]
    UnknownMode,
    #[error(
        "anyone in between could switch the encryption of sslmode={0} off; expected verify-full, verify-ca or disable"
    )]
    Weak(&'static str),
    #[error("a Unix socket is not encrypted; expected a host, or no sslmode")]
    EncryptedSocket,
    #[error("{0} is a setting of its own: {1}")]
    Elsewhere(&'static str, &'static str),
}

/// What other programs take from the URL, and the setting that has it here.
const ELSEWHERE: [(&str, &str); 3] =
    [("sslrootcert", "store.tls.ca_file"), ("sslcert", "store.tls.certificate_file"), ("sslkey", "store.tls.key_file")];

/// Reads where the database is, and how connections to it are encrypted: to another machine fully verified, unless the URL
/// says otherwise.
pub(crate) fn parse(url: &str) -> Result<(Config, Encryption), InvalidUrl> {
    let (mode, rest) = take_mode(url)?;
    let config: Config = rest.parse().map_err(|_| InvalidUrl::Unreadable)?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(InvalidUrl::NoHost);
    }
    if config.get_password().is_some() {
        return Err(InvalidUrl::Password);
    }
    let encryption = match (mode.as_deref(), config.get_ssl_mode()) {
        (Some("disable"), _) | (None, SslMode::Disable) => Encryption::Off,
        (Some("verify-ca"), _) => Encryption::VerifyCa,
        // It means less elsewhere. What it asks for is in it.
        (Some("verify-full" | "require"), _) | (None, SslMode::Require) => Encryption::VerifyFull,
        (Some("prefer"), _) => return Err(InvalidUrl::Weak("prefer")),
        (Some("allow"), _) => return Err(InvalidUrl::Weak("allow")),
        (Some(_), _) => return Err(InvalidUrl::UnknownMode),
        (None, _) if is_local(&config) => Encryption::Off,
        (None, _) => Encryption::VerifyFull,
    };
    let on_socket = config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_)));
    if on_socket && encryption != Encryption::Off {
        return Err(InvalidUrl::EncryptedSocket);
    }
    Ok((config, encryption))
}

/// Whether everything that is sent stays on this machine.
pub(crate) fn is_local(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    })
}

/// The sslmode and what is left: the driver knows fewer modes.
fn take_mode(url: &str) -> Result<(Option<String>, String), InvalidUrl> {
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let (place, pairs, between) = match url.split_once('?') {
        Some((place, pairs)) if is_url => (format!("{place}?"), pairs.split('&').collect(), "&"),
        _ if is_url => return Ok((None, url.to_owned())),
        _ => (String::new(), words(url), " "),
    };
    let (mut mode, mut rest) = (None, Vec::new());
    for pair in pairs {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let Some((key, setting)) = ELSEWHERE.iter().find(|(known, _)| *known == key) {
            return Err(InvalidUrl::Elsewhere(key, setting));
        }
        // With spaces around its sign it is left to the driver.
        if key == "sslmode" && !value.is_empty() {
            mode = Some(value.trim_matches('\'').to_owned());
        } else {
            rest.push(pair);
        }
    }
    Ok((mode, format!("{place}{}", rest.join(between))))
}

/// Splits at spaces that are not within quotes.
fn words(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let outside = |character: char| {
        let (was_escaped, is_quote) = (escaped, character == '\'');
        escaped = character == '\\' && !was_escaped;
        quoted ^= is_quote && !was_escaped;
        character.is_whitespace() && !quoted
    };
    text.split(outside).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encryption(url: &str) -> Result<Encryption, InvalidUrl> {
        parse(url).map(|(_, encryption)| encryption)
    }

    #[test]
    fn a_url_says_where_the_database_is_and_no_secret() {
        let refused = |url| parse(url).map(drop);
        assert_eq!(refused("postgres://guras@db.internal:5432/guras"), Ok(()));
        assert_eq!(refused("postgres://guras@%2Fvar%2Frun%2Fpostgresql/guras"), Ok(()));
        assert_eq!(refused("host=db user=guras"), Ok(()));
        assert_eq!(refused("postgres://guras:hunter2@db/guras"), Err(InvalidUrl::Password));
        assert_eq!(refused("postgres:///guras"), Err(InvalidUrl::NoHost));
        assert_eq!(refused("mysql://db"), Err(InvalidUrl::Unreadable));
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_and_the_server_fully_verified_unless_the_url_says_otherwise() {
        for remote in ["postgres://db/guras", "host=db", "hostaddr=10.0.0.1 host=db", "host=db,localhost"] {
            assert_eq!(encryption(remote), Ok(Encryption::VerifyFull), "{remote}");
        }
        for local in ["postgres://localhost/guras", "host=127.0.0.1", "host=[::1]", "host=/run", "hostaddr=::1"] {
            let expected = if local.contains('[') { Encryption::VerifyFull } else { Encryption::Off };
            assert_eq!(encryption(local), Ok(expected), "{local}");
        }
        assert_eq!(encryption("postgres://db/guras?sslmode=disable"), Ok(Encryption::Off));
        assert_eq!(encryption("postgres://db/guras?sslmode=verify-ca&connect_timeout=3"), Ok(Encryption::VerifyCa));
        assert_eq!(encryption("host=localhost sslmode='verify-full' user=a"), Ok(Encryption::VerifyFull));
    }

    #[test]
    fn no_mode_trusts_a_server_unseen() {
        assert_eq!(encryption("postgres://db/guras?sslmode=require"), Ok(Encryption::VerifyFull));
        assert_eq!(encryption("host=db sslmode = require"), Ok(Encryption::VerifyFull));
        assert_eq!(encryption("postgres://db/guras?sslmode=prefer"), Err(InvalidUrl::Weak("prefer")));
        assert_eq!(encryption("host=db sslmode=allow"), Err(InvalidUrl::Weak("allow")));
        assert_eq!(encryption("host=db sslmode=verify"), Err(InvalidUrl::UnknownMode));
        assert_eq!(encryption("host=/run sslmode=verify-full"), Err(InvalidUrl::EncryptedSocket));
        let elsewhere = InvalidUrl::Elsewhere("sslrootcert", "store.tls.ca_file");
        assert_eq!(encryption("postgres://db/guras?sslrootcert=ca.pem"), Err(elsewhere));
    }

    #[test]
    fn a_quoted_value_is_one_word() {
        assert_eq!(words(r"a=1  b='x sslmode=disable \' y' c=2"), ["a=1", r"b='x sslmode=disable \' y'", "c=2"]);
        assert_eq!(encryption("host=db options='-c sslmode=disable'"), Ok(Encryption::VerifyFull));
    }
}
