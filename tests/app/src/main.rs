//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::main(&test_app::APP)
}
