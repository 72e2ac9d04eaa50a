//! `meditations.refresh-recommendations`: asks AI for new recommendations for every user who meditated recently.

use clients::guras::ai::v1::{TextPurpose, WriteTextRequest};
use clients::guras::meditation::v1::{
    Difficulty, GetPatternsRequest, GetPatternsResponse, GetStatisticsRequest, GetStatisticsResponse, Recommendation,
    SaveRecommendationsRequest,
};
use clients::guras::orchestration::meditations::v1::{RefreshRecommendationsRequest, RefreshRecommendationsResponse};
use clients::guras::users::v1::ListUsersRequest;
use engine::prelude::*;
use serde::Deserialize;

use super::ai_json::parse;
use super::bounds::bounded;
use super::days::{DAY, into_day};

/// Handles every user on a branch of its own. A text of AI that cannot be used is counted, not a failure; the present
/// recommendations of a user are then kept.
#[derive(Clone, Copy, Debug)]
pub struct RefreshRecommendations;

/// Users who are looked at at the same time; the AI service is slow and limits its callers.
const AT_THE_SAME_TIME: usize = 16;
/// The most recommendations for a user.
const MOST_RECOMMENDATIONS: usize = 5;
/// The longest meditation that is recommended, in minutes.
const LONGEST: i32 = 120;
/// Characters of a title, a theme or a reason.
const MOST_TEXT: usize = 500;

/// How the work for one user ended.
#[derive(PartialEq)]
enum Refreshed {
    Saved,
    Inactive,
    Unusable,
}

impl Workflow for RefreshRecommendations {
    const NAME: &'static str = "meditations.refresh-recommendations";
    const DESCRIPTION: &'static str = "Lets AI recommend new meditations to every user who meditated lately.";
    const DEADLINE: Duration = Duration::from_hours(20);
    type Input = RefreshRecommendationsRequest;
    type Output = RefreshRecommendationsResponse;

    async fn run(
        &self,
        ctx: &Context,
        input: RefreshRecommendationsRequest,
    ) -> Result<RefreshRecommendationsResponse, Failure> {
        let now = ctx.now();
        // From the day before on, so that no session is missed whenever today's run begins.
        let since = input.since_time.map_or_else(|| now.before(into_day(now) + DAY), Timestamp::from);
        let (start_time, end_time) = (Some(since.into()), Some(now.into()));
        let limit = bounded(input.limit, 10_000, 10_000);
        let page_size = bounded(input.page_size, 200, 1_000).into();
        let list = ListUsersRequest { page_size, page_token: input.page_token };
        let (users, next_page_token) = ctx.pages(list).up_to(limit.into()).with_token().await?;

        // A user who is listed twice is looked at the same time.
        let refreshed = ctx
            .fan_out("user", users, move |ctx, user| async move {
                let user_id = user.user_id;
                let recent = ctx.call(GetStatisticsRequest { user_id: user_id.clone(), start_time, end_time }).await?;
                if recent.sessions == 0 {
                    return Ok(Refreshed::Inactive);
                }
                refresh(&ctx, user_id, &recent).await
            })
            .key(|user| user.user_id.clone())
            .limit(AT_THE_SAME_TIME)
            .await;
        for (user, _) in refreshed.done().filter(|(_, one)| **one == Refreshed::Unusable) {
            tracing::warn!(run = %ctx.run_id(), user, "nothing in the answer can be recommended");
        }
        Ok(RefreshRecommendationsResponse {
            users: refreshed.unique(),
            refreshed: refreshed.count(|one| *one == Refreshed::Saved),
            inactive: refreshed.count(|one| *one == Refreshed::Inactive),
            unusable: refreshed.count(|one| *one == Refreshed::Unusable),
            failed: refreshed.failed(),
            next_page_token,
        })
    }
}

/// One user: sends what they like to AI, and what can be used of its text to the meditation service.
async fn refresh(ctx: &Context, user_id: String, recent: &GetStatisticsResponse) -> Result<Refreshed, Failure> {
    let patterns = ctx.call(GetPatternsRequest { user_id: user_id.clone() }).await?;
    let request = WriteTextRequest {
        user_id: user_id.clone(),
        purpose: TextPurpose::Recommendations.into(),
        prompt: prompt(&patterns, recent),
        teacher_id: patterns.teacher_ids.first().cloned().unwrap_or_default(),
    };
    let text = ctx.call(request).timeout(Duration::from_secs(60)).await?.text;
    let recommendations = usable(&text);
    if recommendations.is_empty() {
        return Ok(Refreshed::Unusable);
    }
    ctx.call(SaveRecommendationsRequest { user_id, recommendations, ..Default::default() }).await?;
    Ok(Refreshed::Saved)
}

fn prompt(patterns: &GetPatternsResponse, recent: &GetStatisticsResponse) -> String {
    let mut lines = vec![
        format!("Recommend up to {MOST_RECOMMENDATIONS} meditations to the user, each with a reason of one sentence."),
        "Answer as JSON: {\"recommendations\": [{\"title\": \"...\", \"theme\": \"...\", \"difficulty\": \
         \"easy|medium|hard\", \"minutes\": 10, \"reason\": \"...\"}]}"
            .to_owned(),
        format!(
            "Meditations lately: {}, of which {} were finished; {} minutes in all.",
            recent.sessions, recent.completed_sessions, recent.minutes
        ),
    ];
    if !patterns.themes.is_empty() {
        lines.push(format!("Themes that the user likes: {}.", patterns.themes.join(", ")));
    }
    if !patterns.best_hours.is_empty() {
        let hours: Vec<String> = patterns.best_hours.iter().map(|hour| format!("{hour}:00")).collect();
        lines.push(format!("Hours (UTC) at which they finish most: {}.", hours.join(", ")));
    }
    lines.join("\n")
}

#[derive(Deserialize)]
struct Answer {
    recommendations: Vec<Recommended>,
}

#[derive(Deserialize)]
struct Recommended {
    #[serde(default)]
    title: String,
    #[serde(default)]
    theme: String,
    #[serde(default)]
    difficulty: String,
    #[serde(default)]
    minutes: i32,
    #[serde(default)]
    reason: String,
}

/// What can be recommended of a text: entries with a title and an acceptable length.
fn usable(answer: &str) -> Vec<Recommendation> {
    let text = |text: &str| text.trim().chars().take(MOST_TEXT).collect::<String>();
    let recommendations = parse::<Answer>(answer).map(|answer| answer.recommendations).unwrap_or_default();
    let usable = recommendations.iter().map(|recommended| Recommendation {
        title: text(&recommended.title),
        theme: text(&recommended.theme),
        difficulty: difficulty(&recommended.difficulty).into(),
        minutes: recommended.minutes,
        reason: text(&recommended.reason),
    });
    usable
        .filter(|recommendation| !recommendation.title.is_empty() && (1..=LONGEST).contains(&recommendation.minutes))
        .take(MOST_RECOMMENDATIONS)
        .collect()
}

fn difficulty(word: &str) -> Difficulty {
    match word.trim().to_ascii_lowercase().as_str() {
        "easy" => Difficulty::Easy,
        "medium" => Difficulty::Medium,
        "hard" => Difficulty::Hard,
        _ => Difficulty::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_title_and_a_sensible_length_is_recommended() {
        let answer = r#"{"recommendations": [
            {"title": " Evening breath ", "theme": "calm", "difficulty": "Easy", "minutes": 10, "reason": "Short."},
            {"title": "Long walk", "minutes": 20, "difficulty": "who knows"},
            {"title": "", "minutes": 10},
            {"title": "No time", "minutes": 0},
            {"title": "For ever", "minutes": 9999}
        ]}"#;
        let found: Vec<_> = usable(answer).into_iter().map(|one| (one.title.clone(), one.difficulty())).collect();
        let expected = [("Evening breath", Difficulty::Easy), ("Long walk", Difficulty::Unspecified)];
        assert_eq!(found, expected.map(|(title, difficulty)| (title.to_owned(), difficulty)));
    }

    #[test]
    fn an_answer_of_another_form_has_nothing_to_recommend() {
        for answer in ["Just breathe.", "{}", r#"{"recommendations": "breathe"}"#, r#"{"recommendations": []}"#] {
            assert!(usable(answer).is_empty(), "{answer}");
        }
    }

    #[test]
    fn a_chatty_answer_is_cut() {
        let one = format!(r#"{{"title": "{}", "minutes": 5}}"#, "é".repeat(2_000));
        let found = usable(&format!(r#"{{"recommendations": [{}]}}"#, vec![one; 9].join(",")));
        assert_eq!(found.len(), MOST_RECOMMENDATIONS);
        assert_eq!(found[0].title.chars().count(), MOST_TEXT);
    }

    #[test]
    fn a_prompt_says_what_there_is_and_nothing_else() {
        let patterns = GetPatternsResponse { best_hours: vec![7, 21], ..GetPatternsResponse::default() };
        let said = prompt(&patterns, &GetStatisticsResponse { sessions: 3, ..GetStatisticsResponse::default() });
        assert!(said.contains("lately: 3") && said.contains("7:00, 21:00") && !said.contains("Themes"), "{said}");
    }
}
