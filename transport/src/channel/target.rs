//! What a service is addressed by: the name or the addresses where it listens, as gRPC writes them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use http::uri::{Authority, Scheme, Uri};

use super::peer::Peer;

/// The longest path of a socket, in bytes; the system keeps one for the end.
const LONGEST_PATH: usize = 107;

/// Where a service listens, in one of these forms (gRPC naming):
///
/// - `http://host:port`, or `dns:///host:port`, which is the same: a name that is resolved, or one IP address;
/// - `https://host:port`: the same over TLS;
/// - `ipv4:address:port,address:port,…` and `ipv6:[address]:port,…`: addresses that are written down;
/// - `unix:path` and `unix:///absolute/path`: a socket in the file system.
#[derive(Clone, Debug)]
pub struct Target {
    text: String,
    authority: Authority,
    place: AddressSource,
    encrypted: bool,
}

/// What a target leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AddressSource {
    /// A name that must be resolved.
    Name { host: String, port: u16 },
    /// Addresses, each once.
    Peers(Vec<Peer>),
}

/// The text is not a target that we can connect to.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is no address: {reason}; expected http://host:port, https://host:port, dns:///host:port, ipv4:address:port, \
     ipv6:[address]:port or unix:/path"
)]
pub struct TargetError {
    text: String,
    reason: &'static str,
}

impl Target {
    /// What requests name the service by, over whatever address they go: the host and the port of a name, the first of
    /// several addresses, `localhost` for a socket.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The host of the authority, an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        unbracketed(self.authority.host())
    }

    /// Whether it asks for TLS by itself.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    pub(crate) fn place(&self) -> &AddressSource {
        &self.place
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let read = match text.split_once(':') {
            Some(("http", _)) => http(text, &Scheme::HTTP),
            Some(("https", _)) => http(text, &Scheme::HTTPS),
            Some(("dns", name)) => dns(name),
            Some(("ipv4", list)) => ip(list, SocketAddr::is_ipv4, "it lists what is no IPv4 address with a port"),
            Some(("ipv6", list)) => ip(list, SocketAddr::is_ipv6, "it lists what is no IPv6 address with a port"),
            Some(("unix", path)) => unix(path),
            _ => Err("it begins with no scheme that is known here"),
        };
        let (authority, place) = read.map_err(|reason| TargetError { text: text.to_owned(), reason })?;
        let text = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), _)) => format!("{scheme}://{authority}"),
            _ => text.to_owned(),
        };
        let encrypted = text.starts_with("https:");
        Ok(Self { text, authority, place, encrypted })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

type Read = Result<(Authority, AddressSource), &'static str>;

fn http(text: &str, scheme: &Scheme) -> Read {
    let uri: Uri = text.parse().map_err(|_| "it is no URI")?;
    if uri.scheme() != Some(scheme) {
        return Err("it is no URI");
    }
    if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
        return Err("it has a path");
    }
    name(uri.authority().ok_or("it has no host")?.clone())
}

fn dns(rest: &str) -> Read {
    let host = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => rest.strip_prefix('/').ok_or("it names a DNS server, and only that of the system is asked")?,
    };
    if host.contains('/') {
        return Err("it has a path");
    }
    name(host.parse().map_err(|_| "it has no host")?)
}

fn name(authority: Authority) -> Read {
    if authority.as_str().contains('@') {
        return Err("it carries credentials");
    }
    let host = unbracketed(authority.host()).to_owned();
    if host.is_empty() {
        return Err("it has no host");
    }
    let port = authority.port_u16().filter(|port| *port != 0).ok_or("it has no port")?;
    let place = match host.parse::<IpAddr>() {
        Ok(ip) => AddressSource::Peers(vec![Peer::Tcp(SocketAddr::new(ip, port))]),
        Err(_) => AddressSource::Name { host, port },
    };
    Ok((authority, place))
}

/// As a resolver wants it.
fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn ip(list: &str, fits: fn(&SocketAddr) -> bool, otherwise: &'static str) -> Read {
    let mut peers = Vec::new();
    let mut authority = None;
    for text in list.split(',') {
        let address = text.parse().ok().filter(|address: &SocketAddr| fits(address) && address.port() != 0);
        let address = address.ok_or(otherwise)?;
        let peer = Peer::Tcp(address);
        if peers.contains(&peer) {
            return Err("it lists an address twice");
        }
        peers.push(peer);
        authority.get_or_insert(match address {
            SocketAddr::V4(address) => address.to_string(),
            // Without the zone, which means something to this machine alone.
            SocketAddr::V6(address) => format!("[{}]:{}", address.ip(), address.port()),
        });
    }
    let authority = authority.and_then(|authority| authority.parse().ok()).ok_or(otherwise)?;
    Ok((authority, AddressSource::Peers(peers)))
}

fn unix(rest: &str) -> Read {
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err("the path behind unix:// is not absolute"),
    };
    match path.len() {
        0 => Err("it has no path"),
        1..=LONGEST_PATH => {
            let peers = vec![Peer::Unix(Path::new(path).into())];
            Ok((Authority::from_static("localhost"), AddressSource::Peers(peers)))
        }
        _ => Err("the path of a socket has more than 107 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, AddressSource) {
        let target: Target = text.parse().unwrap();
        assert_eq!(target.to_string(), text);
        (target.authority().to_string(), target.place().clone())
    }

    fn tcp(addresses: &[&str]) -> AddressSource {
        AddressSource::Peers(addresses.iter().map(|address| Peer::Tcp(address.parse().unwrap())).collect())
    }

    #[test]
    fn a_name_is_resolved_whatever_scheme_it_is_written_with() {
        for text in ["http://users.guras.svc:50051", "dns:///users.guras.svc:50051", "dns:users.guras.svc:50051"] {
            let (authority, place) = read(text);
            assert_eq!(authority, "users.guras.svc:50051", "{text}");
            assert_eq!(place, AddressSource::Name { host: String::from("users.guras.svc"), port: 50051 }, "{text}");
        }
        let target: Target = "http://users:1/".parse().unwrap();
        assert_eq!((target.to_string().as_str(), target.is_encrypted()), ("http://users:1", false));
        let target: Target = "https://[::1]:1/".parse().unwrap();
        assert_eq!((target.to_string().as_str(), target.is_encrypted()), ("https://[::1]:1", true));
        assert_eq!(target.host(), "::1");
    }

    #[test]
    fn an_address_in_place_of_a_name_is_not_resolved() {
        assert_eq!(read("http://127.0.0.1:80"), (String::from("127.0.0.1:80"), tcp(&["127.0.0.1:80"])));
        assert_eq!(read("http://[::1]:80"), (String::from("[::1]:80"), tcp(&["[::1]:80"])));
        assert_eq!(read("dns:///[::1]:80"), (String::from("[::1]:80"), tcp(&["[::1]:80"])));
    }

    #[test]
    fn of_several_addresses_the_first_names_the_service() {
        let listed = tcp(&["10.0.0.1:50051", "10.0.0.2:50052"]);
        assert_eq!(read("ipv4:10.0.0.1:50051,10.0.0.2:50052"), (String::from("10.0.0.1:50051"), listed));
        let listed = tcp(&["[fd00::1]:50051", "[fd00::2]:50051"]);
        assert_eq!(read("ipv6:[fd00::1]:50051,[fd00::2]:50051"), (String::from("[fd00::1]:50051"), listed));
        assert_eq!(read("ipv6:[fe80::1%2]:80").0, "[fe80::1]:80");
    }

    #[test]
    fn a_socket_has_a_path() {
        for (text, path) in [("unix:run/users", "run/users"), ("unix:/run/a", "/run/a"), ("unix:///run/a", "/run/a")] {
            let peers = vec![Peer::Unix(Path::new(path).into())];
            assert_eq!(read(text), (String::from("localhost"), AddressSource::Peers(peers)), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_says_why() {
        let long = format!("unix:/{}", "x".repeat(LONGEST_PATH));
        for (text, reason) in [
            ("", "it begins with no scheme that is known here"),
            ("users:50051", "it begins with no scheme that is known here"),
            ("unix-abstract:users", "it begins with no scheme that is known here"),
            ("https://users", "it has no port"),
            ("http:users:50051", "it is no URI"),
            ("http://users", "it has no port"),
            ("http://users:0", "it has no port"),
            ("http://users:70000", "it has no port"),
            ("http://me@users:1", "it carries credentials"),
            ("http://users:1/v1", "it has a path"),
            ("dns:///users", "it has no port"),
            ("dns:///users:1/v1", "it has a path"),
            ("dns:///", "it has no host"),
            ("dns://10.0.0.53/users:1", "it names a DNS server, and only that of the system is asked"),
            ("dns://users:1", "it names a DNS server, and only that of the system is asked"),
            ("ipv4:", "it lists what is no IPv4 address with a port"),
            ("ipv4:10.0.0.1", "it lists what is no IPv4 address with a port"),
            ("ipv4:[::1]:80", "it lists what is no IPv4 address with a port"),
            ("ipv4:10.0.0.1:80,", "it lists what is no IPv4 address with a port"),
            ("ipv4:10.0.0.1:80,10.0.0.1:80", "it lists an address twice"),
            ("ipv6:10.0.0.1:80", "it lists what is no IPv6 address with a port"),
            ("ipv6:::1:80", "it lists what is no IPv6 address with a port"),
            ("ipv6:[::1]:0", "it lists what is no IPv6 address with a port"),
            ("unix:", "it has no path"),
            ("unix://run/users", "the path behind unix:// is not absolute"),
            (long.as_str(), "the path of a socket has more than 107 bytes"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_does_harm(text in "(http|dns|ipv4|ipv6|unix)?:?/{0,3}\\PC{0,30}") {
            let _ = text.parse::<Target>();
        }
    }
}
