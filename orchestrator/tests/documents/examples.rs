//! The code of the documents, compiled and run.

mod idempotency_key;
mod remind;
mod rooms;
mod testing;
