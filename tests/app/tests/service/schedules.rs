//! Schedules over the admin API and the command line.

use serde_json::Value;
use server::command_line::Exit;

use crate::support::{Services, World};

/// A daily schedule of the year 2999 is never due in a test.
const CREATE: [&str; 11] = [
    "schedules",
    "create",
    "mornings",
    "--workflow",
    "test.greet",
    "--cron",
    "30 2 * * *",
    "--time-zone",
    "Europe/Berlin",
    "--input",
    "{\"limit\": 3}",
];

async fn created(world: &World) -> Value {
    let (exit, out, talk) = world.command(&[&CREATE[..], &["--output", "json"]].concat()).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    serde_json::from_str(&out).unwrap()
}

async fn json(world: &World, arguments: &[&str]) -> Value {
    let (exit, out, talk) = world.command(&[arguments, &["--output", "json"]].concat()).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test]
async fn a_schedule_is_created_shown_changed_and_deleted() {
    let world = World::start(Services::good()).await;
    let made = created(&world).await;
    // Every policy is said.
    let cron = &made["spec"]["rules"][0]["cron"];
    assert_eq!(
        (cron["dstGap"].as_str(), cron["dstOverlap"].as_str()),
        (Some("DST_GAP_END_OF_GAP"), Some("DST_OVERLAP_FIRST"))
    );
    assert_eq!(made["policy"]["overlap"], "OVERLAP_POLICY_SKIP");
    assert_eq!(made["input"]["limit"], 3);
    assert_eq!(made["nextTimes"].as_array().unwrap().len(), 10);

    let (exit, out, _) = world.command(&["schedules", "list"]).await;
    assert_eq!(exit, Exit::Ok);
    let line = out.lines().find(|line| line.starts_with("mornings")).unwrap();
    assert!(
        line.contains("ACTIVE") && line.contains("30 2 * * * (gap END_OF_GAP, overlap FIRST) in Europe/Berlin"),
        "{out}"
    );
    let (_, out, _) = world.command(&["schedules", "show", "mornings"]).await;
    assert!(out.contains("Policy     SKIP, catch-up LAST within 24h"), "{out}");

    let etag = made["etag"].as_str().unwrap();
    let update = ["schedules", "update", "mornings", "--overlap", "ALLOW_N", "--overlap-limit", "2", "--etag", etag];
    let changed = json(&world, &update).await;
    assert_eq!(
        (&changed["policy"]["overlap"], &changed["policy"]["overlapLimit"]),
        (&"OVERLAP_POLICY_ALLOW_N".into(), &2.into())
    );
    assert_eq!((&changed["spec"], &changed["input"]), (&made["spec"], &made["input"]), "the rest stays");
    let (exit, _, talk) = world.command(&update).await;
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("was changed meanwhile"), "{talk}");

    let (exit, _, talk) = world.command(&["schedules", "delete", "mornings"]).await;
    assert_eq!((exit, talk.trim()), (Exit::Ok, "schedule mornings is deleted"));
    let (exit, _, talk) = world.command(&["schedules", "show", "mornings"]).await;
    assert_eq!(exit, Exit::Usage);
    assert!(talk.contains("schedule mornings not found"), "{talk}");
    let (_, out, _) = world.command(&["audit", "list"]).await;
    for method in ["CreateSchedule", "UpdateSchedule", "DeleteSchedule"] {
        assert!(out.lines().any(|line| line.contains(method) && line.contains("mornings")), "{out}");
    }
}

#[tokio::test]
async fn a_schedule_that_cannot_be_kept_is_refused_with_field_and_column() {
    let world = World::start(Services::good()).await;
    let tried = |flags: &'static [&'static str]| {
        let world = &world;
        async move {
            let create = ["schedules", "create", "new", "--workflow", "test.greet", "--dry-run"];
            let (exit, _, talk) = world.command(&[&create[..], flags].concat()).await;
            assert_eq!(exit, Exit::Usage, "{talk}");
            talk
        }
    };
    assert!(tried(&["--cron", "0 0 30 2 *"]).await.contains("day of month, column 5: day 30 never comes in month 2"));
    assert!(tried(&["--cron", "@reboot"]).await.contains("start a run instead"));
    assert!(tried(&["--cron", "@daily", "--time-zone", "Europe/Berln"]).await.contains("near it are Europe/Berlin"));
    assert!(tried(&["--cron", "@daily", "--input", "{\"no\": 1}"]).await.contains("schedule.input_json.no"));
    assert!(tried(&["--cron", "@daily", "--exclude-date", "noon"]).await.contains("exclude_dates[0]"));
    let (exit, _, _) = world.command(&["schedules", "show", "new"]).await;
    assert_eq!(exit, Exit::Usage, "nothing was stored");
}

#[tokio::test]
async fn a_schedule_is_paused_triggered_and_tells_its_ticks() {
    let world = World::start(Services::good()).await;
    created(&world).await;
    let (exit, out, _) = world.command(&["schedules", "pause", "mornings", "--reason", "the holidays"]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("the holidays") && out.contains("State      PAUSED"), "{out}");
    let (exit, run, talk) = world.command(&["schedules", "trigger", "mornings"]).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    let (_, out, _) = world.command(&["runs", "watch", run.trim()]).await;
    assert!(out.contains("SUCCEEDED"), "{out}");
    let shown = json(&world, &["schedules", "show", "mornings"]).await;
    assert_eq!(shown["lastRunId"], run.trim());
    assert!(shown["lastSuccessTime"].is_string(), "{shown}");
    let (_, out, _) = world.command(&["schedules", "ticks", "mornings"]).await;
    let tick = out.lines().nth(1).unwrap();
    assert!(tick.contains("STARTED") && tick.contains("trigger") && tick.contains(run.trim()), "{out}");
    let (_, out, _) = world.command(&["runs", "show", run.trim()]).await;
    assert!(out.contains("Schedule   mornings, triggered at "), "{out}");
    assert_eq!(json(&world, &["runs", "show", run.trim()]).await["tickOrigin"], "TICK_ORIGIN_TRIGGER");
    let (exit, _, _) = world.command(&["schedules", "resume", "mornings"]).await;
    assert_eq!(exit, Exit::Ok);
}

#[tokio::test]
async fn a_schedule_is_shown_with_the_changes_of_its_clocks_among_its_times() {
    let world = World::start(Services::good()).await;
    // Ten months of these have a Sunday on which clocks change, whenever they begin.
    let create = ["schedules", "create", "monthly", "--workflow", "test.greet", "--cron", "30 2 * * SUN#L"];
    let (exit, _, talk) = world.command(&[&create[..], &["--time-zone", "Europe/Berlin"]].concat()).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    let (_, out, _) = world.command(&["schedules", "show", "monthly"]).await;
    assert!(out.contains("  clocks go from "), "{out}");
    let times = out.lines().filter(|line| line.contains("T02:30:00+0") || line.contains("T03:00:00+02:00  "));
    assert_eq!(times.filter(|line| !line.contains("clocks")).count(), 10, "{out}");
}

#[tokio::test]
async fn a_preview_marks_where_clocks_change() {
    let world = World::start(Services::good()).await;
    let preview = ["schedules", "preview", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin"];
    let range = ["--from", "2026-03-28T00:00:00Z", "--limit", "3"];
    let (exit, out, talk) = world.command(&[&preview[..], &range[..]].concat()).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    let lines: Vec<&str> = out.lines().skip(3).map(str::trim).collect();
    assert!(lines[0].starts_with("2026-03-28T02:30:00+01:00"), "{out}");
    assert!(lines[1].contains("clocks go from 2026-03-29T01:59:59+01:00 to 2026-03-29T03:00:00+02:00"), "{out}");
    assert!(lines[2].starts_with("2026-03-29T03:00:00+02:00"), "{out}");
    assert!(lines[3].starts_with("2026-03-30T02:30:00+02:00"), "{out}");
}

#[tokio::test]
async fn a_backfill_is_planned_made_and_listed() {
    let world = World::start(Services::good()).await;
    created(&world).await;
    let range = ["--from", "2026-01-01T00:00:00Z", "--until", "2026-01-04T00:00:00Z"];
    let backfill = ["schedules", "backfill", "mornings"];
    let (exit, out, _) = world.command(&[&backfill[..], &range[..], &["--dry-run"]].concat()).await;
    assert_eq!((exit, out.trim()), (Exit::Ok, "it would start 3 runs"));
    // The same request is one backfill, and is answered with it.
    let once = ["--request-id", "6a5c9fd5-6a0c-4d2e-9e27-2f6f7a6a8f01"];
    let arguments = [&backfill[..], &range[..], &["--wait"], &once[..]].concat();
    let (exit, out, talk) = world.command(&arguments).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    assert!(out.contains("DONE") && out.contains("3 of 3") && talk.contains("0 of 3"), "{out}{talk}");
    let (_, again, _) = world.command(&arguments).await;
    assert_eq!(again, out);
    let (_, out, _) = world.command(&["schedules", "backfills", "mornings"]).await;
    assert_eq!(out.lines().count(), 2, "{out}");
    let ticks = json(&world, &["schedules", "ticks", "mornings"]).await;
    let tick = &ticks["ticks"][0];
    let (_, out, _) = world.command(&["runs", "show", tick["runId"].as_str().unwrap()]).await;
    let by =
        format!("Schedule   mornings at 2026-01-03T01:30:00Z, by backfill {}", tick["backfillId"].as_str().unwrap());
    assert!(out.contains(&by), "{out}");
}

#[tokio::test]
async fn a_backfill_keeps_its_rate_and_is_cancelled() {
    let world = World::start(Services::good()).await;
    created(&world).await;
    let range = ["--from", "2026-01-01T00:00:00Z", "--until", "2026-02-01T00:00:00Z"];
    let slow = ["--at-once", "31", "--per-minute", "1"];
    let made = json(&world, &[&["schedules", "backfill", "mornings"], &range[..], &slow[..]].concat()).await;
    let id = made["backfillId"].as_str().unwrap();
    let cancel = ["schedules", "cancel-backfill", "mornings", id];
    loop {
        let ticks = json(&world, &["schedules", "ticks", "mornings"]).await;
        if ticks["ticks"].as_array().is_some_and(|ticks| !ticks.is_empty()) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (exit, out, talk) = world.command(&cancel).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    assert!(out.contains("CANCELLED") && out.contains("1 of 31"), "{out}");
    let (exit, _, talk) = world.command(&cancel).await;
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("is over already"), "{talk}");
    let other = ["schedules", "cancel-backfill", "mornings", "6a5c9fd5-6a0c-4d2e-9e27-2f6f7a6a8f02"];
    let (_, _, talk) = world.command(&other).await;
    assert!(talk.contains("the schedule has no backfill 6a5c9fd5"), "{talk}");
}

#[tokio::test]
async fn schedules_that_missed_something_are_listed_with_one_flag() {
    let world = World::start(Services::good()).await;
    created(&world).await;
    let often = ["schedules", "create", "often", "--workflow", "test.nap", "--every", "1s", "--overlap", "SKIP"];
    let (exit, _, talk) = world.command(&often).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    let (exit, out, _) = world.command(&["schedules", "list", "--missed"]).await;
    assert_eq!((exit, out.lines().count()), (Exit::Ok, 1), "none so far: {out}");
    loop {
        let (_, out, _) = world.command(&["schedules", "list", "--missed"]).await;
        if out.lines().count() > 1 {
            assert!(out.lines().nth(1).unwrap().starts_with("often"), "{out}");
            assert_eq!(out.lines().count(), 2, "the other one missed nothing: {out}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
