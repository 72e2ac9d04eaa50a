//! Simulates the activity of users: they write entries and get new devices.

use std::sync::Arc;
use std::time::Duration;

use clients::guras::journal::v1::Entry;

use crate::seed;
use crate::services::Services;
use crate::settings::Settings;
use crate::shared::now;

/// Seeded devices of a user have smaller numbers.
const FIRST_NEW_DEVICE: usize = 100;

/// Runs until it is dropped: an entry in each interval, a device in every fourth.
pub(crate) async fn go_on(services: Arc<Services>, settings: Arc<Settings>, beat: Duration) {
    let mut beats = tokio::time::interval(beat);
    beats.tick().await;
    for n in 0.. {
        beats.tick().await;
        // A stride that has no factor in common with most numbers of users reaches all of them.
        let user = (n * 7) % settings.users.max(1);
        let written = seed::entry(settings.entries + n, settings.users);
        services.journal.write(Entry { create_time: Some(now()), update_time: Some(now()), ..written });
        if n % 4 == 3 {
            let token = seed::device_token(user, FIRST_NEW_DEVICE + n);
            services.notifications.add_device(&seed::user_id(user), token);
        }
    }
}
