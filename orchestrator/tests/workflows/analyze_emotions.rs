//! `journals.analyze-emotions`: every entry without emotions is finished, or counted with the reason why not.

use clients::guras::ai::v1::{AnalyzeTextRequest, AnalyzeTextResponse};
use clients::guras::emotions::v1::{Emotion, ListEmotionsRequest, ListEmotionsResponse};
use clients::guras::journal::v1::{
    Entry, EntrySummary, GetEntryRequest, GetEntryResponse, ListEntriesWithoutEmotionsRequest,
    ListEntriesWithoutEmotionsResponse, SaveEntryEmotionsRequest, SaveEntryEmotionsResponse,
};
use clients::guras::orchestration::journals::v1::{AnalyzeEmotionsRequest, AnalyzeEmotionsResponse};
use engine::store::Requester;
use engine::testing::{Probe, Reply, Services, World, check, crash_everywhere, expect, replay_everywhere};
use engine::{Code, Failure, Limits, State};
use orchestrator::workflows::AnalyzeEmotions;

/// Entries, by what AI answers to them.
const ENTRIES: [(&str, &str); 6] = [
    ("plain", r#"{"labels": ["Joy", "Calm"]}"#),
    ("fenced", "```json\n{\"labels\": [\"calm\"]}\n```"),
    ("prose", "There is much joy in these lines."),
    ("stranger", r#"{"labels": ["Schadenfreude"]}"#),
    ("gone", r#"{"labels": ["Joy"]}"#),
    ("late", r#"{"labels": ["Joy"]}"#),
];

pub(crate) fn services() -> Services {
    Services::new()
        .on::<ListEntriesWithoutEmotionsRequest>(|_| {
            let entry = |(id, _): &(&str, &str)| EntrySummary { entry_id: (*id).to_owned(), ..EntrySummary::default() };
            let entries = ENTRIES.iter().map(entry).collect();
            Ok(ListEntriesWithoutEmotionsResponse { entries, next_page_token: String::new() })
        })
        .on::<ListEmotionsRequest>(|_| {
            let emotion = |name: &str| Emotion {
                emotion_id: name.to_lowercase(),
                name: name.to_owned(),
                active: true,
                ..Emotion::default()
            };
            Ok(ListEmotionsResponse { emotions: ["Joy", "Calm"].map(emotion).into(), next_page_token: String::new() })
        })
        .on::<GetEntryRequest>(|request| {
            if request.entry_id == "gone" {
                return Err(Failure::new(Code::NotFound, "entry gone"));
            }
            let content = request.entry_id.clone();
            Ok(GetEntryResponse { entry: Some(Entry { entry_id: request.entry_id, content, ..Entry::default() }) })
        })
        .on::<AnalyzeTextRequest>(|request| {
            let answer = ENTRIES.iter().find(|(id, _)| *id == request.text).map_or("", |(_, answer)| answer);
            Ok(AnalyzeTextResponse { answer: answer.to_owned() })
        })
        .on::<SaveEntryEmotionsRequest>(|request| {
            if request.entry_id == "late" {
                return Err(Failure::new(Code::NotFound, "deleted a moment ago"));
            }
            Ok(SaveEntryEmotionsResponse::default())
        })
}

pub(crate) fn world(probe: Probe) -> World {
    World::with(services(), |registry| registry.register(|| AnalyzeEmotions), Limits::default(), probe)
}

fn counted() -> AnalyzeEmotionsResponse {
    AnalyzeEmotionsResponse { found: 6, saved: 2, unparsable: 1, unmatched: 1, gone: 2, failed: 0 }
}

#[tokio::test(start_paused = true)]
async fn every_entry_is_saved_or_counted_with_the_reason_why_not() {
    let world = world(Probe::counting());
    assert_eq!(world.run::<AnalyzeEmotions>(AnalyzeEmotionsRequest::default()).await, Ok(counted()));
    assert_eq!(world.services().effects_of::<SaveEntryEmotionsRequest>(), 2);
}

#[tokio::test(start_paused = true)]
async fn runs_that_read_the_same_entries_save_each_once() {
    let world = world(Probe::counting());
    for _ in 0..2 {
        assert_eq!(world.run::<AnalyzeEmotions>(AnalyzeEmotionsRequest::default()).await, Ok(counted()));
    }
    assert_eq!(world.services().effects_of::<SaveEntryEmotionsRequest>(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_got_its_emotions_meanwhile_is_left_alone() {
    let finished = services().on::<GetEntryRequest>(|request| {
        let emotion_ids = vec!["joy".to_owned()];
        Ok(GetEntryResponse { entry: Some(Entry { entry_id: request.entry_id, emotion_ids, ..Entry::default() }) })
    });
    let world =
        World::with(finished, |registry| registry.register(|| AnalyzeEmotions), Limits::default(), Probe::counting());
    let output = world.run::<AnalyzeEmotions>(AnalyzeEmotionsRequest::default()).await.unwrap();
    assert_eq!(output, AnalyzeEmotionsResponse { found: 6, saved: 6, ..Default::default() });
    let asked = world.services().arrivals_of::<AnalyzeTextRequest>();
    assert_eq!((asked, world.services().effects_of::<SaveEntryEmotionsRequest>()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_ai_service_that_is_down_for_one_entry_costs_that_entry_only() {
    let world = world(Probe::counting());
    world.services().script::<AnalyzeTextRequest>([Reply::Refuse(Code::InvalidArgument)]);
    let output = world.run::<AnalyzeEmotions>(AnalyzeEmotionsRequest::default()).await.unwrap();
    assert_eq!((output.found, output.failed), (6, 1));
}

#[tokio::test(start_paused = true)]
async fn an_ai_service_that_is_unavailable_for_a_while_is_asked_again() {
    let world = world(Probe::counting());
    world.services().script::<AnalyzeTextRequest>(std::iter::repeat_n(Reply::BreakFirst(Code::Unavailable), 12));
    assert_eq!(world.run::<AnalyzeEmotions>(AnalyzeEmotionsRequest::default()).await, Ok(counted()));
}

#[tokio::test(start_paused = true)]
async fn it_comes_to_the_same_end_wherever_its_replica_is_killed() {
    let sweep = crash_everywhere::<AnalyzeEmotions>(world, AnalyzeEmotionsRequest::default()).await;
    assert_eq!(sweep.holds(), &Ok(counted()));
}

#[tokio::test(start_paused = true)]
async fn it_does_the_same_when_it_is_replayed_after_every_step() {
    let sweep = replay_everywhere::<AnalyzeEmotions>(world, AnalyzeEmotionsRequest::default()).await;
    assert_eq!(sweep.holds(), &Ok(counted()));
}

#[tokio::test(start_paused = true)]
async fn emotions_whose_answer_is_lost_are_saved_once() {
    let world = world(Probe::counting());
    world.services().script::<SaveEntryEmotionsRequest>([Reply::ActAndBreak(Code::Unavailable), Reply::AnswerAndBreak]);
    assert_eq!(world.run::<AnalyzeEmotions>(AnalyzeEmotionsRequest::default()).await, Ok(counted()));
    assert_eq!(world.services().effects_of::<SaveEntryEmotionsRequest>(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_catalogue_nothing_is_analysed_and_a_retry_goes_on() {
    let world = world(Probe::counting());
    world.services().script::<ListEmotionsRequest>([Reply::Refuse(Code::PermissionDenied)]);
    let run = world.start::<AnalyzeEmotions>(AnalyzeEmotionsRequest::default()).await.unwrap();
    world.until(run, State::Failed).await;
    assert_eq!(world.services().arrivals_of::<AnalyzeTextRequest>(), 0);
    world.engine().retry(run, Requester::new("test", "allowed by now")).await.unwrap();
    assert_eq!(world.result_of::<AnalyzeEmotions>(run).await, Ok(counted()));
}

#[tokio::test(start_paused = true)]
async fn a_dear_answer_is_not_asked_for_again_after_a_crash() {
    let world = world(Probe::counting());
    let (world, run) = world
        .start_as_if_crashed_after::<AnalyzeEmotions>(AnalyzeEmotionsRequest::default(), "entry[plain]/AnalyzeText#1")
        .await;
    assert_eq!(world.result_of::<AnalyzeEmotions>(run).await, Ok(counted()));
    let plain = |arrival: &&engine::testing::Arrival| arrival.request.windows(5).any(|bytes| bytes == b"plain");
    let arrivals = world.services().arrivals();
    let asked = arrivals.iter().filter(|arrival| arrival.method.ends_with("/AnalyzeText"));
    assert_eq!(asked.filter(plain).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn its_journal_tells_what_became_of_every_entry() {
    let world = world(Probe::counting());
    let run = world.start::<AnalyzeEmotions>(AnalyzeEmotionsRequest::default()).await.unwrap();
    world.end_of(run).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created journals.analyze-emotions
        ListEntriesWithoutEmotions#0 done
        ListEmotions#1 done
        entry#2 fans out over 6
        entry[plain]/GetEntry#0 done
        entry[fenced]/GetEntry#0 done
        entry[prose]/GetEntry#0 done
        entry[stranger]/GetEntry#0 done
        entry[gone]/GetEntry#0 failed REFUSED, NOT_FOUND: entry gone
        entry[late]/GetEntry#0 done
        entry[plain]/AnalyzeText#1 done
        entry[fenced]/AnalyzeText#1 done
        entry[prose]/AnalyzeText#1 done
        entry[stranger]/AnalyzeText#1 done
        entry[late]/AnalyzeText#1 done
        entry[plain]/SaveEntryEmotions#2 started IDEMPOTENT
        entry[fenced]/SaveEntryEmotions#2 started IDEMPOTENT
        entry[late]/SaveEntryEmotions#2 started IDEMPOTENT
        entry[plain]/SaveEntryEmotions#2 done
        entry[fenced]/SaveEntryEmotions#2 done
        entry[late]/SaveEntryEmotions#2 failed REFUSED, NOT_FOUND: deleted a moment ago
        ended SUCCEEDED
    "#]],
    );
}
