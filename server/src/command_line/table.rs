//! How answers look to people: plain tables, times, durations and states.

use crate::proto::google::rpc::Status;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use prost_types::{Any, Timestamp};

use crate::descriptors;
use crate::duration::format as format_duration;
use crate::text::{cut, plain};

/// Longest text in a last column, which has free text; what is cut off is in `--output json`.
const LONGEST_TEXT: usize = 80;

/// A table without lines, its header in capitals. Names and ids are never cut, so that they can be copied.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.map(str::to_uppercase));
    for row in rows {
        let mut row = row.map(|cell| plain(&cell).into_owned());
        if let Some(last) = row.last_mut() {
            *last = shortened(last);
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Names and values below each other, each value on one line; pairs without a value are left out.
pub(super) fn facts(pairs: &[(&str, String)]) -> String {
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    pairs.map(|(name, value)| format!("{name:<10} {}", plain(value))).collect::<Vec<_>>().join("\n")
}

/// At most [`LONGEST_TEXT`] characters.
fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST_TEXT { text.to_owned() } else { cut(text, LONGEST_TEXT - 1).into_owned() }
}

/// A time to the second, in UTC; empty if it is not set.
pub(super) fn time(at: Option<&Timestamp>) -> String {
    let at = at.and_then(|at| jiff::Timestamp::new(at.seconds, 0).ok());
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// The time between two, where both are there.
pub(super) fn between(from: Option<&Timestamp>, to: Option<&Timestamp>) -> String {
    let millis = |at: &Timestamp| at.seconds.saturating_mul(1_000).saturating_add(i64::from(at.nanos / 1_000_000));
    let Some((from, to)) = from.map(millis).zip(to.map(millis)) else { return String::new() };
    format_duration(std::time::Duration::from_millis(u64::try_from(to.saturating_sub(from)).unwrap_or(0)))
}

/// A span of time; empty if it is not set.
pub(super) fn span(duration: Option<prost_types::Duration>) -> String {
    duration.and_then(|duration| duration.try_into().ok()).map(format_duration).unwrap_or_default()
}

/// A status as `CODE: message`.
pub(super) fn error(status: &Status) -> String {
    format!("{}: {}", engine::Code::from_i32(status.code), status.message)
}

/// A packed message as JSON on one line, or its type where it cannot be read.
pub(super) fn payload(any: Option<&Any>) -> String {
    any.map_or_else(String::new, |any| {
        descriptors::to_json(any)
            .map_or_else(|| descriptors::type_name(&any.type_url).to_owned(), |value| value.to_string())
    })
}
