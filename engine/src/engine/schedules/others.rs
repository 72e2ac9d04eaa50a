//! What other replicas do to schedules: those that they make, change and remove are dealt with here too, so that their ticks come
//! whichever replica is lost.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::rounds::Rounds;
use super::{Declarations, Engine};
use crate::store::{ScheduleNews, ScheduleRow};

/// Schedules of others are looked for this often.
const HEAR_EVERY: Duration = Duration::from_secs(5);

/// The schedules that this replica knows, by name, and when it looked for others last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    known: HashMap<String, (Uuid, u64)>,
    at: Option<Instant>,
}

impl Heard {
    /// The schedule was read as it is stored.
    pub(super) fn read(&mut self, row: &ScheduleRow) {
        self.known.insert(row.schedule.name.clone(), (row.uid, row.generation));
    }

    fn is_due(&mut self) -> bool {
        let due = self.at.is_none_or(|at| at.elapsed() >= HEAR_EVERY);
        if due {
            self.at = Some(Instant::now());
        }
        due
    }

    /// Names of those that are new, changed or gone.
    fn news(&mut self, news: ScheduleNews) -> Vec<String> {
        let now: HashMap<String, (Uuid, u64)> =
            news.schedules.into_iter().map(|(name, uid, generation)| (name, (uid, generation))).collect();
        let mut changed: Vec<String> =
            now.iter().filter(|(name, is)| self.known.get(*name) != Some(*is)).map(|(name, _)| name.clone()).collect();
        changed.extend(self.known.keys().filter(|name| !now.contains_key(*name)).cloned());
        self.known = now;
        changed
    }
}

impl Engine {
    /// Has the loop look at schedules that others changed, if there are other replicas, and declares again if one that declared
    /// is gone.
    pub(super) async fn hear_of_schedules(&self, declared: &Declarations, heard: &mut Heard, rounds: &mut Rounds) {
        let Some(shared) = self.shared.store.shared() else { return };
        if !heard.is_due() {
            return;
        }
        let mut news = shared.schedule_news().await;
        if news.as_ref().is_ok_and(|news| news.declare) {
            if let Err(error) = self.declare(declared, rounds).await {
                tracing::warn!(%error, "schedules could not be declared again, it is tried again");
            }
            news = shared.schedule_news().await;
        }
        match news {
            Ok(news) => heard.news(news).iter().for_each(|name| self.loops.bell.changed(name)),
            Err(error) => tracing::debug!(%error, "schedules of other replicas not read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(schedules: &[(&str, u128, u64)]) -> ScheduleNews {
        let schedules =
            schedules.iter().map(|(name, uid, generation)| ((*name).to_owned(), Uuid::from_u128(*uid), *generation));
        ScheduleNews { schedules: schedules.collect(), declare: false }
    }

    #[test]
    fn what_is_new_changed_or_gone_is_news_once() {
        let mut heard = Heard::default();
        assert_eq!(heard.news(news(&[("a", 1, 1)])), ["a"]);
        assert_eq!(heard.news(news(&[("a", 1, 1)])), [""; 0]);
        assert_eq!(heard.news(news(&[("a", 1, 2)])), ["a"]);
        assert_eq!(heard.news(news(&[("a", 2, 2)])), ["a"]);
        assert_eq!(heard.news(news(&[])), ["a"]);
        assert_eq!(heard.news(news(&[])), [""; 0]);
    }
}
