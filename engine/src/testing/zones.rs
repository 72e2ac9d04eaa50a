//! Time zones of a test, whose data may change between two starts of a replica.

use crate::schedule::Zone;

/// From now on the zone with this name has the data of another one, as after an update of the zone database. Names are of all
/// tests of a process; they begin with `Test/`, so that no real zone is meant.
///
/// # Panics
/// If the name is another one, or the database has no zone that is to be `like`.
pub fn set_zone(name: &str, like: &str) {
    assert!(name.starts_with("Test/"), "{name:?} does not begin with Test/");
    assert!(Zone::set_for_tests(name, like), "{like} is not a zone of the database");
}
