//! Calls to servers that share no code with ours: grpcio on Python and grpc-js on Node.
//!
//! `./test` installs what they need and says where. Without it a test says that it is skipped.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![expect(unreachable_pub, reason = "modules of a test have no outside")]

mod connections;
mod errors;
mod messages;
mod peer;
