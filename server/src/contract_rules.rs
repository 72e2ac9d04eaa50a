//! The engine's port to the rules of contracts (`buf.validate`), over the descriptors of the process.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use engine::rules::{Rules, Violation};
use engine::time::Timestamp;
use prost_reflect::DescriptorPool;
use rules::Unchecked;
use transport::Contracts;

/// The rules of the contracts, by message and by method.
#[derive(Debug)]
pub(crate) struct ContractRules {
    rules: rules::Rules,
    /// The request messages of the methods whose requests can break a rule, by the path of the method.
    requests: HashMap<&'static str, String>,
    unchecked: Vec<Unchecked>,
}

impl ContractRules {
    pub(crate) fn read(contracts: &Contracts, pool: &DescriptorPool) -> Self {
        let (rules, unchecked) = rules::Rules::read(pool);
        let request = |service: &str, name: &str| {
            let method = pool.get_service_by_name(service)?.methods().find(|method| method.name() == name)?;
            Some(method.input().full_name().to_owned()).filter(|request| rules.has(request))
        };
        let methods = contracts.methods().map(|entry| entry.method);
        let requests =
            methods.filter_map(|method| Some((method.path, request(method.service, method.name)?))).collect();
        Self { rules, requests, unchecked }
    }

    /// A warning for each rule that is not checked here.
    pub(crate) fn left_to_services(&self) -> Vec<String> {
        self.unchecked.iter().map(|rule| format!("{rule}; the rule is left to the service")).collect()
    }

    fn check(&self, message: &str, encoded: &[u8], now: Timestamp) -> Vec<Violation> {
        let micros = now.as_micros();
        let span = Duration::from_micros(micros.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let now = if micros < 0 { epoch.checked_sub(span) } else { epoch.checked_add(span) };
        let found = self.rules.check(message, encoded, now.unwrap_or(epoch));
        found.into_iter().map(|rules::Violation { field, description }| Violation { field, description }).collect()
    }
}

impl Rules for ContractRules {
    fn check_request(&self, path: &str, request: &[u8], now: Timestamp) -> Vec<Violation> {
        self.requests.get(path).map(|message| self.check(message, request, now)).unwrap_or_default()
    }

    fn check_message(&self, type_name: &str, message: &[u8], now: Timestamp) -> Vec<Violation> {
        self.check(type_name, message, now)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use test_contracts::acme::guests::v1::{InviteRequest, PartyRequest};

    use super::*;

    const INVITE: &str = "/acme.guests.v1.GuestService/Invite";

    #[test]
    fn requests_are_checked_by_their_method_and_messages_by_their_type() {
        let contracts = &test_contracts::CONTRACTS;
        let rules = ContractRules::read(contracts, &DescriptorPool::decode(contracts.descriptors).unwrap());
        assert_eq!(rules.unchecked, []);
        let now = Timestamp::from_micros(0);
        let guest = InviteRequest { email: "ada".to_owned(), seats: 2 };
        let fields = |found: Vec<Violation>| found.into_iter().map(|violation| violation.field).collect::<Vec<_>>();
        assert_eq!(fields(rules.check_request(INVITE, &guest.encode_to_vec(), now)), ["email"]);
        let party = PartyRequest { guests: vec![guest], seats: 0 }.encode_to_vec();
        assert_eq!(fields(rules.check_message("acme.guests.v1.PartyRequest", &party, now)), ["guests[0].email"]);
        assert_eq!(rules.requests.keys().collect::<Vec<_>>(), [&INVITE], "methods without rules are never looked at");
        assert_eq!(fields(rules.check_message("acme.rooms.v1.ReserveRoomRequest", &[0xff], now)), [""; 0]);
    }
}
