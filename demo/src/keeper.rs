//! Supervises the orchestrator: a child process that may be killed, and is then started again.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

use crate::plan::Plan;

/// The time between a death and the next start, long enough to be seen.
const PAUSE: Duration = Duration::from_secs(1);

/// An orchestrator that exits by itself sooner than this cannot start at all.
const STILLBORN: Duration = Duration::from_secs(3);

pub(crate) struct Keeper {
    plan: Plan,
    life: Life,
    deaths: u32,
}

pub(crate) enum Life {
    Up {
        child: Box<Child>,
        /// Held, so that its end tells the child that the demo is gone, whatever ended it.
        _hold: Option<ChildStdin>,
        pid: u32,
        since: Instant,
    },
    Down {
        until: Instant,
    },
}

impl Keeper {
    pub(crate) fn start(plan: Plan) -> anyhow::Result<Self> {
        let life = Life::begin(&plan)?;
        Ok(Self { plan, life, deaths: 0 })
    }

    /// Waits until the orchestrator has died or was started again, and returns which. It may be dropped and called again.
    pub(crate) async fn next(&mut self) -> anyhow::Result<String> {
        match &mut self.life {
            Life::Up { child, pid, since, .. } => {
                let status = child.wait().await.context("the orchestrator cannot be waited for")?;
                if status.code().is_some_and(|code| code != 0) && since.elapsed() < STILLBORN {
                    bail!("the orchestrator cannot start; the end of its log:\n{}", self.plan.last_words());
                }
                let news = format!("the orchestrator (PID {pid}) {}; it is started again", ended(status));
                self.deaths += 1;
                self.life = Life::Down { until: Instant::now() + PAUSE };
                Ok(news)
            }
            Life::Down { until } => {
                tokio::time::sleep_until(*until).await;
                self.life = Life::begin(&self.plan)?;
                Ok(format!("the orchestrator is there again (PID {})", self.pid().unwrap_or_default()))
            }
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn deaths(&self) -> u32 {
        self.deaths
    }

    /// `None` while it is down.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self.life {
            Life::Up { pid, .. } => Some(pid),
            Life::Down { .. } => None,
        }
    }

    /// How long it has been up.
    pub(crate) fn age(&self) -> Option<Duration> {
        match self.life {
            Life::Up { since, .. } => Some(since.elapsed()),
            Life::Down { .. } => None,
        }
    }

    /// Asks it to exit, waits for that, and returns how it exited. If this is dropped before, it is killed.
    pub(crate) async fn stop(self) -> anyhow::Result<String> {
        let Life::Up { mut child, _hold, .. } = self.life else { return Ok("was down".to_owned()) };
        if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may be gone already, which is what was wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
        Ok(ended(child.wait().await?))
    }
}

impl Life {
    fn begin(plan: &Plan) -> anyhow::Result<Self> {
        let log = plan.log();
        let open = || File::options().create(true).append(true).open(&log);
        let program = std::env::current_exe().context("the demo does not know its own program")?;
        let mut child = Command::new(program)
            .args(["orchestrator", "serve", "--config"])
            .arg(plan.configuration())
            .stdin(Stdio::piped())
            .stdout(open().with_context(|| format!("cannot write {}", log.display()))?)
            .stderr(open()?)
            // An interrupt of the terminal goes to the demo alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("the orchestrator could not be started")?;
        let pid = child.id().unwrap_or_default();
        // To wait for a child closes what it holds of its input.
        let hold = child.stdin.take();
        Ok(Self::Up { child: Box::new(child), _hold: hold, pid, since: Instant::now() })
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "ended in order".to_owned(),
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(9)) => "was killed (SIGKILL)".to_owned(),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    }
}

/// In the child: asks this process to end as soon as no one holds the other end of its standard input.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let mut nothing = [0; 64];
        while std::io::stdin().read(&mut nothing).is_ok_and(|read| read > 0) {}
        let _ = kill_process(getpid(), Signal::TERM);
    });
}
