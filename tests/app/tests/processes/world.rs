//! What is outside of the process: the users service, with its ledger.

use std::net::SocketAddr;
use std::time::Duration;

use test_app::users::{Crowd, Ledger, Users};

/// The users service, for as long as the test lives.
pub(crate) struct World {
    pub(crate) users: SocketAddr,
    pub(crate) ledger: Ledger,
    pub(crate) crowd: Crowd,
}

impl World {
    /// A service that knows everybody and never fails.
    pub(crate) async fn good() -> Self {
        Self::of(Users::default()).await
    }

    /// A service that never fails, and every answer takes so long.
    pub(crate) async fn slow(delay: Duration) -> Self {
        Self::of(Users { delay, ..Users::default() }).await
    }

    /// A service that takes its time, and fails now and then, half of the time after it did what was asked.
    pub(crate) async fn unreliable() -> Self {
        Self::unreliable_and_slow(Duration::from_millis(10)).await
    }

    /// The same, and every answer takes so long.
    pub(crate) async fn unreliable_and_slow(delay: Duration) -> Self {
        Self::of(Users { delay, is_unreliable: true, ..Users::default() }).await
    }

    async fn of(users: Users) -> Self {
        let (ledger, crowd) = (users.ledger.clone(), users.crowd.clone());
        let users = Users { knows_all: true, ..users }.serve().await.unwrap();
        Self { users, ledger, crowd }
    }
}
