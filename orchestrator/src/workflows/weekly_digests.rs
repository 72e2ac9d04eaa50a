//! `digests.weekly`: sends every user a few sentences about their week, each by a child run of its own.

use clients::guras::ai::v1::{TextPurpose, WriteTextRequest};
use clients::guras::emotions::v1::BatchGetEmotionsRequest;
use clients::guras::journal::v1::{CountEmotionsRequest, CountEmotionsResponse};
use clients::guras::meditation::v1::{GetStatisticsRequest, GetStatisticsResponse};
use clients::guras::notifications::v1::{GetPreferencesRequest, Preferences, QuietHours};
use clients::guras::orchestration::digests::v1::{
    WeeklyOutcome, WeeklyRequest, WeeklyResponse, WeeklyUserRequest, WeeklyUserResponse,
};
use clients::guras::users::v1::ListUsersRequest;
use engine::prelude::*;

use super::bounds::bounded;
use super::days::{DAY, into_day};
use super::devices::{Push, devices, push_to_all};

/// Pages through all users and starts a child run for each, so that each user's digest has its own journal, retries and
/// decisions, and does not delay the others.
#[derive(Clone, Copy, Debug)]
pub struct WeeklyDigests;

/// One user's week.
#[derive(Clone, Copy, Debug)]
pub struct WeeklyDigest;

/// Users who are written to at the same time; the AI service is slow and limits its callers.
const AT_THE_SAME_TIME: usize = 16;
const WEEK: Duration = Duration::from_hours(7 * 24);
/// The most emotions that a digest names.
const MOST_EMOTIONS: usize = 3;
/// The most characters of a push.
const MOST_TEXT: usize = 2_000;
/// The default quiet hours: 22:00 to 08:00.
const QUIET_HOURS: QuietHours = QuietHours { start_minute: 22 * 60, end_minute: 8 * 60 };

impl Workflow for WeeklyDigests {
    const NAME: &'static str = "digests.weekly";
    const DESCRIPTION: &'static str =
        "Sends every user a few sentences about their week: what they felt, and how they meditated.";
    const DEADLINE: Duration = Duration::from_hours(2 * 24);
    type Input = WeeklyRequest;
    type Output = WeeklyResponse;

    async fn run(&self, ctx: &Context, input: WeeklyRequest) -> Result<WeeklyResponse, Failure> {
        let now = ctx.now();
        // A late tick, or one of a backfill, tells of the week that it stands for.
        let at = ctx.schedule().map_or(now, |tick| tick.nominal);
        let end = input.week_end_time.map_or_else(|| at.before(into_day(at)), Timestamp::from);
        let limit = bounded(input.limit, 1_000, 10_000);
        let page_size = bounded(input.page_size, 200, 1_000).min(limit).into();
        let list = ListUsersRequest { page_size, ..Default::default() };
        let users = ctx.pages(list).up_to(limit.into()).await?;

        // A user who is listed twice is written to once.
        let digests = ctx
            .fan_out("user", users, move |ctx, user| async move {
                let request = WeeklyUserRequest {
                    user_id: user.user_id,
                    week_start_time: Some(end.before(WEEK).into()),
                    week_end_time: Some(end.into()),
                };
                ctx.child::<WeeklyDigest>("digest", request).await
            })
            .key(|user| user.user_id.clone())
            .limit(AT_THE_SAME_TIME)
            .await;
        Ok(WeeklyResponse {
            users: digests.unique(),
            sent: digests.count(|digest| digest.outcome() == WeeklyOutcome::Sent),
            skipped: digests.count(|digest| digest.outcome() != WeeklyOutcome::Sent),
            failed: digests.failed(),
        })
    }
}

impl Workflow for WeeklyDigest {
    const NAME: &'static str = "digests.weekly-user";
    const DESCRIPTION: &'static str = "One user's part of digests.weekly.";
    const VERSION: u32 = 2;
    const DEADLINE: Duration = Duration::from_hours(36);
    type Input = WeeklyUserRequest;
    type Output = WeeklyUserResponse;

    async fn run(&self, ctx: &Context, input: WeeklyUserRequest) -> Result<WeeklyUserResponse, Failure> {
        let Some(preferences) = wanted(ctx, &input.user_id).await? else {
            return Ok(skipped(WeeklyOutcome::OptedOut));
        };
        let devices = devices(ctx, &input.user_id).await?;
        if devices.is_empty() {
            return Ok(skipped(WeeklyOutcome::NoDevice));
        }
        let Some(prompt) = week(ctx, &input).await? else { return Ok(skipped(WeeklyOutcome::QuietWeek)) };
        let request = WriteTextRequest {
            user_id: input.user_id.clone(),
            purpose: TextPurpose::WeeklyDigest.into(),
            prompt,
            teacher_id: preferences.teacher_id.clone(),
        };
        let text = ctx.call(request).timeout(Duration::from_secs(60)).await?.text;
        let quiet = quiet_for(preferences.quiet_hours.unwrap_or(QUIET_HOURS), ctx.now());
        if !quiet.is_zero() {
            ctx.sleep("quiet hours", quiet).await?;
        }
        let week = input.week_end_time.unwrap_or_default().seconds;
        let push = Push {
            user_id: input.user_id,
            name: format!("weekly digest {week}"),
            // Since version 2, services see which week it is of.
            slot: if ctx.version_at_least(2) { format!("week {week}") } else { String::new() },
            title: "Your week".to_owned(),
            body: text.chars().take(MOST_TEXT).collect(),
            data: [("kind".to_owned(), "weekly-digest".to_owned())].into(),
        };
        let reached = push_to_all(ctx, devices, push).await?;
        let outcome = if reached.pushes > 0 { WeeklyOutcome::Sent } else { WeeklyOutcome::NoDevice };
        Ok(WeeklyUserResponse {
            outcome: outcome.into(),
            pushes: reached.pushes,
            removed_device_tokens: reached.removed,
        })
    }
}

fn skipped(outcome: WeeklyOutcome) -> WeeklyUserResponse {
    WeeklyUserResponse { outcome: outcome.into(), ..WeeklyUserResponse::default() }
}

/// The preferences of a user who wants to be notified.
async fn wanted(ctx: &Context, user: &str) -> Result<Option<Preferences>, Failure> {
    let known = ctx.call(GetPreferencesRequest { user_id: user.to_owned() }).optional().await?;
    Ok(known.and_then(|known| known.preferences).filter(|preferences| preferences.enabled))
}

/// A summary of the week for the model; `None` if there is nothing to write about.
async fn week(ctx: &Context, input: &WeeklyUserRequest) -> Result<Option<String>, Failure> {
    let (start_time, end_time) = (input.week_start_time, input.week_end_time);
    let (felt, meditated) = ctx
        .all((
            ctx.call(CountEmotionsRequest { user_id: input.user_id.clone(), start_time, end_time }),
            ctx.call(GetStatisticsRequest { user_id: input.user_id.clone(), start_time, end_time }),
        ))
        .await?;
    if felt.entries == 0 && meditated.sessions == 0 {
        return Ok(None);
    }
    let emotion_ids: Vec<String> =
        felt.counts.iter().take(MOST_EMOTIONS).map(|count| count.emotion_id.clone()).collect();
    let names = if emotion_ids.is_empty() {
        Vec::new()
    } else {
        let emotions = ctx.call(BatchGetEmotionsRequest { emotion_ids }).await?.emotions;
        emotions.into_iter().map(|emotion| emotion.name).collect()
    };
    let mut prompt = prompt(&felt, &names, &meditated);
    if ctx.version_at_least(2) {
        let day =
            |time: Option<prost_types::Timestamp>| Timestamp::from(time.unwrap_or_default()).to_second().to_string();
        prompt.push_str(&format!("\nThe week: {} to {}.", day(start_time), day(end_time)));
    }
    Ok(Some(prompt))
}

fn prompt(felt: &CountEmotionsResponse, names: &[String], meditated: &GetStatisticsResponse) -> String {
    let mut lines = vec!["Sum up this week for the user in two or three warm sentences.".to_owned()];
    lines.push(format!("Journal entries: {}.", felt.entries));
    if !names.is_empty() {
        lines.push(format!("Felt most often: {}.", names.join(", ")));
    }
    if meditated.sessions > 0 {
        lines.push(format!(
            "Meditations: {}, of which {} were finished; {} minutes in all.",
            meditated.sessions, meditated.completed_sessions, meditated.minutes
        ));
        lines.push(format!("Mood after meditating, against before: {:+.1} of 10.", meditated.mood_improvement));
    }
    lines.join("\n")
}

/// The time until the quiet hours end; zero outside them. Both ends belong to them.
fn quiet_for(hours: QuietHours, now: Timestamp) -> Duration {
    let minute = |minute: i32| Duration::from_secs(60 * u64::try_from(minute).unwrap_or(0));
    let (start, end, now) = (minute(hours.start_minute), minute(hours.end_minute + 1), into_day(now));
    let crosses_midnight = hours.end_minute < hours.start_minute;
    match crosses_midnight {
        true if now >= start => end + DAY - now,
        true => end.saturating_sub(now),
        false if now >= start => end.saturating_sub(now),
        false => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_may_cross_midnight_and_both_ends_belong_to_them() {
        let (night, noon) = (QUIET_HOURS, QuietHours { start_minute: 12 * 60, end_minute: 13 * 60 });
        let quiet = |hours, hour: i64, minute: i64| {
            let now = Timestamp::from_micros((5 * 24 * 60 + hour * 60 + minute) * 60_000_000);
            quiet_for(hours, now).as_secs() / 60
        };
        let cases = [
            (night, 21, 59, 0),
            (night, 22, 0, 10 * 60 + 1),
            (night, 0, 0, 8 * 60 + 1),
            (night, 8, 0, 1),
            (night, 8, 1, 0),
            (noon, 11, 59, 0),
            (noon, 12, 0, 61),
            (noon, 13, 0, 1),
            (noon, 13, 1, 0),
        ];
        for (hours, hour, minute, expected) in cases {
            assert_eq!(quiet(hours, hour, minute), expected, "{hour}:{minute:02} in {hours:?}");
        }
    }

    #[test]
    fn a_prompt_says_what_there_is_and_nothing_else() {
        let felt = CountEmotionsResponse { entries: 3, ..CountEmotionsResponse::default() };
        let said = prompt(&felt, &["Joy".to_owned()], &GetStatisticsResponse::default());
        assert!(said.contains("entries: 3") && said.contains("Joy") && !said.contains("Meditations"), "{said}");
    }
}
