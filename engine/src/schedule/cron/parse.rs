//! Reads a cron pattern, field by field.

use super::days::{Days, OfMonth, OfWeek};
use super::error::{CronError, Field};
use super::{Cron, MAX_PATTERN};

const FIVE: [Field; 5] = [Field::Minute, Field::Hour, Field::DayOfMonth, Field::Month, Field::DayOfWeek];

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A piece of the pattern, and the column in which it begins.
#[derive(Clone, Copy)]
struct Text<'t> {
    text: &'t str,
    column: usize,
}

impl<'t> Text<'t> {
    /// What comes before and after the first of these characters.
    fn split(self, at: char) -> Option<(Self, Self)> {
        let (before, after) = self.text.split_once(at)?;
        let column = self.column + before.chars().count() + 1;
        Some((Self { text: before, ..self }, Self { text: after, column }))
    }

    fn without_suffix(self, suffix: char) -> Option<Self> {
        Some(Self { text: self.text.strip_suffix(suffix)?, ..self })
    }

    fn pieces(self, between: char) -> impl Iterator<Item = Self> + 't {
        let mut column = self.column;
        self.text.split(between).map(move |text| {
            let piece = Text { text, column };
            column += text.chars().count() + 1;
            piece
        })
    }
}

pub(super) fn cron(pattern: &str) -> Result<Cron, CronError> {
    if pattern.len() > MAX_PATTERN {
        let length = pattern.len();
        return Err(CronError::whole(1, format!("it is {length} bytes long, at most {MAX_PATTERN} are allowed")));
    }
    if let Some(wrong) = pattern.chars().position(|c| c.is_control() && c != '\t' || !c.is_ascii()) {
        let found = pattern.chars().nth(wrong).unwrap_or_default();
        return Err(CronError::whole(
            wrong + 1,
            format!("{found:?} is not allowed; fields stand between spaces or tabs"),
        ));
    }
    let words: Vec<Text<'_>> = words(pattern);
    if let Some(first) = words.first().filter(|first| first.text.starts_with('@')) {
        return nickname(*first, words.get(1).copied());
    }
    fields(&words)
}

/// What to say of a pattern that was read and has no time.
pub(super) fn never(pattern: &str) -> CronError {
    let words = words(pattern);
    let position = if words.len() > 5 { 3 } else { 2 };
    let (Some(day), Some(month)) = (words.get(position), words.get(position + 1)) else {
        return CronError::whole(1, "it never comes");
    };
    let year = words.get(6).map(|year| format!(" of the years {}", clipped(year.text))).unwrap_or_default();
    let problem = format!(
        "day {} never comes in month {}{year}; a day that these months have is needed",
        clipped(day.text),
        clipped(month.text),
    );
    CronError::at(Field::DayOfMonth, day.column, problem)
}

fn words(pattern: &str) -> Vec<Text<'_>> {
    let whole = Text { text: pattern, column: 1 };
    // It is ASCII: a tab is one character, as a space is.
    whole.pieces(' ').flat_map(|piece| piece.pieces('\t')).filter(|word| !word.text.is_empty()).collect()
}

fn nickname(name: Text<'_>, more: Option<Text<'_>>) -> Result<Cron, CronError> {
    let Some((_, fields)) = NICKNAMES.iter().find(|(nickname, _)| *nickname == name.text) else {
        return Err(CronError::whole(name.column, no_nickname(name.text)));
    };
    if let Some(more) = more {
        return Err(CronError::whole(
            more.column,
            format!("{:?} follows {}, which stands alone", clipped(more.text), name.text),
        ));
    }
    cron(fields)
}

fn no_nickname(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    if lower == "@reboot" {
        return "@reboot names no time: a replica that starts is not an event of a schedule; start a run instead"
            .to_owned();
    }
    if lower == "@every" {
        return "@every is not a nickname; an interval is a rule of its own".to_owned();
    }
    if NICKNAMES.iter().any(|(nickname, _)| *nickname == lower) {
        return format!("nicknames are lower case: {lower}");
    }
    format!("{} is not a nickname; these are: {}", clipped(name), NICKNAMES.map(|(name, _)| name).join(", "))
}

fn fields(words: &[Text<'_>]) -> Result<Cron, CronError> {
    let (second, five, year) = match words {
        five if five.len() == 5 => (None, five, None),
        [second, five @ ..] if five.len() == 5 => (Some(*second), five, None),
        [second, five @ .., year] if five.len() == 5 => (Some(*second), five, Some(*year)),
        _ => {
            let column = words.get(7).or(words.last()).map_or(1, |word| word.column);
            let plural = if words.len() == 1 { "" } else { "s" };
            let problem = format!(
                "it has {} field{plural}; 5 are \"minute hour day-of-month month day-of-week\", 6 begin with second, 7 end with year",
                words.len()
            );
            return Err(CronError::whole(column, problem));
        }
    };
    let [minute, hour, of_month, month, of_week] = *five else {
        return Err(CronError::whole(1, "it has not five fields"));
    };
    let (both, of_week) = match of_week.text.strip_prefix('+') {
        Some(text) => (true, Text { text, column: of_week.column + 1 }),
        None => (false, of_week),
    };
    for (field, word) in FIVE.iter().zip([minute, hour, of_month, month, of_week]) {
        if let Some(at) = word.text.find('+') {
            let problem = "+ is not allowed here; it stands only before the first day of week, as in +MON";
            return Err(CronError::at(*field, word.column + at, problem));
        }
    }
    Ok(Cron {
        seconds: second.map_or(Ok(1), |word| values(Field::Second, word, 0).map(low))?,
        minutes: low(values(Field::Minute, minute, 0)?),
        hours: u32::try_from(low(values(Field::Hour, hour, 0)?)).unwrap_or_default(),
        months: u16::try_from(low(values(Field::Month, month, 0)?)).unwrap_or_default(),
        days: Days { of_month: days_of_month(of_month)?, of_week: days_of_week(of_week)?, both },
        years: match year {
            Some(word) if word.text != "*" => Some(values(Field::Year, word, Field::Year.range().0)?),
            _ => None,
        },
        names_seconds: second.is_some(),
    })
}

/// A set of values, each less than 256.
type Bits = [u64; 4];

const fn low(bits: Bits) -> u64 {
    bits[0]
}

/// The values of a field that has no syntax of its own, less the base.
fn values(field: Field, word: Text<'_>, base: u32) -> Result<Bits, CronError> {
    let mut bits = Bits::default();
    for item in word.pieces(',') {
        span(field, item)?.fill(&mut bits, base);
    }
    Ok(bits)
}

fn days_of_month(word: Text<'_>) -> Result<OfMonth, CronError> {
    if matches!(word.text, "*" | "?") {
        return Ok(OfMonth { any: true, ..OfMonth::default() });
    }
    if let Some(day) = word.without_suffix('W') {
        if let Some(list) = day.text.find([',', '-', '/']) {
            let problem = "W goes with a single day, as in 15W, not with a list, a range or a step";
            return Err(CronError::at(Field::DayOfMonth, word.column + list, problem));
        }
        let day = value(Field::DayOfMonth, day)?;
        return Ok(OfMonth { closest_weekday: u8::try_from(day).ok(), ..OfMonth::default() });
    }
    let mut days = OfMonth::default();
    let mut bits = Bits::default();
    for item in word.pieces(',') {
        match item.text {
            "L" => days.last = true,
            text if text.starts_with("L-") => {
                let problem = format!("{text} is not allowed: L is the last day of the month and takes no offset");
                return Err(CronError::at(Field::DayOfMonth, item.column, problem));
            }
            text if text.ends_with('W') => {
                let problem = "W goes with a single day, as in 15W, not with a list, a range or a step";
                return Err(CronError::at(Field::DayOfMonth, item.column, problem));
            }
            _ => span(Field::DayOfMonth, item)?.fill(&mut bits, 0),
        }
    }
    days.days = u32::try_from(low(bits)).unwrap_or_default();
    Ok(days)
}

fn days_of_week(word: Text<'_>) -> Result<OfWeek, CronError> {
    if matches!(word.text, "*" | "?") {
        return Ok(OfWeek { any: true, ..OfWeek::default() });
    }
    let mut days = OfWeek::default();
    let mut bits = Bits::default();
    for item in word.pieces(',') {
        if let Some((day, which)) = item.split('#') {
            let weekday = value(Field::DayOfWeek, day)? % 7;
            match which.text {
                "L" => days.last |= 1 << weekday,
                "1" | "2" | "3" | "4" | "5" => {
                    let nth = 1 << which.text.parse::<u32>().unwrap_or_default();
                    if let Some(bits) = days.nth.get_mut(weekday as usize) {
                        *bits |= nth;
                    }
                }
                other => {
                    let problem = format!("{other:?} is not allowed after #; 1 to 5 or L are, as in FRI#2 and FRI#L");
                    return Err(CronError::at(Field::DayOfWeek, which.column, problem));
                }
            }
        } else if let Some(day) = item.without_suffix('L') {
            if day.text.is_empty() {
                let problem = "L needs a day of week, as in FRI#L or 5L";
                return Err(CronError::at(Field::DayOfWeek, item.column, problem));
            }
            days.last |= 1 << (value(Field::DayOfWeek, day)? % 7);
        } else {
            span(Field::DayOfWeek, item)?.fill(&mut bits, 0);
        }
    }
    let bits = low(bits);
    // 7 is Sunday, as 0 is.
    days.weekdays = u8::try_from((bits & 0x7f) | (bits >> 7 & 1)).unwrap_or_default();
    Ok(days)
}

/// Every `step`th value from `first` to `last`.
struct Span {
    first: u32,
    last: u32,
    step: u32,
}

impl Span {
    fn fill(&self, bits: &mut Bits, base: u32) {
        for value in (self.first..=self.last).step_by(self.step as usize) {
            let position = (value - base) as usize;
            if let Some(word) = bits.get_mut(position / 64) {
                *word |= 1 << (position % 64);
            }
        }
    }
}

/// One item of a list: a value, or a range or `*` that may have a step.
fn span(field: Field, item: Text<'_>) -> Result<Span, CronError> {
    let (range, step) = match item.split('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    let (smallest, largest) = field.range();
    let (first, last) = if range.text == "*" {
        // Sunday is once in a week.
        (smallest, if field == Field::DayOfWeek { 6 } else { largest })
    } else if let Some((first, last)) = range.split('-') {
        let (from, to) = (value(field, first)?, value(field, last)?);
        if from > to {
            return Err(CronError::at(field, item.column, backwards(field, first.text, last.text, to)));
        }
        (from, to)
    } else if let Some(step) = step {
        let problem = if range.text.is_empty() {
            format!("/{0} has nothing before it, where a range or * is, as in */{0}", step.text)
        } else {
            format!("a step goes with a range or *, as in {}-{largest}/{}", range.text, step.text)
        };
        return Err(CronError::at(field, item.column, problem));
    } else {
        let only = value(field, range)?;
        (only, only)
    };
    let step = match step {
        None => 1,
        Some(step) => match number(step.text) {
            Some(step @ 1..) => step,
            _ => {
                let problem = format!("the step {:?} is not allowed; a number from 1 on is", step.text);
                return Err(CronError::at(field, step.column, problem));
            }
        },
    };
    Ok(Span { first, last, step })
}

fn backwards(field: Field, first: &str, last: &str, to: u32) -> String {
    let hint = if field == Field::DayOfWeek && to == 0 {
        format!("a range ends with Sunday as 7, as in {first}-7")
    } else if field == Field::DayOfWeek {
        format!("the week ends with 7; the same days are {first}-7,1-{to}")
    } else {
        let (smallest, largest) = field.range();
        format!("the same values are {first}-{largest},{smallest}-{last}")
    };
    format!("{first}-{last} goes backwards; {hint}")
}

fn value(field: Field, word: Text<'_>) -> Result<u32, CronError> {
    let (smallest, largest) = field.range();
    let named = field.names().iter().position(|name| name.eq_ignore_ascii_case(word.text));
    if let Some(value) = named.and_then(|position| u32::try_from(position).ok()) {
        return Ok(value + smallest);
    }
    if let Some(value) = number(word.text).filter(|value| (smallest..=largest).contains(value)) {
        return Ok(value);
    }
    let problem = if word.text.is_empty() {
        format!("a value is missing; {} are allowed", field.values())
    } else if word.text.contains('?') {
        "? is not allowed here; it stands for * alone in the fields day of month and day of week".to_owned()
    } else {
        format!("{:?} is not allowed; {} are", clipped(word.text), field.values())
    };
    Err(CronError::at(field, word.column, problem))
}

fn number(text: &str) -> Option<u32> {
    // A sign is not a digit.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn clipped(text: &str) -> &str {
    text.get(..32).unwrap_or(text)
}
