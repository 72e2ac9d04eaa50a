//! When a schedule has its times: rules, zones and exclusions, and nothing of clocks, stores or runs.
//!
//! A [`Spec`] is what is said and stored, a [`Timetable`] is what was understood of it.

pub mod cron;
mod local;
pub(crate) mod missed;
pub(crate) mod policy;
mod spec;
#[cfg(test)]
mod tests;
mod timetable;
mod zone;

pub use policy::{CatchUp, CatchUpMode, MAX_ALLOWED, MAX_BUFFERED, MAX_CATCH_UP, MAX_NAME_BYTES, Overlap, Policy};
pub use spec::{
    DstGap, DstOverlap, Exclusions, MAX_EXCLUDED_DATES, MAX_EXCLUDED_PATTERNS, MAX_RULES, MAX_SPAN, MIN_INTERVAL, Rule,
    Spec, SpecError,
};
pub use timetable::{Nominal, Timetable};
pub use zone::{ClockChange, UnknownZone, Zone, database_version};
