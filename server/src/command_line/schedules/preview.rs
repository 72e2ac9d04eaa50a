//! `orchestrator schedules preview`: the times of a schedule, or of a spec that is not saved.

use clap::Args;
use prost_types::Timestamp;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::table::{table, time};
use super::super::{Terminal, json};
use super::times::Times;
use super::words;
use crate::proto::orchestrator::admin::v1::{ClockChange, PreviewScheduleRequest, PreviewTime};

#[derive(Debug, Args)]
pub(in super::super) struct Preview {
    /// Name of a schedule; if left out, the flags say a spec.
    name: Option<String>,
    #[command(flatten)]
    times: Times,
    /// Times later than this; now if left out.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    from: Option<Timestamp>,
    /// Times before this.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    until: Option<Timestamp>,
    /// How many times to say.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    limit: i32,
    #[command(flatten)]
    server: Server,
}

impl Preview {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = PreviewScheduleRequest {
            spec: self.name.is_none().then(|| self.times.spec()),
            schedule: self.name.unwrap_or_default(),
            start_time: self.from,
            end_time: self.until,
            max_times: self.limit,
        };
        let preview = self.server.schedules()?.preview_schedule(request).await?.into_inner();
        if self.server.output == Output::Json {
            return terminal.line(&json::pretty(&preview)?);
        }
        let spec = preview.spec.unwrap_or_default();
        terminal.line(&format!(
            "{} in {}, zone database {}\n",
            words::rules(&spec),
            spec.time_zone,
            preview.zone_database
        ))?;
        terminal.line(&table(["local time", "utc", ""], rows(preview.times, preview.clock_changes)))
    }
}

/// Times and changes of the clocks, in their order.
pub(super) fn rows(times: Vec<PreviewTime>, changes: Vec<ClockChange>) -> Vec<[String; 3]> {
    let key = |at: Option<&Timestamp>| at.map(|at| (at.seconds, at.nanos)).unwrap_or_default();
    let mut rows: Vec<_> = changes
        .into_iter()
        .map(|change| {
            let says = format!("clocks go from {} to {}", change.local_before, change.local_after);
            (key(change.time.as_ref()), [String::new(), time(change.time.as_ref()), says])
        })
        .collect();
    rows.extend(times.into_iter().map(|at| {
        let says = if at.excluded { "excluded" } else { "" };
        (key(at.nominal_time.as_ref()), [at.local_time, time(at.nominal_time.as_ref()), says.to_owned()])
    }));
    // A change comes before the time that it makes come.
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}
