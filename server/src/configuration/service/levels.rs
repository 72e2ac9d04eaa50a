//! How often calls may be repeated, where configuration says more of it than contracts that cannot be changed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use engine::rpc::{Level, Method};
use heck::ToSnakeCase;

use crate::configuration::{Method as Configured, MethodLevel, Service};
use crate::contracts::{strength, told};
use crate::installed;

/// The least time for which a key is remembered: attempts end 5 s before the service forgets it.
const LEAST_HORIZON: Duration = Duration::from_secs(10);

/// What is configured of the methods of one service.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    /// Levels that are not those of the contracts, by the path of the method.
    pub(crate) in_force: HashMap<&'static str, Level>,
    pub(crate) mistakes: Vec<LevelMistake>,
    /// What is allowed and probably not meant.
    pub(crate) warnings: Vec<String>,
}

/// One thing to correct.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LevelMistake {
    /// Key below that of the service, for example `methods.write_text.level`.
    pub(crate) path: String,
    pub(crate) message: String,
}

impl Levels {
    /// What is configured of the service with this key. A mistake puts nothing in force.
    pub(crate) fn of(key: &str, service: &Service) -> Self {
        let methods: Vec<&'static Method> = installed::methods_of(key).collect();
        Self::read(&methods, &service.methods)
    }

    /// The level of a method.
    pub(crate) fn level(&self, method: &Method) -> Level {
        self.in_force.get(method.path).copied().unwrap_or(method.level)
    }

    fn read(methods: &[&'static Method], configured: &BTreeMap<String, Configured>) -> Self {
        let mut levels = Self::default();
        for (name, configured) in configured {
            let path = format!("methods.{name}");
            match find(methods, name) {
                Ok(method) => levels.state(&path, method, configured),
                Err(message) => levels.mistake(path, message),
            }
        }
        levels
    }

    fn state(&mut self, path: &str, method: &'static Method, configured: &Configured) {
        let Configured { level, dedupe_horizon: horizon } = *configured;
        if level == MethodLevel::Keyed && horizon < LEAST_HORIZON {
            let message = "expected how long the service remembers a key, for example `24h`, and at least `10s`";
            return self.mistake(format!("{path}.dedupe_horizon"), String::from(message));
        }
        if level != MethodLevel::Keyed && !horizon.is_zero() {
            let message = "expected none: only the level `keyed` has one";
            return self.mistake(format!("{path}.dedupe_horizon"), String::from(message));
        }
        let level = match level {
            MethodLevel::Contract => return,
            MethodLevel::NoSideEffects => Level::NoSideEffects,
            MethodLevel::Idempotent => Level::Idempotent,
            MethodLevel::Keyed => Level::Keyed { horizon },
        };
        match (method.level, level) {
            // Calls with effects are written down before they are sent; these would no longer be.
            (Level::Idempotent | Level::Keyed { .. }, Level::NoSideEffects) => {
                let message = format!("the contract says that it has effects ({})", told(method.level));
                self.mistake(format!("{path}.level"), message);
            }
            // How long keys are remembered is for those to say who run the service, be it longer or shorter.
            (Level::Keyed { horizon: stated }, Level::Keyed { horizon }) if stated != horizon => {
                self.in_force.insert(method.path, level);
            }
            (stated, level) if strength(level) <= strength(stated) => {
                self.warnings.push(format!("{path} has no effect: the contract says {} already", told(stated)));
            }
            _ => {
                self.in_force.insert(method.path, level);
            }
        }
    }

    fn mistake(&mut self, path: String, message: String) {
        self.mistakes.push(LevelMistake { path, message });
    }
}

/// The method that a key of the configuration names.
fn find(methods: &[&'static Method], name: &str) -> Result<&'static Method, String> {
    let named: Vec<&'static Method> =
        methods.iter().copied().filter(|method| method.name.to_snake_case() == name).collect();
    match named.as_slice() {
        [method] => Ok(method),
        [] => {
            let mut known: Vec<String> =
                methods.iter().map(|method| format!("`{}`", method.name.to_snake_case())).collect();
            known.sort();
            known.dedup();
            Err(format!("the service has no such method that we could call; expected one of {}", known.join(", ")))
        }
        several => {
            let several: Vec<String> =
                several.iter().map(|method| format!("{}/{}", method.service, method.name)).collect();
            Err(format!("names {}; expected the name of one method", several.join(" and ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn method(service: &'static str, name: &'static str, level: Level) -> &'static Method {
        let path = Box::leak(format!("/{service}/{name}").into_boxed_str());
        Box::leak(Box::new(Method { service, name, path, level, request_id: None }))
    }

    fn read(methods: &[&'static Method], name: &str, level: MethodLevel, horizon: Duration) -> Levels {
        Levels::read(methods, &[(name.to_owned(), Configured { level, dedupe_horizon: horizon })].into())
    }

    /// What becomes of a configured level: the level that holds, mistakes, and warnings.
    fn becomes(stated: Level, level: MethodLevel, horizon: Duration) -> (Level, usize, usize) {
        let method = method("a.v1.S", "SendText", stated);
        let levels = read(&[method], "send_text", level, horizon);
        (levels.level(method), levels.mistakes.len(), levels.warnings.len())
    }

    #[test]
    fn configuration_adds_to_contracts_and_takes_nothing_from_them() {
        use Level::{Idempotent, NoSideEffects, Unknown};
        use MethodLevel as Said;
        let keyed = |horizon| Level::Keyed { horizon };
        let none = Duration::ZERO;
        for (stated, said, horizon, expected) in [
            (Unknown, Said::Contract, none, (Unknown, 0, 0)),
            (Unknown, Said::Keyed, DAY, (keyed(DAY), 0, 0)),
            (Unknown, Said::Idempotent, none, (Idempotent, 0, 0)),
            (Unknown, Said::NoSideEffects, none, (NoSideEffects, 0, 0)),
            (keyed(DAY), Said::Keyed, DAY, (keyed(DAY), 0, 1)),
            (keyed(DAY), Said::Keyed, DAY / 2, (keyed(DAY / 2), 0, 0)),
            (keyed(DAY), Said::Keyed, DAY * 2, (keyed(DAY * 2), 0, 0)),
            (keyed(DAY), Said::Idempotent, none, (Idempotent, 0, 0)),
            (keyed(DAY), Said::NoSideEffects, none, (keyed(DAY), 1, 0)),
            (Idempotent, Said::NoSideEffects, none, (Idempotent, 1, 0)),
            (Idempotent, Said::Idempotent, none, (Idempotent, 0, 1)),
            (Idempotent, Said::Keyed, DAY, (Idempotent, 0, 1)),
            (NoSideEffects, Said::Idempotent, none, (NoSideEffects, 0, 1)),
            (NoSideEffects, Said::NoSideEffects, none, (NoSideEffects, 0, 1)),
        ] {
            assert_eq!(becomes(stated, said, horizon), expected, "{stated:?} {said:?} {horizon:?}");
        }
    }

    #[test]
    fn a_horizon_belongs_to_keys_and_to_nothing_else() {
        let method = method("a.v1.S", "SendText", Level::Unknown);
        for (level, horizon) in [
            (MethodLevel::Keyed, Duration::ZERO),
            (MethodLevel::Keyed, Duration::from_millis(999)),
            (MethodLevel::Idempotent, DAY),
            (MethodLevel::NoSideEffects, DAY),
            (MethodLevel::Contract, DAY),
        ] {
            let levels = read(&[method], "send_text", level, horizon);
            let [LevelMistake { path, .. }] = levels.mistakes.as_slice() else { panic!("{levels:?}") };
            assert_eq!(path, "methods.send_text.dedupe_horizon");
            assert_eq!(levels.level(method), Level::Unknown);
        }
    }

    #[test]
    fn a_name_is_the_one_of_one_method() {
        let methods = [
            method("a.v1.S", "SendHTTPText", Level::Unknown),
            method("a.v1.S", "Ping", Level::Unknown),
            method("a.v1.T", "Ping", Level::Unknown),
        ];
        let said = |name| read(&methods, name, MethodLevel::Idempotent, Duration::ZERO);
        assert_eq!(said("send_http_text").level(methods[0]), Level::Idempotent);
        let message = |name| said(name).mistakes.pop().map(|mistake| mistake.message).unwrap();
        assert!(message("ping").starts_with("names a.v1.S/Ping and a.v1.T/Ping;"), "{}", message("ping"));
        assert!(message("sendtext").ends_with("expected one of `ping`, `send_http_text`"), "{}", message("sendtext"));
    }
}
