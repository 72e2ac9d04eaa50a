//! Figures on their way out: tables for people, one JSON object per line for programs.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    case: String,
    name: String,
    value: f64,
    unit: &'static str,
    /// What the machine allows, measured in the same invocation, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    /// The value by the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

impl Figure {
    pub(crate) fn new(case: impl Into<String>, name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { case: case.into(), name: name.into(), value, unit, limit: None, ratio: None, goal: None, met: None }
    }

    pub(crate) fn beside(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self.ratio = Some(self.value / limit);
        self
    }

    /// States the least ratio to the limit, or, if there is no limit, the least value.
    pub(crate) fn at_least(mut self, goal: f64) -> Self {
        self.goal = Some(format!("{} at least {goal}", self.judged()));
        self.met = Some(self.ratio.unwrap_or(self.value) >= goal);
        self
    }

    /// States the greatest ratio to the limit, or, if there is no limit, the greatest value.
    pub(crate) fn at_most(mut self, goal: f64) -> Self {
        self.goal = Some(format!("{} at most {goal}", self.judged()));
        self.met = Some(self.ratio.unwrap_or(self.value) <= goal);
        self
    }

    fn judged(&self) -> &'static str {
        if self.ratio.is_some() { "ratio" } else { "value" }
    }
}

/// Where figures go.
pub(crate) struct Report {
    json: bool,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, figures: Vec::new() }
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        if self.json
            && let Ok(line) = serde_json::to_string(&figure)
        {
            println!("{line}");
        }
        self.figures.push(figure);
    }

    /// Prints what is not printed yet, as one table.
    pub(crate) fn end(self) {
        if self.json {
            return;
        }
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(["case", "figure", "value", "unit", "limit", "ratio", "goal", "met"]);
        for figure in &self.figures {
            table.add_row([
                figure.case.clone(),
                figure.name.clone(),
                number(figure.value),
                figure.unit.to_owned(),
                figure.limit.map(number).unwrap_or_default(),
                figure.ratio.map(number).unwrap_or_default(),
                figure.goal.clone().unwrap_or_default(),
                figure.met.map_or("", |met| if met { "yes" } else { "NO" }).to_owned(),
            ]);
        }
        for column in [2, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{table}");
    }
}

fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 4,
    };
    format!("{value:.digits$}")
}
