//! Whether an append is wanted now, and what it does: a pure decision.

/// What is asked of a run before an append. Nothing of it is known while an append is under way: there is one at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Situation {
    /// The run is not in the store yet.
    pub(super) creates: bool,
    /// Its end is recorded.
    pub(super) ended: bool,
    /// A call or a child waits for its start to be durable, or children are to be asked to end.
    pub(super) ready: bool,
    /// Nothing continues but waiting.
    pub(super) idle: bool,
    /// If it is idle, it is given back.
    pub(super) gives_back: bool,
    /// If it is idle, its row has to say something else.
    pub(super) news: bool,
    /// An operator waits for an acknowledgement.
    pub(super) commanded: bool,
    /// It has facts that have to be durable now.
    pub(super) flush: bool,
}

/// What an append does, beside making facts durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Starts the calls that are ready.
    pub(super) starts_calls: bool,
    /// Creates the children that are requested.
    pub(super) starts_children: bool,
    /// Tells children and the parent, and acknowledges commands. A creation carries nothing of this: it comes next.
    pub(super) tells: bool,
    /// The run is given back to the store. It may then only be as the run knows it: with no newer command or message.
    pub(super) gives_back: bool,
    /// It is the last append of the run.
    pub(super) ends: bool,
}

pub(super) fn plan(situation: Situation) -> Option<Plan> {
    let Situation { creates, ended, ready, idle, gives_back, news, commanded, flush } = situation;
    let idle = idle && !ended;
    let gives_back = idle && gives_back;
    let wanted = creates || ended || ready || gives_back || (idle && news) || commanded || flush;
    let continues = !ended && !gives_back;
    wanted.then_some(Plan {
        starts_calls: continues,
        starts_children: continues && !creates,
        tells: !creates,
        gives_back,
        ends: ended,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Situation = Situation {
        creates: false,
        ended: false,
        ready: false,
        idle: false,
        gives_back: false,
        news: false,
        commanded: false,
        flush: false,
    };
    const CONTINUES: Plan =
        Plan { starts_calls: true, starts_children: true, tells: true, gives_back: false, ends: false };
    const GIVES_BACK: Plan = Plan { starts_calls: false, starts_children: false, gives_back: true, ..CONTINUES };
    const ENDS: Plan = Plan { starts_calls: false, starts_children: false, ends: true, ..CONTINUES };

    #[test]
    fn an_append_is_planned_for_each_reason_and_for_no_other() {
        let cases = [
            (STILL, None),
            (Situation { ready: true, ..STILL }, Some(CONTINUES)),
            (Situation { commanded: true, ..STILL }, Some(CONTINUES)),
            (Situation { flush: true, ..STILL }, Some(CONTINUES)),
            // A run that continues is not given back, and its row says RUNNING.
            (Situation { gives_back: true, ..STILL }, None),
            (Situation { news: true, ..STILL }, None),
            (Situation { idle: true, ..STILL }, None),
            (Situation { idle: true, news: true, ..STILL }, Some(CONTINUES)),
            (Situation { idle: true, gives_back: true, ..STILL }, Some(GIVES_BACK)),
            // The end goes before all else.
            (Situation { ended: true, ..STILL }, Some(ENDS)),
            (Situation { ended: true, idle: true, gives_back: true, ready: true, ..STILL }, Some(ENDS)),
            // A creation starts calls; children and commands come with the next append.
            (Situation { creates: true, ..STILL }, Some(Plan { starts_children: false, tells: false, ..CONTINUES })),
            (Situation { creates: true, ended: true, ..STILL }, Some(Plan { tells: false, ..ENDS })),
        ];
        for (situation, expected) in cases {
            assert_eq!(plan(situation), expected, "{situation:?}");
        }
    }
}
