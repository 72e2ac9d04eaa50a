//! The contracts as the orchestrator holds its services to them: what they state, and whether servers state the same.

mod compare;
mod reflection;
mod stated;

pub(crate) use compare::{Finding, Severity, compare};
pub(crate) use reflection::{Reflection, ReflectionError};
pub(crate) use stated::{strength, told};
