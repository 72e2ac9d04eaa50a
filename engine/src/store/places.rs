//! How replicas share the places of a limit that counts over all of them: each gets what it needs, or an even share of what there
//! is; where there are fewer places than replicas that need one, they take turns.

use std::time::Duration;

use crate::time::Timestamp;

/// So long a replica keeps a place that others wait for too, at least.
const TURN: Duration = Duration::from_secs(1);

/// What a replica needs of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceWish {
    /// The limit.
    pub limit: String,
    /// How many places there are, over all replicas.
    pub total: u32,
    /// How many of them are in use here: these are not given back.
    pub used: u32,
    /// How many could be in use here.
    pub wanted: u32,
}

/// What a replica has and needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The places that it has.
    pub held: u32,
    /// How many could be in use.
    pub wanted: u32,
    /// Since when it has what it has.
    pub since: Timestamp,
}

/// How many places a replica has from now on, of so many in all. It takes only what no other one has, and keeps what is in use.
pub fn share(total: u32, now: Timestamp, own: Share, used: u32, others: &[Share]) -> u32 {
    let held_by_others: u32 = others.iter().map(|other| other.held).sum();
    let free = total.saturating_sub(held_by_others);
    let fair = fair(total, now, own, others);
    let wished = if own.held > fair { fair.max(used) } else { fair };
    wished.min(own.held.max(free))
}

/// What one of them is to have if each has an even share of what it needs.
fn fair(total: u32, now: Timestamp, own: Share, others: &[Share]) -> u32 {
    let mut rest = total;
    // By what they need, the least first; what they do not need is left to the others.
    let mut all: Vec<u32> =
        others.iter().chain([&own]).map(|share| share.wanted).filter(|wanted| *wanted > 0).collect();
    all.sort_unstable();
    let mut left = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let mut level = u32::MAX;
    for wanted in all {
        let even = rest / left;
        if wanted > even {
            level = even;
            break;
        }
        rest -= wanted;
        left -= 1;
    }
    if own.wanted <= level {
        return own.wanted;
    }
    // Places that cannot be divided go round: to those whose turn lasts, and then to those who wait longest.
    let mut odd = rest - level * left;
    let in_turn = |share: &Share| share.held > level && now.since(share.since) < TURN;
    let order = |share: &Share| (!in_turn(share), share.since);
    let before = others.iter().filter(|other| other.wanted > level && order(other) < order(&own)).count();
    odd = odd.saturating_sub(u32::try_from(before).unwrap_or(u32::MAX));
    level + odd.min(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn wants(wanted: u32) -> Share {
        Share { wanted, ..Share::default() }
    }

    fn has(held: u32, wanted: u32) -> Share {
        Share { held, wanted, since: Timestamp::default() }
    }

    #[test]
    fn one_that_needs_fewer_than_there_are_gets_what_it_needs() {
        assert_eq!(share(10, NOW, wants(4), 0, &[]), 4);
        assert_eq!(share(10, NOW, wants(40), 0, &[]), 10);
        assert_eq!(share(10, NOW, wants(0), 0, &[has(3, 3)]), 0);
    }

    #[test]
    fn places_are_shared_evenly_and_what_one_does_not_need_the_others_have() {
        let crowd = [wants(100), wants(100)];
        assert_eq!(share(12, NOW, wants(100), 0, &crowd), 4);
        assert_eq!(share(12, NOW, wants(100), 0, &[wants(100), wants(1)]), 6);
        assert_eq!(share(12, NOW, has(12, 100), 12, &crowd), 12, "what is in use is kept");
        assert_eq!(share(12, NOW, has(12, 100), 7, &crowd), 7);
        assert_eq!(share(12, NOW, wants(100), 0, &[has(12, 100)]), 0, "nothing is free yet");
    }

    #[test]
    fn one_place_goes_round() {
        let waits = Share { since: Timestamp::from_micros(NOW.as_micros() - 5_000_000), ..wants(1) };
        let fresh = Share { since: NOW, ..has(1, 1) };
        assert_eq!(share(1, NOW, fresh, 0, &[waits]), 1, "its turn lasts");
        assert_eq!(share(1, NOW, waits, 0, &[fresh]), 0);
        let later = NOW.after(2 * TURN);
        assert_eq!(share(1, later, fresh, 0, &[waits]), 0, "its turn is over");
        assert_eq!(share(1, later, fresh, 1, &[waits]), 1, "but it is in use");
        assert_eq!(share(1, later, waits, 0, &[Share { held: 0, ..fresh }]), 1);
    }

    proptest! {
        #[test]
        fn no_order_of_wishes_gives_more_places_than_there_are(
            total in 1_u32..20,
            wishes in prop::collection::vec((0_usize..4, 0_u32..30, 0_u32..10), 1..100),
        ) {
            let mut shares = [Share::default(); 4];
            let mut now = NOW;
            for (who, wanted, used) in wishes {
                now = now.after(Duration::from_millis(300));
                let own = Share { wanted, ..shares[who] };
                let others: Vec<Share> = shares.iter().enumerate().filter(|(n, _)| *n != who).map(|(_, s)| *s).collect();
                let used = used.min(own.held).min(wanted);
                let held = share(total, now, own, used, &others);
                prop_assert!(held >= used);
                shares[who] = Share { held, since: if held == own.held { own.since } else { now }, ..own };
                prop_assert!(shares.iter().map(|share| share.held).sum::<u32>() <= total);
            }
            // A replica that asks again and uses nothing has its part after some rounds.
            for _ in 0..12 {
                for who in 0..4 {
                    now = now.after(Duration::from_millis(300));
                    let others: Vec<Share> = shares.iter().enumerate().filter(|(n, _)| *n != who).map(|(_, s)| *s).collect();
                    let held = share(total, now, shares[who], 0, &others);
                    let since = if held == shares[who].held { shares[who].since } else { now };
                    shares[who] = Share { held, since, ..shares[who] };
                }
            }
            let wanted: u32 = shares.iter().map(|share| share.wanted).sum();
            let held: u32 = shares.iter().map(|share| share.held).sum();
            // Places that cannot be divided are fewer than those who wait, and may be on their way from one to the next.
            let waiting: u32 = shares.iter().map(|share| u32::from(share.held < share.wanted)).sum();
            prop_assert!(held + waiting.saturating_sub(1) >= wanted.min(total), "{shares:?} of {total}");
        }
    }
}
