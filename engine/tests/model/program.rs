//! Random programs: what a workflow does, as a tree made from a seed.

use std::sync::Arc;
use std::time::Duration;

/// SplitMix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5eed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True in this many of a hundred cases.
    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let index = self.below(from.len() as u64);
        from[usize::try_from(index).unwrap_or(0)].clone()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Look,
    Put,
    Pay,
    Charge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tries {
    Standard,
    Quick,
    Slow,
    Never,
}

/// A call: how it is made, and whether code continues when it fails.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) kind: Kind,
    pub(crate) tries: Tries,
    pub(crate) timeout: Option<Duration>,
    pub(crate) once: Option<u64>,
    pub(crate) durable: bool,
    pub(crate) undo: Option<Undo>,
}

/// The method that takes a call back: one of every level that has effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakesBack {
    Cancel,
    Recall,
    Refund,
}

/// What takes a call back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undo {
    /// Whether it is made from the response.
    pub(crate) by_response: bool,
    pub(crate) by: TakesBack,
    /// Whether the code that makes it from the response panics until it is mended.
    pub(crate) panics: bool,
    pub(crate) tries: Tries,
}

/// What code does while a child runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// It waits for its end.
    Awaits,
    /// It continues for a moment.
    GoesOn,
    /// It never asks for its end.
    Forgets,
}

/// What is wrong with code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Panics {
        times: u32,
    },
    /// It waits for a signal that is not declared.
    Undeclared,
    /// It has a child whose workflow is not registered.
    NoWorkflow,
    /// It builds a step beside another one of its branch.
    NoBranch,
    /// It does not come to the same step again.
    Changes,
}

impl Flaw {
    /// What a run is blocked for.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Panics { .. } => "POISON",
            Self::Undeclared => "SIGNAL_UNDECLARED",
            Self::NoWorkflow => "UNKNOWN_WORKFLOW",
            Self::NoBranch => "USE_A_BRANCH",
            Self::Changes => "JOURNAL_MISMATCH",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Call {
        leaf: Leaf,
        catch: bool,
    },
    /// Equal steps at the same time.
    Puts {
        count: u64,
        catch: bool,
    },
    /// A call, a sleep and a read at the same time.
    Mixed {
        leaf: Leaf,
        span: Duration,
        catch: bool,
    },
    FanOut {
        keys: Vec<u64>,
        limit: usize,
        body: Arc<[Node]>,
        catch: bool,
    },
    /// Sequences beside each other.
    Branches {
        arms: Vec<Arc<[Node]>>,
        catch: bool,
    },
    /// A call, a wait and a sequence; what comes of those that lose is not looked at.
    Contest {
        leaf: Leaf,
        span: Duration,
        body: Arc<[Node]>,
    },
    /// A run of its own, whose program is made from this seed.
    Child {
        seed: u64,
        care: Care,
        catch: bool,
    },
    Sleep(Duration),
    /// A message, if one comes in time.
    Signal {
        name: &'static str,
        within: Duration,
    },
    Now,
    /// A random value that later requests carry.
    Record,
    /// Whichever of two waits is over first.
    Race {
        first: Duration,
        second: Duration,
    },
    /// Something that is wrong until the code is mended.
    Flaw(Flaw),
    Fail,
}

fn span(random: &mut Random) -> Duration {
    Duration::from_millis(random.pick(&[0, 0, 5, 10, 1_000, 4_999, 5_001, 7_000, 61_000, 1_200_000]))
}

fn undo(random: &mut Random) -> Undo {
    Undo {
        by_response: random.percent(40),
        by: random.pick(&[TakesBack::Cancel, TakesBack::Cancel, TakesBack::Recall, TakesBack::Refund]),
        panics: random.percent(4),
        tries: random.pick(&[Tries::Quick, Tries::Quick, Tries::Slow, Tries::Never]),
    }
}

fn leaf(random: &mut Random) -> Leaf {
    let kind = random.pick(&[Kind::Look, Kind::Look, Kind::Put, Kind::Put, Kind::Pay, Kind::Charge]);
    let once = (kind == Kind::Put && random.percent(20)).then(|| random.below(3));
    // What several runs share is not for one of them to take back.
    let undo = (kind != Kind::Look && once.is_none() && random.percent(40)).then(|| undo(random));
    Leaf {
        kind,
        tries: random.pick(&[Tries::Standard, Tries::Quick, Tries::Quick, Tries::Slow, Tries::Never]),
        timeout: random.percent(30).then(|| Duration::from_millis(random.pick(&[500, 2_000]))),
        once,
        durable: random.percent(15),
        undo,
    }
}

fn flaw(random: &mut Random) -> Flaw {
    let times = random.pick(&[1, 2, 3, 5]);
    let panics = Flaw::Panics { times };
    random.pick(&[panics, panics, Flaw::Undeclared, Flaw::NoWorkflow, Flaw::NoBranch, Flaw::Changes])
}

fn node(random: &mut Random, depth: u32) -> Node {
    match random.below(if depth == 0 { 14 } else { 22 }) {
        0..=6 => Node::Call { leaf: leaf(random), catch: random.percent(60) },
        7 => Node::Puts { count: 1 + random.below(4), catch: random.percent(60) },
        8 => Node::Mixed { leaf: leaf(random), span: span(random), catch: random.percent(60) },
        9 => Node::Sleep(span(random)),
        10 => Node::Signal { name: random.pick(&["left", "right"]), within: span(random) },
        11 => Node::Now,
        12 => Node::Race { first: span(random), second: span(random) },
        13 => Node::Record,
        14 | 15 => {
            let arms = (0..1 + random.below(3)).map(|_| sequence(random, depth - 1, 3)).collect();
            Node::Branches { arms, catch: random.percent(60) }
        }
        17 => Node::Child {
            seed: random.next() | CHILD,
            care: random.pick(&[Care::Awaits, Care::Awaits, Care::GoesOn, Care::GoesOn, Care::Forgets]),
            catch: random.percent(60),
        },
        16 => Node::Contest { leaf: leaf(random), span: span(random), body: sequence(random, depth - 1, 3) },
        _ => {
            let width = random.below(6);
            Node::FanOut {
                keys: (0..width).map(|_| random.below(8)).collect(),
                limit: usize::try_from(1 + random.below(4)).unwrap_or(1),
                body: sequence(random, depth - 1, 4),
                catch: random.percent(60),
            }
        }
    }
}

fn sequence(random: &mut Random, depth: u32, longest: u64) -> Arc<[Node]> {
    let mut nodes: Vec<Node> = (0..=random.below(longest)).map(|_| node(random, depth)).collect();
    if random.percent(5) {
        let at = usize::try_from(random.below(nodes.len() as u64 + 1)).unwrap_or(0);
        nodes.insert(at, Node::Flaw(flaw(random)));
    }
    if random.percent(8) {
        nodes.push(Node::Fail);
    }
    nodes.into()
}

/// Marks the seeds of children, whose programs are short and have no children.
const CHILD: u64 = 1 << 63;

/// Marks the seeds of programs that take back what they did.
pub(crate) const UNDOING: u64 = 1 << 62;

pub(crate) fn program(seed: u64) -> Arc<[Node]> {
    let random = &mut Random::new(seed);
    let is_child = seed & CHILD != 0;
    if !is_child && seed & UNDOING != 0 {
        return undoing(random);
    }
    match random.below(20) {
        0..=2 if !is_child => undoing(random),
        3 if !is_child => careless(random),
        // A child that is there long after its parent did something.
        0..=4 if is_child => {
            let later = sequence(random, 0, 3);
            [Node::Sleep(LONG)].into_iter().chain(later.iter().cloned()).collect()
        }
        _ if is_child => sequence(random, 0, 3),
        _ => sequence(random, 2, 7),
    }
}

/// Longer than any command takes to be carried out.
const LONG: Duration = Duration::from_secs(1_200);

/// Effects that are made once each, and taken back some time later, whatever became of them.
fn undoing(random: &mut Random) -> Arc<[Node]> {
    let mut nodes: Vec<Node> = (0..2 + random.below(2))
        .map(|_| {
            let kind = random.pick(&[Kind::Put, Kind::Pay, Kind::Charge]);
            let undo = Undo { by_response: random.percent(20), panics: false, ..undo(random) };
            let leaf = Leaf { kind, tries: Tries::Never, once: None, undo: Some(undo), ..leaf(random) };
            Node::Call { leaf, catch: true }
        })
        .collect();
    nodes.push(Node::Sleep(random.pick(&[Duration::from_secs(7), Duration::from_secs(61), LONG])));
    nodes.push(Node::Fail);
    nodes.into()
}

/// Children that no code waits for.
fn careless(random: &mut Random) -> Arc<[Node]> {
    let child = |random: &mut Random| Node::Child { seed: random.next() | CHILD, care: Care::Forgets, catch: true };
    [child(random), node(random, 0), child(random)].into()
}
