//! What is granted to whom.

use serde::{Deserialize, Serialize};

use super::{Principal, Role, is_name};

/// One grant. Several to the same principal add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// A principal, for example `token:ci`, or the group of a JWT, for example `group:operators`.
    pub who: String,
    pub role: Role,
    /// What the names of workflows begin with. Empty: all workflows.
    #[serde(default)]
    pub workflows: Vec<String>,
}

/// For which workflows somebody has a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Nothing,
    /// Those whose names begin so.
    Workflows(Vec<String>),
    Everything,
}

impl Scope {
    /// Whether the workflow is in it.
    pub fn has(&self, workflow: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Workflows(prefixes) => prefixes.iter().any(|prefix| workflow.starts_with(prefix.as_str())),
            Self::Everything => true,
        }
    }
}

/// All grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Checks what is configured. A mistake is noted with the key below `admin.grants`.
    pub fn read(grants: &[Grant], note: &mut dyn FnMut(String, String)) -> Self {
        for (at, grant) in grants.iter().enumerate() {
            let kinds = ["token:", "jwt:", "cert:", "unix:", "group:"];
            let named = kinds.iter().find_map(|kind| grant.who.strip_prefix(kind));
            if !named.is_some_and(is_name) {
                note(format!("[{at}].who"), format!("expected {} and a name", kinds.join(", ")));
            }
            if grant.workflows.iter().any(String::is_empty) {
                let expected = "expected what names begin with; leave `workflows` out to grant all of them";
                note(format!("[{at}].workflows"), String::from(expected));
            }
        }
        Self(grants.to_vec())
    }

    /// Where the principal has at least this role.
    pub fn scope(&self, principal: &Principal, role: Role) -> Scope {
        let mut prefixes = Vec::new();
        for grant in self.0.iter().filter(|grant| grant.role >= role && is_for(grant, principal)) {
            if grant.workflows.is_empty() {
                return Scope::Everything;
            }
            prefixes.extend(grant.workflows.iter().cloned());
        }
        if prefixes.is_empty() { Scope::Nothing } else { Scope::Workflows(prefixes) }
    }

    /// Whether nobody may do anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_for(grant: &Grant, principal: &Principal) -> bool {
    grant.who == principal.name || principal.also.contains(&grant.who)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(who: &str, role: Role, workflows: &[&str]) -> Grant {
        Grant { who: who.to_owned(), role, workflows: workflows.iter().map(|text| (*text).to_owned()).collect() }
    }

    fn principal(name: &str, groups: &[&str]) -> Principal {
        Principal { name: name.to_owned(), also: groups.iter().map(|text| format!("group:{text}")).collect() }
    }

    #[test]
    fn grants_add_up_and_a_role_includes_those_below_it() {
        let grants = Grants(vec![
            grant("token:ci", Role::Operator, &["billing."]),
            grant("token:ci", Role::Viewer, &["users."]),
            grant("group:admins", Role::Admin, &[]),
        ]);
        let ci = principal("token:ci", &[]);
        let of = |role| grants.scope(&ci, role);
        assert_eq!(of(Role::Viewer), Scope::Workflows(vec![String::from("billing."), String::from("users.")]));
        assert_eq!(of(Role::Operator), Scope::Workflows(vec![String::from("billing.")]));
        assert_eq!(of(Role::Admin), Scope::Nothing);
        assert!(of(Role::Operator).has("billing.remind") && !of(Role::Operator).has("users.billing."));
        assert_eq!(grants.scope(&principal("jwt:ada", &["admins"]), Role::Admin), Scope::Everything);
    }

    #[test]
    fn no_name_of_a_principal_is_that_of_a_group_or_of_another_way() {
        let grants = Grants(vec![grant("group:admins", Role::Admin, &[]), grant("token:ada", Role::Admin, &[])]);
        for (name, groups) in [("jwt:ada", ["token:ada"]), ("jwt:token:ada", ["group:admins"])] {
            assert_eq!(grants.scope(&principal(name, &groups), Role::Viewer), Scope::Nothing, "{name}");
        }
    }

    #[test]
    fn a_grant_to_nobody_who_can_be_and_one_of_an_empty_prefix_are_mistakes() {
        let mut noted = Vec::new();
        let grants =
            [grant("ci", Role::Viewer, &[]), grant("token:", Role::Viewer, &[]), grant("token:a", Role::Viewer, &[""])];
        Grants::read(&grants, &mut |key, _| noted.push(key));
        assert_eq!(noted, ["[0].who", "[1].who", "[2].workflows"]);
    }
}
