//! What is wrong with a cron pattern: the field, the column, and what would be right.

use std::fmt;

/// A field of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// 0 to 59; only patterns of six or more fields have it.
    Second,
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31, or counted from the end of the month.
    DayOfMonth,
    /// 1 to 12, or by name.
    Month,
    /// 0 to 7, both Sunday, or by name.
    DayOfWeek,
    /// 1970 to 2199; only patterns of seven fields have it.
    Year,
}

impl Field {
    /// The smallest and the largest value.
    pub(super) const fn range(self) -> (u32, u32) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (0, 7),
            Self::Year => (1970, 2199),
        }
    }

    /// The names of its values, the first of which is this one's smallest.
    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
            Self::DayOfWeek => &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
            _ => &[],
        }
    }

    /// What a value may be, for people.
    pub(super) const fn values(self) -> &'static str {
        match self {
            Self::Second | Self::Minute => "0 to 59",
            Self::Hour => "0 to 23",
            Self::DayOfMonth => "1 to 31",
            Self::Month => "1 to 12 or JAN to DEC",
            Self::DayOfWeek => "0 to 7 or SUN to SAT",
            Self::Year => "1970 to 2199",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
            Self::Year => "year",
        })
    }
}

/// Why a text is not a pattern, or is one that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}, column {column}: {problem}", .field.map_or_else(|| "cron".to_owned(), |field| field.to_string()))]
pub struct CronError {
    /// None where the pattern as a whole is wrong.
    pub field: Option<Field>,
    /// Where in the pattern, in characters from 1 on.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl CronError {
    pub(super) fn at(field: Field, column: usize, problem: impl Into<String>) -> Self {
        Self { field: Some(field), column, problem: problem.into() }
    }

    pub(super) fn whole(column: usize, problem: impl Into<String>) -> Self {
        Self { field: None, column, problem: problem.into() }
    }
}
