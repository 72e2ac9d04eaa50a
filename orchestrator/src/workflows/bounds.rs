//! Bounds for the numbers of an input.

/// Returns a positive number of the input, or `default` for zero and less; never more than `most`.
pub(super) fn bounded(value: i32, default: u16, most: u16) -> u16 {
    match value {
        ..=0 => default,
        value => u16::try_from(value).unwrap_or(most).min(most),
    }
}
