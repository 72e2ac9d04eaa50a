//! The store of many replicas, in PostgreSQL.

#[cfg(any(test, feature = "testing"))]
pub mod testing;
