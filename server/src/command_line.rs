//! The command line: serves, checks configuration, and speaks to a running orchestrator over its admin API.
//!
//! Data goes to stdout, messages for people to stderr. Programs can rely on `--output json` and the exit codes of [`Exit`].

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod audit;
mod caller;
mod config;
mod configuration_flags;
mod connection;
mod contracts;
mod exit;
mod json;
mod login;
mod pages;
mod runs;
mod schedules;
mod serve;
mod services;
mod status;
mod store;
mod table;
mod terminal;
mod upgrade;
mod workflows;

pub use exit::Exit;
pub use terminal::Terminal;

use exit::CommandError;

use crate::app::App;

/// Runs workflows over gRPC services, and works with an orchestrator that does.
#[derive(Debug, Parser)]
#[command(name = "orchestrator", version, after_help = exit::HELP)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve until SIGTERM or SIGINT; a second signal ends the process immediately.
    Serve(serve::Serve),
    /// Check the contracts of the services.
    #[command(subcommand)]
    Contracts(contracts::Contracts),
    /// Check or print the configuration without serving.
    #[command(subcommand)]
    Config(config::Config),
    /// Show the workflows of a running orchestrator.
    #[command(subcommand)]
    Workflows(workflows::Workflows),
    /// Start, show and steer runs.
    #[command(subcommand)]
    Runs(runs::Runs),
    /// Create, look at and steer schedules, and see what became of their ticks.
    #[command(subcommand)]
    Schedules(schedules::Schedules),
    /// Show who changed what.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Show the services that a running orchestrator calls.
    #[command(subcommand)]
    Services(services::Services),
    /// Show the replica that answers: its clock and how often that was set, and its runs in memory.
    Status(status::ReplicaStatus),
    /// Back up or move a store, or say what slows or endangers it.
    #[command(subcommand)]
    Store(store::Store),
    /// Check which runs in flight this version can continue, before it is rolled out.
    #[command(subcommand)]
    Upgrade(upgrade::Upgrade),
}

/// All commands and their arguments, for programs that complete, document or check them.
pub fn definition() -> clap::Command {
    let mut command = CommandLine::command();
    command.build();
    with_usage(command)
}

/// Has errors show the usage line of the help. The library's own shows what the environment sets as if it were required.
fn with_usage(mut command: clap::Command) -> clap::Command {
    let usage = command.render_usage().to_string();
    let names: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let command = command.override_usage(usage.trim_start_matches("Usage: ").to_owned());
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_usage))
}

/// Does what the arguments of this process say.
pub fn main(app: &App) -> ExitCode {
    let (mut out, mut talk) = (std::io::stdout(), std::io::stderr());
    run(app, std::env::args_os(), &mut Terminal { out: &mut out, talk: &mut talk }).into()
}

/// Does what these arguments say; the first is the program's name.
pub fn run(app: &App, arguments: impl IntoIterator<Item = OsString>, terminal: &mut Terminal<'_>) -> Exit {
    if let Err(error) = app.install() {
        return terminal.ended(Err(CommandError::failed(error.to_string())));
    }
    let version = if app.version.is_empty() { env!("CARGO_PKG_VERSION") } else { app.version };
    let matches = definition().version(version).try_get_matches_from(arguments);
    let command_line = match matches.and_then(|matches| CommandLine::from_arg_matches(&matches)) {
        Ok(command_line) => command_line,
        Err(error) if error.use_stderr() => {
            terminal.talk(error.render().to_string().trim_end());
            return Exit::Usage;
        }
        Err(help) => {
            let shown = terminal.line(help.render().to_string().trim_end());
            return terminal.ended(shown);
        }
    };
    let done = match command_line.verb {
        Verb::Serve(serve) => serve.run(app),
        Verb::Contracts(contracts) => on_one_thread(contracts.run(terminal)),
        Verb::Config(config) => config.run(app, terminal),
        Verb::Workflows(workflows) => on_one_thread(workflows.run(terminal)),
        Verb::Runs(runs) => on_one_thread(runs.run(terminal)),
        Verb::Schedules(schedules) => on_one_thread(schedules.run(terminal)),
        Verb::Audit(audit) => on_one_thread(audit.run(terminal)),
        Verb::Services(services) => on_one_thread(services.run(terminal)),
        Verb::Status(status) => on_one_thread(status.run(terminal)),
        Verb::Store(store) => store.run(terminal),
        Verb::Upgrade(upgrade) => upgrade.run(app, terminal),
    };
    match done {
        Ok(exit) => exit,
        Err(error) => terminal.ended(Err(error)),
    }
}

fn on_one_thread(work: impl Future<Output = Result<Exit, CommandError>>) -> Result<Exit, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CommandError::failed(format!("no runtime: {error}")))?.block_on(work)
}
