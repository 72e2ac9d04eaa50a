//! The workflows of Guras against fake services, in virtual time: the good path, what goes wrong, and a kill at any
//! point.

mod analyze_emotions;
mod banned;
mod erase;
mod onboard;
mod recorded;
mod refresh_recommendations;
mod send_due;
mod streams;
mod weekly_digests;
