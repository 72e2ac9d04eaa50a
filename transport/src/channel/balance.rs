//! Which endpoints of a service are connected: one, or all of them.

mod attend;
mod every;
mod pick_first;

pub(crate) use every::keep_connected;
pub(crate) use pick_first::connect_first;
