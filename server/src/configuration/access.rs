//! Who may use the admin API, as an operator says it.

use super::Admin;
use crate::access::{Grants, Guard, Jwt, JwtConfig, Tokens};

/// Whether nobody has to prove anything.
pub(crate) fn is_open(admin: &Admin) -> bool {
    proves_nothing(admin) && admin.grants.is_empty()
}

fn proves_nothing(admin: &Admin) -> bool {
    admin.tokens.is_empty() && admin.jwt == JwtConfig::default()
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
    Ok(Guard::of(tokens, grants, jwt))
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
        note("admin.grants", String::from("nothing proves who calls; expected admin.tokens or admin.jwt too"));
    }
    if !proves_nothing(admin) && admin.grants.is_empty() {
        note("admin.grants", String::from("nobody may do anything; expected at least one grant"));
    }
    if !is_open(admin) && admin.allow_insecure {
        let message = "contradicts admin.tokens, admin.jwt and admin.grants; expected either these or this";
        note("admin.allow_insecure", String::from(message));
    }
}
