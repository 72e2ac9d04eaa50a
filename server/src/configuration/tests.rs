//! Layers, mistakes and arbitrary input.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn from_file(text: &str) -> Result<Loaded, Mistakes> {
    let file = file(text);
    load(&Sources { file: Some(file.path().to_owned()), ..Sources::default() })
}

fn from_environment(variables: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
    let environment = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    load(&Sources { environment, ..Sources::default() })
}

fn from_flags(flags: &[&str]) -> Result<Loaded, Mistakes> {
    load(&Sources { overrides: flags.iter().map(|flag| (*flag).to_owned()).collect(), ..Sources::default() })
}

fn paths(result: Result<Loaded, Mistakes>) -> Vec<String> {
    result.map(|loaded| loaded.configuration).unwrap_err().iter().map(|mistake| mistake.path.clone()).collect()
}

#[test]
fn a_database_needs_a_url_without_a_password_and_a_lease_that_outlasts_its_operations() {
    let loaded = from_file("[store]\nkind = \"postgres\"\nurl = \"postgres://guras@db/guras\"\n").unwrap();
    let store = loaded.configuration.store;
    assert_eq!((store.kind, store.lease, store.margin()), (StoreKind::Postgres, Duration::from_secs(15), 3 * SECOND));
    assert!(store.file().is_err() && Store::default().file().is_ok());
    for text in [
        "kind = \"postgres\"",
        "kind = \"postgres\"\nurl = \"postgres://guras:hunter2@db/guras\"",
        "url = \"postgres://guras@db/guras\"",
    ] {
        let mistakes = from_file(&format!("[store]\n{text}\n")).map(drop).unwrap_err();
        assert!(!mistakes.to_string().contains("hunter2"), "{mistakes}");
        assert_eq!(paths(from_file(&format!("[store]\n{text}\n"))), ["store.url"], "{text}");
    }
    let database = "[store]\nkind = \"postgres\"\nurl = \"postgres://guras@db/guras\"\n";
    assert_eq!(paths(from_file(&format!("{database}timeout = \"12s\"\n"))), ["store.timeout"]);
    assert_eq!(paths(from_file(&format!("{database}lease = \"2s\"\n"))), ["store.lease", "store.timeout"]);
    let open = "[store]\nkind = \"postgres\"\nurl = \"postgres://guras@db/guras?sslmode=disable\"\n";
    assert_eq!(paths(from_file(open)), ["store.url"]);
    assert!(from_file(&format!("{open}allow_insecure = true\n")).is_ok());
    assert_eq!(paths(from_file(&format!("{open}allow_insecure = true\ntls.ca_file = \"ca\"\n"))), ["store.tls"]);
    assert_eq!(paths(from_file(&format!("{database}tls.ca_file = \"/no/such\"\n"))), ["store.tls.ca_file"]);
    assert_eq!(paths(from_file(&format!("{database}password_file = \"/no/such\"\n"))), ["store.password_file"]);
    assert_eq!(paths(from_file(&format!("{database}kind_of = 1\n"))), ["store.kind_of"]);
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn without_any_source_the_defaults_hold() {
    let loaded = load(&Sources::default()).unwrap();
    // Those of the program come first: here one schedule.
    let schedule = Schedule {
        workflow: String::from("notifications.send-due"),
        every: Duration::from_secs(60),
        ..Schedule::default()
    };
    let schedules = Schedules([(String::from("send_due"), schedule)].into());
    assert_eq!(loaded.configuration, Configuration { schedules, ..Configuration::default() });
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let file = file("[drain]\ngrace = \"1s\"\n[health]\ninterval = \"2s\"\nmax_connections = 5\n");
    let loaded = load(&Sources {
        file: Some(file.path().to_owned()),
        environment: vec![
            ("ORCHESTRATOR__HEALTH__INTERVAL".into(), "3s".into()),
            ("ORCHESTRATOR__HEALTH__MAX_CONNECTIONS".into(), "6".into()),
            ("ORCHESTRATOR_CONFIG".into(), "elsewhere".into()),
        ],
        overrides: vec![String::from("health.max_connections=7")],
    })
    .unwrap();
    let Configuration { health, drain, admin, .. } = loaded.configuration;
    assert_eq!(drain.grace, Duration::from_secs(1));
    assert_eq!(health.interval, Duration::from_secs(3));
    assert_eq!(health.max_connections, 7);
    assert_eq!(admin, Admin::default());
}

#[test]
fn all_mistakes_are_told_at_once_with_their_paths_and_origins() {
    let file = file(
        r#"
        colour = "red"
        [admin]
        listen = "loclhost"
        max_streams = "many"
        [drain]
        grace = 30
        [services.users]
        adress = "http://127.0.0.1:6001"
        call_timeout = "2h"
        [schedules.send_due]
        every = "soon"
        "#,
    );
    let mistakes = load(&Sources {
        file: Some(file.path().to_owned()),
        environment: vec![("ORCHESTRATOR__LOG__FORMAT".into(), "xml".into())],
        overrides: vec![String::from("health")],
    })
    .unwrap_err();
    let paths: Vec<&str> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
    let expected = [
        "",
        "admin.listen",
        "admin.max_streams",
        "colour",
        "drain.grace",
        "log.format",
        "schedules.send_due.every",
        "services.users.adress",
        "services.users.call_timeout",
    ];
    assert_eq!(paths, expected, "{mistakes}");
    let told = mistakes.to_string();
    assert!(told.starts_with("the configuration has 9 mistakes\n"), "{told}");
    assert!(told.contains(&format!("(from {})", file.path().display())), "{told}");
    assert!(told.contains("(from the environment)"), "{told}");
    assert!(told.contains("expected one such as `90s`"), "{told}");
}

#[test]
fn a_syntax_error_names_the_file() {
    let file = file("[admin\nlisten = 1");
    let mistakes = load(&Sources { file: Some(file.path().to_owned()), ..Sources::default() }).unwrap_err();
    assert!(mistakes.to_string().contains(&file.path().display().to_string()), "{mistakes}");
}

#[test]
fn a_file_that_is_not_there_is_a_mistake() {
    let missing = Sources { file: Some("/nowhere/orchestrator.toml".into()), ..Sources::default() };
    assert!(load(&missing).unwrap_err().to_string().contains("/nowhere/orchestrator.toml"));
}

#[test]
fn the_admin_listener_leaves_loopback_only_where_that_is_allowed() {
    assert_eq!(paths(from_flags(&["admin.listen=0.0.0.0:50052"])), ["admin.listen"]);
    assert!(from_flags(&["admin.listen=0.0.0.0:50052", "admin.allow_insecure=true"]).is_ok());
    assert!(from_flags(&["health.listen=0.0.0.0:50051"]).is_ok());
}

const HASH: &str = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";

/// A token that is granted something, and this.
fn granted(more: &str) -> String {
    let token = format!("[[admin.tokens]]\nname = \"ci\"\nsha256 = \"{HASH}\"\n");
    let grant = "[[admin.grants]]\nwho = \"token:ci\"\nrole = \"viewer\"\nworkflows = [\"billing.\"]\n";
    format!("{token}{grant}[admin]\n{more}\n")
}

#[test]
fn a_way_to_prove_who_calls_and_grants_come_together_and_never_with_an_insecure_listener() {
    let loaded = from_file(&granted("")).unwrap();
    assert_eq!(loaded.configuration.admin.grants[0].workflows, ["billing."]);
    let shown = show(&loaded);
    assert!(
        shown.contains("grants = [{ role = \"viewer\", who = \"token:ci\", workflows = [\"billing.\"] }]"),
        "{shown}"
    );
    from_file(&shown).unwrap();

    assert_eq!(paths(from_file(&granted("allow_insecure = true"))), ["admin.allow_insecure"]);
    let beyond = "listen = \"0.0.0.0:50052\"";
    assert_eq!(paths(from_file(&granted(beyond))), ["admin.listen"]);
    let both = format!("{beyond}\nallow_insecure = true");
    assert_eq!(paths(from_file(&granted(&both))), ["admin.allow_insecure"]);
    let token = format!("[[admin.tokens]]\nname = \"ci\"\nsha256 = \"{HASH}\"\n");
    assert_eq!(paths(from_file(&token)), ["admin.grants"]);
    for way in ["socket = \"/run/a\"", "jwt.issuer = \"a\"", "tls.client_ca_file = \"/nowhere\""] {
        let noted = paths(from_file(&format!("[admin]\n{way}\n")));
        assert!(noted.contains(&String::from("admin.grants")), "{way}: {noted:?}");
    }
    assert_eq!(paths(from_file("[[admin.grants]]\nwho = \"token:ci\"\nrole = \"viewer\"\n")), ["admin.grants"]);
}

#[test]
fn what_is_wrong_with_a_grant_or_a_token_is_told_with_its_place_and_without_what_may_be_secret() {
    for (text, path, told) in [
        ("[[admin.grants]]\nwho = \"ci\"\nrole = \"viewer\"\n", "admin.grants[0].who", "expected token:"),
        (
            "[[admin.grants]]\nwho = \"token:ci\"\nrole = \"king\"\n",
            "admin.grants",
            "expected viewer, operator or admin",
        ),
        ("[[admin.grants]]\nwho = \"token:ci\"\nroles = \"viewer\"\n", "admin.grants", "unknown field"),
        ("[[admin.tokens]]\nname = \"ci\"\nsha256 = \"hunter2\"\n", "admin.tokens[0].sha256", "64 hexadecimal digits"),
        ("[[admin.tokens]]\nname = \"ci\"\ntoken = \"hunter2\"\n", "admin.tokens", "unknown field"),
        ("[admin.jwt]\nalgorithms = [\"HS256\"]\n", "admin.jwt", "HS256"),
        ("[admin.jwt]\nalgorithms = [\"none\"]\n", "admin.jwt", "none"),
        ("[admin.tls]\nkey_file = \"/nowhere\"\n", "admin.tls.certificate_file", "expected the path"),
        ("[health.tls]\ncertificate_file = \"/nowhere\"\n", "health.tls.key_file", "expected the path"),
    ] {
        let mistakes = from_file(text).map(|loaded| loaded.configuration).unwrap_err();
        let mistake = mistakes.iter().find(|mistake| mistake.path.starts_with(path));
        let mistake = mistake.unwrap_or_else(|| panic!("{text}: {mistakes}"));
        assert!(mistake.to_string().contains(told), "{mistake}");
        assert!(!mistakes.to_string().contains("hunter2"), "{mistakes}");
    }
}

#[test]
fn two_listeners_cannot_share_a_port() {
    assert_eq!(paths(from_flags(&["health.listen=0.0.0.0:50052"])), ["admin.listen"]);
    assert!(from_flags(&["health.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0"]).is_ok());
}

#[test]
fn one_key_of_a_default_schedule_can_be_changed_alone() {
    let loaded = from_environment(&[("ORCHESTRATOR__SCHEDULES__SEND_DUE__EVERY", "5s")]).unwrap();
    let schedule = &loaded.configuration.schedules.0["send_due"];
    assert_eq!((schedule.workflow.as_str(), schedule.every), ("notifications.send-due", Duration::from_secs(5)));
}

#[test]
fn a_service_without_an_address_is_a_warning_not_a_mistake() {
    let loaded = from_flags(&["services.ai.max_in_flight=8", "services.users.address=http://users:80"]).unwrap();
    let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    assert!(warning.contains(" ai,") && !warning.contains("users"), "{warning}");
}

#[test]
fn a_shutdown_gives_enough_time_to_calls_that_cannot_be_asked_again() {
    let slow = ["services.ai.call_timeout=40s", "drain.grace=30s"];
    assert_eq!(paths(from_flags(&slow)), ["drain.grace"]);
    assert!(from_flags(&["services.users.call_timeout=40s", "drain.grace=30s"]).is_ok());
}

#[test]
fn a_service_that_no_contract_knows_is_a_mistake() {
    assert_eq!(paths(from_flags(&["services.usres.address=http://users:80"])), ["services.usres"]);
}

#[test]
fn an_address_must_be_http_with_a_port_and_nothing_else() {
    for good in ["http://127.0.0.1:6001", "https://users:443", "http://users.guras.svc:80", "http://[::1]:6001"] {
        from_flags(&[&format!("services.users.address={good}")]).unwrap();
    }
    for bad in
        ["users:6001", "http://users", "ftp://users:1", "http://a:b@users:1", "http://users:1/x", "http://users:0"]
    {
        assert_eq!(paths(from_flags(&[&format!("services.users.address={bad}")])), ["services.users.address"], "{bad}");
    }
}

#[test]
fn the_longest_pause_of_a_breaker_is_no_shorter_than_the_first() {
    assert!(from_flags(&["services.users.breaker.pause=2m", "services.users.breaker.max_pause=2m"]).is_ok());
    let mistakes = from_flags(&["services.users.breaker.pause=2m"]).map(|_| ()).unwrap_err();
    assert!(mistakes.to_string().contains("services.users.breaker.max_pause: 1m is shorter than the pause 2m"));
    let loaded = from_environment(&[("ORCHESTRATOR__SERVICES__AI__RATE__CALLS", "30")]).unwrap();
    assert_eq!(loaded.configuration.services["ai"].rate.calls, 30);
}

#[test]
fn mistakes_in_an_identity_are_told_by_their_keys() {
    let file = file("nothing");
    let file = file.path().display();
    for (address, flags, expected) in [
        ("https://users:1", vec![String::from("tls.ca_file=/nowhere")], "tls.ca_file"),
        ("https://users:1", vec![format!("tls.ca_file={file}")], "tls.ca_file"),
        ("https://users:1", vec![format!("tls.certificate_file={file}")], "tls.key_file"),
        ("https://users:1", vec![String::from("tls.server_name=a b")], "tls.server_name"),
        ("https://users:1", vec![String::from("token_file=/nowhere")], "token_file"),
        ("https://users:1", vec![String::from("token=a b")], "token"),
        ("https://users:1", vec![String::from("token=a"), format!("token_file={file}")], "token_file"),
        ("http://users:1", vec![String::from("token=a")], "token"),
        ("http://users:1", vec![String::from("tls.enabled=true")], "tls"),
        ("http://users:1", vec![String::from("tls.server_name=users")], "tls"),
    ] {
        let flags = flags.iter().map(|flag| format!("services.users.{flag}"));
        let flags: Vec<String> = flags.chain([format!("services.users.address={address}")]).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        assert_eq!(paths(from_flags(&flags)), [format!("services.users.{expected}")], "{flags:?}");
    }
    let allowed = ["services.users.address=http://users:1", "services.users.token=a"];
    from_flags(&[&allowed[..], &["services.users.allow_insecure_token=true"]].concat()).unwrap();
}

#[test]
fn a_token_is_not_shown() {
    let loaded = from_environment(&[("ORCHESTRATOR__SERVICES__USERS__TOKEN", "007")]).unwrap();
    assert_eq!(loaded.configuration.services["users"].token.reveal(), "007");
    let shown = show(&loaded);
    assert!(shown.contains("token = \"********\"  # the environment"), "{shown}");
    for shown in [shown, format!("{loaded:?}"), format!("{:?}", loaded.configuration)] {
        assert!(!shown.contains("007"), "{shown}");
    }
}

#[test]
fn a_service_config_is_read_inline_or_from_a_file_and_not_from_both() {
    let json = r#"{"methodConfig": [{"name": [{"service": "acme.users.v1.UserService"}], "timeout": "2s"}]}"#;
    let (inline, file) = (format!("services.users.service_config={json}"), file(json));
    let in_file = format!("services.users.service_config_file={}", file.path().display());
    assert_eq!(from_flags(&[&inline]).unwrap().warnings.len(), 1);
    assert_eq!(from_flags(&[&in_file]).unwrap().warnings.len(), 1);
    assert_eq!(paths(from_flags(&[&inline, &in_file])), ["services.users.service_config_file"]);
    assert_eq!(
        paths(from_flags(&["services.users.service_config_file=/nowhere"])),
        ["services.users.service_config_file"]
    );
}

#[test]
fn mistakes_in_a_service_config_are_told_by_their_paths_with_all_others() {
    let mistakes = from_file(
        r#"
        [services.users]
        address = "users"
        service_config = """{
            "methodConfig": [
                {"name": [{}], "timeout": "2"},
                {"name": [{}], "hedgingPolicy": {}}
            ]
        }"""
        "#,
    )
    .unwrap_err();
    let paths: Vec<&str> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "services.users.address",
            "services.users.service_config.methodConfig[0].timeout",
            "services.users.service_config.methodConfig[1].hedgingPolicy",
            "services.users.service_config.methodConfig[1].name[0]",
        ]
    );
    assert!(mistakes.iter().all(|mistake| mistake.origin.is_some()), "{mistakes}");
}

#[test]
fn a_service_config_that_asks_for_more_than_the_contract_allows_is_a_warning() {
    let json = r#"{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.1s",
        "maxBackoff": "1s", "backoffMultiplier": 2, "retryableStatusCodes": [14]}}]}"#;
    let loaded = from_flags(&[&format!("services.ai.service_config={json}")]).unwrap();
    let [warning, _] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    assert!(warning.starts_with("services.ai: the retryPolicy for acme.ai.v1.AiService/WriteText"), "{warning}");
}

#[test]
fn a_shutdown_gives_enough_time_to_what_a_service_config_asks_for() {
    let json = r#"{"methodConfig": [{"name": [{}], "timeout": "40s"}]}"#;
    assert_eq!(paths(from_flags(&[&format!("services.ai.service_config={json}"), "drain.grace=30s"])), ["drain.grace"]);
    let short = json.replace("40s", "4s");
    let flags = [&format!("services.ai.service_config={short}"), "services.ai.call_timeout=40s", "drain.grace=30s"];
    assert!(from_flags(&flags).is_ok());
}

#[test]
fn what_is_over_is_kept_for_a_time_or_for_ever() {
    let loaded = from_flags(&["retention.succeeded=48h", "retention.audit=forever"]).unwrap();
    let Retention { succeeded, failed, audit, .. } = loaded.configuration.retention;
    assert_eq!((succeeded, audit), (Time::For(Duration::from_hours(48)), Time::Forever));
    assert_eq!(failed, Retention::default().failed);
    for bad in ["retention.succeeded=0s", "retention.failed=59s", "retention.terminated=87601h", "retention.audit=23h"]
    {
        let mistakes = from_flags(&[bad]).map(|_| ()).unwrap_err().to_string();
        assert!(mistakes.contains(bad.split_once('=').unwrap().0) && mistakes.contains(" or forever"), "{mistakes}");
    }
    let mistakes = from_flags(&["retention.cancelled=ever"]).map(|_| ()).unwrap_err().to_string();
    assert!(mistakes.contains("retention.cancelled: \"ever\" is no duration"), "{mistakes}");
    assert!(mistakes.contains(", or `forever`"), "{mistakes}");
}

#[test]
fn a_workflow_has_times_of_its_own_also_from_the_environment() {
    let variable = |key: &str| format!("ORCHESTRATOR__RETENTION__WORKFLOWS__ERASE__{key}");
    let variables = [(variable("WORKFLOW"), "users.erase"), (variable("SUCCEEDED"), "forever")];
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let loaded = from_environment(&variables).unwrap();
    let erase = &loaded.configuration.retention.workflows["erase"];
    assert_eq!((erase.workflow.as_str(), erase.succeeded, erase.failed), ("users.erase", Some(Time::Forever), None));
    let shown = show(&loaded);
    assert!(shown.contains("succeeded = \"forever\"  # the environment"), "{shown}");
    assert_eq!(from_file(&shown).unwrap().configuration, loaded.configuration, "{shown}");
}

#[test]
fn mistakes_in_the_times_of_a_workflow_are_told_by_their_keys() {
    let of = |flags: &[&str]| {
        let flags: Vec<String> = flags.iter().map(|flag| format!("retention.workflows.{flag}")).collect();
        paths(from_flags(&flags.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    assert_eq!(of(&["erase.failed=1h"]), ["retention.workflows.erase.workflow"]);
    assert_eq!(of(&["erase.workflow=users.erase", "erase.failed=1s"]), ["retention.workflows.erase.failed"]);
    assert_eq!(of(&["erase.workflow=users.erase", "erase.audit=48h"]), ["retention.workflows.erase.audit"]);
    assert_eq!(of(&["a.workflow=users.erase", "b.workflow=users.erase"]), ["retention.workflows.b.workflow"]);
    let quoted = "[retention.workflows.\"users.erase\"]\nworkflow = \"users.erase\"";
    assert_eq!(paths(from_file(quoted)), ["retention.workflows.users.erase"]);
}

#[test]
fn what_is_shown_loads_to_the_same_configuration() {
    let flags = ["services.users.address=http://127.0.0.1:6001", "log.filter=info,engine=debug", "drain.grace=90s"];
    let loaded = from_flags(&flags).unwrap();
    let shown = show(&loaded);
    assert!(shown.contains("grace = \"1m30s\"  # a flag") || shown.contains("grace = \"1m 30s\"  # a flag"), "{shown}");
    assert_eq!(from_file(&shown).unwrap().configuration, loaded.configuration, "{shown}");
}

#[test]
fn a_level_is_stated_for_a_method_by_any_layer() {
    let text = "[services.ai.methods]\nwrite_text = { level = \"keyed\", dedupe_horizon = \"24h\" }\n";
    let keyed = Method { level: MethodLevel::Keyed, dedupe_horizon: Duration::from_hours(24) };
    let of = |loaded: Loaded| loaded.configuration.services["ai"].methods["write_text"].clone();
    assert_eq!(of(from_file(text).unwrap()), keyed);
    let environment = [
        ("ORCHESTRATOR__SERVICES__AI__METHODS__WRITE_TEXT__LEVEL", "keyed"),
        ("ORCHESTRATOR__SERVICES__AI__METHODS__WRITE_TEXT__DEDUPE_HORIZON", "24h"),
    ];
    assert_eq!(of(from_environment(&environment).unwrap()), keyed);
    let file = file(text);
    let taken_back = load(&Sources {
        file: Some(file.path().to_owned()),
        overrides: vec![
            String::from("services.ai.methods.write_text.level=contract"),
            String::from("services.ai.methods.write_text.dedupe_horizon=0s"),
        ],
        ..Sources::default()
    });
    assert_eq!(of(taken_back.unwrap()), Method::default());
}

#[test]
fn mistakes_in_levels_are_told_with_their_paths() {
    for (flag, path) in [
        ("services.ai.methods.write_text.level=keyed", "services.ai.methods.write_text.dedupe_horizon"),
        ("services.ai.methods.write_text.dedupe_horizon=1h", "services.ai.methods.write_text.dedupe_horizon"),
        ("services.ai.methods.write_text.level=often", "services.ai.methods.write_text.level"),
        ("services.ai.methods.write_text.horizon=1h", "services.ai.methods.write_text.horizon"),
        ("services.ai.methods.write_book.level=idempotent", "services.ai.methods.write_book"),
        ("services.users.methods.create_user.level=no_side_effects", "services.users.methods.create_user.level"),
    ] {
        assert_eq!(paths(from_flags(&[flag])), [path], "{flag}");
    }
    let unknown = from_flags(&["services.ai.methods.write_book.level=idempotent"]).unwrap_err().to_string();
    assert!(unknown.contains("expected one of `analyze_text`, `write_text`"), "{unknown}");
}

#[test]
fn a_level_that_the_contract_states_already_is_a_warning() {
    let loaded = from_flags(&["services.users.methods.get_user.level=idempotent"]).unwrap();
    let expected = "services.users.methods.get_user has no effect: the contract says NO_SIDE_EFFECTS already";
    assert!(loaded.warnings.iter().any(|warning| warning == expected), "{:?}", loaded.warnings);
}

#[test]
fn a_call_that_may_be_asked_again_need_not_end_before_a_shutdown() {
    let slow = ["services.ai.call_timeout=40s", "drain.grace=30s"];
    let stated = [&slow[..], &["services.ai.methods.write_text.level=idempotent"]].concat();
    assert!(from_flags(&stated).is_ok());
}

#[test]
fn a_key_that_looks_like_a_list_index_makes_no_list() {
    assert_eq!(from_file("\"x[99999999999]\" = 1").map(|_| ()).unwrap_err().iter().count(), 1);
}

proptest! {
    #[test]
    fn arbitrary_text_in_a_file_never_panics(text in "\\PC{0,200}|([a-z]{1,6}(\\.[a-z]{1,6})? = \\PC{0,9}\n){0,5}") {
        let _ = from_file(&text);
    }

    #[test]
    fn arbitrary_values_under_known_keys_never_panic(
        section in prop::sample::select(vec!["health", "admin", "store", "log", "drain", "services", "schedules", "retention", "x"]),
        key in "listen|every|grace|users|send_due|reflection|\\PC{1,8}",
        value in "[0-9]{1,30}|-?[0-9.e]{1,9}|true|\"\\PC{0,9}\"|\\[[0-9,]{0,9}\\]|\\{ ?a ?= ?1 ?\\}|'90s'",
    ) {
        let _ = from_file(&format!("[{section}]\n{key} = {value}\n"));
        let _ = from_file(&format!("[{section}.{key}]\nevery = {value}\naddress = {value}\n"));
    }

    #[test]
    fn arbitrary_environments_and_flags_never_panic(
        name in "(ADMIN|HEALTH|SERVICES|LOG)__\\PC{0,12}|\\PC{0,20}",
        value in "\\PC{0,40}",
    ) {
        let _ = from_environment(&[(&format!("ORCHESTRATOR__{name}"), &value)]);
        let _ = from_flags(&[&format!("{name}={value}"), &value]);
    }

    #[test]
    fn a_duration_is_read_back_as_written(millis in 0_u64..10_000_000_000) {
        let duration = Duration::from_millis(millis);
        prop_assert_eq!(super::duration::parse(&super::duration::format(duration)), Ok(duration));
    }
}

#[test]
fn no_mistake_prints_a_secret_or_a_line_of_the_file() {
    let secret = "hunter2-hunter2";
    let files = [
        format!("[services.users]\ntoken = {secret}\n"),
        format!("[services.users]\ntoken = \"{secret}\n"),
        format!("[services.users]\ntoken = '{secret}\" # \n"),
        format!("[services.users]\ntoken = \"\\q{secret}\"\n"),
        format!("[services.users]\ntoken = \"a\"\ntoken = \"{secret}\"\n"),
        format!("[services.users]\ntoken \"{secret}\"\n"),
        format!("[services.users]\ntoken = [\"{secret}\"]\n"),
        format!("[services.users]\ntoken = {{ \"{secret}\" = 1 }}\n"),
        format!("[services.users]\ntoken = {{ value = \"{secret}\" }}\n"),
        format!("[services.users]\nclient_secret = \"{secret}\"\n"),
        format!("[services.users]\nallow_insecure_token = \"{secret}\"\n"),
        format!("[services.users]\naddress = \"http://ada:{secret}@host/path\"\n"),
        format!("[services.users]\naddress = \"ftp://ada:{secret}@host\"\n"),
        format!("tokens = \"{secret}\"\n{secret}"),
    ];
    for text in files {
        let mistakes = from_file(&text).map(|loaded| loaded.warnings).unwrap_err();
        let told = format!("{mistakes} {mistakes:?}");
        assert!(!told.contains(secret), "{text:?} tells {told}");
    }
    for flag in [format!("Services.users.token={secret}"), secret.to_owned(), format!("services.users.token {secret}")]
    {
        let told = from_flags(&[&flag]).map(|loaded| loaded.warnings).unwrap_err().to_string();
        assert!(!told.contains(secret), "{flag:?} tells {told}");
    }
    for name in ["ORCHESTRATOR__SERVICES__USERS__TOKEN__X", "ORCHESTRATOR__SERVICES__USERS__ALLOW_INSECURE_TOKEN"] {
        let told = from_environment(&[(name, secret)]).map(|loaded| loaded.warnings).unwrap_err().to_string();
        assert!(!told.contains(secret), "{name} tells {told}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_with_line_and_column() {
    let mistakes = from_file("[drain]\ngrace = \"1s\"\n\ngrace == 2\n").map(|loaded| loaded.warnings).unwrap_err();
    assert!(mistakes.to_string().contains("not TOML at line 4, column "), "{mistakes}");
}

#[test]
fn keys_and_values_that_are_too_deep_are_mistakes() {
    let deep = 20_000;
    let dotted = vec!["a"; deep].join(".");
    for text in [
        format!("{dotted} = 1\n"),
        format!("[{dotted}]\n"),
        format!("[services.users]\n{dotted} = 1\n"),
        format!("services = {}{}\n", "[".repeat(deep), "]".repeat(deep)),
        format!("services = {}1{}\n", "{a = ".repeat(deep), "}".repeat(deep)),
        format!("[health]\nlisten = \"{}\"\n", "x".repeat(2 << 20)),
    ] {
        assert!(from_file(&text).is_err(), "{}", text.get(..40).unwrap());
    }
    assert!(from_flags(&[&format!("{dotted}=1")]).is_err());
    let name = format!("ORCHESTRATOR__{}", vec!["A"; deep].join("__"));
    assert!(from_environment(&[(&name, "1")]).is_err());
}

#[test]
fn settings_below_own_are_read_as_the_type_of_the_team_from_every_layer() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        greeting: String,
        parcels: u32,
    }
    impl Default for Settings {
        fn default() -> Self {
            Self { greeting: String::from("hello"), parcels: 7 }
        }
    }
    let file = file("[own]\ngreeting = \"good morning\"\n");
    let sources = Sources {
        file: Some(file.path().to_owned()),
        environment: vec![("ORCHESTRATOR__OWN__PARCELS".into(), "9".into())],
        ..Sources::default()
    };
    // The orchestrator of these tests has no settings of its own, and says where the first of them came from.
    let mistakes = load(&sources).unwrap_err().to_string();
    assert!(mistakes.contains("own"), "{mistakes}");
    let own = load(&Sources::default()).unwrap().own;
    assert_eq!(own.read::<Settings>().unwrap(), Settings::default());
}

#[test]
fn a_word_that_is_not_one_of_several_is_told_with_those_that_are() {
    let told = from_flags(&[
        "log.format=yaml",
        "schedules.x.workflow=a.b",
        "schedules.x.cron=* * * * *",
        "schedules.x.overlap=perhaps",
        "schedules.x.dst_gap=sometimes",
        "services.users.methods.get_user.level=most",
    ]);
    let told = told.unwrap_err().to_string();
    for expected in [
        "log.format: unknown variant `yaml`, expected one of `auto`, `pretty`, `json` (from a flag)",
        "schedules.x.dst_gap: unknown variant `sometimes`, expected one of `skip`, `shift`, `end_of_gap`",
        "schedules.x.overlap: unknown variant `perhaps`, expected one of `skip`, `buffer_one`, ",
        "services.users.methods.get_user.level: unknown variant `most`, expected one of `contract`, ",
    ] {
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
}

#[test]
fn a_schedule_that_does_not_say_when_is_told_how_it_can() {
    for (bounds, expected) in [
        ("overlap=allow_n", "schedules.x.overlap_limit: 0 is not allowed; 1 to 10000 are"),
        ("overlap_limit=500", "schedules.x.overlap_limit: 500 is not allowed; 1 to 400 are"),
        ("catch_up_window=99999999h", "schedules.x.catch_up_window"),
    ] {
        let bounds = format!("schedules.x.{bounds}");
        let others = ["schedules.x.workflow=a.b", "schedules.x.every=1h", "schedules.x.overlap=buffer_all"];
        let told = from_flags(&[&others[..], &[&bounds]].concat()).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    }
    let name = format!("schedules.{}", "x".repeat(64));
    let told = from_flags(&[&format!("{name}.workflow=a.b"), &format!("{name}.every=1h")]).unwrap_err().to_string();
    assert!(told.contains("the name has 64 bytes; expected at most 63"), "{told}");
    let told = from_flags(&["schedules.x.workflow=a.b"]).unwrap_err().to_string();
    assert!(
        told.contains("schedules.x.every: nothing says when the schedule starts runs; expected an interval, "),
        "{told}"
    );
    let told = from_flags(&["schedules.x.workflow=a.b", "schedules.x.every=1ms"]).unwrap_err().to_string();
    assert!(told.contains("schedules.x.every: 1ms is out of range"), "{told}");
}

#[test]
fn a_variable_that_lost_an_underscore_is_warned_of_and_no_other() {
    let loaded = from_environment(&[
        ("ORCHESTRATOR_SERVICES__USERS__ADDRESS", "http://users:1"),
        ("ORCHESTRATOR_LIMITS_RUNS_IN_FLIGHT", "5"),
        ("ORCHESTRATOR_CONFIG", "elsewhere"),
        ("ORCHESTRATOR_SERVER", "http://127.0.0.1:1"),
        ("ORCHESTRATOR_SERVICE_HOST", "10.0.0.1"),
        ("ORCHESTRATOR_HEALTH_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("ORCHESTRATOR__DRAIN__GRACE", "30s"),
        ("OTHERS__DRAIN", "1"),
    ])
    .unwrap();
    let told: Vec<&String> = loaded.warnings.iter().filter(|warning| warning.contains("the environment")).collect();
    assert_eq!(
        told,
        [
            "the environment has \"ORCHESTRATOR_SERVICES__USERS__ADDRESS\", which sets nothing; expected \
             \"ORCHESTRATOR__SERVICES__USERS__ADDRESS\"",
            "the environment has \"ORCHESTRATOR_LIMITS_RUNS_IN_FLIGHT\", which sets nothing; expected \
             \"ORCHESTRATOR__LIMITS__RUNS_IN_FLIGHT\"",
        ]
    );
}

#[test]
fn every_workflow_that_is_named_and_not_there_is_warned_of() {
    let loaded = from_flags(&[
        "schedules.send_due.enabled=false",
        "schedules.x.workflow=a.b",
        "schedules.x.every=1h",
        "retention.workflows.y.workflow=c.d",
    ])
    .unwrap();
    let told = unknown_workflows(&loaded.configuration, &engine::Registry::new());
    assert_eq!(
        told,
        [
            "schedules.x.workflow names \"a.b\", which this program does not have, and starts no runs",
            "retention.workflows.y.workflow names \"c.d\", which this program does not have, and keeps runs that it has left",
        ]
    );
}

#[test]
fn a_schedule_whose_workflow_takes_no_empty_input_is_warned_of() {
    use test_contracts::app::acme::orchestration::greetings::v1::{GreetResponse, PartyRequest};

    struct Party;

    impl engine::Workflow for Party {
        const NAME: &'static str = "test.party";
        type Input = PartyRequest;
        type Output = GreetResponse;

        async fn run(&self, _: &engine::Context, _: PartyRequest) -> Result<GreetResponse, engine::Failure> {
            Ok(GreetResponse::default())
        }
    }

    let mut workflows = engine::Registry::new();
    workflows.register(|| Party).unwrap();
    let loaded = from_flags(&["schedules.x.workflow=test.party", "schedules.x.every=1h"]).unwrap();
    assert_eq!(
        broken_inputs(&loaded.configuration, &workflows),
        [
            "schedules.x starts no runs: an empty acme.orchestration.greetings.v1.PartyRequest breaks its rules (guests: \
             expected at least 1 items)"
        ]
    );
    let disabled =
        from_flags(&["schedules.x.workflow=test.party", "schedules.x.every=1h", "schedules.x.enabled=false"]);
    assert_eq!(broken_inputs(&disabled.unwrap().configuration, &workflows), [""; 0]);
}
