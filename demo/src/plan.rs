//! The set-up of the demo's orchestrator: its directory with configuration, store and log, and its addresses.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use demo::World;

/// The schedules: two that are short enough to watch, of which the second one meets its own runs; a daily one; and one at a
/// time of day that the clocks of its zone skip in March and show twice in October.
const SCHEDULES: &str = r#"
[schedules.send_due]
every = "2s"

[schedules.analyze_emotions]
every = "1s"

[schedules.refresh_recommendations]
enabled = false

[schedules.recommend_daily]
workflow = "meditations.refresh-recommendations"
cron = "0 6 * * *"
time_zone = "Europe/Berlin"

[schedules.weekly_digests]
enabled = false

[schedules.digest_of_month]
workflow = "digests.weekly"
cron = "30 2 * * SUN#L"
time_zone = "Europe/Berlin"
"#;

/// Bytes of the log that are read for its last lines.
const TAIL: u64 = 4_096;

pub(crate) struct Plan {
    directory: PathBuf,
    health: SocketAddr,
    admin: SocketAddr,
}

impl Plan {
    /// Makes the directory and writes the configuration into it.
    pub(crate) fn write(
        directory: PathBuf,
        health: SocketAddr,
        admin: SocketAddr,
        world: &World,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&directory).with_context(|| format!("no directory {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        let plan = Self { directory, health, admin };
        let path = plan.configuration();
        std::fs::write(&path, plan.text(world)?).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(plan)
    }

    fn text(&self, world: &World) -> anyhow::Result<String> {
        // A JSON string is a TOML string.
        let store = serde_json::to_string(self.store().to_str().context("the directory's name is not UTF-8")?)?;
        let mut text = format!(
            "# Written by the demo.\n\n[health]\nlisten = \"{}\"\nreflection = true\n\n[admin]\nlisten = \"{}\"\n\n\
             [store]\npath = {store}\n\n[log]\nformat = \"pretty\"\n",
            self.health, self.admin
        );
        for (service, address) in world.services() {
            write!(text, "\n[services.{service}]\naddress = \"http://{address}\"\n")?;
        }
        text.push_str(SCHEDULES);
        Ok(text)
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.directory.join("orchestrator.toml")
    }

    fn store(&self) -> PathBuf {
        self.directory.join("orchestrator.db")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("orchestrator.log")
    }

    /// The end of the log, as far as it is readable.
    pub(crate) fn last_words(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut log = File::open(self.log())?;
            let length = log.metadata()?.len();
            log.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            let mut tail = Vec::new();
            log.read_to_end(&mut tail)?;
            Ok(tail)
        };
        let tail = read().unwrap_or_default();
        let tail = String::from_utf8_lossy(&tail);
        let lines: Vec<&str> = tail.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Where the admin API answers.
    pub(crate) fn server(&self) -> String {
        format!("http://{}", self.admin)
    }

    pub(crate) fn print(&self) {
        println!("\nThe orchestrator, a process of its own:\n");
        for (what, place) in [("admin", self.admin), ("health", self.health)] {
            println!("  {what:<14} {place}");
        }
        for (what, path) in [("configuration", self.configuration()), ("store", self.store()), ("log", self.log())] {
            println!("  {what:<14} {}", path.display());
        }
    }
}
