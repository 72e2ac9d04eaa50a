//! The program that people start first: it shows runs, brings back what they kill, and leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead, BufReader, Lines};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::process::{Pid, Signal, kill_process};

struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Demo {
    fn start(flags: &[&str]) -> Self {
        let [admin, health] = [free_address(), free_address()];
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command.args(["--port", "0", "--admin", &admin.to_string(), "--health", &health.to_string()]).args(flags);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that has this in it; the end of the output is a failure.
    fn line(&mut self, part: &str) -> String {
        let mut seen = Vec::new();
        for line in self.lines.by_ref().map(Result::unwrap) {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        unreachable!("no line with {part:?}, only {seen:#?}");
    }

    fn pid(&self) -> Pid {
        pid(self.child.id())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Gone already, where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).unwrap()
}

/// What is told last in a line.
fn last<T: std::str::FromStr<Err: std::fmt::Debug>>(line: &str) -> T {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Free, and not one that the system gives to connections: it must still be free after a restart.
fn free_address() -> SocketAddr {
    let mut dice = rand::rng();
    let mut addresses = std::iter::repeat_with(|| (Ipv4Addr::LOCALHOST, dice.random_range(20_000..32_000u16)).into());
    addresses.find(|address: &SocketAddr| TcpListener::bind(address).is_ok()).unwrap()
}

#[test]
fn it_shows_runs_brings_the_orchestrator_back_and_cleans_up() {
    let mut demo = Demo::start(&[]);
    let store: PathBuf = last(&demo.line("orchestrator.db"));
    let orchestrator = pid(last(&demo.line("kill -9")));
    let first = demo.line("succeeded");
    assert!(first.ends_with("0 doubled"), "{first}");

    kill_process(orchestrator, Signal::KILL).unwrap();
    demo.line("was killed (SIGKILL)");
    demo.line("is there again");
    let second = demo.line("succeeded");
    let succeeded = |line: &str| -> u32 {
        let words: Vec<&str> = line.split([' ', ',', ';']).collect();
        let at = words.iter().position(|word| *word == "succeeded").unwrap();
        words[at - 1].parse().unwrap()
    };
    assert!(succeeded(&second) > succeeded(&first), "{first} / {second}");
    assert!(second.ends_with("0 doubled"), "{second}");

    kill_process(demo.pid(), Signal::INT).unwrap();
    demo.line("the orchestrator ended in order");
    assert_eq!(demo.child.wait().unwrap().code(), Some(0));
    assert!(!store.exists() && !store.parent().unwrap().exists());
}

#[test]
fn an_orchestrator_does_not_outlive_a_demo_that_was_killed_and_a_directory_that_was_named_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&["--data", directory.path().to_str().unwrap()]);
    demo.line("succeeded");
    kill_process(demo.pid(), Signal::KILL).unwrap();
    // Its log and not its PID: who reaps an orphan is up to the system.
    let deadline = Instant::now() + Duration::from_secs(20);
    let log = || std::fs::read_to_string(directory.path().join("orchestrator.log")).unwrap();
    while !log().contains("shutdown complete") {
        assert!(Instant::now() < deadline, "the orchestrator lives on: {}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a command of the orchestrator's command line prints.
fn asked(admin: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    let output = command.arg("orchestrator").args(arguments).args(["--server", &format!("http://{admin}")]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn its_schedules_say_when_they_come_and_which_run_a_skipped_tick_met() {
    let mut demo = Demo::start(&[]);
    let admin: SocketAddr = last(&demo.line("  admin"));
    demo.line("succeeded");
    let list = asked(admin, &["schedules", "list"]);
    for schedule in ["analyze_emotions", "digest_of_month", "recommend_daily", "send_due"] {
        let line = list.lines().find(|line| line.starts_with(schedule)).unwrap_or_default();
        assert!(line.contains("configuration"), "{list}");
    }
    assert_eq!(list.lines().count(), 5, "{list}");
    let shown = asked(admin, &["schedules", "show", "digest_of_month"]);
    assert!(shown.contains("Europe/Berlin") && shown.contains("  clocks go from "), "{shown}");

    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let ticks = asked(admin, &["schedules", "ticks", "analyze_emotions"]);
        if let Some(skipped) = ticks.lines().find(|line| line.contains("SKIPPED")) {
            let met = skipped.split_whitespace().find(|word| word.len() == 36).unwrap_or_default();
            let started = ticks.lines().find(|line| line.contains("STARTED") && line.contains(met));
            assert!(!met.is_empty() && started.is_some(), "{ticks}");
            break;
        }
        assert!(Instant::now() < deadline, "no tick met a run: {ticks}");
        std::thread::sleep(Duration::from_millis(200));
    }
    kill_process(demo.pid(), Signal::INT).unwrap();
    assert_eq!(demo.child.wait().unwrap().code(), Some(0));
}

#[test]
fn services_alone_have_no_orchestrator() {
    let mut demo = Demo::start(&["--services-only"]);
    demo.line("control");
    let line = demo.line("0 calls");
    assert!(!line.contains("runs"), "{line}");
    kill_process(demo.pid(), Signal::TERM).unwrap();
    assert_eq!(demo.child.wait().unwrap().code(), Some(0));
}
