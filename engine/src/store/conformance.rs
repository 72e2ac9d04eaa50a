//! What every store must do, as tests over the trait: each store runs the same ones.
//!
//! A store's own tests name it once, and get one test for each sentence:
//!
//! ```ignore
//! engine::store_conformance!(MyStores::default());
//! ```

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests, only that other crates' tests call them")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::{
    Append, Appended, AuditEntry, AuditField, AuditedChange, BulkRequest, ChildEndNotice, ClaimRuns, Claimed, Command,
    CommandKind, Comparison, Created, Filter, ListAudit, Message, NewRun, Parent, Refusal, RelatedRuns, RequestKey,
    Requester, RunRow, Signal, Status, Store, StoreError, Unclaimable, UnownedAppend, Value,
};
use crate::state::State;
use crate::time::{Clock, Timestamp};

mod appending;
mod auditing;
mod claiming;
mod commands;
mod families;
mod messaging;
mod reading;
mod rewinding;
mod scheduling;
mod steering;
mod ticking;

/// Makes the stores that the tests work on.
pub trait Stores: Send + Sync {
    /// A store with nothing in it. Each test asks once.
    fn empty(&self) -> BoxFuture<'_, Arc<dyn Store>>;

    /// What the last one made holds, in the hands of another owner, after the earlier one died without a word.
    fn succeed(&self, dead: Arc<dyn Store>) -> BoxFuture<'_, Arc<dyn Store>>;
}

macro_rules! sentences {
    ($($module:ident { $($name:ident)* })*) => {
        $($(
            #[doc(hidden)]
            pub async fn $name(stores: &dyn Stores) {
                $module::$name(stores).await;
            }
        )*)*

        /// Makes a test of each sentence over the stores that the expression makes.
        #[macro_export]
        macro_rules! store_conformance {
            ($stores:expr) => {
                $($(
                    #[tokio::test]
                    async fn $name() {
                        $crate::store::conformance::$name(&$stores).await;
                    }
                )*)*
            };
        }

        /// Runs all sentences, one after another.
        ///
        /// # Panics
        ///
        /// Where the store does not keep one.
        pub async fn suite(stores: &dyn Stores) {
            $($($name(stores).await;)*)*
        }
    };
}

sentences! {
    appending {
        a_created_run_is_there_with_its_first_facts
        an_append_moves_the_row_and_adds_to_the_journal
        an_append_without_facts_moves_the_row_only
        an_append_at_another_sequence_is_fenced
        an_append_at_another_epoch_is_fenced
        an_append_to_a_run_that_is_given_back_is_fenced
        an_append_to_a_run_that_is_not_there_says_so
        a_run_that_is_created_twice_is_refused
        an_ended_run_is_given_back_and_stays_ended
        a_message_with_a_nul_is_kept_or_has_another_sign_there
        appends_queued_together_keep_their_order
        a_refused_operation_does_not_fail_its_neighbours
        operations_are_queued_when_they_are_called
        a_closed_store_says_so
    }
    auditing {
        a_change_leaves_an_entry_with_it
        a_change_that_is_refused_leaves_no_entry
        entries_are_listed_newest_first_in_pages
        changes_that_an_owner_makes_leave_entries
        refused_calls_are_counted_once_for_each_caller_method_and_minute
        entries_are_found_by_what_they_say
        what_a_caller_calls_itself_is_kept_beside_who_it_is
    }
    claiming {
        a_pending_run_is_claimed_once
        a_sleeping_run_is_claimed_when_its_time_has_come
        a_run_is_created_asleep
        a_parked_run_without_a_wake_time_is_left_alone
        what_its_owner_has_not_in_memory_is_given_back_and_claimed_anew
        what_is_parked_and_not_in_memory_is_given_back_as_it_is
        the_longest_due_run_is_claimed_first_and_the_limit_holds
        unknown_workflows_and_newer_versions_are_left_alone
        a_new_owner_claims_what_the_old_one_held
        a_new_owner_leaves_parked_runs_parked
        an_old_owner_cannot_write
        a_claim_shows_what_was_committed_before
    }
    commands {
        a_repeated_creation_gives_the_first_run
        a_request_id_of_another_request_is_refused
        request_ids_of_other_methods_are_others
        the_name_that_a_caller_gives_itself_is_no_part_of_a_request
        requests_that_name_a_removed_run_are_answered_with_what_it_was
        a_request_for_many_runs_keeps_the_time_of_its_first_and_whether_it_is_completed
        a_start_is_refused_after_a_cancel
        facts_that_start_nothing_are_appended_after_a_cancel
        a_cancelled_run_that_nobody_holds_is_due_at_once
        a_cancel_of_an_ended_run_depends_on_its_end
        a_repeated_cancel_acts_once
        a_failed_run_is_reopened
        a_reopening_of_another_journal_is_fenced
        a_run_is_amended_only_where_nobody_holds_it_and_the_table_of_moves_allows_it
        an_amendment_that_was_overtaken_by_a_command_is_fenced
        an_amendment_keeps_a_pause_if_it_says_so
        a_run_that_needs_a_decision_keeps_being_asked_to_end
    }
    families {
        children_are_created_with_their_parents_append
        the_end_of_a_child_lies_in_its_parents_inbox
        an_ended_parent_hears_of_no_child
        children_are_asked_to_end_with_their_parents_append
    }
    messaging {
        messages_are_kept_in_the_order_in_which_they_came
        a_message_makes_due_who_waits_for_it
        a_run_is_not_given_back_beside_a_message_that_it_has_not_seen
        messages_leave_the_inbox_with_the_append_that_received_them
        an_inbox_has_so_much_room_and_that_of_an_ended_run_none
        a_message_of_one_request_comes_once
    }
    reading {
        a_journal_is_read_in_pages
        runs_are_listed_newest_first_in_pages
        runs_are_listed_by_workflow_and_state
        what_is_not_granted_is_on_no_page
        runs_are_found_and_counted_by_what_their_rows_say
        lists_are_read_from_either_end_in_pages
        workflows_are_named_once_over_all_their_versions
        what_is_not_there_is_none
    }
    steering {
        a_run_that_nobody_holds_is_paused_at_once
        a_run_that_is_held_hears_of_a_pause_with_its_next_start
        what_does_not_go_on_is_not_paused
        only_an_ended_run_is_deleted_with_all_that_belongs_to_it
        old_ends_are_purged_in_batches_and_pinned_runs_stay
        young_ends_and_long_journals_wait_for_a_later_purge
        old_audit_entries_are_dropped
    }
    scheduling {
        a_schedule_is_created_changed_paused_and_deleted
        a_request_changes_a_schedule_once
        a_schedule_that_is_created_anew_is_another_one
        what_is_declared_is_kept_over_owners_and_changed_where_it_is_declared
        a_declared_schedule_that_disappears_is_retired_and_keeps_its_mark
        what_is_declared_and_cannot_be_kept_stays_as_it_is_stored
        a_declaration_takes_over_what_was_created_under_its_name
        the_zone_database_of_the_owner_before_is_known
        schedules_are_listed_by_name_in_pages
        schedules_are_read_by_uid_as_far_as_they_exist
        a_backfill_starts_runs_beside_the_schedules_own
        backfills_that_ended_long_ago_are_dropped_once_they_are_listed_no_more
    }
    ticking {
        a_tick_starts_its_run_once
        the_run_of_a_tick_is_held_from_the_start_if_that_is_asked_for_and_it_may_begin
        a_tick_during_the_last_run_is_skipped_and_says_for_which
        a_parked_run_counts_as_running
        ticks_wait_in_their_order_and_no_more_than_there_is_room_for
        so_many_runs_go_on_as_are_allowed
        the_next_run_waits_for_the_end_of_those_that_it_cancels
        times_that_start_nothing_are_written_down_with_the_one_that_does
        a_tick_of_another_generation_or_success_writes_nothing
        a_schedule_is_over_after_as_many_runs_as_it_may_start
        a_run_that_fails_pauses_a_schedule_that_says_so
        the_ledger_keeps_its_newest_rows_and_those_that_wait
    }
    rewinding {
        a_clock_that_is_set_back_starts_no_run_twice_and_stops_nothing
        no_row_stands_for_a_time_that_has_one
        a_time_whose_row_was_dropped_starts_no_run_twice_after_the_clock_is_set_back
    }
}

const WORKFLOW: &str = "conformance.first";
const OTHER: &str = "conformance.second";
const MINUTE: Duration = Duration::from_secs(60);

fn now() -> Timestamp {
    Clock::system().now()
}

/// A status in this state and nothing beside.
fn status(state: State) -> Status {
    Status { state, reason: String::new(), ending_as: None, wake_at: None, awaits: Vec::new(), steps: 0, error: None }
}

fn sleeping(wake_at: Timestamp) -> Status {
    Status { wake_at: Some(wake_at), ..status(State::Waiting) }
}

/// A run that waits for a claim.
fn pending() -> NewRun {
    let created_at = now();
    NewRun {
        id: Uuid::now_v7(),
        workflow: WORKFLOW.to_owned(),
        workflow_version: 1,
        created_at,
        deadline: created_at.after(60 * MINUTE),
        origin: None,
        previous_success: None,
        parent: None,
        change: None,
        claimed: false,
        entry: Bytes::from_static(b"created"),
        facts: 1,
        status: status(State::Pending),
    }
}

/// A run that its creator drives.
fn running() -> NewRun {
    NewRun { claimed: true, status: status(State::Running), ..pending() }
}

/// One more fact for a run at this epoch and sequence.
fn fact(run: Uuid, epoch: u64, sequence: u64) -> Append {
    Append {
        run,
        epoch,
        sequence,
        control: None,
        entry: Bytes::from(format!("fact {}", sequence + 1)),
        facts: 1,
        status: status(State::Running),
        messages: None,
        takes: Vec::new(),
        related_runs: None,
        release: false,
        changes: Vec::new(),
    }
}

fn request(id: Uuid, hash: u8) -> RequestKey {
    RequestKey { id, hash: [hash; 32] }
}

/// A change that somebody asks for, under this request id where there is one.
fn change(action: &'static str, request: Option<RequestKey>) -> AuditedChange {
    Requester { request, ..Requester::new("someone", "enough") }.to(action, "")
}

fn starting(request: RequestKey) -> NewRun {
    NewRun { change: Some(change("StartRun", Some(request))), ..running() }
}

fn cancel(run: Uuid) -> Command {
    Command { run, now: now(), change: change("CancelRun", None), kind: CommandKind::Cancel }
}

/// Claims of the first workflow, as of then.
async fn claim_at(store: &dyn Store, now: Timestamp, limit: u32) -> Claimed {
    store.claim(ClaimRuns { workflows: vec![(WORKFLOW.to_owned(), 1)], now, limit, held: None }).await.unwrap()
}

async fn created(store: &dyn Store, run: NewRun) -> Uuid {
    let id = run.id;
    assert_eq!(store.create(run).await, Ok(Created::New));
    id
}

async fn row(store: &dyn Store, id: Uuid) -> RunRow {
    store.run(id).await.unwrap().unwrap()
}

/// Moves a run that its creator holds at sequence 1 into a state, and gives it back.
async fn left(store: &dyn Store, status: Status) -> Uuid {
    let id = created(store, running()).await;
    let append = Append { status, release: true, ..fact(id, 1, 1) };
    assert_eq!(store.append(append).await, Ok(Appended::Done));
    id
}
