//! `meditations.refresh-recommendations`: users who meditated get new recommendations, and one bad user stops no other.

use clients::guras::ai::v1::{WriteTextRequest, WriteTextResponse};
use clients::guras::meditation::v1::{
    GetPatternsRequest, GetPatternsResponse, GetStatisticsRequest, GetStatisticsResponse, SaveRecommendationsRequest,
    SaveRecommendationsResponse,
};
use clients::guras::orchestration::meditations::v1::{RefreshRecommendationsRequest, RefreshRecommendationsResponse};
use clients::guras::users::v1::{ListUsersRequest, ListUsersResponse, User};
use engine::testing::{Probe, Reply, Services, World, check, crash_everywhere, expect, replay_everywhere};
use engine::{Code, Failure, Limits, State};
use orchestrator::workflows::RefreshRecommendations;

/// What AI writes to a user; `dan` did not meditate.
const TEXTS: [(&str, &str); 5] = [
    ("ann", r#"{"recommendations": [{"title": "Breath", "minutes": 5, "difficulty": "easy"}]}"#),
    ("bob", "```json\n{\"recommendations\": [{\"title\": \"Walk\", \"minutes\": 20}]}\n```"),
    ("cyd", "Just breathe."),
    ("dan", ""),
    ("eve", r#"{"recommendations": [{"title": "Rest", "minutes": 10}]}"#),
];

/// Two users to a page, or fewer where fewer are asked for.
pub(crate) fn services() -> Services {
    Services::new()
        .on::<ListUsersRequest>(|request| {
            let from: usize = request.page_token.parse().unwrap_or(0);
            let to = TEXTS.len().min(from + usize::try_from(request.page_size).map_or(2, |size| size.min(2)));
            let user = |(id, _): &(&str, &str)| User { user_id: (*id).to_owned(), ..User::default() };
            let next_page_token = if to < TEXTS.len() { to.to_string() } else { String::new() };
            Ok(ListUsersResponse { users: TEXTS[from..to].iter().map(user).collect(), next_page_token })
        })
        .on::<GetStatisticsRequest>(|request| {
            let seconds = |time: Option<prost_types::Timestamp>| time.map_or(0, |time| time.seconds);
            assert_eq!(seconds(request.end_time) - seconds(request.start_time), 24 * 3_600);
            let sessions = i32::from(request.user_id != "dan");
            Ok(GetStatisticsResponse { sessions, ..GetStatisticsResponse::default() })
        })
        .on::<GetPatternsRequest>(|_| {
            Ok(GetPatternsResponse { teacher_ids: vec!["rumi".to_owned()], ..GetPatternsResponse::default() })
        })
        .on::<WriteTextRequest>(|request| {
            assert_eq!(request.teacher_id, "rumi");
            let text = TEXTS.iter().find(|(id, _)| *id == request.user_id).map_or("", |(_, text)| text);
            Ok(WriteTextResponse { text: text.to_owned() })
        })
        .on::<SaveRecommendationsRequest>(|request| {
            assert_eq!(request.recommendations.len(), 1);
            Ok(SaveRecommendationsResponse::default())
        })
}

pub(crate) fn world_of(services: Services, probe: Probe) -> World {
    World::with(services, |registry| registry.register(|| RefreshRecommendations), Limits::default(), probe)
}

fn everyone() -> RefreshRecommendationsResponse {
    RefreshRecommendationsResponse { users: 5, refreshed: 3, inactive: 1, unusable: 1, ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn everybody_who_meditated_gets_what_can_be_used_of_the_answer() {
    let world = world_of(services(), Probe::counting());
    let request = RefreshRecommendationsRequest::default();
    assert_eq!(world.run::<RefreshRecommendations>(request).await, Ok(everyone()));
    assert_eq!(world.services().arrivals_of::<WriteTextRequest>(), 4, "nobody is written to who did not meditate");
    assert_eq!(world.services().effects_of::<SaveRecommendationsRequest>(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_run_says_where_the_next_one_goes_on() {
    let world = world_of(services(), Probe::counting());
    let mut request = RefreshRecommendationsRequest { limit: 3, ..Default::default() };
    let first = world.run::<RefreshRecommendations>(request.clone()).await.unwrap();
    assert_eq!((first.users, first.next_page_token.as_str()), (3, "3"));
    request.page_token = first.next_page_token;
    let second = world.run::<RefreshRecommendations>(request).await.unwrap();
    assert_eq!((second.users, second.next_page_token.as_str()), (2, ""));
    assert_eq!(world.services().effects_of::<SaveRecommendationsRequest>(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_bad_user_never_stops_the_others() {
    let failing = services().on::<GetPatternsRequest>(|request| match request.user_id.as_str() {
        "ann" => Err(Failure::new(Code::NotFound, "no such user")),
        _ => Ok(GetPatternsResponse { teacher_ids: vec!["rumi".to_owned()], ..GetPatternsResponse::default() }),
    });
    let world = world_of(failing, Probe::counting());
    let output = world.run::<RefreshRecommendations>(RefreshRecommendationsRequest::default()).await;
    assert_eq!(output, Ok(RefreshRecommendationsResponse { refreshed: 2, failed: 1, ..everyone() }));
}

#[tokio::test(start_paused = true)]
async fn a_text_whose_answer_is_lost_is_not_written_twice_and_is_asked_about_when_all_else_is_done() {
    let world = world_of(services(), Probe::counting());
    world.services().script::<WriteTextRequest>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<RefreshRecommendations>(RefreshRecommendationsRequest::default()).await.unwrap();
    world.until(run, State::NeedsDecision).await;
    assert_eq!(world.services().arrivals_of::<WriteTextRequest>(), 4);
    assert_eq!(world.services().effects_of::<SaveRecommendationsRequest>(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_users_are_one_run() {
    let wide = services()
        .on::<ListUsersRequest>(|request| {
            let from: usize = request.page_token.parse().unwrap_or(0);
            let to = from + usize::try_from(request.page_size).unwrap();
            let users = (from..to).map(|n| User { user_id: n.to_string(), ..User::default() }).collect();
            Ok(ListUsersResponse { users, next_page_token: to.to_string() })
        })
        .on::<WriteTextRequest>(|_| Ok(WriteTextResponse { text: TEXTS[0].1.to_owned() }));
    let world = world_of(wide, Probe::counting());
    let request = RefreshRecommendationsRequest { limit: 1_000, ..Default::default() };
    let output = world.run::<RefreshRecommendations>(request).await.unwrap();
    assert_eq!((output.users, output.refreshed, output.next_page_token.as_str()), (1_000, 1_000, "1000"));
    assert_eq!(world.services().effects_of::<SaveRecommendationsRequest>(), 1_000);
}

/// A crash between the start of a text and its answer asks for a decision; that is tried above.
#[tokio::test(start_paused = true)]
async fn it_comes_to_the_same_end_wherever_its_replica_is_killed() {
    // No one meditated, so no one is written a text.
    let quiet =
        |probe| world_of(services().on::<GetStatisticsRequest>(|_| Ok(GetStatisticsResponse::default())), probe);
    let sweep = crash_everywhere::<RefreshRecommendations>(quiet, RefreshRecommendationsRequest::default()).await;
    let expected = RefreshRecommendationsResponse { refreshed: 0, unusable: 0, inactive: 5, ..everyone() };
    assert_eq!(sweep.holds(), &Ok(expected));
}

#[tokio::test(start_paused = true)]
async fn it_does_the_same_when_it_is_replayed_after_every_step() {
    let make = |probe| world_of(services(), probe);
    let sweep = replay_everywhere::<RefreshRecommendations>(make, RefreshRecommendationsRequest::default()).await;
    assert_eq!(sweep.holds(), &Ok(everyone()));
}

fn only_ann() -> RefreshRecommendationsRequest {
    RefreshRecommendationsRequest { limit: 1, ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn the_journal_of_one_user_tells_how_they_came_by_their_recommendations() {
    let world = world_of(services(), Probe::counting());
    let run = world.start::<RefreshRecommendations>(only_ann()).await.unwrap();
    world.end_of(run).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created meditations.refresh-recommendations
        now#0 recorded
        ListUsers#1 done
        user#2 fans out over 1
        user[ann]/GetStatistics#0 done
        user[ann]/GetPatterns#1 done
        user[ann]/WriteText#2 started UNKNOWN
        user[ann]/WriteText#2 done
        user[ann]/SaveRecommendations#3 started IDEMPOTENT
        user[ann]/SaveRecommendations#3 done
        ended SUCCEEDED
    "#]],
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_step_writes_one_text_and_saves_it_once() {
    let steps = ["GetStatistics#0", "GetPatterns#1", "WriteText#2", "SaveRecommendations#3"];
    for step in steps.map(|step| format!("user[ann]/{step}")) {
        let world = world_of(services(), Probe::counting());
        let (world, run) = world.start_as_if_crashed_after::<RefreshRecommendations>(only_ann(), &step).await;
        let refreshed = world.result_of::<RefreshRecommendations>(run).await.map(|output| output.refreshed);
        let services = world.services();
        let effects = (services.arrivals_of::<WriteTextRequest>(), services.effects_of::<SaveRecommendationsRequest>());
        assert_eq!((refreshed, effects), (Ok(1), (1, 1)), "after {step}");
    }
}
