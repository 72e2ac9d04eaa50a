//! Exit codes, and the errors that lead to them.

use std::process::ExitCode;

use tonic::{Code, Status};

use crate::text::plain;

/// The meaning of an exit code. The numbers are part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command did what was asked.
    Ok = 0,
    /// The command failed.
    Failed = 1,
    /// The arguments, the input or the configuration are wrong; nothing was done.
    Usage = 2,
    /// The run that was waited for did not end as SUCCEEDED.
    RunFailed = 3,
    /// The orchestrator, or the server that was asked, could not be reached, or went away.
    Unreachable = 4,
    /// The time to wait is over and the run continues.
    TimeIsUp = 5,
    /// The check found something to correct.
    Findings = 6,
}

/// Shown below the help.
pub(super) const HELP: &str = "\
Exit codes:
  0  done
  1  not done
  2  arguments, input or configuration are wrong; nothing was done
  3  the run that was waited for did not succeed
  4  the orchestrator, or the server that was asked, could not be reached, or went away
  5  the time to wait is over and the run continues
  6  the check found something to correct
  130, 143  ended by a second SIGINT or SIGTERM";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(super) struct CommandError {
    pub(super) exit: Exit,
    pub(super) message: String,
}

impl CommandError {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }
}

impl From<Status> for CommandError {
    fn from(status: Status) -> Self {
        let exit = match status.code() {
            // What an argument names is not there.
            Code::InvalidArgument | Code::NotFound => Exit::Usage,
            Code::Unavailable => Exit::Unreachable,
            _ => Exit::Failed,
        };
        let code = engine::Code::from_i32(status.code().into());
        let message = match status.message() {
            "" if status.code() == Code::Unimplemented => {
                "the server does not have this method; expected the address of an admin API of this version \
                 (`admin.listen`), and not that of health"
            }
            "" => "the server gave no reason",
            message => message,
        };
        let remedy = if status.code() == Code::Unauthenticated {
            "; log in with --token-file, or --certificate-file and --key-file"
        } else {
            ""
        };
        Self { exit, message: format!("{code}: {}{remedy}", plain(message)) }
    }
}

impl From<std::io::Error> for CommandError {
    /// A reader that closed the pipe has what it wanted.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Ok, message: String::new() };
        }
        Self::failed(format!("output: {error}"))
    }
}
