//! The specification's vectors, and what people get wrong.

use super::*;

const VECTORS: &str = include_str!("../../../tests/schedule/ocps-vectors.tsv");

fn local(text: &str) -> i64 {
    let text = text.replace(' ', "T");
    let at: DateTime = text.parse().unwrap();
    Offset::UTC.to_timestamp(at).unwrap().as_second()
}

fn problem(pattern: &str) -> String {
    Cron::useful(pattern).unwrap_err().to_string()
}

#[test]
fn every_vector_of_the_specification_holds() {
    let mut held = 0;
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let [_increment, kind, pattern, value] = *line.split('\t').collect::<Vec<_>>() else { panic!("{line}") };
        let read = Cron::parse(pattern);
        match kind {
            "match" | "nomatch" => {
                let (cron, at) = (read.unwrap(), local(value));
                assert_eq!(cron.matches(at), kind == "match", "{line}");
                assert_eq!(cron.at_or_after(at) == Some(at), kind == "match", "{line}");
                assert_eq!(cron.at_or_before(at) == Some(at), kind == "match", "{line}");
            }
            "accept" => assert!(read.is_ok(), "{line}: {read:?}"),
            "reject" | "portable-no" => assert!(read.is_err(), "{line}"),
            "same" => assert_eq!(read, Cron::parse(value), "{line}"),
            "startup" => assert!(read.unwrap_err().problem.contains("start a run instead"), "{line}"),
            other => panic!("{other} is a kind of vector that is not known"),
        }
        held += 1;
    }
    assert_eq!(held, 67);
}

#[test]
fn mistakes_are_told_with_field_column_and_what_would_be_right() {
    let told = [
        (
            "31 2",
            "cron, column 4: it has 2 fields; 5 are \"minute hour day-of-month month day-of-week\", 6 begin with second, 7 end with year",
        ),
        ("0 0 31 2 *", "day of month, column 5: day 31 never comes in month 2; a day that these months have is needed"),
        ("0 0 30 2 *", "day of month, column 5: day 30 never comes in month 2; a day that these months have is needed"),
        (
            "0 0 0 29 2 * 2025",
            "day of month, column 7: day 29 never comes in month 2 of the years 2025; a day that these months have is needed",
        ),
        ("*/0 * * * *", "minute, column 3: the step \"0\" is not allowed; a number from 1 on is"),
        ("61 * * * *", "minute, column 1: \"61\" is not allowed; 0 to 59 are"),
        (
            "0 0 * * MON-SUN/2",
            "day of week, column 9: MON-SUN goes backwards; a range ends with Sunday as 7, as in MON-7",
        ),
        (
            "0 0 * * FRI-MON",
            "day of week, column 9: FRI-MON goes backwards; the week ends with 7; the same days are FRI-7,1-1",
        ),
        ("0 22-6 * * *", "hour, column 3: 22-6 goes backwards; the same values are 22-23,0-6"),
        ("5/15 * * * *", "minute, column 1: a step goes with a range or *, as in 5-59/15"),
        ("0 0 /30 * *", "day of month, column 5: /30 has nothing before it, where a range or * is, as in */30"),
        (
            "0 0 L-3 * *",
            "day of month, column 5: L-3 is not allowed: L is the last day of the month and takes no offset",
        ),
        (
            "0 0 15W,20 * *",
            "day of month, column 5: W goes with a single day, as in 15W, not with a list, a range or a step",
        ),
        ("0 0 * * L", "day of week, column 9: L needs a day of week, as in FRI#L or 5L"),
        (
            "0 0 * * FRI#6",
            "day of week, column 13: \"6\" is not allowed after #; 1 to 5 or L are, as in FRI#2 and FRI#L",
        ),
        (
            "0 0 * * MON,+TUE",
            "day of week, column 13: + is not allowed here; it stands only before the first day of week, as in +MON",
        ),
        (
            "0 ? * * *",
            "hour, column 3: ? is not allowed here; it stands for * alone in the fields day of month and day of week",
        ),
        ("0,, * * * *", "minute, column 3: a value is missing; 0 to 59 are allowed"),
        ("-1 * * * *", "minute, column 1: a value is missing; 0 to 59 are allowed"),
        ("0 0 * FOO *", "month, column 7: \"FOO\" is not allowed; 1 to 12 or JAN to DEC are"),
        ("0 0 0 1 1 * 1969", "year, column 13: \"1969\" is not allowed; 1970 to 2199 are"),
        ("@Daily", "cron, column 1: nicknames are lower case: @daily"),
        ("@daily 5", "cron, column 8: \"5\" follows @daily, which stands alone"),
        ("@every 5m", "cron, column 1: @every is not a nickname; an interval is a rule of its own"),
        ("0 0 * *\u{a0}*", "cron, column 8: '\\u{a0}' is not allowed; fields stand between spaces or tabs"),
        (
            "",
            "cron, column 1: it has 0 fields; 5 are \"minute hour day-of-month month day-of-week\", 6 begin with second, 7 end with year",
        ),
    ];
    for (pattern, expected) in told {
        assert_eq!(problem(pattern), expected, "{pattern:?}");
    }
}

#[test]
fn a_pattern_of_a_megabyte_is_refused_unread() {
    assert_eq!(problem(&"*".repeat(1 << 20)), "cron, column 1: it is 1048576 bytes long, at most 1024 are allowed");
}

#[test]
fn spaces_and_tabs_are_one_separator_and_columns_count_them() {
    assert_eq!(Cron::parse("  0\t 0  * * *  "), Cron::parse("0 0 * * *"));
    assert_eq!(problem("  0\t 24  * * *").split(':').next(), Some("hour, column 6"));
}

#[test]
fn a_search_goes_to_the_last_year_and_not_beyond() {
    let cron = Cron::parse("59 59 23 31 12 * 2199").unwrap();
    let last = local("2199-12-31 23:59:59");
    assert_eq!((cron.at_or_after(i64::MIN), cron.at_or_after(last + 1)), (Some(last), None));
    assert_eq!((cron.at_or_before(i64::MAX), cron.at_or_before(last - 1)), (Some(last), None));
    let leap = Cron::parse("0 0 29 2 *").unwrap();
    assert_eq!(leap.at_or_after(local("2096-03-01 00:00")), Some(local("2104-02-29 00:00")));
    assert_eq!(leap.at_or_before(local("2104-02-28 00:00")), Some(local("2096-02-29 00:00")));
}

#[test]
fn the_closest_weekday_stays_in_its_month() {
    let in_month = |pattern: &str, year, month| Cron::parse(pattern).unwrap().days_of(year, month).trailing_zeros();
    assert_eq!(in_month("0 0 1W * *", 2025, 2), 3, "the first is a Saturday");
    assert_eq!(in_month("0 0 31W * *", 2025, 8), 29, "the 31st is a Sunday");
    assert_eq!(in_month("0 0 31W * *", 2025, 2), 32, "there is no 31st");
    assert_eq!(in_month("0 0 30W * *", 2025, 8), 29, "the 30th is a Saturday");
}

#[test]
fn a_time_of_day_and_a_rhythm_are_told_apart() {
    let repeats = |pattern| Cron::parse(pattern).unwrap().repeats_within_hours();
    assert!(["*/15 * * * *", "0 * * * *", "0,30 1 * * *", "*/10 0 2 * * *"].map(repeats).iter().all(|kind| *kind));
    assert!(["30 2 * * *", "0 0 * * *", "0 9-17 * * MON-FRI", "0 */2 * * *"].map(repeats).iter().all(|kind| !*kind));
}
