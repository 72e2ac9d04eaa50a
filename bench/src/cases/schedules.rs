//! `schedules`: what many cost while they wait, how late their ticks are, and how they start at the full hour.

use crate::How;
use crate::report::{Figure, Report};
use crate::sample::median;
use round::Round;

mod due;
mod round;
mod subject;
mod waiting;

pub(crate) async fn measure(schedules: usize, how: &How, report: &mut Report) -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..how.rounds {
        rounds.push(round::round(schedules, how).await?);
    }
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let figure = |name: String, value: fn(&Round) -> f64, unit| Figure::new("schedules", name, of(value), unit);

    let many = |name: &str| format!("{schedules} wait: {name}");
    report.add(figure(many("start to SERVING"), |round| round.waiting.serving, "s"));
    report.add(figure(many("start to the first tick"), |round| round.waiting.first_tick, "s").at_most(2.0));
    report.add(figure(many("processor time of the start"), |round| round.waiting.start_cpu, "s"));
    report.add(figure(many("share of a core"), |round| round.waiting.busy, "%").at_most(1.0));
    report.add(figure(many("resident memory for each"), |round| round.waiting.resident, "bytes").at_most(1_000.0));
    report.add(figure(many("disk for each"), |round| round.waiting.disk, "bytes"));

    report.add(figure("tick to first call, p50".into(), |round| round.single.first_call_p50, "ms").at_most(5.0));
    report.add(figure("tick to first call, p99".into(), |round| round.single.first_call_p99 * 1e3, "ms"));
    let commit = of(|round| round.commit);
    report.add(figure("the same, in raw commits".into(), |round| round.single.first_call_p50, "ms").beside(commit));

    let second = format!("{} due in one second: ", round::in_a_second(schedules));
    report.add(figure(second.clone() + "late, p50", |round| round.second.late_p50, "s"));
    report.add(figure(second.clone() + "late, p99", |round| round.second.late_p99, "s").at_most(1.0));
    report.add(figure(second.clone() + "first call late, p99", |round| round.second.first_call_p99, "s"));
    report.add(figure(second + "processor time for each", |round| round.second.cpu, "us"));

    let hour = format!("{} due at one instant: ", round::at_an_instant(schedules));
    report.add(figure(hour.clone() + "all runs created", |round| round.hour.created, "s").at_most(10.0));
    let starts = of(|round| round.starts);
    report.add(figure(hour.clone() + "runs created", |round| round.hour.rate, "runs/s").beside(starts));
    report.add(figure(hour.clone() + "processor time for each", |round| round.hour.cpu, "us"));
    report.add(figure(hour.clone() + "memory beyond idle, peak", |round| round.hour.peak, "MB").at_most(round::FLAT));
    let limit = of(|round| round.rate_limit);
    let busiest = figure(hour.clone() + "calls in the busiest second", |round| round.hour.busiest, "calls");
    report.add(busiest.beside(limit).at_most(round::NO_SPIKE));
    report.add(figure(hour + "all over", |round| round.hour.over, "s"));
    Ok(())
}
