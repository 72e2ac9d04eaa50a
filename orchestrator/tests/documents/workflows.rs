//! The table of workflows, as the README extends it.

use engine::workflow::{NameTaken, Registry};

mod remind;

pub use remind::Remind;

pub fn registry() -> Result<Registry, NameTaken> {
    let mut workflows = Registry::new();
    workflows.register(|| Remind)?;
    Ok(workflows)
}

#[test]
fn the_table_has_the_workflow_of_the_readme() {
    let workflows = registry().unwrap();
    assert_eq!(workflows.iter().map(|workflow| workflow.name).collect::<Vec<_>>(), ["billing.remind"]);
}
