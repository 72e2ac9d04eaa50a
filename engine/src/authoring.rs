//! What the author of a workflow writes with: the workflow, its context, and the steps. One module, because each of them
//! names the others.

pub mod context;
pub mod steps;
pub mod workflow;
