//! What the types of the configuration cannot say: ranges, names, and keys that must fit each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use engine::rpc::{Level, Method};
use engine::schedule::MAX_NAME_BYTES;
use postgres_store::{Encryption, UnusableFile};
use transport::channel::files::FileMistake;
use transport::channel::{IdentityMistake, Target};
use transport::policy::{PolicyMistake, ServicePolicy};

use super::access;
use super::service::{self as of_service, LevelMistake, Levels};
use super::{
    Admin, AdminTls, Breaker, Configuration, Limits, Rate, Retention, Service, Store, StoreKind, StoreTls, Time,
    WorkflowRetention,
};
use crate::duration::format;
use crate::installed;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
/// About ten years.
const LONGEST_KEPT: Duration = Duration::from_hours(24 * 3_650);

/// Notes every mistake by its path; returns what is allowed but probably not meant.
pub(super) fn check(configuration: &Configuration, note: &mut dyn FnMut(&str, String)) -> Vec<String> {
    let Configuration { health, admin, store, log, drain, limits, services: configured, schedules, retention } =
        configuration;
    let mut warnings = Vec::new();

    count("health.max_connections", health.max_connections, 1..=10_000, note);
    span("health.interval", health.interval, Duration::from_millis(10)..=60 * SECOND, note);
    if same_listener(health.listen, admin.listen) {
        note("admin.listen", format!("{} is the health listener's address already", admin.listen));
    }
    check_admin(admin, note);
    if let Err(FileMistake { key, message }) = AdminTls::from(&health.tls).open() {
        note(&format!("health.tls.{key}"), message);
    }

    check_store(store, note, &mut warnings);
    if let Err(error) = log.filter.parse::<tracing_subscriber::filter::Targets>() {
        note(
            "log.filter",
            format!("{:?} is no filter ({error}); expected for example `info,engine=debug`", log.filter),
        );
    }

    span("drain.grace", drain.grace, Duration::ZERO..=HOUR, note);
    check_limits(limits, note);
    for (key, service) in configured {
        check_service(key, service, note);
        let levels = check_levels(key, service, note, &mut warnings);
        let policy = check_policy(key, service, &levels, note, &mut warnings);
        if let Some((method, time)) = longest_of_unknown_level(key, service, &levels, &policy)
            && time > drain.grace
        {
            note(
                "drain.grace",
                format!(
                    "{} is shorter than what services.{key} gives to a call of {} ({}), so a shutdown would leave open \
                     whether the call happened; expected a longer grace, or a shorter call_timeout or timeout there",
                    format(drain.grace),
                    method.name,
                    format(time)
                ),
            );
        }
    }
    let unaddressed: Vec<&str> = installed::known_keys()
        .into_iter()
        .filter(|key| configured.get(*key).is_none_or(|service| service.address.is_empty()))
        .collect();
    if !unaddressed.is_empty() {
        warnings.push(format!("services without an address, calls to them fail: {}", unaddressed.join(", ")));
    }
    for (name, schedule) in &schedules.0 {
        let path = format!("schedules.{name}");
        word(&path, name, note);
        if name.len() > MAX_NAME_BYTES {
            note(&path, format!("the name has {} bytes; expected at most {MAX_NAME_BYTES}", name.len()));
        }
        if let Err((key, problem)) = schedule.policy().check() {
            note(&format!("{path}.{key}"), problem);
        }
        if schedule.workflow.is_empty() {
            note(&format!("{path}.workflow"), String::from("expected the name of a workflow"));
        }
        if schedule.every.is_zero() && schedule.cron.is_empty() {
            let expected = "expected an interval, for example \"1h\", or `cron`, for example \"0 9 * * *\"";
            note(&format!("{path}.every"), format!("nothing says when the schedule starts runs; {expected}"));
            continue;
        }
        if !schedule.every.is_zero() {
            span(&format!("{path}.every"), schedule.every, SECOND..=24 * 366 * HOUR, note);
        }
        // An interval that is out of bounds was told already.
        if let Err((key, problem)) = schedule.spec()
            && key != "every"
        {
            note(&format!("{path}.{key}"), problem);
        }
    }
    check_retention(retention, note);
    warnings
}

fn check_admin(admin: &Admin, note: &mut dyn FnMut(&str, String)) {
    access::check(admin, note);
    let listener = match (admin.tls.is_on(), !access::is_open(admin)) {
        (true, true) => None,
        (false, false) => Some(("neither encrypts nor authenticates", ", or admin.allow_insecure = true")),
        (false, true) => Some(("does not encrypt, so anyone on the way could read its tokens", ", or admin.tls")),
        (true, false) => Some(("does not authenticate", ", or a way to prove who calls")),
    };
    if let Some((what, or)) = listener
        && !admin.listen.ip().is_loopback()
        && !admin.allow_insecure
    {
        let message =
            format!("{} is not loopback and the listener {what}; expected a loopback address{or}", admin.listen);
        note("admin.listen", message);
    }
    if let Err(FileMistake { key, message }) = admin.tls.open() {
        note(&format!("admin.tls.{key}"), message);
    }
    count("admin.max_message_bytes", admin.max_message_bytes, 1_024..=64 * 1024 * 1024, note);
    count("admin.max_connections", admin.max_connections, 1..=100_000, note);
    count("admin.max_streams", admin.max_streams, 1..=100_000, note);
    count("admin.max_calls", admin.max_calls, 1..=1_000_000, note);
    count("admin.max_watches", admin.max_watches, 1..=1_000_000, note);
    count("admin.max_reads", admin.max_reads, 1..=1_000, note);
    count("admin.max_calls_per_principal", admin.max_calls_per_principal, 0..=1_000_000, note);
    count("admin.max_rate_per_principal", admin.max_rate_per_principal, 0..=1_000_000, note);
}

fn check_limits(limits: &Limits, note: &mut dyn FnMut(&str, String)) {
    count("limits.payload_bytes", limits.payload_bytes, 1_024..=64 * 1024 * 1024, note);
    count("limits.journal_bytes", limits.journal_bytes, 65_536..=1024 * 1024 * 1024, note);
    count("limits.steps_per_run", limits.steps_per_run, 1..=1_000_000, note);
    count("limits.fan_out_width", limits.fan_out_width, 1..=1_000_000, note);
    count("limits.children_per_run", limits.children_per_run, 1..=1_000_000, note);
    count("limits.child_depth", limits.child_depth, 1..=100, note);
    count("limits.inbox_messages", limits.inbox_messages, 1..=100_000, note);
    count("limits.runs_in_flight", limits.runs_in_flight, 1..=1_000_000, note);
    span("limits.linger", limits.linger, Duration::ZERO..=HOUR, note);
}

fn check_retention(retention: &Retention, note: &mut dyn FnMut(&str, String)) {
    let Retention { succeeded, failed, cancelled, terminated, audit, workflows } = retention;
    let least = Duration::from_mins(1);
    for (end, time) in
        [("succeeded", succeeded), ("failed", failed), ("cancelled", cancelled), ("terminated", terminated)]
    {
        kept(&format!("retention.{end}"), *time, least, note);
    }
    kept("retention.audit", *audit, 24 * HOUR, note);
    let mut named = BTreeMap::new();
    for (name, own) in workflows {
        let WorkflowRetention { workflow, succeeded, failed, cancelled, terminated } = own;
        let path = format!("retention.workflows.{name}");
        word(&path, name, note);
        if workflow.is_empty() {
            note(&format!("{path}.workflow"), String::from("expected the name of a workflow"));
        } else if let Some(first) = named.insert(workflow, name) {
            note(&format!("{path}.workflow"), format!("{workflow} is that of retention.workflows.{first} already"));
        }
        for (end, time) in
            [("succeeded", succeeded), ("failed", failed), ("cancelled", cancelled), ("terminated", terminated)]
        {
            if let Some(time) = time {
                kept(&format!("{path}.{end}"), *time, least, note);
            }
        }
    }
}

fn check_service(key: &str, service: &Service, note: &mut dyn FnMut(&str, String)) {
    let path = format!("services.{key}");
    if installed::methods_of(key).next().is_none() {
        note(&path, installed::no_such_key(key));
    }
    if !service.address.is_empty() {
        match service.address.parse::<Target>() {
            Ok(target) => {
                for IdentityMistake { key, message } in of_service::identity::mistakes(service, &target) {
                    note(&format!("{path}.{key}"), message);
                }
            }
            Err(error) => note(&format!("{path}.address"), error.to_string()),
        }
    }
    span(&format!("{path}.resolve_interval"), service.resolve_interval, SECOND..=HOUR, note);
    count(&format!("{path}.max_in_flight"), service.max_in_flight, 1..=1_000_000, note);
    count(&format!("{path}.max_stream_messages"), service.max_stream_messages, 1..=1_000_000, note);
    span(&format!("{path}.connect_timeout"), service.connect_timeout, Duration::from_millis(10)..=60 * SECOND, note);
    span(&format!("{path}.call_timeout"), service.call_timeout, Duration::from_millis(1)..=HOUR, note);
    let Rate { calls, period, burst } = service.rate;
    count(&format!("{path}.rate.calls"), calls, 0..=1_000_000, note);
    span(&format!("{path}.rate.period"), period, Duration::from_millis(100)..=HOUR, note);
    count(&format!("{path}.rate.burst"), burst, 0..=1_000_000, note);
    check_breaker(&format!("{path}.breaker"), &service.breaker, note);
}

fn check_breaker(path: &str, breaker: &Breaker, note: &mut dyn FnMut(&str, String)) {
    count(&format!("{path}.consecutive_failures"), breaker.consecutive_failures, 1..=1_000, note);
    count(&format!("{path}.failure_percent"), breaker.failure_percent, 1..=100, note);
    count(&format!("{path}.min_attempts"), breaker.min_attempts, 1..=100_000, note);
    span(&format!("{path}.window"), breaker.window, SECOND..=HOUR, note);
    span(&format!("{path}.pause"), breaker.pause, Duration::from_millis(10)..=HOUR, note);
    span(&format!("{path}.max_pause"), breaker.max_pause, Duration::from_millis(10)..=HOUR, note);
    count(&format!("{path}.probes"), breaker.probes, 1..=1_000, note);
    span(&format!("{path}.slow_start"), breaker.slow_start, Duration::ZERO..=HOUR, note);
    if breaker.max_pause < breaker.pause {
        let (pause, longest) = (format(breaker.pause), format(breaker.max_pause));
        note(&format!("{path}.max_pause"), format!("{longest} is shorter than the pause {pause}"));
    }
}

/// Reads what is configured of the methods of a service.
fn check_levels(
    key: &str,
    service: &Service,
    note: &mut dyn FnMut(&str, String),
    warnings: &mut Vec<String>,
) -> Levels {
    if installed::methods_of(key).next().is_none() {
        return Levels::default();
    }
    for (name, method) in &service.methods {
        let path = format!("services.{key}.methods.{name}.dedupe_horizon");
        span(&path, method.dedupe_horizon, Duration::ZERO..=366 * 24 * HOUR, note);
    }
    let mut levels = Levels::of(key, service);
    for LevelMistake { path, message } in std::mem::take(&mut levels.mistakes) {
        note(&format!("services.{key}.{path}"), message);
    }
    warnings.extend(levels.warnings.drain(..).map(|warning| format!("services.{key}.{warning}")));
    levels
}

/// Reads the policy of a service; one with mistakes counts as none.
fn check_policy(
    key: &str,
    service: &Service,
    levels: &Levels,
    note: &mut dyn FnMut(&str, String),
    warnings: &mut Vec<String>,
) -> ServicePolicy {
    let policy = of_service::policy(service).unwrap_or_else(|mistakes| {
        for PolicyMistake { path, message } in mistakes {
            note(&format!("services.{key}.{path}"), message);
        }
        ServicePolicy::default()
    });
    let methods: Vec<(&'static Method, Level)> =
        installed::methods_of(key).map(|method| (method, levels.level(method))).collect();
    warnings.extend(policy.warnings(&methods).into_iter().map(|warning| format!("services.{key}: {warning}")));
    policy
}

/// Of the methods of which nothing says how often they may be called, the one whose call may take longest.
fn longest_of_unknown_level(
    key: &str,
    service: &Service,
    levels: &Levels,
    policy: &ServicePolicy,
) -> Option<(&'static Method, Duration)> {
    let unknown = installed::methods_of(key).filter(|method| levels.level(method) == Level::Unknown);
    let timed = unknown.map(|method| (method, policy.of(method).timeout.unwrap_or(service.call_timeout)));
    timed.max_by_key(|(_, time)| *time)
}

/// Whether two listeners would want one port; port 0 takes a free one.
fn same_listener(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && overlap
}

/// Names of map keys: what an environment variable can spell too.
fn word(path: &str, name: &str, note: &mut dyn FnMut(&str, String)) {
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        note(path, format!("{name:?} is no name; expected only a to z, 0 to 9 and _"));
    }
}

fn check_store(store: &Store, note: &mut dyn FnMut(&str, String), warnings: &mut Vec<String>) {
    if store.path.as_os_str().is_empty() {
        note("store.path", String::from("expected the path of a file"));
    }
    if !store.commit_delay.is_zero() {
        warnings.push(String::from("store.commit_delay is set: every commit is slower than it need be"));
    }
    span("store.commit_delay", store.commit_delay, Duration::ZERO..=SECOND, note);
    count("store.connections", store.connections, 2..=200, note);
    span("store.lease", store.lease, 3 * SECOND..=300 * SECOND, note);
    span("store.timeout", store.timeout, SECOND / 10..=60 * SECOND, note);
    if store.kind == StoreKind::Sqlite {
        if !store.url.is_empty() {
            note("store.url", String::from("is used only if store.kind is `postgres`"));
        }
        return;
    }
    match store.database() {
        Err(error) => note("store.url", error.to_string()),
        Ok(options) => {
            if options.is_insecure() && !store.allow_insecure {
                let expected = "expected sslmode=verify-full, or store.allow_insecure = true";
                note("store.url", format!("anyone in between could read and change what is sent; {expected}"));
            }
            if options.encryption == Encryption::Off && store.tls != StoreTls::default() {
                note("store.tls", String::from("is used only if the URL has sslmode=verify-full or verify-ca"));
            }
            if let Err(UnusableFile { key, message }) = options.check_files() {
                note(&format!("store.{key}"), message);
            }
        }
    }
    if store.allow_data_loss {
        warnings.push(String::from(
            "store.allow_data_loss is set: the database may forget what it has acknowledged, and effects then happen twice",
        ));
    }
    // An operation that takes longer than the lease would end in another life of the replica.
    let most = store.lease - store.margin();
    if store.timeout >= most {
        note("store.timeout", format!("must be less than {}, which is 4/5 of store.lease", format(most)));
    }
}

fn count(path: &str, value: u32, range: RangeInclusive<u32>, note: &mut dyn FnMut(&str, String)) {
    if !range.contains(&value) {
        note(path, format!("{value} is out of range; expected {} to {}", range.start(), range.end()));
    }
}

fn kept(path: &str, time: Time, least: Duration, note: &mut dyn FnMut(&str, String)) {
    if let Time::For(time) = time
        && !(least..=LONGEST_KEPT).contains(&time)
    {
        let (time, least, most) = (format(time), format(least), format(LONGEST_KEPT));
        note(path, format!("{time} is out of range; expected {least} to {most} or forever"));
    }
}

fn span(path: &str, value: Duration, range: RangeInclusive<Duration>, note: &mut dyn FnMut(&str, String)) {
    if !range.contains(&value) {
        let (least, most) = (format(*range.start()), format(*range.end()));
        note(path, format!("{} is out of range; expected {least} to {most}", format(value)));
    }
}
