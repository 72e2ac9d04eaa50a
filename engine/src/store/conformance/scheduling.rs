//! Schedules as people define and change them.

use super::ticking::{declare, end, hour, hourly, schedule, tick};
use super::*;
use crate::schedule::{Overlap, Spec};
use crate::store::Declare;
use crate::store::{
    BackfillRow, ListSchedules, Schedule, ScheduleCommand, ScheduleCommandKind, ScheduleRefusal, ScheduleRow, Source,
    Tick, TickOrigin, TickOutcome, Ticked,
};

fn command(name: &str, action: &'static str, kind: ScheduleCommandKind) -> ScheduleCommand {
    ScheduleCommand { name: name.to_owned(), now: hour(0), generation: None, change: change(action, None), kind }
}

fn created(name: &str) -> ScheduleCommandKind {
    ScheduleCommandKind::Create(Box::new(Schedule::new(name, WORKFLOW, Spec::every(60 * MINUTE))))
}

async fn create(store: &dyn Store, name: &str) -> ScheduleRow {
    store.schedule_command(command(name, "CreateSchedule", created(name))).await.unwrap()
}

pub(super) async fn a_schedule_is_created_changed_paused_and_deleted(stores: &dyn Stores) {
    let store = stores.empty().await;
    let row = create(&*store, "new").await;
    assert_eq!((row.source, row.generation, row.high_water), (Source::Api, 1, hour(0)));
    let again = command("new", "CreateSchedule", created("new"));
    assert_eq!(store.schedule_command(again).await, Err(ScheduleRefusal::Exists("new".to_owned()).into()));
    let other = Schedule::new("new", WORKFLOW, Spec::cron("0 9 * * *", "Europe/Berlin"));
    let update = ScheduleCommandKind::Update(Box::new(other.clone()));
    let stale = ScheduleCommand { generation: Some(7), ..command("new", "UpdateSchedule", update.clone()) };
    let changed = ScheduleRefusal::Changed { name: "new".to_owned(), expected: 7, found: 1 };
    assert_eq!(store.schedule_command(stale).await, Err(changed.into()));
    let right = ScheduleCommand { generation: Some(1), now: hour(3), ..command("new", "UpdateSchedule", update) };
    let updated = store.schedule_command(right).await.unwrap();
    // It makes up for no time that it did not have then.
    assert_eq!((updated.schedule.clone(), updated.generation, updated.high_water), (other, 2, hour(3)));
    let paused = store.schedule_command(command("new", "PauseSchedule", ScheduleCommandKind::Pause)).await.unwrap();
    let pause = paused.paused.clone().unwrap();
    assert_eq!((pause.by.as_str(), pause.note.as_str(), paused.generation), ("someone", "enough", 3));
    let resumed = store.schedule_command(command("new", "ResumeSchedule", ScheduleCommandKind::Resume)).await.unwrap();
    assert_eq!((resumed.paused, resumed.generation), (None, 4));
    let again = store.schedule_command(command("new", "ResumeSchedule", ScheduleCommandKind::Resume)).await;
    assert_eq!(again, Err(ScheduleRefusal::NotPaused("new".to_owned()).into()));
    store.schedule_command(command("new", "DeleteSchedule", ScheduleCommandKind::Delete)).await.unwrap();
    let gone = store.schedule_command(command("new", "DeleteSchedule", ScheduleCommandKind::Delete)).await;
    assert_eq!(gone, Err(ScheduleRefusal::NotFound("new".to_owned()).into()));
    let entries = store.audit(ListAudit { limit: 10, ..ListAudit::default() }).await.unwrap();
    let actions: Vec<&str> = entries.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["DeleteSchedule", "ResumeSchedule", "PauseSchedule", "UpdateSchedule", "CreateSchedule"]);
    assert!(entries.iter().all(|entry| entry.schedule.as_deref() == Some("new") && entry.workflow == WORKFLOW));
    create(&*store, "other").await;
    let of = |name: &str| ListAudit::of_schedule(name, 10);
    assert_eq!(store.audit(of("new")).await, Ok(entries.clone()), "also of one that is gone");
    let page = ListAudit { before: Some(entries[1].number), limit: 2, ..of("new") };
    assert_eq!(store.audit(page).await.unwrap(), entries[2..4]);
    assert_eq!(store.audit(of("other")).await.unwrap().len(), 1);
    assert_eq!(store.audit(of("none")).await, Ok(Vec::new()));
}

pub(super) async fn a_request_changes_a_schedule_once(stores: &dyn Stores) {
    let store = stores.empty().await;
    let key = request(Uuid::now_v7(), 1);
    let creation =
        ScheduleCommand { change: change("CreateSchedule", Some(key)), ..command("new", "", created("new")) };
    let first = store.schedule_command(creation.clone()).await.unwrap();
    assert_eq!(store.schedule_command(creation).await, Ok(first.clone()));
    let key = request(Uuid::now_v7(), 1);
    let origin = TickOrigin::Trigger(key.id);
    let trigger = Tick { origin, change: Some(change("TriggerSchedule", Some(key))), ..tick(&first, hour(1)) };
    let Ok(Ticked::Done(done)) = store.tick(trigger.clone()).await else { panic!("done") };
    assert_eq!(store.tick(trigger).await, Ok(Ticked::Existing { outcome: done.outcome, run: done.run }));
}

pub(super) async fn a_schedule_that_is_created_anew_is_another_one(stores: &dyn Stores) {
    let store = stores.empty().await;
    let first = create(&*store, "new").await;
    store.schedule_command(command("new", "DeleteSchedule", ScheduleCommandKind::Delete)).await.unwrap();
    assert_eq!(store.tick(tick(&first, hour(1))).await, Ok(Ticked::Past));
    let second = create(&*store, "new").await;
    assert_ne!(first.uid, second.uid);
    assert_eq!(store.tick(tick(&first, hour(1))).await, Ok(Ticked::Past));
    assert!(matches!(store.tick(tick(&second, hour(1))).await, Ok(Ticked::Done(_))));
}

pub(super) async fn what_is_declared_is_kept_over_owners_and_changed_where_it_is_declared(stores: &dyn Stores) {
    let store = stores.empty().await;
    let row = declare(&*store, vec![hourly()], hour(0)).await.remove(0);
    let Ok(Ticked::Done(done)) = store.tick(tick(&row, hour(1))).await else { panic!("done") };
    let marked = done.row;
    for kind in [ScheduleCommandKind::Update(Box::new(hourly())), ScheduleCommandKind::Delete] {
        let refused = ScheduleRefusal::Declared { name: "hourly".to_owned(), by: Source::Configuration };
        assert_eq!(store.schedule_command(command("hourly", "Change", kind)).await, Err(refused.into()));
    }
    let store = stores.succeed(store).await;
    assert_eq!(schedule(&*store, "hourly").await, marked);
    assert_eq!(declare(&*store, vec![hourly()], hour(2)).await, std::slice::from_ref(&marked));
    let faster = Schedule { spec: Spec::every(MINUTE), ..hourly() };
    let changed = declare(&*store, vec![faster.clone()], hour(2)).await.remove(0);
    assert_eq!((changed.schedule, changed.uid, changed.high_water), (faster, marked.uid, hour(2)));
}

pub(super) async fn a_declared_schedule_that_disappears_is_retired_and_keeps_its_mark(stores: &dyn Stores) {
    let store = stores.empty().await;
    let row = declare(&*store, vec![hourly()], hour(0)).await.remove(0);
    let Ok(Ticked::Done(done)) = store.tick(tick(&row, hour(1))).await else { panic!("done") };
    assert_eq!(declare(&*store, Vec::new(), hour(2)).await, []);
    let retired = schedule(&*store, "hourly").await;
    assert_eq!((retired.retired_at, retired.high_water), (Some(hour(2)), hour(1)));
    assert!(matches!(store.tick(tick(&done.row, hour(2))).await, Ok(Ticked::Stale(_))));
    let back = declare(&*store, vec![hourly()], hour(3)).await.remove(0);
    assert_eq!((back.retired_at, back.uid, back.high_water), (None, row.uid, hour(1)));
    // One that is retired may be deleted.
    declare(&*store, Vec::new(), hour(4)).await;
    store.schedule_command(command("hourly", "DeleteSchedule", ScheduleCommandKind::Delete)).await.unwrap();
    assert_eq!(store.schedules(ListSchedules { limit: 9, ..ListSchedules::default() }).await, Ok(Vec::new()));
}

pub(super) async fn what_is_declared_and_cannot_be_kept_stays_as_it_is_stored(stores: &dyn Stores) {
    let store = stores.empty().await;
    let row = declare(&*store, vec![hourly()], hour(0)).await.remove(0);
    let kept = vec!["hourly".to_owned(), "unknown".to_owned()];
    let again = Declare { now: hour(1), zone_database: "2026a", schedules: Vec::new(), kept };
    assert_eq!(store.declare_schedules(again).await.unwrap().rows, []);
    assert_eq!(schedule(&*store, "hourly").await, row);
    assert_eq!(store.schedules(ListSchedules { limit: 9, ..ListSchedules::default() }).await.unwrap().len(), 1);
}

pub(super) async fn a_declaration_takes_over_what_was_created_under_its_name(stores: &dyn Stores) {
    let store = stores.empty().await;
    let made = create(&*store, "hourly").await;
    let declared = declare(&*store, vec![hourly()], hour(2)).await.remove(0);
    assert_eq!((declared.uid, declared.source), (made.uid, Source::Configuration));
}

pub(super) async fn the_zone_database_of_the_owner_before_is_known(stores: &dyn Stores) {
    let store = stores.empty().await;
    let by = |zone_database| Declare { now: hour(1), zone_database, schedules: Vec::new(), kept: Vec::new() };
    assert_eq!(store.declare_schedules(by("2025c")).await.unwrap().zone_database, None);
    let store = stores.succeed(store).await;
    for (now, before) in [("2026a", "2025c"), ("2026a", "2026a"), ("2026b", "2026a")] {
        assert_eq!(store.declare_schedules(by(now)).await.unwrap().zone_database.as_deref(), Some(before));
    }
}

pub(super) async fn schedules_are_listed_by_name_in_pages(stores: &dyn Stores) {
    let store = stores.empty().await;
    for name in ["b", "a", "c"] {
        create(&*store, name).await;
    }
    let page =
        |after: Option<&str>| ListSchedules { after: after.map(str::to_owned), limit: 2, ..ListSchedules::default() };
    let names = |rows: Vec<ScheduleRow>| rows.into_iter().map(|row| row.schedule.name).collect::<Vec<_>>();
    assert_eq!(names(store.schedules(page(None)).await.unwrap()), ["a", "b"]);
    assert_eq!(names(store.schedules(page(Some("b"))).await.unwrap()), ["c"]);
    for (granted, names_of) in [(&["conformance.f"][..], vec!["a", "b"]), (&["conformance.s"], vec![]), (&[], vec![])] {
        let granted = Some(granted.iter().map(|prefix| (*prefix).to_owned()).collect());
        assert_eq!(names(store.schedules(ListSchedules { granted, ..page(None) }).await.unwrap()), names_of);
    }
    let other = ListSchedules { workflow: Some(OTHER.to_owned()), ..page(None) };
    assert_eq!(store.schedules(other).await, Ok(Vec::new()));
}

pub(super) async fn schedules_are_read_by_uid_as_far_as_they_exist(stores: &dyn Stores) {
    let store = stores.empty().await;
    let one = create(&*store, "one").await;
    let gone = create(&*store, "gone").await;
    create(&*store, "other").await;
    store.schedule_command(command("gone", "DeleteSchedule", ScheduleCommandKind::Delete)).await.unwrap();
    let Ok(Ticked::Done(done)) = store.tick(tick(&one, hour(5))).await else { panic!("done") };
    let read = store.schedules_by_uid(vec![gone.uid, one.uid, Uuid::nil()]).await.unwrap();
    assert_eq!(read, [done.row]);
    assert_eq!(store.schedules_by_uid(Vec::new()).await, Ok(Vec::new()));
}

pub(super) async fn a_backfill_starts_runs_beside_the_schedules_own(stores: &dyn Stores) {
    let store = stores.empty().await;
    let row = create(&*store, "new").await;
    let Ok(Ticked::Done(own)) = store.tick(tick(&row, hour(5))).await else { panic!("done") };
    let id = Uuid::now_v7();
    let backfill = backfill(id);
    let kind = ScheduleCommandKind::Backfill(Box::new(backfill.clone()));
    store.schedule_command(command("new", "BackfillSchedule", kind)).await.unwrap();
    let of_backfill = |row: &ScheduleRow, nominal| {
        let mut tick = Tick { origin: TickOrigin::Backfill(id), ..tick(row, nominal) };
        tick.start.iter_mut().for_each(|start| start.overlap = Overlap::AllowN(2));
        tick
    };
    for (nominal, outcome) in [(1, Some(TickOutcome::Started)), (2, Some(TickOutcome::Started)), (3, None)] {
        let Ok(Ticked::Done(done)) = store.tick(of_backfill(&own.row, hour(nominal))).await else { panic!("done") };
        assert_eq!((done.outcome, done.row.high_water), (outcome, hour(5)));
    }
    let known = store.backfills(row.uid).await.unwrap().remove(0);
    assert_eq!((known.started, known.open, known.cursor, known.ended_at), (2, 2, hour(2), None));
    assert_eq!(store.settle_schedule(row.uid).await.unwrap().backfills, [known]);
    end(&*store, State::Succeeded).await;
    let settled = store.settle_schedule(row.uid).await.unwrap();
    assert_eq!(settled.backfills[0].open, 0);
    let over = Tick { start: None, ..of_backfill(&settled.row, hour(3)) };
    let Ok(Ticked::Done(_)) = store.tick(over).await else { panic!("done") };
    assert_eq!(store.settle_schedule(row.uid).await.unwrap().backfills, []);
    let cancel = command("new", "CancelBackfill", ScheduleCommandKind::CancelBackfill(id));
    assert_eq!(store.schedule_command(cancel).await, Err(ScheduleRefusal::BackfillOver(id).into()));
}

/// One of three times.
fn backfill(id: Uuid) -> BackfillRow {
    BackfillRow {
        id,
        from: hour(1),
        until: hour(4),
        at_once: 2,
        per_minute: 0,
        total: 3,
        created_at: hour(5),
        cursor: hour(0),
        started: 0,
        passed: 0,
        ended_at: None,
        cancelled: false,
        open: 0,
        last_start: None,
        spec: Some(Spec::cron("0 * * * *", "Europe/Berlin")),
    }
}

pub(super) async fn backfills_that_ended_long_ago_are_dropped_once_they_are_listed_no_more(stores: &dyn Stores) {
    let store = stores.empty().await;
    let row = create(&*store, "new").await;
    let add = async |number: u128, created_at: Timestamp| {
        let id = Uuid::from_u128(number);
        let backfill = BackfillRow { created_at, ..backfill(id) };
        let add = ScheduleCommandKind::Backfill(Box::new(backfill));
        store.schedule_command(command("new", "BackfillSchedule", add)).await.unwrap();
        id
    };
    let end = async |id: Uuid, now: Timestamp| {
        let cancel = command("new", "CancelBackfill", ScheduleCommandKind::CancelBackfill(id));
        store.schedule_command(ScheduleCommand { now, ..cancel }).await.unwrap();
    };
    let continues = add(1, hour(1)).await;
    for number in 2..=102 {
        end(add(number, hour(2).after(MINUTE * number as u32)).await, hour(5)).await;
    }
    let known = async |number: u128| store.backfill(Uuid::from_u128(number)).await.unwrap().is_some();
    assert!(known(2).await, "the last of them was added within the time for which requests are answered");
    add(103, hour(48)).await;
    assert!(!known(2).await && !known(3).await && known(4).await, "as many as are listed stay");
    assert!(store.backfill(continues).await.unwrap().is_some(), "it has not ended");
    assert_eq!(store.backfills(row.uid).await.unwrap().len(), 100);
}
