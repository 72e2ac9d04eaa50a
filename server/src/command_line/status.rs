//! `orchestrator status`: the replica that answers, and what happened to its clock.

use crate::proto::orchestrator::admin::v1::{ClockStep, GetReplicaRequest};
use clap::Args;

use super::connection::{Output, Server};
use super::exit::CommandError;
use super::table::{facts, table, time};
use super::{Exit, Terminal, json};

/// Asks the replica that answers.
#[derive(Debug, Args)]
pub(super) struct ReplicaStatus {
    #[command(flatten)]
    server: Server,
}

impl ReplicaStatus {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let replica = self.server.replicas()?.get_replica(GetReplicaRequest {}).await?.into_inner();
        if self.server.output == Output::Json {
            terminal.line(&json::pretty(&replica)?)?;
            return Ok(Exit::Ok);
        }
        let count = replica.clock_step_count;
        let clock = match replica.clock_steps.first() {
            Some(last) => format!(
                "{} (set {count} times since the start, the last time {})",
                time(replica.current_time.as_ref()),
                how(last)
            ),
            None => time(replica.current_time.as_ref()),
        };
        terminal.line(&facts(&[
            ("started", time(replica.start_time.as_ref())),
            ("clock", clock),
            ("zones", replica.zone_database),
            ("in memory", format!("{} runs", replica.runs_in_flight)),
        ]))?;
        if !replica.clock_steps.is_empty() {
            let rows = replica.clock_steps.iter().map(|step| [time(step.time.as_ref()), how(step)]);
            terminal.line("")?;
            terminal.line(&table(["time", "the clock was set"], rows))?;
        }
        Ok(Exit::Ok)
    }
}

/// As in `back by 2h`.
fn how(step: &ClockStep) -> String {
    let by = step.by.unwrap_or_default();
    let by = jiff::SignedDuration::new(by.seconds, by.nanos);
    let by = by.round(jiff::Unit::Millisecond).unwrap_or(by);
    format!("{} by {:#}", if by.is_negative() { "back" } else { "forward" }, by.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_as_a_person_says_it() {
        let of = |seconds, nanos| ClockStep { time: None, by: Some(prost_types::Duration { seconds, nanos }) };
        assert_eq!(how(&of(7_200, 0)), "forward by 2h");
        assert_eq!(how(&of(-21_600, -1_000)), "back by 6h");
        assert_eq!(how(&of(0, -600_000_000)), "back by 600ms");
    }
}
