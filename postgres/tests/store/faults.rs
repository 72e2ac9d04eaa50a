//! A database that fails at the worst moment: nothing is lost that was acknowledged, nothing is done twice, and what is unknown is
//! found out (semantics.md F1).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::state::State;
use engine::store::{
    Append, Appended, ClaimRuns, Command, CommandKind, Created, NewRun, RequestKey, Requester, RunRow, Signal, Store,
    StoreError,
};
use postgres_store::testing::{Faults, Proxy, Release, connect, database};
use postgres_store::{Postgres, PostgresOptions};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::leases::{WORKFLOW, fact, new_run, now, status};

/// Facts of each run after the one that creates it.
const FACTS: u64 = 12;

const RUNS: usize = 40;

const SIGNALS: usize = 60;

/// For how long something happens to commits.
const HARMED: Duration = Duration::from_secs(12);

/// What its driver knows of a run.
struct Known {
    id: Uuid,
    epoch: u64,
    /// Entries whose answer came, or that were read.
    durable: Vec<Bytes>,
    /// The one whose answer did not come.
    unknown: Option<Bytes>,
    ended: bool,
}

impl Known {
    /// Appends until the run has ended, or an answer does not come.
    async fn drive(mut self, store: Arc<Postgres>) -> Self {
        while !self.ended {
            let sequence = self.durable.len() as u64;
            let entry = Bytes::from(Uuid::new_v4().into_bytes().to_vec());
            let last = sequence == FACTS;
            let status = status(if last { State::Succeeded } else { State::Running });
            let append = Append { entry: entry.clone(), status, ..fact(self.id, self.epoch, sequence) };
            match store.append(append).await {
                Ok(Appended::Done) => {
                    self.durable.push(entry);
                    self.ended = last;
                }
                // A signal does not stop an append that starts nothing.
                Ok(Appended::Superseded(row)) => panic!("{row:?}"),
                Err(StoreError::Unavailable(_)) => {
                    self.unknown = Some(entry);
                    return self;
                }
                Err(StoreError::Fenced(_)) => return self,
                Err(error) => panic!("{error:?}"),
            }
        }
        self
    }

    /// Compares what is there with what is known, and continues from there.
    async fn reload(&mut self, store: &Postgres, row: &RunRow) {
        let journal = patiently(|| store.journal(self.id, 0, 1_000)).await;
        let found: Vec<Bytes> = journal.iter().map(|entry| entry.entry.clone()).collect();
        let mut expected = self.durable.clone();
        if found.len() > expected.len() {
            expected.extend(self.unknown.take());
        }
        assert_eq!(found, expected, "run {}", self.id);
        assert!(journal.iter().enumerate().all(|(at, entry)| entry.sequence == at as u64 + 1), "it is dense");
        assert!(journal.is_sorted_by_key(|entry| entry.epoch), "epochs are in order");
        (self.durable, self.unknown, self.epoch) = (found, None, row.epoch);
        self.ended = row.status.state.is_end();
    }
}

/// Reads until an answer comes.
async fn patiently<T>(read: impl Fn() -> engine::store::Answer<T>) -> T {
    loop {
        match read().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// A replica, as far as its store sees it: drivers, and claims for what they lost.
struct Replica {
    store: Arc<Postgres>,
    drivers: JoinSet<Known>,
    /// Runs in memory: their drivers work.
    held: HashSet<Uuid>,
    lost: HashMap<Uuid, Known>,
    done: HashMap<Uuid, Known>,
    unsure: Instant,
}

impl Replica {
    async fn begin(&mut self, run: NewRun) {
        let known = Known { id: run.id, epoch: 1, durable: Vec::new(), unknown: None, ended: false };
        let entry = run.entry.clone();
        match self.store.create(run).await {
            Ok(Created::New) => self.resume(Known { durable: vec![entry], ..known }),
            Ok(Created::Existing(row)) => panic!("{row:?}"),
            Err(StoreError::Unavailable(_)) => self.lose(Known { unknown: Some(entry), ..known }),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn resume(&mut self, known: Known) {
        if known.ended {
            self.done.insert(known.id, known);
        } else {
            self.held.insert(known.id);
            self.drivers.spawn(known.drive(Arc::clone(&self.store)));
        }
    }

    fn lose(&mut self, known: Known) {
        self.held.remove(&known.id);
        self.lost.insert(known.id, known);
        self.unsure = Instant::now();
    }

    /// As the engine does while something is unknown: gives back what no driver has, and claims.
    async fn claim(&mut self) {
        let workflows = vec![(WORKFLOW.to_owned(), 1)];
        let held = Some(self.held.iter().copied().collect());
        let wish = ClaimRuns { workflows, now: now(), limit: 1_000, held };
        let claimed = match self.store.claim(wish).await {
            Ok(claimed) => claimed.runs,
            Err(StoreError::Unavailable(_)) => {
                self.unsure = Instant::now();
                return;
            }
            Err(error) => panic!("{error:?}"),
        };
        for row in claimed {
            let Some(mut known) = self.lost.remove(&row.id) else {
                panic!("run {} was claimed, which its driver has not lost", row.id);
            };
            known.reload(&self.store, &row).await;
            self.resume(known);
        }
    }

    /// Until every run has ended, or is known not to be there. That can be known only once claims are answered for a while.
    async fn settle(&mut self, proxy: &Proxy) {
        let since = Instant::now();
        while !self.drivers.is_empty() || !self.lost.is_empty() {
            if since.elapsed() > Duration::from_secs(60) {
                for id in self.lost.keys() {
                    println!("{:?}", self.store.run(*id).await);
                }
                panic!("{} runs do not come back", self.lost.len());
            }
            if since.elapsed() > HARMED {
                proxy.harm(Faults::default());
            }
            let pause = Duration::from_millis(50);
            if let Ok(Some(driven)) = tokio::time::timeout(pause, self.drivers.join_next()).await {
                let known = driven.unwrap();
                if known.ended {
                    self.held.remove(&known.id);
                    self.done.insert(known.id, known);
                } else {
                    self.lose(known);
                }
                continue;
            }
            self.claim().await;
            if self.unsure.elapsed() > self.store.settles_within() {
                self.look().await;
            }
        }
    }

    /// Nothing is on its way any more: runs that were not claimed have ended, or are not there.
    async fn look(&mut self) {
        for id in self.lost.keys().copied().collect::<Vec<_>>() {
            let row = patiently(|| self.store.run(id)).await;
            let mut known = self.lost.remove(&id).unwrap();
            match row {
                Some(row) if row.status.state.is_end() => {
                    known.reload(&self.store, &row).await;
                    self.resume(known);
                }
                Some(_) => drop(self.lost.insert(id, known)),
                None => assert!(known.durable.is_empty(), "run {id} was acknowledged and is lost"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_commits_nothing_is_lost_and_nothing_is_done_twice() {
    let seed = std::env::var("ORCHESTRATOR_TEST_SEED")
        .map_or_else(|_| Uuid::new_v4().as_u64_pair().0, |seed| seed.parse().unwrap());
    println!("seed {seed}; set ORCHESTRATOR_TEST_SEED={seed} to try it again");
    let database = database(Release::Newest).await;
    let proxy = Proxy::before(&database, seed).await.unwrap();
    let mut options = PostgresOptions::new(proxy.config());
    options.timeout = Duration::from_secs(2);
    let store = Arc::new(Postgres::open(options.clone()).await.unwrap());
    let other = Postgres::open(options).await.unwrap();
    let faults = Faults {
        refused: 0.10,
        answer_lost: 0.03,
        request_lost: 0.03,
        late: 0.03,
        delayed: 0.05,
        delay: Duration::from_millis(300),
    };
    proxy.harm(faults);

    let (drivers, unsure) = (JoinSet::new(), Instant::now());
    let (held, lost, done) = (HashSet::new(), HashMap::new(), HashMap::new());
    let mut replica = Replica { store, drivers, held, lost, done, unsure };
    let target = new_run(false);
    let target = NewRun { workflow: "faults.other".to_owned(), ..target };
    while other.create(target.clone()).await != Ok(Created::New) && patiently(|| other.run(target.id)).await.is_none() {
    }
    for _ in 0..RUNS {
        replica.begin(new_run(true)).await;
    }
    // Another replica sends signals, each until it is answered.
    let signals = async {
        for _ in 0..SIGNALS {
            signal(&other, target.id).await;
        }
    };
    tokio::join!(replica.settle(&proxy), signals);
    let (commits, harmed) = proxy.commits();
    println!("{commits} commits, something happened to {harmed}");
    assert!(harmed > 50, "it is no test if nothing happens");

    let inbox = other.inbox(target.id, 0).await.unwrap();
    assert!(inbox.iter().map(|message| message.number).eq(1..=SIGNALS as u64), "each signal came once");
    // Nothing came late after it was looked at.
    let client = connect(&database).await;
    let count = async |of: &str| client.query_one(&format!("SELECT count(*) FROM {of}"), &[]).await.unwrap().get(0);
    let runs: i64 = count("ended").await;
    assert_eq!(runs, i64::try_from(replica.done.len()).unwrap());
    assert_eq!(count("live").await, 1_i64, "only the one that got signals");
    let facts: i64 = count(&format!("journal WHERE run <> '{}'", target.id)).await;
    assert_eq!(facts, runs * i64::try_from(FACTS + 1).unwrap());
}

async fn signal(store: &Postgres, run: Uuid) {
    let request = Some(RequestKey { id: Uuid::new_v4(), hash: [1; 32] });
    let asked = Requester { request, ..Requester::new("test", "") };
    let signal = Signal { name: "paid".to_owned(), payload: Bytes::new(), room: 1_000 };
    let kind = CommandKind::Signal(signal);
    let command = Command { run, now: now(), change: asked.to("SignalRun", ""), kind };
    loop {
        match store.command(command.clone()).await {
            Ok(_) => return,
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_stops_before_its_lease_is_over_and_comes_back_with_another() {
    let database = database(Release::Newest).await;
    let proxy = Proxy::before(&database, 0).await.unwrap();
    let mut options = PostgresOptions::new(proxy.config());
    (options.lease, options.margin) = (Duration::from_secs(3), Duration::from_millis(600));
    options.timeout = Duration::from_secs(1);
    let store = Postgres::open(options).await.unwrap();
    let beside = Postgres::open(PostgresOptions::new(database.clone())).await.unwrap();
    let mut runs = Vec::new();
    for half_open in [true, false] {
        let (claim, lease) = (store.ownership(), store.lease());
        assert!(claim.is_held());
        let run = new_run(true);
        assert_eq!(store.create(run.clone()).await, Ok(Created::New));
        runs.push(run.id);
        if half_open {
            proxy.half_open()
        } else {
            proxy.refuse()
        };
        let asked = Instant::now();
        let answer = store.append(fact(run.id, 1, 1)).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        assert!(asked.elapsed() < Duration::from_secs(2), "no operation takes longer than its time");
        while claim.is_held() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The database still holds it for the replica: nothing else may act for its runs yet.
        let held = "SELECT expires_at > extract(epoch FROM clock_timestamp()) * 1000000 AND dead_at IS NULL
                    FROM leases WHERE id = $1";
        let held = connect(&database).await.query_one(held, &[&lease]).await.unwrap();
        assert!(held.get::<_, bool>(0), "it stopped first");
        proxy.open();
        while !store.ownership().is_held() || store.lease() == lease {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let workflows = vec![(WORKFLOW.to_owned(), 1)];
        let wish = ClaimRuns { workflows, now: now(), limit: 10, held: None };
        let claimed = [store.claim(wish.clone()).await.unwrap(), beside.claim(wish).await.unwrap()];
        let claimed: BTreeSet<Uuid> =
            claimed.iter().flat_map(|claimed| claimed.runs.iter().map(|run| run.id)).collect();
        assert!(claimed.contains(&run.id) && claimed.iter().all(|claimed| runs.contains(claimed)), "{claimed:?}");
    }
}
