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
