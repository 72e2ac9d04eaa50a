//! `slow-disk`: how much of its rate `chain` keeps when every commit takes longer.

use crate::How;
use crate::cases::runs::Case;
use crate::load::keep_in_flight;
use crate::process::{Echo, Options, Orchestrator};
use crate::report::{Figure, Report};
use crate::sample::Sample;

const DELAYS_MS: [u64; 3] = [0, 2, 10];

pub(crate) async fn measure(how: &How, report: &mut Report) -> anyhow::Result<()> {
    let echo = Echo::start(std::time::Duration::ZERO)?;
    for &in_flight in how.in_flight() {
        let mut undelayed = f64::NAN;
        for delay in DELAYS_MS {
            let set = vec![format!("store.commit_delay={delay}ms")];
            let options = Options { folder: how.folder.clone(), set, ..Options::default() };
            let mut runs = Vec::new();
            for _ in 0..how.rounds {
                let orchestrator = Orchestrator::start(&echo, &options).await?;
                runs.push(keep_in_flight(&orchestrator, Case::Chain.workflow(), in_flight, how.window()).await?);
                orchestrator.stop().await?;
            }
            let run = Sample::median(&runs);
            let case = format!("slow-disk/{in_flight}");
            let rate = Figure::new(&case, format!("runs, commits {delay} ms slower"), run.per_second, "runs/s");
            report.add(match delay {
                0 => {
                    undelayed = run.per_second;
                    rate
                }
                10 if in_flight == 1_000 => rate.beside(undelayed).at_least(0.7),
                _ => rate.beside(undelayed),
            });
            report.add(Figure::new(&case, format!("run p50, commits {delay} ms slower"), run.p50, "us"));
        }
    }
    Ok(())
}
