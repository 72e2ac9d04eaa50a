//! What holds for any pattern in any zone at any time.

use proptest::prelude::*;

use crate::schedule::cron::Cron;
use crate::schedule::{DstGap, DstOverlap, Rule, Spec, Timetable, Zone};
use crate::time::Timestamp;

const ZONES: [&str; 12] = [
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
    "America/Havana",
    "Pacific/Chatham",
    "Asia/Kolkata",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "America/Sao_Paulo",
    "Pacific/Kwajalein",
];

fn field(smallest: u32, largest: u32) -> impl Strategy<Value = String> {
    let range = (smallest..=largest, smallest..=largest).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        4 => Just("*".to_owned()),
        4 => (smallest..=largest).prop_map(|value| value.to_string()),
        1 => (1..=largest).prop_map(|step| format!("*/{step}")),
        1 => (range, 1..5_u32).prop_map(|((a, b), step)| format!("{a}-{b}/{step}")),
        1 => prop::collection::vec(smallest..=largest, 1..4)
            .prop_map(|values| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
    ]
}

fn day_of_month() -> impl Strategy<Value = String> {
    prop_oneof![6 => field(1, 31), 1 => Just("L".to_owned()), 1 => (1..=31_u32).prop_map(|day| format!("{day}W"))]
}

fn day_of_week() -> impl Strategy<Value = String> {
    let plain = prop_oneof![
        6 => field(0, 7),
        1 => (0..=7_u32, 1..=5_u32).prop_map(|(day, nth)| format!("{day}#{nth}")),
        1 => (0..=7_u32).prop_map(|day| format!("{day}#L")),
    ];
    (prop::bool::weighted(0.2), plain).prop_map(|(both, plain)| if both { format!("+{plain}") } else { plain })
}

fn pattern() -> impl Strategy<Value = String> {
    let second = prop_oneof![3 => Just(String::new()), 1 => field(0, 59).prop_map(|field| field + " ")];
    (second, field(0, 59), field(0, 23), day_of_month(), field(1, 12), day_of_week()).prop_map(
        |(second, minute, hour, of_month, month, of_week)| {
            format!("{second}{minute} {hour} {of_month} {month} {of_week}")
        },
    )
}

fn policies() -> impl Strategy<Value = (DstGap, DstOverlap)> {
    let gaps = prop::sample::select(vec![DstGap::Skip, DstGap::Shift, DstGap::EndOfGap]);
    (gaps, prop::sample::select(vec![DstOverlap::First, DstOverlap::Last, DstOverlap::Both]))
}

/// A timetable; none where the pattern has no time.
fn timetable(pattern: &str, zone: &str, (gap, overlap): (DstGap, DstOverlap)) -> Option<Timetable> {
    let rule = Rule::Cron { pattern: pattern.to_owned(), gap: Some(gap), overlap: Some(overlap) };
    Timetable::new(Spec { rules: vec![rule], zone: zone.to_owned(), ..Spec::default() }).ok()
}

/// An instant from 1971 to 2099.
fn instant() -> impl Strategy<Value = Timestamp> {
    (31_536_000_000_000..4_070_908_800_000_000_i64).prop_map(Timestamp::from_micros)
}

fn local(zone: &str, at: Timestamp) -> i64 {
    let second = at.as_micros().div_euclid(1_000_000);
    Zone::named(zone).unwrap().local_second(second)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn next_is_later_previous_is_earlier_and_nothing_lies_between(
        pattern in pattern(), zone in prop::sample::select(&ZONES[..]), policies in policies(), from in instant(),
    ) {
        let Some(timetable) = timetable(&pattern, zone, policies) else { return Ok(()) };
        if let Some(next) = timetable.next(from) {
            prop_assert!(next.at > from);
            let back = timetable.previous(next.at).map(|nominal| nominal.at);
            prop_assert!(back.is_none_or(|back| back <= from), "{pattern} {zone}: {back:?} lies between {from:?} and {next:?}");
            prop_assert_eq!(timetable.previous(Timestamp::from_micros(next.at.as_micros() + 1)), Some(next));
        }
        if let Some(previous) = timetable.previous(from) {
            prop_assert!(previous.at < from);
            let on = timetable.next(previous.at).map(|nominal| nominal.at);
            prop_assert!(on.is_none_or(|on| on >= from), "{pattern} {zone}: {on:?} lies between {previous:?} and {from:?}");
            prop_assert_eq!(timetable.next(Timestamp::from_micros(previous.at.as_micros() - 1)), Some(previous));
        }
    }

    #[test]
    fn each_instant_satisfies_its_rule_where_gaps_are_skipped(
        pattern in pattern(), zone in prop::sample::select(&ZONES[..]), overlap in policies(), from in instant(),
    ) {
        let Some(timetable) = timetable(&pattern, zone, (DstGap::Skip, overlap.1)) else { return Ok(()) };
        let cron = Cron::parse(&pattern).unwrap();
        for nominal in timetable.following(from).take(20) {
            prop_assert!(cron.matches(local(zone, nominal.at)), "{pattern} {zone} {}", nominal.at);
        }
    }

    #[test]
    fn first_and_last_are_of_both_and_as_many_as_each_other(
        pattern in pattern(), zone in prop::sample::select(&ZONES[..]), gap in policies(), from in instant(),
    ) {
        let of = |overlap| timetable(&pattern, zone, (gap.0, overlap));
        let (Some(first), Some(last), Some(both)) = (of(DstOverlap::First), of(DstOverlap::Last), of(DstOverlap::Both)) else {
            return Ok(());
        };
        for timetable in [&first, &last] {
            for nominal in timetable.following(from).take(20) {
                let same = both.next(Timestamp::from_micros(nominal.at.as_micros() - 1));
                prop_assert_eq!(same, Some(nominal), "{} {}", pattern, zone);
            }
        }
    }

    #[test]
    fn a_fixed_time_comes_once_a_day_by_default_whatever_clocks_do(
        hour in 0..24_u32, minute in 0..60_u32, zone in prop::sample::select(&ZONES[..]), from in instant(),
    ) {
        let timetable = Timetable::new(Spec::cron(format!("{minute} {hour} * * *"), zone)).unwrap();
        let days: Vec<i64> = timetable.following(from).take(400).map(|t| local(zone, t.at).div_euclid(86_400)).collect();
        for pair in days.windows(2) {
            // A day that clocks skip whole comes when they are put forward, which is on the next one.
            prop_assert!(pair[1] - pair[0] == 1 || (matches!(zone, "Pacific/Apia" | "Pacific/Kwajalein") && pair[1] - pair[0] <= 2), "{hour}:{minute} {zone} {pair:?}");
        }
    }

    #[test]
    fn no_text_is_too_odd_to_be_answered(text in "[-0-9*/,LW#?+@A-Za-z \t]{0,60}|.{0,40}") {
        if let Err(error) = Cron::useful(&text) {
            prop_assert!(error.to_string().len() < 400);
            prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 2);
        }
    }
}
