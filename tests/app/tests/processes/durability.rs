//! Durable first, then sent or answered: shown by what the process asks of the kernel, in its order. A SIGKILL alone would
//! not tell, since what was written and not synced survives it.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use server::proto::orchestrator::admin::v1::StartRunRequest;
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;

use crate::process::Orchestrator;
use crate::world::World;
use crate::{USERS, WITHOUT_SCHEDULES};

const RUNS: u32 = 30;
const CREATE: &str = "/acme.users.v1.UserService/CreateUser";
/// Between the method and the request of one fact there is little else.
const ONE_FACT: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_and_no_start_is_answered_before_it_is_on_the_disk() {
    if let Err(why) = can_trace() {
        println!("SKIPPED: tracing needs strace, and the right to trace one's own processes: {why}");
        return;
    }
    let world = World::good().await;
    let mut orchestrator = Orchestrator::over(&world);
    let trace = orchestrator.store().with_file_name("trace");
    let calls = "trace=pwrite64,fsync,fdatasync,write,writev,sendto,sendmsg";
    // As its grandchild, so that the program is ours to end; with sockets told by their addresses, and all bytes in hex.
    let words = ["strace", "-D", "-f", "-yy", "-xx", "-s", "1000000", "-e", calls, "-o", trace.to_str().unwrap(), "--"];
    orchestrator.launched_by(words.map(str::to_owned));
    orchestrator.start(&WITHOUT_SCHEDULES).await;

    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..RUNS {
        let (mut runs, text) = (orchestrator.runs(), uuid::Uuid::new_v4().to_string());
        starts.spawn(async move {
            let request = StartRunRequest {
                workflow: "test.invite".to_owned(),
                input_form: Some(InputForm::InputJson(format!("{{\"limit\": {USERS}, \"text\": \"{text}\"}}"))),
                ..StartRunRequest::default()
            };
            (runs.start_run(request).await.unwrap().into_inner().run_id, text)
        });
    }
    let runs = starts.join_all().await;
    for (run, _) in &runs {
        ends(&orchestrator, run).await;
    }
    orchestrator.stop(Duration::from_secs(30)).await;

    let trace = Trace::read(&trace).await;
    for (run, text) in &runs {
        let created = trace.durable_from(|bytes| bytes.find(text, 0).is_some());
        let answered = trace.first_sent(orchestrator.admin().port(), Side::Ours, run);
        assert!(created < answered, "run {run} was acknowledged at {answered}, and durable at {created}");
        for number in 0..USERS {
            let user = format!("{run}-{number}@example.org");
            let started = trace.durable_from(|bytes| bytes.has_fact(CREATE, &user));
            let sent = trace.first_sent(world.users.port(), Side::Theirs, &user);
            assert!(started < sent, "{user} was sent at {sent}, and its start durable at {started}");
        }
    }
    println!("{} answers and {} effects came after their sync; {} syncs in all", RUNS, RUNS * USERS, trace.syncs());
}

async fn ends(orchestrator: &Orchestrator, run: &str) {
    let get = server::proto::orchestrator::admin::v1::GetRunRequest { run_id: run.to_owned(), ..Default::default() };
    for _ in 0..3_000 {
        if orchestrator.runs().get_run(get.clone()).await.unwrap().into_inner().end_time.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("run {run} did not end");
}

fn can_trace() -> Result<(), String> {
    let output = Command::new("strace").args(["-D", "-f", "-o", "/dev/null", "true"]).output();
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() && said.is_empty() { Ok(()) } else { Err(said) }
}

/// Which end of a connection a port is.
#[derive(Clone, Copy)]
enum Side {
    Ours,
    Theirs,
}

/// What the process did, in the order in which the kernel was asked; places in it count lines.
struct Trace {
    /// Writes to the log of the store: when they began, and what was written.
    written: Vec<(usize, Bytes)>,
    /// Syncs of that log: when they began, and when they were done.
    synced: Vec<(usize, usize)>,
    /// Writes to sockets: when they began, to which connection, and what.
    sent: Vec<(usize, String, Bytes)>,
}

struct Bytes(Vec<u8>);

impl Bytes {
    /// Where these bytes are, from a place on.
    fn find(&self, text: &str, from: usize) -> Option<usize> {
        let found = self.0.get(from..)?.windows(text.len()).position(|bytes| bytes == text.as_bytes());
        found.map(|place| from + place)
    }

    /// Whether there is a fact of a call of this method whose request has this text.
    fn has_fact(&self, method: &str, text: &str) -> bool {
        let mut from = 0;
        while let Some(place) = self.find(method, from) {
            if self.find(text, place).is_some_and(|text| text - place < ONE_FACT) {
                return true;
            }
            from = place + 1;
        }
        false
    }
}

impl Trace {
    /// Reads what strace has written; it is done a moment after the process.
    async fn read(path: &Path) -> Self {
        let ended = |text: &str| text.lines().last().is_some_and(|line| line.contains("+++ exited"));
        let mut text = std::fs::read_to_string(path).unwrap();
        for _ in 0..500 {
            if ended(&text) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            text = std::fs::read_to_string(path).unwrap();
        }
        let mut trace = Self { written: Vec::new(), synced: Vec::new(), sent: Vec::new() };
        let log: String = b"orchestrator.db-wal".iter().map(|byte| format!("\\x{byte:02x}")).collect();
        // Syncs that are under way, by thread.
        let mut syncing: HashMap<&str, usize> = HashMap::new();
        for (line, text) in text.lines().enumerate() {
            let Some((thread, text)) = text.split_once(' ') else { continue };
            let text = text.trim_start();
            let of_log = text.contains(&log);
            if text.starts_with("<... f") && text.contains("sync resumed>") {
                let began = syncing.remove(thread);
                trace.synced.extend(began.filter(|_| text.ends_with("= 0")).map(|began| (began, line)));
            } else if text.starts_with("fsync(") || text.starts_with("fdatasync(") {
                match text {
                    _ if !of_log => {}
                    text if text.ends_with("= 0") => trace.synced.push((line, line)),
                    text if text.ends_with("<unfinished ...>") => drop(syncing.insert(thread, line)),
                    _ => {}
                }
            } else if text.starts_with("pwrite64(") && of_log {
                trace.written.push((line, unescaped(text)));
            } else if let Some((_, connection)) = text.split_once("<TCP") {
                let connection = connection.split_once("]>").map_or("", |(connection, _)| connection);
                trace.sent.push((line, connection.to_owned(), unescaped(text)));
            }
        }
        assert!(!trace.written.is_empty() && !trace.synced.is_empty() && !trace.sent.is_empty(), "nothing was traced");
        trace
    }

    /// When a sync of the log was done that began after this was written to it.
    fn durable_from(&self, is_it: impl Fn(&Bytes) -> bool) -> usize {
        let written = self.written.iter().find(|(_, bytes)| is_it(bytes)).map(|(line, _)| *line);
        let written = written.expect("it is never written");
        self.synced.iter().filter(|(began, _)| *began > written).map(|(_, done)| *done).min().unwrap_or(usize::MAX)
    }

    /// When a text was first sent over a connection with this port.
    fn first_sent(&self, port: u16, side: Side, text: &str) -> usize {
        let is_it = |connection: &str| {
            let Some((ours, theirs)) = connection.split_once("->") else { return false };
            let end = if matches!(side, Side::Ours) { ours } else { theirs };
            end.rsplit(':').next().is_some_and(|found| found.trim_end_matches(']') == port.to_string())
        };
        let sent = self.sent.iter().find(|(_, connection, bytes)| is_it(connection) && bytes.find(text, 0).is_some());
        sent.map(|(line, ..)| *line).expect("it is never sent")
    }

    fn syncs(&self) -> usize {
        self.synced.len()
    }
}

/// The bytes of all strings of a line: `\x01\x02`.
fn unescaped(line: &str) -> Bytes {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let strings = line.split('"').skip(1).step_by(2);
    let bytes = strings.flat_map(|string| {
        string.as_bytes().chunks(4).filter_map(move |escape| match escape {
            [b'\\', b'x', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
    });
    Bytes(bytes.collect())
}
