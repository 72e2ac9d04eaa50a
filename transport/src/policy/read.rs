//! Reads a service config, and notes every mistake by its path.

use std::ops::RangeInclusive;
use std::time::Duration;

use engine::failure::Code;

use super::json::Node;
use super::{MAX_ATTEMPTS, MethodName, MethodPolicy, PolicyMistake, RetryPolicy, ServicePolicy, Throttling};

/// The longest duration that protobuf has.
const LONGEST: u64 = 315_576_000_000;

/// What we do not do, wherever it stands.
const NOT_DONE: &str = "is not implemented here; expected it to be left out";

pub(super) fn policy(json: &str) -> Result<ServicePolicy, Vec<PolicyMistake>> {
    let mut reader = Reader::default();
    let policy = match serde_json::from_str::<Node>(json) {
        Ok(document) => reader.policy(&document),
        Err(error) => {
            reader.note("", format!("no JSON: {error}"));
            ServicePolicy::default()
        }
    };
    if reader.mistakes.is_empty() { Ok(policy) } else { Err(reader.mistakes) }
}

#[derive(Default)]
pub(super) struct Reader {
    mistakes: Vec<PolicyMistake>,
}

/// The members of an object that are not null.
pub(super) struct Members<'n> {
    path: String,
    members: &'n [(String, Node)],
}

/// A value and its path.
pub(super) struct Found<'n> {
    pub(super) path: String,
    pub(super) node: &'n Node,
}

impl<'n> Members<'n> {
    pub(super) fn get(&self, key: &str) -> Option<Found<'n>> {
        let (_, node) = self.members.iter().find(|(member, node)| member == key && *node != Node::Null)?;
        Some(Found { path: below(&self.path, key), node })
    }
}

pub(super) fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Reader {
    pub(super) fn note(&mut self, path: &str, message: impl Into<String>) {
        self.mistakes.push(PolicyMistake { path: path.to_owned(), message: message.into() });
    }

    pub(super) fn mismatch(&mut self, found: &Found<'_>, expected: &str) {
        self.note(&found.path, format!("{} where {expected} was expected", found.node.kind()));
    }

    fn policy(&mut self, document: &Node) -> ServicePolicy {
        let known =
            ["methodConfig", "retryThrottling", "loadBalancingConfig", "loadBalancingPolicy", "healthCheckConfig"];
        let document = Found { path: String::new(), node: document };
        let Some(members) = self.members(&document, &known) else { return ServicePolicy::default() };

        let mut policy = ServicePolicy::default();
        if let Some(configs) = members.get("methodConfig") {
            for config in self.list(&configs) {
                self.method_config(&config, &mut policy.methods);
            }
        }
        policy.throttling = members.get("retryThrottling").and_then(|found| self.throttling(&found));
        policy.balancing = self.balancing(&members);
        policy
    }

    fn method_config(&mut self, config: &Found<'_>, methods: &mut Vec<(MethodName, MethodPolicy)>) {
        let known = [
            "name",
            "timeout",
            "waitForReady",
            "maxRequestMessageBytes",
            "maxResponseMessageBytes",
            "retryPolicy",
            "hedgingPolicy",
        ];
        let Some(members) = self.members(config, &known) else { return };
        if let Some(found) = members.get("hedgingPolicy") {
            self.note(&found.path, NOT_DONE);
        }
        let policy = MethodPolicy {
            timeout: members.get("timeout").and_then(|found| self.duration(&found)),
            wait_for_ready: members.get("waitForReady").and_then(|found| self.boolean(&found)).unwrap_or(false),
            max_request_bytes: members.get("maxRequestMessageBytes").and_then(|found| self.bytes(&found)),
            max_response_bytes: members.get("maxResponseMessageBytes").and_then(|found| self.bytes(&found)),
            retry: members.get("retryPolicy").and_then(|found| self.retry(&found)),
        };
        let names = members.get("name").map(|names| self.list(&names)).unwrap_or_default();
        if names.is_empty() {
            self.note(&below(&config.path, "name"), "no name; expected at least one, {} for every method");
        }
        for found in names {
            let Some(name) = self.name(&found) else { continue };
            if methods.iter().any(|(known, _)| *known == name) {
                self.note(&found.path, format!("{name} is configured twice; expected each name once"));
            } else {
                methods.push((name, policy.clone()));
            }
        }
    }

    fn name(&mut self, found: &Found<'_>) -> Option<MethodName> {
        let members = self.members(found, &["service", "method"])?;
        let mut text = |key| {
            let found = members.get(key)?;
            match found.node {
                // Protobuf takes what is empty for what is not there.
                Node::Text(text) => Some(text.clone()).filter(|text| !text.is_empty()),
                _ => {
                    self.mismatch(&found, "a name");
                    None
                }
            }
        };
        match (text("service"), text("method")) {
            (None, None) => Some(MethodName::Every),
            (Some(service), None) => Some(MethodName::Service(service)),
            (Some(service), Some(method)) => Some(MethodName::Method { service, method }),
            (None, Some(_)) => {
                self.note(&found.path, "a method without its service; expected both");
                None
            }
        }
    }

    fn retry(&mut self, found: &Found<'_>) -> Option<RetryPolicy> {
        let known = ["maxAttempts", "initialBackoff", "maxBackoff", "backoffMultiplier", "retryableStatusCodes"];
        let members = self.members(found, &known)?;
        let missing: Vec<&str> = known.into_iter().filter(|key| members.get(key).is_none()).collect();
        for key in missing {
            self.note(&below(&members.path, key), "missing; a retryPolicy needs it");
        }
        let attempts = members.get("maxAttempts").and_then(|found| self.integer(&found, 2..=u32::MAX));
        let initial_backoff = members.get("initialBackoff").and_then(|found| self.duration(&found));
        let max_backoff = members.get("maxBackoff").and_then(|found| self.duration(&found));
        let multiplier = members.get("backoffMultiplier").and_then(|found| self.positive(&found));
        let retryable = members.get("retryableStatusCodes").map(|found| self.codes(&found));
        Some(RetryPolicy {
            max_attempts: attempts?.min(MAX_ATTEMPTS),
            initial_backoff: initial_backoff?,
            max_backoff: max_backoff?,
            backoff_multiplier: multiplier?,
            retryable: retryable?,
        })
    }

    fn codes(&mut self, found: &Found<'_>) -> Vec<Code> {
        let mut codes = Vec::new();
        let elements = self.list(found);
        if elements.is_empty() && matches!(found.node, Node::List(_)) {
            self.note(&found.path, "empty; expected at least one status code");
        }
        for element in elements {
            let code = match element.node {
                Node::Number(number) => all_codes().find(|code| f64::from(*code as i32) == *number),
                Node::Text(text) => all_codes().find(|code| code.name().eq_ignore_ascii_case(text)),
                _ => None,
            };
            match code {
                Some(Code::Ok) => self.note(&element.path, "OK is no failure; expected the code of one"),
                Some(code) if codes.contains(&code) => self.note(&element.path, format!("{code} is there twice")),
                Some(code) => codes.push(code),
                None => self.note(&element.path, "no status code; expected a name such as `UNAVAILABLE`, or a number"),
            }
        }
        codes
    }

    fn throttling(&mut self, found: &Found<'_>) -> Option<Throttling> {
        let known = ["maxTokens", "tokenRatio"];
        let members = self.members(found, &known)?;
        let missing: Vec<&str> = known.into_iter().filter(|key| members.get(key).is_none()).collect();
        for key in missing {
            self.note(&below(&members.path, key), "missing; retryThrottling needs it");
        }
        let tokens = members.get("maxTokens").and_then(|found| self.integer(&found, 1..=1_000));
        let ratio = members.get("tokenRatio").and_then(|found| {
            let ratio = self.positive(&found)?;
            // Digits behind the third are not looked at, says gRFC A6.
            let thousandths = (ratio * 1_000.0 + 1e-6).floor();
            if !(1.0..=1e6).contains(&thousandths) {
                self.note(&found.path, format!("{ratio} is out of range; expected 0.001 to 1000"));
                return None;
            }
            Some(thousandths as u32)
        });
        Some(Throttling { max_millitokens: tokens? * 1_000, millitokens_per_success: ratio? })
    }

    /// The members of an object; those that are unknown or there twice are noted.
    pub(super) fn members<'n>(&mut self, found: &Found<'n>, known: &[&str]) -> Option<Members<'n>> {
        let Node::Object(members) = found.node else {
            self.mismatch(found, "an object");
            return None;
        };
        for (at, (key, _)) in members.iter().enumerate() {
            let path = below(&found.path, key);
            if members.iter().take(at).any(|(before, _)| before == key) {
                self.note(&path, "is there twice");
            } else if !known.contains(&key.as_str()) {
                let expected =
                    if known.is_empty() { "nothing".to_owned() } else { format!("one of {}", known.join(", ")) };
                self.note(&path, format!("unknown; expected {expected}"));
            }
        }
        Some(Members { path: found.path.clone(), members })
    }

    pub(super) fn list<'n>(&mut self, found: &Found<'n>) -> Vec<Found<'n>> {
        let Node::List(elements) = found.node else {
            self.mismatch(found, "a list");
            return Vec::new();
        };
        let element = |(at, node)| Found { path: format!("{}[{at}]", found.path), node };
        elements.iter().enumerate().map(element).collect()
    }

    pub(super) fn boolean(&mut self, found: &Found<'_>) -> Option<bool> {
        if let Node::Bool(value) = found.node {
            return Some(*value);
        }
        self.mismatch(found, "true or false");
        None
    }

    /// A number; protobuf's JSON writes the long ones as text.
    pub(super) fn number(&mut self, found: &Found<'_>) -> Option<f64> {
        let number = match found.node {
            Node::Number(number) => Some(*number),
            Node::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        };
        if number.is_none() {
            self.mismatch(found, "a number");
        }
        number
    }

    pub(super) fn integer(&mut self, found: &Found<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        let number = self.number(found)?;
        let (least, most) = (f64::from(*range.start()), f64::from(*range.end()));
        if number.fract() == 0.0 && (least..=most).contains(&number) {
            return Some(number as u32);
        }
        let expected = match *range.end() {
            u32::MAX => format!("a whole number of at least {least}"),
            _ => format!("a whole number from {least} to {most}"),
        };
        self.note(&found.path, format!("{number} is out of range; expected {expected}"));
        None
    }

    fn bytes(&mut self, found: &Found<'_>) -> Option<usize> {
        self.integer(found, 0..=u32::MAX).map(|bytes| bytes as usize)
    }

    fn positive(&mut self, found: &Found<'_>) -> Option<f64> {
        let number = self.number(found)?;
        if number > 0.0 {
            return Some(number);
        }
        self.note(&found.path, format!("{number} is out of range; expected more than 0"));
        None
    }

    /// A duration as protobuf's JSON writes it. None that is used here may be zero.
    fn duration(&mut self, found: &Found<'_>) -> Option<Duration> {
        let Node::Text(text) = found.node else {
            self.mismatch(found, "a duration such as \"1.5s\"");
            return None;
        };
        let duration = seconds(text);
        match duration {
            None => self.note(&found.path, format!("{text:?} is no duration; expected one such as \"1.5s\"")),
            Some(Duration::ZERO) => self.note(&found.path, "no time at all; expected more than 0s"),
            Some(_) => return duration,
        }
        None
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole = whole.parse().ok().filter(|whole| *whole <= LONGEST)?;
    Some(Duration::new(whole, format!("{fraction:0<9}").parse().ok()?))
}

fn all_codes() -> impl Iterator<Item = Code> {
    (0..=16).map(Code::from_i32)
}
