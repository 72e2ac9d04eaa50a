//! `limits`: what the machine allows.

use crate::How;
use crate::limits::{own_calls, raw_calls, raw_commits};
use crate::process::Echo;
use crate::report::{Figure, Report};
use crate::sample::{Sample, count};

/// Rows of the commits that are measured.
const ROWS: [usize; 3] = [1, 10, 500];

pub(crate) async fn measure(how: &How, report: &mut Report) -> anyhow::Result<()> {
    let echo = Echo::start(std::time::Duration::ZERO)?;
    for &in_flight in how.in_flight() {
        let (mut tonic, mut own) = (Vec::new(), Vec::new());
        for _ in 0..how.rounds {
            tonic.push(raw_calls(&echo.address, in_flight, how.window()).await?);
            own.push(own_calls(&echo.address, in_flight, how.window()).await?);
        }
        let case = format!("limits/{in_flight}");
        let (tonic, own) = (Sample::median(&tonic), Sample::median(&own));
        report.add(Figure::new(&case, "tonic", tonic.per_second, "calls/s"));
        report.add(Figure::new(&case, "tonic p50", tonic.p50, "us"));
        report.add(Figure::new(&case, "own channel", own.per_second, "calls/s").beside(tonic.per_second));
        report.add(Figure::new(&case, "own channel p50", own.p50, "us").beside(tonic.p50));
    }
    for rows in ROWS {
        let mut commits = Vec::new();
        for _ in 0..how.rounds {
            commits.push(raw_commits(how.folder.as_deref(), rows, how.window() / 2).await?);
        }
        let commits = Sample::median(&commits);
        report.add(Figure::new("limits", format!("SQLite, {rows} rows a commit"), commits.per_second, "commits/s"));
        report.add(Figure::new("limits", format!("SQLite, {rows} rows a commit, p50"), commits.p50, "us"));
        if rows > 1 {
            let rate = commits.per_second * count(rows);
            report.add(Figure::new("limits", format!("SQLite, by {rows} rows"), rate, "rows/s"));
        }
    }
    Ok(())
}
