//! The code of the documents, compiled and run.

mod once;
mod remind;
mod rooms;
mod testing;
