//! How the configuration names services: a key for each package, or for each family of its versions.
//!
//! Keys can be written in files, flags and environment variables alike, so they have only `a` to `z`, `0` to `9` and `_`.
//! The key of `guras.users.v1` is `users`, the part before the version. A package that has no version at its end, or
//! shares that part with a package of others, has its full name as its key: `acme_kitchen_v1_stoves`.

use std::collections::{BTreeMap, BTreeSet};

use transport::Contracts;

/// Packages of our own services, which we do not call.
const OURS: &str = "orchestrator.";

/// The keys of all services that can be called.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// By full name of the service.
    of_services: BTreeMap<&'static str, String>,
    /// What was asked for by a part that packages share: the keys to use instead.
    shared: BTreeMap<String, BTreeSet<String>>,
}

/// Two packages whose full names are one key.
#[derive(Debug, thiserror::Error)]
#[error(
    "{first} and {second} would both be services.{key} in the configuration; expected another name for one of them"
)]
pub struct KeyTaken {
    first: String,
    second: String,
    key: String,
}

impl Keys {
    /// The keys of the services of these contracts.
    pub(crate) fn of(contracts: &Contracts) -> Result<Self, KeyTaken> {
        let services: BTreeSet<&'static str> = contracts.methods().map(|entry| entry.method.service).collect();
        let services: Vec<&'static str> = services.into_iter().filter(|service| !service.starts_with(OURS)).collect();

        let mut full: BTreeMap<String, &str> = BTreeMap::new();
        let mut families: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for service in &services {
            let owner = owner(service);
            match full.insert(full_key(service), owner) {
                Some(first) if first != owner => {
                    let (first, second) = (first.to_owned(), owner.to_owned());
                    return Err(KeyTaken { first, second, key: full_key(service) });
                }
                _ => {}
            }
            if let Some((short, family)) = short_key(service) {
                families.entry(short).or_default().insert(family);
            }
        }
        let is_free = |short: &str| families.get(short).is_some_and(|of| of.len() == 1) && !full.contains_key(short);
        let mut keys = Self::default();
        for service in services {
            let short = short_key(service).map(|(short, _)| short);
            let key = match short {
                Some(short) if is_free(&short) => short,
                Some(short) => {
                    keys.shared.entry(short).or_default().insert(full_key(service));
                    full_key(service)
                }
                None => full_key(service),
            };
            keys.of_services.insert(service, key);
        }
        Ok(keys)
    }

    /// The key of the service.
    pub(crate) fn of_service(&self, service: &str) -> Option<&str> {
        self.of_services.get(service).map(String::as_str)
    }

    /// All keys.
    pub(crate) fn all(&self) -> BTreeSet<&str> {
        self.of_services.values().map(String::as_str).collect()
    }

    /// The keys of the packages that share this part of their names.
    pub(crate) fn sharing(&self, part: &str) -> Option<&BTreeSet<String>> {
        self.shared.get(part)
    }
}

/// The package of the service, or the service if it has no package.
fn owner(service: &str) -> &str {
    service.rsplit_once('.').map_or(service, |(package, _)| package)
}

/// The whole name of the owner in the letters of a key.
fn full_key(service: &str) -> String {
    let word = |letter: char| if letter == '.' { '_' } else { letter.to_ascii_lowercase() };
    let key: String = match service.rsplit_once('.') {
        Some((package, _)) => package.chars().map(word).collect(),
        None => heck::ToSnakeCase::to_snake_case(service),
    };
    key.trim_start_matches('_').to_owned()
}

/// The part before the version in the letters of a key, and the package without its version; none without a version at
/// the end.
fn short_key(service: &str) -> Option<(String, String)> {
    let (package, _) = service.rsplit_once('.')?;
    let (family, version) = package.rsplit_once('.')?;
    let name = family.rsplit('.').next()?.to_ascii_lowercase();
    let name = name.trim_start_matches('_');
    (is_version(version) && !name.is_empty()).then(|| (name.to_owned(), family.to_owned()))
}

/// As `v1`, `v2beta1` and `V1`.
fn is_version(part: &str) -> bool {
    let part = part.to_ascii_lowercase();
    let Some(rest) = part.strip_prefix('v') else { return false };
    let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let stage = digits.trim_end_matches(|c: char| c.is_ascii_digit());
    digits.len() < rest.len() && (digits.is_empty() || ["alpha", "beta", "test"].contains(&stage))
}

#[cfg(test)]
mod tests {
    use engine::rpc::{Level, Method};
    use transport::methods::MethodEntry;

    use super::*;

    fn keys(services: &[&'static str]) -> Result<Keys, KeyTaken> {
        let entries: Vec<MethodEntry> = services.iter().map(|service| entry(service)).collect();
        let services: &'static [&'static [MethodEntry]] = Vec::leak(vec![&*Vec::leak(entries)]);
        Keys::of(&Contracts { services, descriptors: &[] })
    }

    fn entry(service: &'static str) -> MethodEntry {
        let path = Box::leak(format!("/{service}/Call").into_boxed_str());
        let method = Method { service, name: "Call", path, level: Level::Unknown, request_id: None };
        let call = |_, _| -> futures_util::future::BoxFuture<'static, _> {
            Box::pin(std::future::ready(Err(tonic::Status::unimplemented("not called"))))
        };
        MethodEntry { method: Box::leak(Box::new(method)), collected: None, call }
    }

    #[test]
    fn the_key_of_a_package_is_what_stands_before_its_version() {
        let keys =
            keys(&["guras.users.v1.UserService", "guras.users.v2beta1.UserService", "Acme.Cellar.V1.S"]).unwrap();
        assert_eq!(keys.of_service("guras.users.v1.UserService"), Some("users"));
        assert_eq!(keys.of_service("guras.users.v2beta1.UserService"), Some("users"));
        assert_eq!(keys.of_service("Acme.Cellar.V1.S"), Some("cellar"));
        assert_eq!(keys.all(), BTreeSet::from(["cellar", "users"]));
    }

    #[test]
    fn a_package_without_a_version_at_its_end_has_its_full_name() {
        let services = ["pantry.PantryService", "acme.kitchen.v1.stoves.StoveService", "LarderService", "_a._b.S"];
        let keys = keys(&services).unwrap();
        let found: Vec<_> = services.iter().map(|service| keys.of_service(service).unwrap()).collect();
        assert_eq!(found, ["pantry", "acme_kitchen_v1_stoves", "larder_service", "a__b"]);
    }

    #[test]
    fn packages_that_share_a_part_have_their_full_names_and_the_part_names_them() {
        let keys =
            keys(&["guras.users.v1.UserService", "acme.users.v1.AccountService", "acme.ai.v1.S", "ai.T"]).unwrap();
        assert_eq!(keys.of_service("guras.users.v1.UserService"), Some("guras_users_v1"));
        assert_eq!(keys.of_service("acme.users.v1.AccountService"), Some("acme_users_v1"));
        let sharing = BTreeSet::from(["acme_users_v1", "guras_users_v1"].map(String::from));
        assert_eq!(keys.sharing("users"), Some(&sharing));
        assert_eq!(keys.of_service("acme.ai.v1.S"), Some("acme_ai_v1"));
        assert_eq!(keys.of_service("ai.T"), Some("ai"));
    }

    #[test]
    fn full_names_that_are_one_key_are_refused_with_both() {
        let told = keys(&["a.b_c.S", "a_b.c.T"]).unwrap_err().to_string();
        assert_eq!(
            told,
            "a.b_c and a_b.c would both be services.a_b_c in the configuration; expected another name for one of them"
        );
    }

    #[test]
    fn our_own_services_have_no_key() {
        assert_eq!(keys(&["orchestrator.admin.v1.RunService"]).unwrap().all(), BTreeSet::new());
    }
}
