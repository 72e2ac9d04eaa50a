//! When a user is due a notification: frequency and quiet hours.

use std::time::Duration;

use clients::guras::notifications::v1::{Frequency, Preferences, QuietHours};
use jiff::Timestamp;

use crate::shared::{from_proto, second_of_day};

/// Quiet hours of a user who set none: 22:00 to 08:00.
const DEFAULT_QUIET_HOURS: QuietHours = QuietHours { start_minute: 22 * 60, end_minute: 8 * 60 };

/// How much time lies between two notifications, `scale` times faster than the contract says. `None` where the
/// frequency is not set.
pub(crate) fn period(frequency: Frequency, scale: f64) -> Option<Duration> {
    let minutes = match frequency {
        Frequency::Unspecified => return None,
        Frequency::EveryFiveMinutes => 5,
        Frequency::Hourly => 60,
        Frequency::TwiceDaily => 12 * 60,
        Frequency::Daily => 24 * 60,
    };
    Some(Duration::from_secs(minutes * 60).div_f64(scale))
}

/// Whether a time of day lies in the quiet hours. Both ends belong to them.
pub(crate) fn is_quiet(hours: QuietHours, at: Timestamp) -> bool {
    let now = second_of_day(at);
    let (start, end) = (i64::from(hours.start_minute) * 60, i64::from(hours.end_minute) * 60);
    if start <= end { (start..=end).contains(&now) } else { now >= start || now <= end }
}

/// Due: enabled, not quiet, and never notified or at least a period ago.
pub(crate) fn is_due(preferences: &Preferences, at: Timestamp, scale: f64) -> bool {
    let Some(period) = period(preferences.frequency(), scale) else {
        return false;
    };
    let waited = match preferences.last_notified_time.and_then(from_proto) {
        None => true,
        Some(last) => Duration::try_from(at.duration_since(last)).is_ok_and(|waited| waited >= period),
    };
    preferences.enabled && waited && !is_quiet(preferences.quiet_hours.unwrap_or(DEFAULT_QUIET_HOURS), at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::to_proto;

    fn at(time: &str) -> Timestamp {
        format!("2026-11-23T{time}Z").parse().unwrap()
    }

    fn noon_user() -> Preferences {
        Preferences { enabled: true, frequency: Frequency::Hourly.into(), ..Default::default() }
    }

    fn notified(time: &str) -> Preferences {
        Preferences { last_notified_time: Some(to_proto(at(time))), ..noon_user() }
    }

    #[test]
    fn quiet_hours_cross_midnight() {
        let hours = DEFAULT_QUIET_HOURS;
        for quiet in ["22:00:00", "23:59:59", "00:00:00", "03:30:00", "08:00:00"] {
            assert!(is_quiet(hours, at(quiet)), "{quiet}");
        }
        for loud in ["08:00:01", "12:00:00", "21:59:59"] {
            assert!(!is_quiet(hours, at(loud)), "{loud}");
        }
    }

    #[test]
    fn both_ends_of_quiet_hours_within_a_day_belong_to_them() {
        let hours = QuietHours { start_minute: 13 * 60, end_minute: 14 * 60 };
        assert!(is_quiet(hours, at("13:00:00")) && is_quiet(hours, at("14:00:00")));
        assert!(!is_quiet(hours, at("12:59:59")) && !is_quiet(hours, at("14:00:01")));
    }

    #[test]
    fn a_user_who_was_never_notified_is_due() {
        assert!(is_due(&noon_user(), at("12:00:00"), 1.0));
    }

    #[test]
    fn a_user_is_due_again_a_full_period_later() {
        assert!(!is_due(&notified("12:00:00"), at("12:59:59"), 1.0));
        assert!(is_due(&notified("12:00:00"), at("13:00:00"), 1.0));
    }

    #[test]
    fn a_scale_makes_periods_short() {
        assert!(!is_due(&notified("12:00:00"), at("12:00:59"), 60.0));
        assert!(is_due(&notified("12:00:00"), at("12:01:00"), 60.0));
    }

    #[test]
    fn a_time_before_the_last_notification_makes_nobody_due() {
        assert!(!is_due(&notified("12:00:00"), at("11:00:00"), 1.0));
    }

    #[test]
    fn disabled_and_quiet_users_are_never_due() {
        assert!(!is_due(&Preferences { enabled: false, ..noon_user() }, at("12:00:00"), 1.0));
        assert!(!is_due(&noon_user(), at("23:00:00"), 1.0));
        assert!(!is_due(&Preferences { frequency: 0, ..noon_user() }, at("12:00:00"), 1.0));
    }

    #[test]
    fn every_frequency_has_its_period() {
        let minutes = |frequency| period(frequency, 1.0).map(|period| period.as_secs() / 60);
        assert_eq!(minutes(Frequency::EveryFiveMinutes), Some(5));
        assert_eq!(minutes(Frequency::Hourly), Some(60));
        assert_eq!(minutes(Frequency::TwiceDaily), Some(720));
        assert_eq!(minutes(Frequency::Daily), Some(1_440));
        assert_eq!(minutes(Frequency::Unspecified), None);
    }
}
