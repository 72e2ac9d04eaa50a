//! The formats that rules of texts name.

use std::net::{Ipv4Addr, Ipv6Addr};

use fluent_uri::{Uri, UriRef};

/// A format: whether a text has it.
pub(crate) type Format = fn(&str) -> bool;

/// The format that a rule of this name demands, and how people call it.
pub(crate) fn named(rule: &str) -> Option<(Format, &'static str)> {
    Some(match rule {
        "email" => (is_email, "an email address"),
        "hostname" => (is_hostname, "a host name"),
        "ip" => (is_ip, "an IP address"),
        "ipv4" => (is_ipv4, "an IPv4 address"),
        "ipv6" => (is_ipv6, "an IPv6 address"),
        "uri" => (|text| Uri::parse(text).is_ok(), "a URI"),
        "uri_ref" => (|text| UriRef::parse(text).is_ok(), "a URI or a relative reference"),
        "address" => (|text| is_hostname(text) || is_ip(text), "a host name or an IP address"),
        "uuid" => (is_uuid, "a UUID"),
        "tuuid" => (|text| text.len() == 32 && is_hex(text), "a UUID without hyphens"),
        "ulid" => (is_ulid, "a ULID"),
        "ip_with_prefixlen" => {
            (|text| prefix4(text, false) || prefix6(text, false), "an IP address with a prefix length")
        }
        "ipv4_with_prefixlen" => (|text| prefix4(text, false), "an IPv4 address with a prefix length"),
        "ipv6_with_prefixlen" => (|text| prefix6(text, false), "an IPv6 address with a prefix length"),
        "ip_prefix" => (|text| prefix4(text, true) || prefix6(text, true), "an IP prefix"),
        "ipv4_prefix" => (|text| prefix4(text, true), "an IPv4 prefix"),
        "ipv6_prefix" => (|text| prefix6(text, true), "an IPv6 prefix"),
        "host_and_port" => (is_host_and_port, "a host and a port"),
        "protobuf_fqn" => (is_protobuf_name, "a full name of protobuf"),
        "protobuf_dot_fqn" => {
            (|text| text.strip_prefix('.').is_some_and(is_protobuf_name), "a full name of protobuf with a leading dot")
        }
        _ => return None,
    })
}

/// The format of a part of an HTTP header, by its number in `KnownRegex`.
pub(crate) fn header(part: i32, is_strict: bool) -> Option<(Format, &'static str)> {
    let is_line: Format = |text| !text.contains(['\0', '\n', '\r']);
    Some(match (part, is_strict) {
        (1, true) => (is_header_name, "the name of an HTTP header"),
        (1, false) => (|text| !text.is_empty() && !text.contains(['\0', '\n', '\r']), "the name of an HTTP header"),
        (2, true) => {
            (|text| !text.chars().any(|c| (c < ' ' && c != '\t') || c == '\x7f'), "the value of an HTTP header")
        }
        (2, false) => (is_line, "the value of an HTTP header"),
        _ => return None,
    })
}

fn is_header_name(text: &str) -> bool {
    let name = text.strip_prefix(':').unwrap_or(text);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_|~`".contains(&byte))
}

/// As the HTML standard defines it.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte);
    !local.is_empty() && local.bytes().all(allowed) && domain.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

fn is_hostname(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && name.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_ip(text: &str) -> bool {
    is_ipv4(text) || is_ipv6(text)
}

fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

/// With a zone, if there is one.
fn is_ipv6(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => !zone.is_empty() && !zone.contains('\0') && address.parse::<Ipv6Addr>().is_ok(),
        None => text.parse::<Ipv6Addr>().is_ok(),
    }
}

/// A number without sign and leading zeros, at most this.
fn number(text: &str, most: u32) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|number| is_plain && *number <= most)
}

/// An address and the length of its prefix; `only` if all bits behind the prefix must be zero.
fn prefix4(text: &str, only: bool) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let (Ok(address), Some(length)) = (address.parse::<Ipv4Addr>(), number(length, 32)) else { return false };
    !only || address.to_bits().checked_shl(length).unwrap_or_default() == 0
}

fn prefix6(text: &str, only: bool) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let (Ok(address), Some(length)) = (address.parse::<Ipv6Addr>(), number(length, 128)) else { return false };
    !only || address.to_bits().checked_shl(length).unwrap_or_default() == 0
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => is_ipv6(inner),
        None => is_hostname(host) || is_ipv4(host),
    };
    is_host && number(port, 65_535).is_some()
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_uuid(text: &str) -> bool {
    let mut groups = text.split('-');
    let fits = [8, 4, 4, 4, 12]
        .iter()
        .all(|length| groups.next().is_some_and(|group| group.len() == *length && is_hex(group)));
    fits && groups.next().is_none()
}

fn is_ulid(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() && !b"ILOU".contains(&byte.to_ascii_uppercase());
    text.len() == 26 && text.starts_with(|first| ('0'..='7').contains(&first)) && text.bytes().all(allowed)
}

fn is_protobuf_name(text: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(is_first) && part.bytes().all(|byte| is_first(byte) || byte.is_ascii_digit())
    };
    text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts in which the format of the rule differs from what is said of it here.
    fn wrong(rule: &str, right: &[&str], wrong: &[&str]) -> Vec<String> {
        let (holds, _) = named(rule).unwrap();
        let refused = right.iter().filter(|text| !holds(text)).map(|text| format!("{rule} refuses {text:?}"));
        let taken = wrong.iter().filter(|text| holds(text)).map(|text| format!("{rule} takes {text:?}"));
        refused.chain(taken).collect()
    }

    #[test]
    fn each_format_takes_what_it_names_and_refuses_what_is_almost_that() {
        let long = "a".repeat(64);
        let cases = [
            wrong(
                "email",
                &["a@b", "a.b+c@d-e.f"],
                &["", "a", "@b", "a@", "a@-b", "a b@c", "a@b..c", &format!("a@{long}")],
            ),
            wrong("hostname", &["a", "a.b-c.d", "a.b."], &["", ".", "a..b", "-a", "1.2.3.4", "a_b", &long]),
            wrong("ip", &["1.2.3.4", "::1", "fe80::1%eth0"], &["", "1.2.3", "01.2.3.4", "1.2.3.4%a", "::1%", ":::"]),
            wrong("ipv4", &["255.255.255.255"], &["256.1.1.1", "::1"]),
            wrong("ipv6", &["2001:db8::"], &["1.2.3.4", "2001:db8"]),
            wrong("uri", &["https://a.b/c?d#e", "urn:a:b"], &["", "a/b", "http://a b", "//a"]),
            wrong("uri_ref", &["a/b", "//a", "?q", "https://a"], &["a b", "%zz"]),
            wrong("address", &["a.b", "::1"], &["", "a_b"]),
            wrong(
                "uuid",
                &["f81d4fae-7dec-11d0-A765-00a0c91e6bf6"],
                &["", "f81d4fae7dec11d0a76500a0c91e6bf6", "g81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
            ),
            wrong("tuuid", &["f81d4fae7dec11d0a76500a0c91e6bf6"], &["", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]),
            wrong(
                "ulid",
                &["01ARZ3NDEKTSV4RRFFQ69G5FAV"],
                &["", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAU"],
            ),
            wrong(
                "ip_with_prefixlen",
                &["1.2.3.4/24", "::1/128"],
                &["1.2.3.4", "1.2.3.4/33", "1.2.3.4/024", "::1/129"],
            ),
            wrong(
                "ip_prefix",
                &["1.2.3.0/24", "0.0.0.0/0", "2001:db8::/32", "1.2.3.4/32"],
                &["1.2.3.4/24", "::1/64", "1.0.0.0/0"],
            ),
            wrong(
                "host_and_port",
                &["a:1", "[::1]:0", "1.2.3.4:65535"],
                &["a", "a:65536", "::1:1", "[a]:1", ":1", "a:01"],
            ),
            wrong("protobuf_fqn", &["a.B_1"], &["", ".a", "a..b", "1a"]),
            wrong("protobuf_dot_fqn", &[".a.b"], &["a.b", "."]),
        ];
        assert_eq!(cases.concat(), Vec::<String>::new());
    }

    #[test]
    fn header_names_and_values_are_strict_unless_the_rule_is_not() {
        let holds = |part, strict, text: &str| header(part, strict).unwrap().0(text);
        assert!(holds(1, true, "x-a") && holds(1, true, ":path") && !holds(1, true, "a b") && !holds(1, true, ""));
        assert!(holds(1, false, "a b") && !holds(1, false, "a\n") && !holds(1, false, ""));
        assert!(holds(2, true, "a\tb") && holds(2, true, "") && !holds(2, true, "\x01"));
        assert!(holds(2, false, "\x01") && !holds(2, false, "\r"));
    }
}
