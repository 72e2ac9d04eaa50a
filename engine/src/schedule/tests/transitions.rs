//! Times around changes of the clocks, as independent oracles say them (`tests/schedule/transitions.py`).

use std::collections::BTreeMap;

use crate::schedule::{DstGap, DstOverlap, Rule, Spec, Timetable, Zone};
use crate::time::Timestamp;

const ORACLE: &str = include_str!("../../../tests/schedule/transitions.tsv");

struct Case {
    zone: String,
    pattern: String,
    from: i64,
    until: i64,
    gap: DstGap,
    overlap: DstOverlap,
    ticks: Vec<i64>,
}

fn gap(text: &str) -> DstGap {
    match text {
        "SKIP" => DstGap::Skip,
        "SHIFT" => DstGap::Shift,
        "END_OF_GAP" => DstGap::EndOfGap,
        other => panic!("{other}"),
    }
}

fn overlap(text: &str) -> DstOverlap {
    match text {
        "FIRST" => DstOverlap::First,
        "LAST" => DstOverlap::Last,
        "BOTH" => DstOverlap::Both,
        other => panic!("{other}"),
    }
}

fn ticks(text: &str) -> Vec<i64> {
    let mut words = text.split(' ');
    let mut ticks: Vec<i64> =
        words.next().filter(|first| *first != "-").map(|at| at.parse().unwrap()).into_iter().collect();
    for word in words {
        let (step, count) = word.split_once('x').unwrap();
        for _ in 0..count.parse::<usize>().unwrap() {
            ticks.push(ticks.last().unwrap() + step.parse::<i64>().unwrap());
        }
    }
    ticks
}

fn cases() -> Vec<Case> {
    let cases = ORACLE.lines().filter_map(|line| line.strip_prefix("ticks\t")).map(|line| {
        let [zone, pattern, from, until, gap_, overlap_, ticks_] = *line.split('\t').collect::<Vec<_>>() else {
            panic!("{line}")
        };
        Case {
            zone: zone.to_owned(),
            pattern: pattern.to_owned(),
            from: from.parse().unwrap(),
            until: until.parse().unwrap(),
            gap: gap(gap_),
            overlap: overlap(overlap_),
            ticks: ticks(ticks_),
        }
    });
    cases.collect()
}

impl Case {
    fn timetable(&self) -> Timetable {
        let rule = Rule::Cron { pattern: self.pattern.clone(), gap: Some(self.gap), overlap: Some(self.overlap) };
        Timetable::new(Spec { rules: vec![rule], zone: self.zone.clone(), ..Spec::default() }).unwrap()
    }

    fn about(&self) -> String {
        format!("{} in {} with {:?} and {:?}", self.pattern, self.zone, self.gap, self.overlap)
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn next(timetable: &Timetable, after: i64) -> i64 {
    timetable.next(at(after)).unwrap().at.as_micros() / 1_000_000
}

fn previous(timetable: &Timetable, before: i64) -> i64 {
    timetable.previous(at(before)).unwrap().at.as_micros() / 1_000_000
}

#[test]
fn times_around_changes_of_the_clocks_are_those_of_the_oracle() {
    let cases = cases();
    assert_eq!(cases.len(), 14 * 8 * 9);
    for case in cases {
        let timetable = case.timetable();
        let mut found = Vec::new();
        let mut last = next(&timetable, case.from - 1);
        while last < case.until {
            found.push(last);
            last = next(&timetable, last);
        }
        assert_eq!(found, case.ticks, "{}", case.about());
        let mut backwards = Vec::new();
        let mut first = previous(&timetable, case.until);
        while first >= case.from {
            backwards.push(first);
            first = previous(&timetable, first);
        }
        backwards.reverse();
        assert_eq!(backwards, case.ticks, "backwards: {}", case.about());
    }
}

/// Every second of the hours around a change, for a pattern of each kind and every policy.
#[test]
fn from_every_second_around_a_change_the_next_time_is_that_of_the_oracle() {
    let mut seconds = 0;
    for case in cases().iter().filter(|case| matches!(&*case.pattern, "15,45 0-3 * * *" | "*/15 * * * *")) {
        let (timetable, zone) = (case.timetable(), Zone::named(&case.zone).unwrap());
        let middle = i64::midpoint(case.from, case.until);
        let piece = zone.piece(middle);
        let change = [piece.start, piece.end].into_iter().flatten().min_by_key(|edge| (edge - middle).abs()).unwrap();
        // A zone that never changes now did so long ago.
        let change = if (case.from..case.until).contains(&change) { change } else { middle };
        for second in change - 4_000..change + 4_000 {
            let expected = case.ticks.partition_point(|tick| *tick <= second);
            assert_eq!(Some(&next(&timetable, second)), case.ticks.get(expected), "after {second}: {}", case.about());
            let expected = case.ticks.iter().rfind(|tick| **tick < second);
            let found = Some(previous(&timetable, second)).filter(|found| *found >= case.from);
            assert_eq!(found.as_ref(), expected, "before {second}: {}", case.about());
            seconds += 1;
        }
    }
    assert_eq!(seconds, 14 * 2 * 9 * 8_000);
}

#[test]
fn policies_nest_over_an_overlap() {
    let mut by_policy: BTreeMap<(String, String, String), BTreeMap<&str, Vec<i64>>> = BTreeMap::new();
    for case in cases() {
        let key = (case.zone, case.pattern, format!("{:?}", case.gap) + &case.from.to_string());
        let policy = match case.overlap {
            DstOverlap::First => "first",
            DstOverlap::Last => "last",
            DstOverlap::Both => "both",
        };
        by_policy.entry(key).or_default().insert(policy, case.ticks);
    }
    for (about, policies) in by_policy {
        let mut united: Vec<i64> = [&policies["first"][..], &policies["last"][..]].concat();
        united.sort_unstable();
        united.dedup();
        assert_eq!(united, policies["both"], "{about:?}");
    }
}
