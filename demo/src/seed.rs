//! The data that a world begins with; the same for the same number of users and entries.

use std::time::Duration;

use clients::guras::audio::v1::AudioFile;
use clients::guras::emotions::v1::Emotion;
use clients::guras::journal::v1::Entry;
use clients::guras::meditation::v1::{Difficulty, EmotionalState, Session};
use clients::guras::notifications::v1::{DeviceToken, Frequency, Platform, Preferences, QuietHours};
use clients::guras::teachers::v1::{Complexity, Teacher};
use jiff::Timestamp;

use crate::settings::Settings;
use crate::shared::{now, to_proto};

const NAMES: [&str; 12] =
    ["Asha", "Bruno", "Chiara", "Devan", "Emre", "Farah", "Goran", "Hana", "Ines", "Joon", "Kofi", "Lena"];

const THEMES: [&str; 4] = ["calm", "sleep", "focus", "gratitude"];

const LINES: [&str; 8] = [
    "Gratitude for small things today: the tea, the rain, a call from my brother.",
    "I could not sleep. Anxiety about Monday again, and some anger at myself for it.",
    "A long walk by the river. Calm, for the first time in weeks.",
    "We argued about nothing. Sadness stayed after the door had closed.",
    "The recital went well! Joy, and pride, and then an odd kind of loneliness.",
    "Hope. That is all. I had forgotten what it tastes like.",
    "Nothing happened today and I did not mind.",
    "I said no and nobody died. Courage is quieter than I thought.",
];

/// The id of the n-th seeded user, a version-4-shaped UUID that people can read.
pub(crate) fn user_id(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

pub(crate) fn name(n: usize) -> &'static str {
    NAMES[n % NAMES.len()]
}

/// Name and number of a seeded user, or the id of another one.
pub(crate) fn display_name(user_id: &str) -> String {
    match user_id.strip_prefix("00000000-0000-4000-8000-").and_then(|number| number.parse::<usize>().ok()) {
        Some(n) => format!("{} {n}", name(n)),
        None => user_id.to_owned(),
    }
}

/// Every twelfth user wants none, most want many; at any hour most are awake.
pub(crate) fn preferences(n: usize, settings: &Settings) -> Preferences {
    use Frequency::{Daily, EveryFiveMinutes, Hourly, TwiceDaily};
    const FREQUENCIES: [Frequency; 8] =
        [EveryFiveMinutes, EveryFiveMinutes, Hourly, EveryFiveMinutes, TwiceDaily, EveryFiveMinutes, Hourly, Daily];
    let quiet_hours = match (settings.quiet_hours, n % 4) {
        // One second a day is as little as the contract allows.
        (false, _) => Some(QuietHours { start_minute: 3 * 60, end_minute: 3 * 60 }),
        (true, 0) => None,
        (true, _) => {
            let start = i32::try_from(n % 24).unwrap_or(0) * 60;
            Some(QuietHours { start_minute: start, end_minute: (start + 6 * 60) % (24 * 60) })
        }
    };
    let teacher_id =
        if n.is_multiple_of(3) { teacher_ids()[n % teacher_ids().len()].to_owned() } else { String::new() };
    Preferences {
        enabled: n % 12 != 11,
        frequency: FREQUENCIES[n % FREQUENCIES.len()].into(),
        quiet_hours,
        teacher_id,
        last_notified_time: None,
    }
}

/// Devices of a user, and whether the push provider still knows them. Every tenth user has none; every seventh has one
/// that is gone.
pub(crate) fn device_tokens(n: usize) -> Vec<(DeviceToken, bool)> {
    if n % 10 == 9 {
        return Vec::new();
    }
    let mut tokens: Vec<(DeviceToken, bool)> = (0..1 + n % 3).map(|k| (device_token(n, k), true)).collect();
    if n % 7 == 3 {
        tokens.push((device_token(n, tokens.len()), false));
    }
    tokens
}

pub(crate) fn device_token(n: usize, k: usize) -> DeviceToken {
    let (platform, name) =
        if (n + k).is_multiple_of(2) { (Platform::Ios, "ios") } else { (Platform::Android, "android") };
    DeviceToken { token: format!("{name}-{n:04}-{k}"), platform: platform.into(), create_time: Some(now()) }
}

/// The n-th entry, without emotions. The seeded ones were written an hour apart, the last one an hour ago.
pub(crate) fn entry(n: usize, users: usize) -> Entry {
    let written = to_proto(Timestamp::now() - Duration::from_secs(3_600 * (1 + n as u64 % 1_000)));
    Entry {
        entry_id: format!("e0000000-0000-4000-8000-{n:012}"),
        user_id: user_id(n % users.max(1)),
        title: format!("Day {}", n + 1),
        content: LINES[n % LINES.len()].to_owned(),
        create_time: Some(written),
        update_time: Some(written),
        ..Entry::default()
    }
}

pub(crate) fn emotions() -> impl Iterator<Item = Emotion> {
    const CATALOGUE: [(&str, &str, bool); 12] = [
        ("anger", "#c0392b", true),
        ("anxiety", "#8e44ad", true),
        ("calm", "#16a085", true),
        ("courage", "#d35400", true),
        ("gratitude", "#27ae60", true),
        ("hope", "#2980b9", true),
        ("joy", "#f1c40f", true),
        ("loneliness", "#34495e", true),
        ("melancholy", "#5d6d7e", false),
        ("pride", "#e67e22", true),
        ("sadness", "#2c3e50", true),
        ("wonder", "#9b59b6", true),
    ];
    CATALOGUE.into_iter().map(|(id, color, active)| Emotion {
        emotion_id: id.to_owned(),
        name: id[..1].to_uppercase() + &id[1..],
        color: color.to_owned(),
        active,
    })
}

fn teacher_ids() -> [&'static str; 4] {
    ["anselm", "ishikawa", "maira", "tenzin-la"]
}

/// Invented, so that no one is given words they never said.
pub(crate) fn teachers() -> impl Iterator<Item = Teacher> {
    type Row = (&'static str, &'static str, &'static str, &'static str, Complexity, [&'static str; 4]);
    const ROWS: [Row; 4] = [
        (
            "Brother Anselm",
            "Benedictine",
            "patience",
            "plain",
            Complexity::Beginner,
            [
                "Sweep the floor you stand on first.",
                "What you repeat kindly becomes your shape.",
                "Silence is not empty. It is full of answers that need no words.",
                "Hurry is a way of not being anywhere.",
            ],
        ),
        (
            "Ishikawa Ren",
            "Zen",
            "attention",
            "dry",
            Complexity::Intermediate,
            [
                "You are looking for the lamp with the lamp in your hand.",
                "Drink the tea while it is tea.",
                "The mountain does not ask how long the climb was.",
                "One breath is enough, if you are there for it.",
            ],
        ),
        (
            "Maira Duarte",
            "Contemplative",
            "compassion",
            "warm",
            Complexity::Beginner,
            [
                "Speak to yourself as you would to a tired friend.",
                "A soft heart is a strong one that stopped hiding.",
                "Forgive early; it saves so much carrying.",
                "You may rest before you have earned it.",
            ],
        ),
        (
            "Tenzin-la",
            "Mountain yoga",
            "impermanence",
            "cheerful",
            Complexity::Advanced,
            [
                "Even the storm has somewhere else to be.",
                "Hold joy as you hold water: with open hands.",
                "What changes cannot be kept, and what stays cannot be lost.",
                "Laugh first, then decide whether it was serious.",
            ],
        ),
    ];
    ROWS.into_iter().zip(teacher_ids()).map(|((name, tradition, focus, tone, complexity, teachings), id)| Teacher {
        teacher_id: id.to_owned(),
        name: name.to_owned(),
        tradition: tradition.to_owned(),
        era: "1931 to today".to_owned(),
        core_teachings: teachings.map(str::to_owned).into(),
        approach: format!("Leads by {focus}, one small practice at a time."),
        tone: tone.to_owned(),
        focus: focus.to_owned(),
        complexity: complexity.into(),
        active: true,
    })
}

/// The sessions of the n-th user, one a day back from yesterday.
pub(crate) fn sessions(n: usize) -> Vec<Session> {
    let minutes = |minutes: i64| Some(prost_types::Duration { seconds: minutes * 60, nanos: 0 });
    (0..n % 6)
        .map(|k| {
            let done = k % 3 != 2;
            let felt = |kind: &str, score| Some(EmotionalState { r#type: kind.to_owned(), score });
            Session {
                session_id: format!("5e550000-0000-4000-8000-{:012}", n * 10 + k),
                user_id: user_id(n),
                title: format!("Ten minutes of {}", THEMES[(n + k) % THEMES.len()]),
                teacher_id: teacher_ids()[(n + k) % 4].to_owned(),
                music: "rain".to_owned(),
                theme: THEMES[(n + k) % THEMES.len()].to_owned(),
                difficulty: Difficulty::Easy.into(),
                planned_duration: minutes(10),
                real_duration: minutes(if done { 10 } else { 4 }),
                completion_percent: if done { 100 } else { 40 },
                before: felt("restless", 4),
                after: felt("settled", 7),
                rating: 4,
                start_time: Some(to_proto(Timestamp::now() - Duration::from_secs(86_400 * (1 + k as u64)))),
                ..Session::default()
            }
        })
        .collect()
}

/// The file of the n-th user who uploaded one; every fourth user did.
pub(crate) fn audio_file(n: usize) -> AudioFile {
    AudioFile {
        file_id: format!("f1000000-0000-4000-8000-{n:012}"),
        user_id: user_id(4 * n),
        name: "morning.ogg".to_owned(),
        author: name(4 * n).to_owned(),
        description: "A recording of the morning.".to_owned(),
        duration: Some(prost_types::Duration { seconds: 184, nanos: 0 }),
        size: 2_945_103,
        storage_key: format!("uploads/{n:06}.ogg"),
        create_time: Some(now()),
    }
}
