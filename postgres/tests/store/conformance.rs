//! The conformance suite of stores, on the newest and on the oldest server that can be had.

mod on_the_newest_server {
    use crate::suite::Databases;
    use postgres_store::testing::Release;
    engine::store_conformance!(Databases::of(Release::Newest));
}

mod on_the_oldest_server {
    use crate::suite::Databases;
    use postgres_store::testing::Release;
    engine::store_conformance!(Databases::of(Release::Oldest));
}

mod where_every_transaction_is_serializable {
    use crate::suite::Databases;
    use postgres_store::testing::Release;
    engine::store_conformance!(Databases::serializable(Release::Newest));
}

mod where_a_third_of_all_commits_is_refused {
    use std::time::Duration;

    use crate::suite::Databases;
    use postgres_store::testing::{Faults, Release};

    const REFUSING: Faults = Faults {
        refused: 0.3,
        answer_lost: 0.0,
        request_lost: 0.0,
        late: 0.0,
        delayed: 0.1,
        delay: Duration::from_millis(50),
    };
    engine::store_conformance!(Databases::failing(Release::Oldest, REFUSING));
}
