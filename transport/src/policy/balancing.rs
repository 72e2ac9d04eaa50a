//! Reads from a service config how calls are spread over endpoints, and whose health is asked for (gRFC A17, A24).

use super::json::Node;
use super::read::{Found, Members, Reader, below};
use crate::channel::{Balancing, BalancingPolicy};

/// Endpoints that are drawn where a config does not say how many (gRFC A48).
const CHOICES: u32 = 2;

/// The policies that we have, for people.
const KNOWN: &str = "expected one of pick_first, round_robin, least_request_experimental";

impl Reader {
    pub(super) fn balancing(&mut self, members: &Members<'_>) -> Balancing {
        let policy = match (members.get("loadBalancingConfig"), members.get("loadBalancingPolicy")) {
            (Some(choices), _) => self.first_known(&choices),
            // Deprecated, and looked at only without the other.
            (None, Some(name)) => self.named(&name),
            (None, None) => None,
        };
        let health_check = members.get("healthCheckConfig").and_then(|found| self.health_check(&found));
        Balancing { policy: policy.unwrap_or_default(), health_check }
    }

    /// The first policy of the list that we have holds, and the others are for other clients.
    fn first_known(&mut self, choices: &Found<'_>) -> Option<BalancingPolicy> {
        let listed = self.list(choices);
        if listed.is_empty() && matches!(choices.node, Node::List(_)) {
            self.note(&choices.path, format!("empty; {KNOWN}"));
        }
        let (mut unknown, mut mistaken) = (Vec::new(), false);
        for choice in listed {
            let Node::Object(named) = choice.node else {
                self.mismatch(&choice, "an object with the name of a policy");
                mistaken = true;
                continue;
            };
            let [(name, settings)] = named.as_slice() else {
                self.note(&choice.path, format!("{} policies in one object; expected one", named.len()));
                mistaken = true;
                continue;
            };
            let found = Found { path: below(&choice.path, name), node: settings };
            match self.settings(name, &found) {
                Some(policy) => return Some(policy),
                None => unknown.push(found.path),
            }
        }
        if !mistaken {
            for path in unknown {
                self.note(&path, format!("is not implemented here, nor is any other in the list; {KNOWN}"));
            }
        }
        None
    }

    /// The policy with its settings; none where we do not have it.
    fn settings(&mut self, name: &str, found: &Found<'_>) -> Option<BalancingPolicy> {
        match name {
            "pick_first" => {
                let members = self.members(found, &["shuffleAddressList"]);
                let shuffle = members.and_then(|members| members.get("shuffleAddressList"));
                let shuffle = shuffle.and_then(|found| self.boolean(&found)).unwrap_or(false);
                Some(BalancingPolicy::PickFirst { shuffle })
            }
            "round_robin" => {
                self.members(found, &[]);
                Some(BalancingPolicy::RoundRobin)
            }
            "least_request_experimental" => {
                let members = self.members(found, &["choiceCount"]);
                let choices = members.and_then(|members| members.get("choiceCount"));
                let choices = choices.and_then(|found| self.integer(&found, 2..=u32::MAX)).unwrap_or(CHOICES);
                Some(BalancingPolicy::LeastRequest { choices: choices.min(BalancingPolicy::MOST_CHOICES) })
            }
            _ => None,
        }
    }

    fn named(&mut self, found: &Found<'_>) -> Option<BalancingPolicy> {
        let Node::Text(name) = found.node else {
            self.mismatch(found, "the name of a policy");
            return None;
        };
        let nothing = Found { path: found.path.clone(), node: &Node::Object(Vec::new()) };
        let policy = self.settings(&name.to_ascii_lowercase(), &nothing);
        if policy.is_none() {
            self.note(&found.path, format!("{name:?} is not implemented here; {KNOWN}"));
        }
        policy
    }

    fn health_check(&mut self, found: &Found<'_>) -> Option<String> {
        let members = self.members(found, &["serviceName"])?;
        let Some(name) = members.get("serviceName") else {
            // Without it, some clients ask for no health, and others for that of the whole server.
            let path = below(&found.path, "serviceName");
            self.note(&path, "missing; expected the name of a service, or \"\" for the server as a whole");
            return None;
        };
        match name.node {
            Node::Text(text) => Some(text.clone()),
            _ => {
                self.mismatch(&name, "the name of a service");
                None
            }
        }
    }
}
