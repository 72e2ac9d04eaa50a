//! `users.onboard`: the first days of a user, as a saga that is undone if the welcome fails.

use clients::guras::meditation::v1::{
    Difficulty, ListRecommendationsRequest, Recommendation, SaveRecommendationsRequest,
};
use clients::guras::notifications::v1::{Frequency, GetPreferencesRequest, Preferences, PutPreferencesRequest};
use clients::guras::orchestration::users::v1::{OnboardOutcome, OnboardRequest, OnboardResponse, SettledIn};
use clients::guras::users::v1::GetUserRequest;
use engine::prelude::*;

use super::days::DAY;
use super::devices::{Push, Reached, devices, push_to_all};

/// Saves preferences and a first recommendation for a new user and sends a welcome. Then it waits three days for the signal
/// `settled-in`, and asks how the user is if the signal does not come. A user who is onboarded twice is greeted once.
#[derive(Clone, Copy, Debug)]
pub struct Onboard;

/// Ends the wait for the check-in.
const SETTLED_IN: &str = "settled-in";

impl Workflow for Onboard {
    const NAME: &'static str = "users.onboard";
    const DESCRIPTION: &'static str =
        "Gives a new user preferences, a recommendation and a welcome, and checks in after three days.";
    const DEADLINE: Duration = Duration::from_hours(7 * 24);
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<SettledIn>(SETTLED_IN)];
    type Input = OnboardRequest;
    type Output = OnboardResponse;

    async fn run(&self, ctx: &Context, input: OnboardRequest) -> Result<OnboardResponse, Failure> {
        // A user who is not there fails the run before anything was done.
        ctx.call(GetUserRequest { user_id: input.user_id.clone() }).await?;
        give_preferences(ctx, &input).await?;
        recommend(ctx, &input.user_id).await?;
        let welcome = push(ctx, &input.user_id, "welcome", "Welcome", "Take a breath. You are in the right place.");
        let welcome_pushes = welcome.await?.pushes;

        let settled: Option<SettledIn> = ctx.signal(SETTLED_IN).within(3 * DAY).await?;
        let (outcome, settled_by) = match settled {
            Some(settled) => (OnboardOutcome::SettledIn, settled.by),
            None => (check_in(ctx, &input.user_id).await, String::new()),
        };
        Ok(OnboardResponse { outcome: outcome.into(), welcome_pushes, settled_by })
    }
}

/// Daily notifications, unless the user has set preferences. The undo switches notifications off.
async fn give_preferences(ctx: &Context, input: &OnboardRequest) -> Result<(), Failure> {
    let user_id = input.user_id.clone();
    if ctx.call(GetPreferencesRequest { user_id: user_id.clone() }).optional().await?.is_some() {
        return Ok(());
    }
    let preferences = Preferences {
        enabled: true,
        frequency: Frequency::Daily.into(),
        teacher_id: input.teacher_id.clone(),
        ..Preferences::default()
    };
    let put = |preferences| PutPreferencesRequest { user_id: user_id.clone(), preferences: Some(preferences) };
    let none = put(Preferences { enabled: false, ..preferences.clone() });
    ctx.call(put(preferences)).undo(move |_| none).await?;
    Ok(())
}

/// A first recommendation, unless the user has some. The undo removes it.
async fn recommend(ctx: &Context, user: &str) -> Result<(), Failure> {
    let known = ListRecommendationsRequest { user_id: user.to_owned(), page_size: 1, ..Default::default() };
    if !ctx.call(known).await?.recommendations.is_empty() {
        return Ok(());
    }
    let save = |recommendations| SaveRecommendationsRequest {
        user_id: user.to_owned(),
        recommendations,
        ..Default::default()
    };
    let first = Recommendation {
        title: "First breath".to_owned(),
        theme: "calm".to_owned(),
        difficulty: Difficulty::Easy.into(),
        minutes: 5,
        reason: "A short one to begin with.".to_owned(),
    };
    let none = save(Vec::new());
    ctx.call(save(vec![first])).undo(move |_| none).await?;
    Ok(())
}

/// Asks how the user is. If that fails, nothing is undone, because the user is already onboarded.
async fn check_in(ctx: &Context, user: &str) -> OnboardOutcome {
    match push(ctx, user, "check-in", "How are you?", "Three days in: what has changed for you?").await {
        Ok(Reached { pushes: 1.., .. }) => OnboardOutcome::CheckedIn,
        Ok(_) | Err(_) => OnboardOutcome::OutOfReach,
    }
}

async fn push(ctx: &Context, user: &str, name: &str, title: &str, body: &str) -> Result<Reached, Failure> {
    let devices = devices(ctx, user).await?;
    let push = Push {
        user_id: user.to_owned(),
        name: name.to_owned(),
        slot: String::new(),
        title: title.to_owned(),
        body: body.to_owned(),
        data: [("kind".to_owned(), name.to_owned())].into(),
    };
    push_to_all(ctx, devices, push).await
}
