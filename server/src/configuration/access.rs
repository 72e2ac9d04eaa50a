//! Who may use the admin API, as an operator says it.

use super::Admin;
use super::listener_tls::is_empty;
use crate::access::{Grants, Guard, Jwt, JwtConfig, Limits, Tokens};

/// Whether nobody has to prove anything.
pub(crate) fn is_open(admin: &Admin) -> bool {
    proves_nothing(admin) && admin.grants.is_empty()
}

fn proves_nothing(admin: &Admin) -> bool {
    let has_certificates = !is_empty(&admin.tls.client_ca_file);
    admin.tokens.is_empty() && admin.jwt == JwtConfig::default() && !has_certificates && is_empty(&admin.socket)
}

/// What a running process takes over when the configuration changes.
pub(crate) fn rules(admin: &Admin) -> (Tokens, Grants) {
    // The configuration was checked before.
    let note = &mut |_, _| {};
    (Tokens::read(&admin.tokens, note), Grants::read(&admin.grants, note))
}

/// The guard of the admin API.
///
/// # Errors
/// A file cannot be used.
pub(crate) fn guard(admin: &Admin) -> Result<Guard, String> {
    if is_open(admin) {
        return Ok(Guard::open());
    }
    let mut mistake = None;
    let jwt = jwt(admin, &mut |key, message| mistake = Some(format!("admin.jwt.{key}: {message}")));
    if let Some(mistake) = mistake {
        return Err(mistake);
    }
    let (tokens, grants) = rules(admin);
    let limits = Limits { calls: admin.max_calls_per_principal, per_second: admin.max_rate_per_principal };
    Ok(Guard::of(tokens, grants, jwt, &expected(admin), limits))
}

/// How callers prove who they are here.
fn expected(admin: &Admin) -> String {
    let ways = [
        (!admin.tokens.is_empty() || admin.jwt != JwtConfig::default(), "a bearer token"),
        (!is_empty(&admin.tls.client_ca_file), "a client certificate"),
        (!is_empty(&admin.socket), "a call over the socket"),
    ];
    ways.into_iter().filter(|(is_there, _)| *is_there).map(|(_, way)| way).collect::<Vec<_>>().join(" or ")
}

fn jwt(admin: &Admin, note: &mut dyn FnMut(&'static str, String)) -> Option<Jwt> {
    if admin.jwt == JwtConfig::default() { None } else { Jwt::open(&admin.jwt, note) }
}

/// Notes what is wrong, by the keys of the configuration.
pub(super) fn check(admin: &Admin, note: &mut dyn FnMut(&str, String)) {
    Tokens::read(&admin.tokens, &mut |key, message| note(&format!("admin.tokens{key}"), message));
    Grants::read(&admin.grants, &mut |key, message| note(&format!("admin.grants{key}"), message));
    jwt(admin, &mut |key, message| note(&format!("admin.jwt.{key}"), message));
    if proves_nothing(admin) && !admin.grants.is_empty() {
        note(
            "admin.grants",
            String::from(
                "nothing proves who calls; expected admin.tokens, admin.jwt, admin.tls.client_ca_file or admin.socket too",
            ),
        );
    }
    if !proves_nothing(admin) && admin.grants.is_empty() {
        note("admin.grants", String::from("nobody may do anything; expected at least one grant"));
    }
    if (!is_open(admin) || admin.tls.is_on()) && admin.allow_insecure {
        let message = "contradicts admin.tls, admin.socket, admin.tokens, admin.jwt and admin.grants; expected either these or this";
        note("admin.allow_insecure", String::from(message));
    }
}
