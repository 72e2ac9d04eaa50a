//! The one binary: the service and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::main(&parcels::APP)
}
