//! The cases, each a file.

pub(crate) mod commit;
pub(crate) mod engine;
pub(crate) mod fan_out;
pub(crate) mod history;
pub(crate) mod limits;
pub(crate) mod postgres;
pub(crate) mod recovery;
pub(crate) mod runs;
pub(crate) mod schedules;
pub(crate) mod service;
pub(crate) mod sleepers;
pub(crate) mod slow_disk;
pub(crate) mod soak;
pub(crate) mod stack;
