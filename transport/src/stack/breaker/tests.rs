//! When a service counts as down, and how it is called again.

use engine::transport::Unsent;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A breaker over a service whose attempts end one after the other, as a test says.
struct Seen {
    breaker: Breaker,
    window: Window,
    now: Instant,
    rate: f64,
}

impl Seen {
    fn new(config: BreakerConfig) -> Self {
        let now = Instant::now();
        Self { breaker: Breaker::new(config), window: Window::new(10 * SECOND, now), now, rate: 100.0 }
    }

    /// One that has answered.
    fn closed() -> Self {
        let mut seen = Self::new(BreakerConfig::default());
        seen.one(Sign::Well);
        assert_eq!(seen.state(), BreakerState::Closed);
        seen
    }

    /// One that has just been found down.
    fn open() -> Self {
        let mut seen = Self::new(BreakerConfig::default());
        assert!(matches!(seen.one(Sign::Unreachable), Some(Move::Opened { .. })));
        seen
    }

    fn begin(&mut self) -> Admitted {
        assert_eq!(self.breaker.room(self.now, 0, 1_000), Room::Now);
        self.breaker.admit()
    }

    fn end(&mut self, admitted: Admitted, sign: Sign) -> Option<Move> {
        self.end_not_before(admitted, sign, None)
    }

    fn end_not_before(&mut self, admitted: Admitted, sign: Sign, not_before: Option<Duration>) -> Option<Move> {
        let counts = self.window.at(self.now);
        match sign {
            Sign::Well => counts.well += 1,
            Sign::Unwell | Sign::Unreachable => counts.unwell += 1,
            Sign::Neither => {}
        }
        self.breaker.ended(admitted, sign, &mut self.window, self.now, not_before, self.rate)
    }

    fn one(&mut self, sign: Sign) -> Option<Move> {
        let admitted = self.begin();
        self.end(admitted, sign)
    }

    fn state(&mut self) -> BreakerState {
        self.breaker.state(self.now)
    }

    /// Waits until the service may be called again.
    fn wait(&mut self) -> Duration {
        let Room::At(until) = self.breaker.room(self.now, 0, 1_000) else { panic!("{:?}", self.breaker) };
        let waited = until - self.now;
        self.now = until;
        waited
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_not_answered_yet_is_called_by_a_few_at_a_time() {
    let mut seen = Seen::new(BreakerConfig::default());
    let first = [seen.begin(), seen.begin(), seen.begin(), seen.begin()];
    assert_eq!(seen.breaker.room(seen.now, 4, 1_000), Room::WhenOneEnds);
    seen.breaker.withdrawn(first[0]);
    seen.end(first[1], Sign::Neither);
    assert_eq!(seen.state(), BreakerState::Untried);
    seen.end(first[2], Sign::Well);
    assert_eq!(seen.state(), BreakerState::Closed);
    for _ in 0..100 {
        seen.begin();
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_never_reached_is_down_after_one_look() {
    let mut seen = Seen::open();
    assert_eq!(seen.state(), BreakerState::Open);
    assert_eq!(seen.breaker.down_since(), Some(seen.now));
}

#[tokio::test(start_paused = true)]
async fn a_first_answer_that_it_is_unavailable_is_not_the_last_word() {
    let mut seen = Seen::new(BreakerConfig::default());
    for _ in 0..4 {
        assert_eq!(seen.one(Sign::Unwell), None);
    }
    assert!(matches!(seen.one(Sign::Unwell), Some(Move::Opened { .. })));
}

#[tokio::test(start_paused = true)]
async fn failures_one_after_the_other_open_it_and_an_answer_in_between_does_not() {
    let mut seen = Seen::closed();
    for _ in 0..100 {
        seen.one(Sign::Well);
    }
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(seen.one(Sign::Unwell), None);
            assert_eq!(seen.one(Sign::Neither), None);
        }
        assert_eq!(seen.one(Sign::Well), None);
    }
    for _ in 0..4 {
        assert_eq!(seen.one(Sign::Unreachable), None);
    }
    assert!(matches!(seen.one(Sign::Unwell), Some(Move::Opened { .. })));
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_together_count_as_one_failure() {
    let mut seen = Seen::closed();
    for _ in 0..200 {
        seen.one(Sign::Well);
    }
    let together: Vec<_> = (0..100).map(|_| seen.begin()).collect();
    for admitted in together {
        assert_eq!(seen.end(admitted, Sign::Unwell), None);
    }
    assert_eq!(seen.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_share_of_failures_opens_it_where_there_were_enough_attempts() {
    let mut few = Seen::closed();
    for _ in 0..9 {
        few.one(Sign::Unwell);
        few.one(Sign::Well);
    }
    assert_eq!(few.state(), BreakerState::Closed);
    assert!(matches!(few.one(Sign::Unwell), Some(Move::Opened { .. })), "10 of 20");

    let mut old = Seen::closed();
    for _ in 0..9 {
        old.one(Sign::Unwell);
        old.one(Sign::Well);
    }
    old.now += 11 * SECOND;
    assert_eq!(old.one(Sign::Unwell), None);
}

#[tokio::test(start_paused = true)]
async fn the_pause_doubles_up_to_the_longest_while_it_stays_down() {
    let mut seen = Seen::open();
    for seconds in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
        let waited = seen.wait().as_secs_f64() / seconds;
        assert!((0.8..=1.2).contains(&waited), "{waited} of {seconds} s");
        assert!(matches!(seen.one(Sign::Unreachable), Some(Move::Opened { .. })));
    }
    assert_eq!(seen.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_names_a_time_is_left_alone_until_then_within_bounds() {
    for (named, least) in [(30 * SECOND, 30 * SECOND), (3_600 * SECOND, 60 * SECOND)] {
        let mut seen = Seen::new(BreakerConfig::default());
        let admitted = seen.begin();
        assert_eq!(seen.end_not_before(admitted, Sign::Unreachable, Some(named)), Some(Move::Opened { pause: least }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_calls_find_out_whether_it_is_back_and_one_failure_says_that_it_is_not() {
    let mut seen = Seen::open();
    seen.wait();
    let probes = [seen.begin(), seen.begin(), seen.begin(), seen.begin()];
    assert_eq!((seen.state(), seen.breaker.room(seen.now, 4, 1_000)), (BreakerState::HalfOpen, Room::WhenOneEnds));
    for probe in &probes[..3] {
        assert_eq!(seen.end(*probe, Sign::Well), None);
    }
    assert!(matches!(seen.end(probes[3], Sign::Unwell), Some(Move::Opened { .. })));

    seen.wait();
    for _ in 0..3 {
        assert_eq!(seen.one(Sign::Well), None);
    }
    assert!(seen.breaker.down_since().is_some());
    assert_eq!(seen.one(Sign::Well), Some(Move::Answers));
    assert_eq!((seen.state(), seen.breaker.down_since()), (BreakerState::SlowStart, None));
}

#[tokio::test(start_paused = true)]
async fn what_began_before_says_nothing_of_what_is() {
    let mut seen = Seen::closed();
    let old = [seen.begin(), seen.begin()];
    for _ in 0..5 {
        seen.one(Sign::Unreachable);
    }
    assert_eq!(seen.end(old[0], Sign::Well), None);
    assert_eq!(seen.state(), BreakerState::Open);
    seen.wait();
    seen.begin();
    assert_eq!(seen.end(old[1], Sign::Unwell), None);
    assert_eq!(seen.state(), BreakerState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_back_is_called_more_and_more() {
    let mut seen = Seen::open();
    seen.wait();
    for _ in 0..4 {
        seen.one(Sign::Well);
    }
    let back = seen.now;
    let mut second = [0; 12];
    let mut flown = Vec::new();
    while seen.now < back + 12 * SECOND {
        match seen.breaker.room(seen.now, 0, 1_000) {
            Room::Now if seen.state() == BreakerState::Closed => break,
            Room::Now => {
                second[(seen.now - back).as_secs() as usize] += 1;
                flown.push(seen.breaker.admit());
            }
            Room::At(next) => seen.now = next,
            Room::WhenOneEnds => panic!("{:?}", seen.breaker),
        }
    }
    // From a tenth of 100 a second, evenly, and at first the few that probed.
    assert!((14..=20).contains(&second[0]), "{second:?}");
    assert!(second[1..10].is_sorted() && (90..=100).contains(&second[9]), "{second:?}");
    let took = (seen.now - back).as_secs_f64();
    assert!(seen.state() == BreakerState::Closed && (10.0..10.1).contains(&took), "{took} s");
    // What began in it tells as much as what begins after it.
    assert_eq!(seen.end(flown.remove(0), Sign::Unwell), None);
    assert_eq!(seen.breaker.consecutive, 1);
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_grow_in_a_slow_start_too() {
    let mut seen = Seen::open();
    seen.wait();
    for _ in 0..4 {
        seen.one(Sign::Well);
    }
    let begun = seen.now;
    let may_be = |seen: &mut Seen, in_flight| seen.breaker.room(seen.now, in_flight, 1_000) == Room::Now;
    assert!(may_be(&mut seen, 99) && !may_be(&mut seen, 100));
    seen.now = begun + 5 * SECOND;
    assert!(may_be(&mut seen, 549) && !may_be(&mut seen, 550));
    assert_eq!(seen.breaker.room(seen.now, 3, 4), Room::Now, "never fewer than probed");
    seen.now = begun + 10 * SECOND;
    assert!(may_be(&mut seen, 999));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_called_more_often_before_is_so_again_after_a_slow_start() {
    let mut seen = Seen::closed();
    for _ in 0..5_000 {
        seen.one(Sign::Well);
    }
    for _ in 0..5 {
        seen.one(Sign::Unreachable);
    }
    seen.wait();
    for _ in 0..4 {
        seen.one(Sign::Well);
    }
    let Phase::SlowStart { full_rate, .. } = seen.breaker.phase else { panic!("{:?}", seen.breaker) };
    assert_eq!(full_rate, 5_001.0);
}

#[tokio::test(start_paused = true)]
async fn without_a_breaker_nothing_opens() {
    let mut seen = Seen::new(BreakerConfig { enabled: false, ..BreakerConfig::default() });
    for _ in 0..1_000 {
        assert_eq!(seen.one(Sign::Unreachable), None);
    }
    assert_eq!(seen.state(), BreakerState::Disabled);
}

#[test]
fn a_sign_is_what_says_something_of_the_service_and_not_of_one_request() {
    let verdict = |outcome: fn(Failure) -> Outcome, origin, end, code| Verdict {
        origin,
        ..Verdict::new(outcome(Failure::new(code, "seen")), end)
    };
    let ambiguous = |failure| Outcome::Ambiguous { failure, retry_after: None };
    let not_sent = |failure| Outcome::NotSent(Unsent { failure, retry_after: None });
    for (outcome, origin, end, code, sign) in [
        (Outcome::Refused as fn(Failure) -> Outcome, Origin::Stated, End::Answered, Code::NotFound, Sign::Well),
        (Outcome::Refused, Origin::Stated, End::Answered, Code::InvalidArgument, Sign::Well),
        (ambiguous, Origin::Stated, End::Answered, Code::Unavailable, Sign::Unwell),
        (ambiguous, Origin::Inferred, End::Broken, Code::Unavailable, Sign::Unwell),
        (not_sent, Origin::Proven, End::NotTaken, Code::Unavailable, Sign::Unwell),
        (not_sent, Origin::Proven, End::LeftOut, Code::Unavailable, Sign::Neither),
        (ambiguous, Origin::Inferred, End::Withheld, Code::DeadlineExceeded, Sign::Unwell),
        (ambiguous, Origin::Stated, End::Answered, Code::DeadlineExceeded, Sign::Unwell),
        (ambiguous, Origin::Inferred, End::Answered, Code::Internal, Sign::Unwell),
        (ambiguous, Origin::Inferred, End::Answered, Code::Unknown, Sign::Unwell),
        // Its handler failed, a quota is used up, the response is too large, a proxy lets no one through.
        (ambiguous, Origin::Stated, End::Answered, Code::Internal, Sign::Neither),
        (ambiguous, Origin::Stated, End::Committed, Code::Unknown, Sign::Neither),
        (ambiguous, Origin::Stated, End::Answered, Code::ResourceExhausted, Sign::Neither),
        (ambiguous, Origin::Inferred, End::Committed, Code::ResourceExhausted, Sign::Neither),
        (ambiguous, Origin::Inferred, End::Answered, Code::PermissionDenied, Sign::Neither),
        // We did not send it.
        (not_sent, Origin::Proven, End::Withheld, Code::Aborted, Sign::Neither),
        (not_sent, Origin::Proven, End::Withheld, Code::DeadlineExceeded, Sign::Neither),
        (not_sent, Origin::Proven, End::Withheld, Code::ResourceExhausted, Sign::Neither),
    ] {
        assert_eq!(Sign::of(&verdict(outcome, origin, end, code)), sign, "{code} {origin:?} {end:?}");
    }
}
