//! What a spec says, what it leaves open, and what is refused.

use std::time::Duration;

use crate::schedule::{DstGap, DstOverlap, Rule, Spec, Timetable};
use crate::time::Timestamp;
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(86_400);

fn at(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn times(spec: Spec, after: &str, count: usize) -> Vec<String> {
    let timetable = Timetable::new(spec).unwrap();
    timetable.following(at(after)).filter(|nominal| !nominal.excluded).take(count).map(|t| t.at.to_string()).collect()
}

fn problem(spec: Spec) -> String {
    Timetable::new(spec).unwrap_err().to_string()
}

fn cron(pattern: &str) -> Rule {
    Rule::Cron { pattern: pattern.to_owned(), gap: None, overlap: None }
}

#[test]
fn rules_are_united_and_a_time_of_two_of_them_comes_once() {
    let mut spec = Spec::cron("0 9 * * *", "");
    spec.rules.push(cron("0 9,12 * * MON"));
    spec.rules.push(Rule::Every { interval: DAY, phase: Duration::from_secs(15 * 3_600) });
    spec.rules.push(Rule::At(at("2026-03-02T10:00:00Z")));
    assert_eq!(
        times(spec, "2026-03-02T00:00:00Z", 5),
        [
            "2026-03-02T09:00:00Z",
            "2026-03-02T10:00:00Z",
            "2026-03-02T12:00:00Z",
            "2026-03-02T15:00:00Z",
            "2026-03-03T09:00:00Z"
        ]
    );
}

#[test]
fn an_interval_is_elapsed_time_and_has_a_phase() {
    let spec = Spec { zone: "Europe/Berlin".to_owned(), ..Spec::every(DAY) };
    assert_eq!(times(spec, "2026-03-28T00:00:00Z", 2), ["2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"]);
    let rule = Rule::Every { interval: Duration::from_secs(3_600), phase: Duration::from_secs(300) };
    let spec = Spec { rules: vec![rule], ..Spec::default() };
    assert_eq!(times(spec, "2026-03-28T00:05:00Z", 1), ["2026-03-28T01:05:00Z"]);
}

#[test]
fn excluded_dates_are_those_of_the_zone_and_excluded_patterns_take_whole_minutes() {
    let mut spec = Spec::cron("30 0 */6 * * *", "Pacific/Auckland");
    spec.exclude.dates.push("2026-06-02".parse().unwrap());
    spec.exclude.patterns.push("0 12 * * *".to_owned());
    assert_eq!(
        times(spec.clone(), "2026-06-01T06:00:00Z", 3),
        ["2026-06-01T06:00:30Z", "2026-06-02T12:00:30Z", "2026-06-02T18:00:30Z"]
    );
    let timetable = Timetable::new(spec).unwrap();
    let all: Vec<bool> = timetable.following(at("2026-06-01T06:00:00Z")).take(6).map(|t| t.excluded).collect();
    assert_eq!(all, [false, true, true, true, true, false]);
}

#[test]
fn times_lie_from_the_start_on_and_before_the_end() {
    let (start, end) = (Some(at("2026-01-01T10:00:00Z")), Some(at("2026-01-01T12:00:00Z")));
    let spec = Spec { start, end, ..Spec::cron("0 * * * *", "") };
    let timetable = Timetable::new(spec.clone()).unwrap();
    assert_eq!(times(spec, "2020-01-01T00:00:00Z", 9), ["2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z"]);
    assert_eq!(timetable.previous(at("2030-01-01T00:00:00Z")).unwrap().at, at("2026-01-01T11:00:00Z"));
    assert_eq!(timetable.previous(at("2026-01-01T10:00:00Z")), None);
}

#[test]
fn policies_that_are_left_open_are_said_by_the_kind_of_rule() {
    let effective = |pattern: &str| match Timetable::new(Spec::cron(pattern, "")).unwrap().spec().rules[0] {
        Rule::Cron { gap, overlap, .. } => (gap.unwrap(), overlap.unwrap()),
        _ => unreachable!(),
    };
    assert_eq!(effective("30 2 * * *"), (DstGap::EndOfGap, DstOverlap::First));
    assert_eq!(effective("*/30 * * * *"), (DstGap::Skip, DstOverlap::Both));
    assert_eq!(Timetable::new(Spec::cron("@daily", "")).unwrap().spec().zone, "UTC");
}

#[test]
fn an_effective_spec_means_itself() {
    let mut spec = Spec::cron("30 2 * * *", "europe/berlin");
    spec.exclude.dates = vec!["2026-06-02".parse().unwrap(), "2026-06-01".parse().unwrap()];
    let once = Timetable::new(spec).unwrap().spec().clone();
    assert_eq!(Timetable::new(once.clone()).unwrap().spec(), &once);
}

#[test]
fn jitter_is_the_same_for_the_same_tick_and_spread_over_its_span() {
    let timetable = Timetable::new(Spec { jitter: Duration::from_secs(60), ..Spec::cron("@hourly", "") }).unwrap();
    let schedule = Uuid::from_u128(7);
    let waits: Vec<Duration> =
        (0..1_000).map(|n| timetable.jitter(schedule, Timestamp::from_micros(n * 3_600_000_000))).collect();
    assert_eq!(waits[5], timetable.jitter(schedule, Timestamp::from_micros(5 * 3_600_000_000)));
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(60)));
    for tenth in 0..10 {
        let within = Duration::from_secs(tenth * 6)..Duration::from_secs(tenth * 6 + 6);
        assert!(waits.iter().filter(|wait| within.contains(wait)).count() > 50, "{tenth}");
    }
    let none = Timetable::new(Spec::cron("@hourly", "")).unwrap();
    assert_eq!(none.jitter(schedule, Timestamp::from_micros(5)), Duration::ZERO);
}

#[test]
fn what_cannot_be_kept_is_refused_with_its_field() {
    assert_eq!(
        problem(Spec::default()),
        "rules: none is given, so there is no time; an interval, a cron pattern or a time is needed"
    );
    let many = Spec { rules: vec![cron("@daily"); 10_000], ..Spec::default() };
    assert_eq!(problem(many), "rules: there are 10000, at most 100 are allowed");
    assert_eq!(
        problem(Spec::cron("61 * * * *", "")),
        "rules[0].cron: minute, column 1: \"61\" is not allowed; 0 to 59 are"
    );
    assert!(problem(Spec::cron("@daily", "Europe/Berln")).contains("near it are Europe/Berlin"));
    assert_eq!(problem(Spec::every(Duration::ZERO)), "rules[0].every: 0s is not allowed; 1s to 87840h are");
    let rule = Rule::Every { interval: DAY, phase: DAY };
    assert_eq!(
        problem(Spec { rules: vec![rule], ..Spec::default() }),
        "rules[0].phase: 24h is not less than the interval, which is 24h"
    );
    let mut excluded = Spec::cron("@daily", "");
    excluded.exclude.patterns.push("0 0 30 2 *".to_owned());
    assert!(problem(excluded.clone()).starts_with("exclude.cron[0]: day of month, column 5"));
    excluded.exclude.patterns = vec!["* * * * *".to_owned()];
    assert_eq!(
        problem(Spec { start: Some(at("2026-01-01T00:00:00Z")), end: Some(at("2026-02-01T00:00:00Z")), ..excluded }),
        "rules: no time is left between start and end and beside the exclusions"
    );
    let over =
        Spec { end: Some(at("1980-01-01T00:00:00Z")), start: Some(at("1990-01-01T00:00:00Z")), ..Spec::every(DAY) };
    assert_eq!(problem(over), "end: 1980-01-01T00:00:00Z is not after the start, which is 1990-01-01T00:00:00Z");
}
