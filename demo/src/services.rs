//! The eight domain services, one file each, and what an effect of theirs is called.

use std::sync::Arc;

use tonic::service::Routes;
use tonic::{Response, Status};

use crate::settings::Settings;

pub(crate) mod ai;
pub(crate) mod audio;
pub(crate) mod emotions;
pub(crate) mod journal;
pub(crate) mod meditation;
pub(crate) mod notifications;
pub(crate) mod teachers;
pub(crate) mod users;

/// Left in the extensions of a response by a handler that found nothing to do: the call succeeded without an effect.
#[derive(Clone, Copy)]
pub(crate) struct NothingChanged;

/// Short names, in the order of their default ports.
pub(crate) const NAMES: [&str; 8] =
    ["users", "notifications", "journal", "emotions", "meditation", "teachers", "audio", "ai"];

/// All services with their data.
pub(crate) struct Services {
    pub(crate) notifications: notifications::Notifications,
    pub(crate) journal: journal::Journal,
    users: users::Users,
    emotions: emotions::Emotions,
    meditation: meditation::Meditation,
    teachers: teachers::Teachers,
    audio: audio::Audio,
    ai: ai::Ai,
    settings: Arc<Settings>,
}

impl Services {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            notifications: notifications::Notifications::new(&settings),
            journal: journal::Journal::new(&settings),
            users: users::Users::new(&settings),
            emotions: emotions::Emotions,
            meditation: meditation::Meditation::new(&settings),
            teachers: teachers::Teachers::new(&settings),
            audio: audio::Audio::new(&settings),
            ai: ai::Ai::new(&settings),
            settings,
        }
    }

    /// Adds the service with this short name.
    pub(crate) fn add_to(&self, routes: Routes, name: &str) -> Routes {
        match name {
            "users" => routes.add_service(self.users.server()),
            "notifications" => routes.add_service(self.notifications.server()),
            "journal" => routes.add_service(self.journal.server()),
            "emotions" => routes.add_service(self.emotions.server()),
            "meditation" => routes.add_service(self.meditation.server()),
            "teachers" => routes.add_service(self.teachers.server()),
            "audio" => routes.add_service(self.audio.server()),
            "ai" => routes.add_service(self.ai.server()),
            _ => routes,
        }
    }

    /// Back to the seeded data.
    pub(crate) fn reset(&self) {
        self.notifications.reset(&self.settings);
        self.journal.reset(&self.settings);
        self.users.reset(&self.settings);
        self.meditation.reset(&self.settings);
        self.audio.reset(&self.settings);
    }
}

/// The effect that a call asks for, as the business knows it; `None` for reads and for what is no request.
pub(crate) fn identity(path: &str, message: &[u8]) -> Option<String> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    match service.strip_prefix("guras.")?.split('.').next()? {
        "users" => users::identity(method, message),
        "notifications" => notifications::identity(method, message),
        "journal" => journal::identity(method, message),
        "meditation" => meditation::identity(method, message),
        "audio" => audio::identity(method, message),
        "ai" => ai::identity(method, message),
        _ => None,
    }
}

/// A success; where nothing changed, the ledger counts no effect.
pub(crate) fn answer<T>(message: T, changed: bool) -> Result<Response<T>, Status> {
    let mut response = Response::new(message);
    if !changed {
        response.extensions_mut().insert(NothingChanged);
    }
    Ok(response)
}

/// INVALID_ARGUMENT where a text is empty or too long.
pub(crate) fn check_text(field: &str, text: &str, most: usize) -> Result<(), Status> {
    let length = text.chars().count();
    if (1..=most).contains(&length) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("{field} must have 1 to {most} characters, has {length}")))
}
