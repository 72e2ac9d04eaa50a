//! Documents that are right, documents that are wrong everywhere at the same time, and arbitrary ones.

use super::*;

const FULL: &str = r#"{
    "loadBalancingConfig": [{"pick_first": {}}],
    "methodConfig": [
        {"name": [{}], "timeout": "30s"},
        {"name": [{"service": "a.S"}], "timeout": "1.5s", "waitForReady": true, "maxRequestMessageBytes": 1024},
        {
            "name": [{"service": "a.S", "method": "Get"}, {"service": "a.T"}],
            "maxResponseMessageBytes": "2048",
            "retryPolicy": {
                "maxAttempts": 9,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "aborted", 8]
            }
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1234}
}"#;

fn method(service: &'static str, name: &'static str, level: Level) -> &'static Method {
    Box::leak(Box::new(Method { service, name, path: "", level, request_id: None }))
}

fn mistakes(json: &str) -> Vec<String> {
    ServicePolicy::parse(json).unwrap_err().iter().map(ToString::to_string).collect()
}

fn paths(json: &str) -> Vec<String> {
    ServicePolicy::parse(json).unwrap_err().into_iter().map(|mistake| mistake.path).collect()
}

#[test]
fn the_most_specific_name_has_the_method() {
    let policy = ServicePolicy::parse(FULL).unwrap();
    let of = |service, name| policy.of(method(service, name, Level::Idempotent));

    assert_eq!(of("b.U", "Get"), MethodPolicy { timeout: Some(Duration::from_secs(30)), ..MethodPolicy::default() });
    let of_service = of("a.S", "List");
    assert_eq!((of_service.timeout, of_service.wait_for_ready), (Some(Duration::from_millis(1_500)), true));
    assert_eq!((of_service.max_request_bytes, of_service.retry), (Some(1_024), None));

    let of_method = of("a.S", "Get");
    assert_eq!((of_method.timeout, of_method.wait_for_ready), (None, false));
    assert_eq!(of_method.max_response_bytes, Some(2_048));
    let retry = of_method.retry.unwrap();
    assert_eq!((retry.max_attempts, retry.initial_backoff), (MAX_ATTEMPTS, Duration::from_millis(100)));
    assert_eq!(retry.retryable, [Code::Unavailable, Code::Aborted, Code::ResourceExhausted]);
    assert_eq!(of("a.T", "Get").retry, Some(retry));

    assert_eq!(policy.throttling, Some(Throttling { max_millitokens: 10_000, millitokens_per_success: 123 }));
}

#[test]
fn an_empty_document_asks_for_nothing() {
    let policy = ServicePolicy::parse("{}").unwrap();
    assert_eq!(policy, ServicePolicy::default());
    assert_eq!(policy.of(method("a.S", "Get", Level::Unknown)), MethodPolicy::default());
}

#[test]
fn all_mistakes_are_told_at_once_with_their_paths() {
    let json = r#"{
        "methodConfg": [],
        "methodConfig": [
            {"name": [{"method": "Get"}, {"service": "a.S"}, {"service": 1}], "timeout": "5"},
            {"name": [{"service": "a.S"}], "timeout": "0s", "waitForReady": "yes", "maxRequestMessageBytes": -1},
            {
                "retryPolicy": {
                    "maxAttempts": 1,
                    "initialBackoff": "-1s",
                    "backoffMultiplier": 0,
                    "retryableStatusCodes": ["UNAVAILABLE", 14, "OK", "GONE", 17]
                }
            },
            7
        ],
        "retryThrottling": {"maxTokens": 1001, "tokenRatio": 0.0001}
    }"#;
    let expected = [
        "methodConfg",
        "methodConfig[0].timeout",
        "methodConfig[0].name[0]",
        "methodConfig[0].name[2].service",
        "methodConfig[1].timeout",
        "methodConfig[1].waitForReady",
        "methodConfig[1].maxRequestMessageBytes",
        "methodConfig[1].name[0]",
        "methodConfig[2].retryPolicy.maxBackoff",
        "methodConfig[2].retryPolicy.maxAttempts",
        "methodConfig[2].retryPolicy.initialBackoff",
        "methodConfig[2].retryPolicy.backoffMultiplier",
        "methodConfig[2].retryPolicy.retryableStatusCodes[1]",
        "methodConfig[2].retryPolicy.retryableStatusCodes[2]",
        "methodConfig[2].retryPolicy.retryableStatusCodes[3]",
        "methodConfig[2].retryPolicy.retryableStatusCodes[4]",
        "methodConfig[2].name",
        "methodConfig[3]",
        "retryThrottling.maxTokens",
        "retryThrottling.tokenRatio",
    ];
    assert_eq!(paths(json), expected, "{:#?}", mistakes(json));
}

#[test]
fn what_we_do_not_do_is_refused() {
    for (json, path) in [
        (r#"{"methodConfig": [{"name": [{}], "hedgingPolicy": {"maxAttempts": 2}}]}"#, "methodConfig[0].hedgingPolicy"),
        (r#"{"loadBalancingPolicy": "grpclb"}"#, "loadBalancingPolicy"),
        (r#"{"loadBalancingConfig": [{"grpclb": {}}]}"#, "loadBalancingConfig[0].grpclb"),
    ] {
        assert_eq!(paths(json), [path]);
        assert!(mistakes(json)[0].contains("is not implemented here"), "{json}");
    }
    let none = r#"{"loadBalancingConfig": [{"xds": {}}, {"grpclb": {}}]}"#;
    assert_eq!(paths(none), ["loadBalancingConfig[0].xds", "loadBalancingConfig[1].grpclb"]);
    assert!(mistakes(none)[0].contains("expected one of pick_first, round_robin"), "{:?}", mistakes(none));
}

fn balanced(json: &str) -> BalancingPolicy {
    ServicePolicy::parse(json).unwrap().balancing.policy
}

#[test]
fn the_first_balancing_policy_that_we_have_holds() {
    use BalancingPolicy::{LeastRequest, PickFirst, RoundRobin};
    for (config, policy) in [
        (r#"[{"xds": {"any": 1}}, {"round_robin": {}}, {"pick_first": {}}]"#, RoundRobin),
        (r#"[{"pick_first": {}}, {"round_robin": {}}]"#, PickFirst { shuffle: false }),
        (r#"[{"pick_first": {"shuffleAddressList": true}}]"#, PickFirst { shuffle: true }),
        (r#"[{"least_request_experimental": {}}]"#, LeastRequest { choices: 2 }),
        (r#"[{"least_request_experimental": {"choiceCount": "5"}}]"#, LeastRequest { choices: 5 }),
        (r#"[{"least_request_experimental": {"choiceCount": 1000}}]"#, LeastRequest { choices: 10 }),
    ] {
        assert_eq!(balanced(&format!(r#"{{"loadBalancingConfig": {config}}}"#)), policy, "{config}");
    }
    assert_eq!(balanced("{}"), PickFirst { shuffle: false });
}

#[test]
fn the_deprecated_name_of_a_balancing_policy_holds_only_alone() {
    assert_eq!(balanced(r#"{"loadBalancingPolicy": "ROUND_ROBIN"}"#), BalancingPolicy::RoundRobin);
    assert_eq!(balanced(r#"{"loadBalancingPolicy": "pick_first"}"#), BalancingPolicy::PickFirst { shuffle: false });
    let both = r#"{"loadBalancingPolicy": "grpclb", "loadBalancingConfig": [{"round_robin": {}}]}"#;
    assert_eq!(balanced(both), BalancingPolicy::RoundRobin);
    assert_eq!(paths(r#"{"loadBalancingPolicy": 1}"#), ["loadBalancingPolicy"]);
}

#[test]
fn mistakes_in_balancing_are_told_with_their_paths() {
    for (config, path) in [
        ("[]", ""),
        ("{}", ""),
        ("[7]", "[0]"),
        (r#"[{}, {"round_robin": {}}, {"round_robin": {}, "pick_first": {}}]"#, "[0]"),
        (r#"[{"round_robin": {"x": 1}}]"#, "[0].round_robin.x"),
        (r#"[{"pick_first": {"shuffleAddressList": 1}}]"#, "[0].pick_first.shuffleAddressList"),
        (
            r#"[{"xds": {}}, {"least_request_experimental": {"choiceCount": 1}}]"#,
            "[1].least_request_experimental.choiceCount",
        ),
    ] {
        let json = format!(r#"{{"loadBalancingConfig": {config}}}"#);
        assert_eq!(paths(&json), [format!("loadBalancingConfig{path}")], "{:?}", mistakes(&json));
    }
}

#[test]
fn health_is_asked_for_by_the_name_of_a_service() {
    let asked = |config: &str| {
        let json = format!(r#"{{"loadBalancingConfig": [{{"round_robin": {{}}}}], "healthCheckConfig": {config}}}"#);
        let policy = ServicePolicy::parse(&json);
        assert!(policy.as_ref().is_err() || policy.as_ref().unwrap().warnings(&[]).is_empty(), "{config}");
        policy.map(|policy| policy.balancing.health_check).map_err(|_| paths(&json).remove(0))
    };
    assert_eq!(asked(r#"{"serviceName": "a.S"}"#), Ok(Some(String::from("a.S"))));
    assert_eq!(asked(r#"{"serviceName": ""}"#), Ok(Some(String::new())));
    assert_eq!(asked("null"), Ok(None));
    assert_eq!(asked("{}"), Err(String::from("healthCheckConfig.serviceName")));
    assert_eq!(asked(r#"{"serviceName": 1}"#), Err(String::from("healthCheckConfig.serviceName")));
    assert_eq!(asked(r#"{"serviceName": "a.S", "interval": "1s"}"#), Err(String::from("healthCheckConfig.interval")));
}

#[test]
fn health_that_pick_first_does_not_look_at_is_told() {
    let [warning] = ServicePolicy::parse(r#"{"healthCheckConfig": {"serviceName": ""}}"#)
        .unwrap()
        .warnings(&[])
        .try_into()
        .unwrap();
    assert!(warning.contains("pick_first asks for no health"), "{warning}");
}

#[test]
fn a_key_that_is_there_twice_is_a_mistake() {
    assert_eq!(paths(r#"{"retryThrottling": null, "retryThrottling": null}"#), ["retryThrottling"]);
}

#[test]
fn what_is_no_json_says_where() {
    let [mistake] = mistakes("{\n  methodConfig").try_into().unwrap();
    assert!(mistake.starts_with("no JSON: ") && mistake.contains("line 2"), "{mistake}");
    assert_eq!(mistakes("[]"), ["a list where an object was expected"]);
}

#[test]
fn a_retry_policy_that_goes_beyond_the_contract_is_told() {
    let policy = ServicePolicy::parse(FULL).unwrap();
    let both = [("a.S", "Get", Level::Idempotent), ("a.T", "Any", Level::NoSideEffects)];
    let both = both.map(|(service, name, level)| (method(service, name, level), level));
    assert_eq!(policy.warnings(&both), Vec::<String>::new());
    let unstated = method("a.S", "Get", Level::Unknown);
    let warnings = policy.warnings(&[(unstated, Level::Unknown)]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("a.T is no method"), "{warnings:?}");
    assert!(warnings[1].contains("a.S/Get repeats only what was surely not sent"), "{warnings:?}");
    let configured = policy.warnings(&[(unstated, Level::Idempotent)]);
    assert_eq!(configured, warnings[..1]);
}

#[test]
fn a_duration_is_whole_seconds_and_at_most_nine_digits() {
    let timeout = |text: &str| {
        let json = format!(r#"{{"methodConfig": [{{"name": [{{}}], "timeout": "{text}"}}]}}"#);
        ServicePolicy::parse(&json).ok().and_then(|policy| policy.of(method("a.S", "Get", Level::Unknown)).timeout)
    };
    assert_eq!(timeout("1s"), Some(Duration::from_secs(1)));
    assert_eq!(timeout("0.000000001s"), Some(Duration::from_nanos(1)));
    for bad in ["", "s", "1", "1.s", ".5s", "1ms", "+1s", "1.0000000001s", "1e3s", "315576000001s", "\u{663}s"] {
        assert_eq!(timeout(bad), None, "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn no_document_does_harm(
        path in proptest::sample::select(vec![
            "timeout", "waitForReady", "maxRequestMessageBytes", "retryPolicy", "name", "x",
        ]),
        value in "\\PC{0,20}|-?[0-9]{1,40}(\\.[0-9]{1,40})?(e[0-9]{1,4})?|\"[0-9.]{0,30}s\"|\\{\\}|\\[[0-9,]{0,9}\\]",
    ) {
        let _ = ServicePolicy::parse(&value);
        let _ = ServicePolicy::parse(&format!(r#"{{"methodConfig": [{{"name": [{{}}], "{path}": {value}}}]}}"#));
        let _ = ServicePolicy::parse(&format!(
            r#"{{"methodConfig": [{{"name": [{{}}], "retryPolicy": {{"maxAttempts": {value}, "maxBackoff": {value},
            "initialBackoff": {value}, "backoffMultiplier": {value}, "retryableStatusCodes": {value}}}}}],
            "retryThrottling": {{"maxTokens": {value}, "tokenRatio": {value}}},
            "healthCheckConfig": {value}, "loadBalancingPolicy": {value}}}"#,
        ));
        let _ = ServicePolicy::parse(&format!(r#"{{"loadBalancingConfig": {value}}}"#));
        let _ = ServicePolicy::parse(&format!(r#"{{"loadBalancingConfig": [{{"pick_first": {value}}}]}}"#));
    }
}
