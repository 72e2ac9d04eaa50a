//! The table of who may call which method, from the roles that contracts state (`options.proto`).
//!
//! It fails closed: a method without a role ends the build.

use std::fmt::Write;

use prost_reflect::{DescriptorPool, FileDescriptor, MethodDescriptor};

use crate::Error;
use crate::places::place;

const ROLE: &str = "orchestrator.options.v1.role";
const BY_WORKFLOW: &str = "orchestrator.options.v1.by_workflow";

/// The names of the roles, by their numbers in `options.proto`.
const ROLES: [(i32, &str); 3] = [(1, "Viewer"), (2, "Operator"), (3, "Admin")];

/// `pub static ROLES`, with an entry for every method of these files. `path` is the module that has `Rule` and `Role`.
///
/// # Errors
/// A method has no role.
pub(crate) fn table(
    pool: &DescriptorPool,
    is_of_folder: impl Fn(&FileDescriptor) -> bool,
    path: &str,
) -> Result<String, Error> {
    let mut code = String::new();
    writeln!(code, "/// The role that each method takes.\npub static ROLES: &[{path}::Rule] = &[")?;
    let services = pool.services().filter(|service| is_of_folder(&service.parent_file()));
    for method in services.flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let role = role(pool, &method).ok_or_else(|| without_role(&method))?;
        let called = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let by_workflow = is_by_workflow(pool, &method);
        writeln!(
            code,
            "    {path}::Rule {{ path: {called:?}, role: {path}::Role::{role}, by_workflow: {by_workflow} }},"
        )?;
    }
    writeln!(code, "];")?;
    Ok(code)
}

fn role(pool: &DescriptorPool, method: &MethodDescriptor) -> Option<&'static str> {
    let option = pool.get_extension_by_name(ROLE)?;
    let number = method.options().get_extension(&option).as_enum_number()?;
    ROLES.into_iter().find(|(known, _)| *known == number).map(|(_, name)| name)
}

fn is_by_workflow(pool: &DescriptorPool, method: &MethodDescriptor) -> bool {
    let option = pool.get_extension_by_name(BY_WORKFLOW);
    option.is_some_and(|option| method.options().get_extension(&option).as_bool() == Some(true))
}

fn without_role(method: &MethodDescriptor) -> Error {
    let at = place(&method.parent_service().parent_file(), method.path());
    format!(
        "method {} ({at}) has no role; expected `option (orchestrator.options.v1.role) = VIEWER`, `OPERATOR` or `ADMIN`",
        method.full_name()
    )
    .into()
}
