//! `demo`: starts the services of Guras and an orchestrator over them, and shows what happens.

mod keeper;
mod lately;
mod plan;
mod show;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use demo::{AiManners, Faults, Listen, Settings, World};
use server::command_line::{self, Terminal};
use tokio::signal::unix::{SignalKind, signal};

use crate::keeper::Keeper;
use crate::lately::Lately;
use crate::plan::Plan;
use crate::show::{Scene, Show};

/// Runs small versions of the services of Guras, some of whose calls fail on purpose, and an orchestrator over them.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// Start only the services, without an orchestrator.
    #[arg(long)]
    services_only: bool,
    /// Directory of the orchestrator's store, configuration and log; it is kept. Default: a temporary directory, deleted on
    /// exit.
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// Address of the orchestrator's admin API.
    #[arg(long, default_value_t = (Ipv4Addr::LOCALHOST, 50052).into())]
    admin: SocketAddr,
    /// Address of the orchestrator's health.
    #[arg(long, default_value_t = (Ipv4Addr::LOCALHOST, 50051).into())]
    health: SocketAddr,
    /// Address that the services listen on.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into())]
    ip: IpAddr,
    /// Port of the first service; the others and the control service use the next ports. With 0, free ports are used.
    #[arg(long, default_value_t = 50061)]
    port: u16,
    /// Serve all domain services on one port.
    #[arg(long)]
    one_port: bool,
    /// Number of users.
    #[arg(long, default_value_t = 60)]
    users: usize,
    /// How much faster notifications become due: with 60, five minutes are five seconds.
    #[arg(long, default_value_t = 60.0)]
    speed: f64,
    /// Share of calls that fail with UNAVAILABLE, half of them after their effect.
    #[arg(long, default_value_t = 0.03)]
    error_rate: f64,
    /// Seed for all randomness.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The orchestrator with these arguments. The demo starts `serve` as a process, which ends with the demo.
    #[command(hide = true)]
    Orchestrator {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(Role::Orchestrator { arguments }) = options.role {
        // Only the server ends with the demo; the other commands are for people.
        if arguments.first().is_some_and(|verb| verb == "serve") {
            keeper::end_with_parent();
        }
        let (mut out, mut talk) = (std::io::stdout(), std::io::stderr());
        let arguments = std::iter::once("orchestrator".into()).chain(arguments);
        return command_line::run(&orchestrator::APP, arguments, &mut Terminal { out: &mut out, talk: &mut talk })
            .into();
    }
    let runtime = tokio::runtime::Runtime::new().context("no runtime");
    match runtime.and_then(|runtime| runtime.block_on(demonstrate(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let world = World::start(settings(&options)).await.context("the demo services could not start")?;
    print_addresses(&world);

    // Removed when it goes, which is after the orchestrator.
    let mut temporary = None;
    let mut keeper = None;
    let mut lately = None;
    if !options.services_only {
        let directory = match options.data {
            Some(directory) => directory,
            None => temporary.insert(tempfile::Builder::new().prefix("guras-demo-").tempdir()?).path().to_owned(),
        };
        let plan = Plan::write(directory, options.health, options.admin, &world)?;
        plan.print();
        lately = Some(Lately::follow(&plan)?);
        keeper = Some(Keeper::start(plan)?);
    }

    let mut show = Show::new(std::io::stdout().is_terminal());
    let mut beats = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = beats.tick() => {}
            news = next(keeper.as_mut()) => show.tell(&news?)?,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        let runs = lately.as_ref().map(Lately::now);
        show.update(&Scene { world: &world, keeper: keeper.as_ref(), runs: runs.as_ref() })?;
    }
    // The services go last: what the orchestrator has in flight shall be answered.
    let runs = lately.as_ref().map(Lately::now);
    if let Some(keeper) = keeper {
        show.tell("the orchestrator finishes what it has in flight (interrupt again to end it immediately)")?;
        let how = tokio::select! {
            how = keeper.stop() => how?,
            _ = terminate.recv() => "was ended immediately".to_owned(),
            _ = interrupt.recv() => "was ended immediately".to_owned(),
        };
        show.tell(&format!("the orchestrator {how}"))?;
    }
    show.finish(&Scene { world: &world, keeper: None, runs: runs.as_ref() })?;
    world.stop().await;
    drop(temporary);
    Ok(())
}

/// Never resolves if there is no orchestrator.
async fn next(keeper: Option<&mut Keeper>) -> anyhow::Result<String> {
    match keeper {
        Some(keeper) => keeper.next().await,
        None => std::future::pending().await,
    }
}

fn settings(options: &Options) -> Settings {
    let listen = if options.one_port {
        Listen::OnePort((options.ip, options.port).into())
    } else {
        Listen::PortEach { ip: options.ip, base: options.port }
    };
    let faults = Faults {
        error_rate: options.error_rate.clamp(0.0, 1.0),
        after_effect_rate: 0.5,
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(8),
        ..Faults::default()
    };
    let (delay, jitter) = (Duration::from_millis(400), Duration::from_millis(1_200));
    Settings {
        seed: options.seed,
        users: options.users,
        listen,
        time_scale: options.speed,
        quiet_hours: true,
        ai: AiManners { delay, jitter, ..AiManners::default() },
        faults: BTreeMap::from([(String::new(), faults)]),
        life: Some(Duration::from_secs(3)),
        ..Settings::default()
    }
}

fn print_addresses(world: &World) {
    println!("The services of Guras:\n");
    for (service, address) in world.services() {
        println!("  {service:<14} {address}");
    }
    if let Some(address) = world.address("control") {
        println!("  {:<14} {address}  (demo.control.v1: GetLedger, SetFaults, Reset)", "control");
    }
}
