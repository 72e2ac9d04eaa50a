//! What a world begins with.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::faults::Faults;
use crate::feed::Feed;

/// Where the services listen.
#[derive(Clone, Copy, Debug)]
pub enum Listen {
    /// Each on a port of its own: the base and those after it, control last. Free ports where the base is 0.
    PortEach {
        /// The address of all.
        ip: IpAddr,
        /// The port of the first.
        base: u16,
    },
    /// All but control on one port, control on the one after it. Free ports where it is 0.
    OnePort(SocketAddr),
}

/// How the model behind the AI service behaves.
#[derive(Clone, Copy, Debug)]
pub struct AiManners {
    /// Every answer takes at least this long.
    pub delay: Duration,
    /// And up to this much longer.
    pub jitter: Duration,
    /// Share of JSON answers that come in a Markdown code fence.
    pub fenced: f64,
    /// Share of answers that name a label that was not given.
    pub invented: f64,
    /// Share of answers that are not JSON.
    pub not_json: f64,
}

impl Default for AiManners {
    /// Answers immediately, with all the faults.
    fn default() -> Self {
        Self { delay: Duration::ZERO, jitter: Duration::ZERO, fenced: 0.3, invented: 0.15, not_json: 0.1 }
    }
}

/// What a world begins with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed for all randomness.
    pub seed: u64,
    /// How many users there are.
    pub users: usize,
    /// How many journal entries without emotions there are.
    pub entries: usize,
    /// Where the services listen.
    pub listen: Listen,
    /// How much faster than the contract says notifications become due: 60 makes five minutes five seconds.
    pub time_scale: f64,
    /// Whether users have quiet hours. Off, everybody who is due is due at any time of the day.
    pub quiet_hours: bool,
    /// How the model behaves.
    pub ai: AiManners,
    /// Faults of the start, by method path, full service name, or `""` for everything.
    pub faults: BTreeMap<String, Faults>,
    /// How long the services remember idempotency keys.
    pub dedupe_horizon: Duration,
    /// How often a user writes a new entry; never if unset.
    pub life: Option<Duration>,
    /// Where the services tell what happened.
    pub feed: Feed,
}

impl Default for Settings {
    /// For tests: free ports, no delays, no faults, no quiet hours.
    fn default() -> Self {
        Self {
            seed: 1,
            users: 50,
            entries: 30,
            listen: Listen::PortEach { ip: Ipv4Addr::LOCALHOST.into(), base: 0 },
            time_scale: 1.0,
            quiet_hours: false,
            ai: AiManners::default(),
            faults: BTreeMap::new(),
            dedupe_horizon: Duration::from_secs(24 * 3_600),
            life: None,
            feed: Feed::default(),
        }
    }
}
