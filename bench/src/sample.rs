//! What one measurement gives, and the median of several.

use std::time::Duration;

/// One measurement of something that is done again and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    /// Microseconds of one.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// Seconds of user and system time of the process that is measured, for one.
    pub(crate) cpu: f64,
    pub(crate) resident_bytes: f64,
}

impl Sample {
    /// Of times in microseconds, and the span in which they came to their end.
    pub(crate) fn of(mut times: Vec<u32>, span: Duration) -> Self {
        times.sort_unstable();
        let at = |per_mille: usize| {
            let index = (times.len() * per_mille / 1_000).min(times.len().saturating_sub(1));
            times.get(index).copied().map_or(f64::NAN, f64::from)
        };
        Self {
            per_second: count(times.len()) / span.as_secs_f64(),
            p50: at(500),
            p99: at(990),
            p999: at(999),
            max: times.last().copied().map_or(f64::NAN, f64::from),
            cpu: f64::NAN,
            resident_bytes: f64::NAN,
        }
    }

    /// The median of each figure by itself.
    pub(crate) fn median(samples: &[Self]) -> Self {
        let median = |figure: fn(&Self) -> f64| median(samples.iter().map(figure).collect());
        Self {
            per_second: median(|sample| sample.per_second),
            p50: median(|sample| sample.p50),
            p99: median(|sample| sample.p99),
            p999: median(|sample| sample.p999),
            max: median(|sample| sample.max),
            cpu: median(|sample| sample.cpu),
            resident_bytes: median(|sample| sample.resident_bytes),
        }
    }
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
pub(crate) fn bytes(number: u64) -> f64 {
    number as f64
}
