//! The days that the two day fields of a pattern name, month by month.

use jiff::civil::{Date, Weekday};

/// What the fields "day of month" and "day of week" say, and how they go together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) of_month: OfMonth,
    pub(super) of_week: OfWeek,
    /// Whether a day must match both fields (`+`). Otherwise one of those that are not `*` is enough.
    pub(super) both: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfMonth {
    /// `*` or `?`.
    pub(super) any: bool,
    /// A bit for each day, the first at position 1.
    pub(super) days: u32,
    /// `L`.
    pub(super) last: bool,
    /// `15W`: the weekday that is closest to this day.
    pub(super) closest_weekday: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfWeek {
    /// `*` or `?`.
    pub(super) any: bool,
    /// A bit for each weekday, Sunday at position 0.
    pub(super) weekdays: u8,
    /// `FRI#2`: for each weekday, Sunday first, which ones of the month; a bit for each, the first at position 1.
    pub(super) nth: [u8; 7],
    /// `FRI#L`: a bit for each weekday.
    pub(super) last: u8,
}

impl Days {
    /// The days that match in a month, a bit for each, the first at position 1.
    pub(super) fn of(&self, year: i16, month: i8) -> u32 {
        let Ok(first) = Date::new(year, month, 1) else { return 0 };
        let length = u32::from(first.days_in_month().unsigned_abs());
        let all = !(u32::MAX << 1 << length) & !1;
        // Position of the first day in its week, Sunday being 0.
        let begins = u32::from(weekday(first.weekday()));
        let of_month = || self.of_month.of(length, begins);
        let of_week = || self.of_week.of(length, begins);
        all & match (self.of_month.any, self.of_week.any) {
            (true, true) => all,
            (false, true) => of_month(),
            (true, false) => of_week(),
            (false, false) if self.both => of_month() & of_week(),
            (false, false) => of_month() | of_week(),
        }
    }
}

impl OfMonth {
    fn of(&self, length: u32, begins: u32) -> u32 {
        let mut days = self.days;
        if self.last {
            days |= 1 << length;
        }
        if let Some(day) = self.closest_weekday.map(u32::from)
            && day <= length
        {
            // It stays in its month: the first on a Saturday is kept on Monday the third.
            days |= 1
                << match (begins + day - 1) % 7 {
                    6 if day == 1 => 3,
                    6 => day - 1,
                    0 if day == length => day - 2,
                    0 => day + 1,
                    _ => day,
                };
        }
        days
    }
}

impl OfWeek {
    fn of(&self, length: u32, begins: u32) -> u32 {
        let mut days = 0;
        for day in 1..=length {
            let weekday = (begins + day - 1) % 7;
            let nth = (day - 1) / 7 + 1;
            let named = self.weekdays & (1 << weekday) != 0
                || self.nth.get(weekday as usize).is_some_and(|which| which & (1 << nth) != 0)
                || (self.last & (1 << weekday) != 0 && day + 7 > length);
            days |= u32::from(named) << day;
        }
        days
    }
}

fn weekday(day: Weekday) -> u8 {
    day.to_sunday_zero_offset().unsigned_abs()
}
