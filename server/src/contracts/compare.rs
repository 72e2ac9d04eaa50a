//! Compares the contracts that we were built with with those that a server has: what of a call or of its answer would be
//! lost or misread, and what we would repeat and must not.

use std::collections::HashSet;

use engine::rpc::Level;
use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, ServiceDescriptor,
};
use serde::Serialize;

use super::stated;

/// How bad a difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Severity {
    /// Calls fail, lose what they carry, or are repeated although they must not be.
    Error,
    /// Calls continue, and something should be looked at.
    Warning,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// Full name of the service, method (`Service/Method`), field or enum.
    pub(crate) name: String,
    pub(crate) message: String,
}

/// Compares the services. Those of `services` that the server does not have are gone.
pub(crate) fn compare(services: &[ServiceDescriptor], theirs: &DescriptorPool) -> Vec<Finding> {
    let keys = stated::has_options_of_others(theirs);
    let mut comparison = Comparison { keys, ..Comparison::default() };
    let says_of_keys =
        |method: MethodDescriptor| stated::takes_key(&method) || matches!(stated::level(&method), Level::Keyed { .. });
    if !keys && services.iter().flat_map(ServiceDescriptor::methods).any(says_of_keys) {
        comparison
            .warning("reflection", "the server leaves options out that are not protobuf's own: keys are not compared");
    }
    for service in services {
        match theirs.get_service_by_name(service.full_name()) {
            Some(other) => comparison.service(service, &other),
            None => comparison.error(service.full_name(), "the server does not have this service"),
        }
    }
    comparison.findings
}

#[derive(Default)]
struct Comparison {
    findings: Vec<Finding>,
    /// Whether the server says anything of keys: the reflection of some loses what it has no type for.
    keys: bool,
    /// Pairs of messages that were compared; contracts may be recursive.
    seen: HashSet<(String, String)>,
}

impl Comparison {
    fn error(&mut self, name: &str, message: impl Into<String>) {
        self.findings.push(Finding { severity: Severity::Error, name: name.to_owned(), message: message.into() });
    }

    fn warning(&mut self, name: &str, message: impl Into<String>) {
        self.findings.push(Finding { severity: Severity::Warning, name: name.to_owned(), message: message.into() });
    }

    fn service(&mut self, ours: &ServiceDescriptor, theirs: &ServiceDescriptor) {
        for method in ours.methods() {
            let name = format!("{}/{}", ours.full_name(), method.name());
            match theirs.methods().find(|other| other.name() == method.name()) {
                Some(other) => self.method(&name, &method, &other),
                None => self.error(&name, "the server does not have this method"),
            }
        }
    }

    fn method(&mut self, name: &str, ours: &MethodDescriptor, theirs: &MethodDescriptor) {
        let (our_kind, their_kind) = (streaming(ours), streaming(theirs));
        if our_kind != their_kind {
            self.error(name, format!("it is {our_kind} for us, and {their_kind} at the server"));
        }
        let level = |method| match stated::level(method) {
            Level::Keyed { .. } if !self.keys => Level::Unknown,
            level => level,
        };
        let (our_level, their_level) = (level(ours), level(theirs));
        let (we_say, they_say) = (stated::told(our_level), stated::told(their_level));
        if stated::strength(our_level) > stated::strength(their_level) {
            self.error(name, format!("we would repeat it as {we_say}, and the server says {they_say}"));
        } else if our_level != their_level {
            self.warning(name, format!("the server says {they_say}, and we still take it for {we_say}"));
        }
        if self.keys && stated::takes_key(ours) && !stated::takes_key(theirs) {
            self.warning(name, "the server does not say any more that its request_id takes the idempotency key");
        }
        for (role, our_message, their_message) in
            [("request", ours.input(), theirs.input()), ("response", ours.output(), theirs.output())]
        {
            let (our_name, their_name) = (our_message.full_name(), their_message.full_name());
            if our_name != their_name {
                self.error(name, format!("its {role} is {our_name} for us, and {their_name} at the server"));
            }
            self.message(&our_message, &their_message);
        }
    }

    fn message(&mut self, ours: &MessageDescriptor, theirs: &MessageDescriptor) {
        if !self.seen.insert((ours.full_name().to_owned(), theirs.full_name().to_owned())) {
            return;
        }
        for field in ours.fields() {
            match theirs.get_field(field.number()) {
                Some(other) => self.field(&field, &other),
                None => {
                    let message = format!("the server does not have this field (number {})", field.number());
                    self.error(field.full_name(), message);
                }
            }
        }
    }

    fn field(&mut self, ours: &FieldDescriptor, theirs: &FieldDescriptor) {
        let name = ours.full_name();
        if ours.name() != theirs.name() {
            self.warning(name, format!("the server calls field {} `{}`", ours.number(), theirs.name()));
        }
        let (our_shape, their_shape) = (shape(ours), shape(theirs));
        if our_shape != their_shape {
            return self.error(name, format!("it is {our_shape} for us, and {their_shape} at the server"));
        }
        match (ours.kind(), theirs.kind()) {
            (Kind::Message(ours), Kind::Message(theirs)) => self.message(&ours, &theirs),
            (Kind::Enum(our_enum), Kind::Enum(their_enum)) => self.values(&our_enum, &their_enum),
            (our_kind, their_kind) if our_kind == their_kind => {}
            (our_kind, their_kind) => {
                let message = format!("its type is {our_kind:?} for us, and {their_kind:?} at the server");
                match encoding(&our_kind) {
                    same if same == encoding(&their_kind) => {
                        self.warning(name, message + ", which read each other as long as the values fit");
                    }
                    _ => self.error(name, message),
                }
            }
        }
    }

    fn values(&mut self, ours: &EnumDescriptor, theirs: &EnumDescriptor) {
        if !self.seen.insert((ours.full_name().to_owned(), theirs.full_name().to_owned())) {
            return;
        }
        for value in ours.values().filter(|value| theirs.get_value(value.number()).is_none()) {
            let message = format!("the server does not have its value {} (number {})", value.name(), value.number());
            self.warning(ours.full_name(), message);
        }
    }
}

fn streaming(method: &MethodDescriptor) -> &'static str {
    match (method.is_client_streaming(), method.is_server_streaming()) {
        (false, false) => "unary",
        (false, true) => "server streaming",
        (true, false) => "client streaming",
        (true, true) => "bidirectional streaming",
    }
}

/// A map is a list of entries, and told as what it is.
fn shape(field: &FieldDescriptor) -> &'static str {
    if field.is_map() {
        "a map"
    } else if field.is_list() {
        "a list"
    } else {
        "one value"
    }
}

/// Kinds that one wire encoding carries, and that read each other (the protobuf guide on updating a message type).
fn encoding(kind: &Kind) -> u8 {
    match kind {
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum(_) => 0,
        Kind::Sint32 | Kind::Sint64 => 1,
        Kind::Fixed32 | Kind::Sfixed32 => 2,
        Kind::Fixed64 | Kind::Sfixed64 => 3,
        Kind::String | Kind::Bytes => 4,
        Kind::Message(_) => 5,
        Kind::Float => 6,
        Kind::Double => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Compiles the body of a contract that has a service `S`.
    fn pool(body: &str) -> DescriptorPool {
        let folder = tempfile::tempdir().unwrap();
        let header = "syntax = \"proto3\";\npackage t.v1;\nimport \"orchestrator/options/v1/options.proto\";\n\
                      import \"google/api/field_info.proto\";\n";
        std::fs::write(folder.path().join("t.proto"), format!("{header}{body}")).unwrap();
        let contracts = concat!(env!("CARGO_MANIFEST_DIR"), "/../build/proto");
        let mut compiler = protox::Compiler::new([folder.path(), std::path::Path::new(contracts)]).unwrap();
        compiler.include_imports(true).open_file("t.proto").unwrap();
        // Encoded, because the types of the set would lose the options that they do not know.
        DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
    }

    fn findings(ours: &str, theirs: &str) -> Vec<String> {
        let services: Vec<_> = pool(ours).services().collect();
        let findings = compare(&services, &pool(theirs));
        findings.iter().map(|finding| format!("{:?} {}: {}", finding.severity, finding.name, finding.message)).collect()
    }

    /// A service with one method `M` with these options, and the fields of its request.
    fn method(options: &str, fields: &str) -> String {
        format!(
            "service S {{ rpc M(Q) returns (A) {{ {options} }} }}\nmessage Q {{ {fields} }}\nmessage A {{}}\n\
             message T {{ string id = 1 [(google.api.field_info).format = IPV4]; }}\nenum E {{ E_UNSPECIFIED = 0; E_ONE = 1; }}"
        )
    }

    #[test]
    fn a_contract_does_not_differ_from_itself_nor_from_one_with_more_in_it() {
        let ours = method("option idempotency_level = IDEMPOTENT;", "string a = 1; Q inner = 2; map<string, T> m = 3;");
        assert_eq!(findings(&ours, &ours), [] as [&str; 0]);
        let more = method(
            "option idempotency_level = IDEMPOTENT;",
            "string a = 1; Q inner = 2; map<string, T> m = 3; T t = 4;",
        );
        assert_eq!(findings(&ours, &(more + "\nservice Other {}")), [] as [&str; 0]);
    }

    #[test]
    fn what_is_gone_is_an_error() {
        let ours = method("", "string a = 1; T t = 2;");
        assert_eq!(findings(&ours, "message Q {}"), ["Error t.v1.S: the server does not have this service"]);
        let emptied = "service S {}";
        assert_eq!(findings(&ours, emptied), ["Error t.v1.S/M: the server does not have this method"]);
        let fewer = method("", "string a = 1;");
        assert_eq!(findings(&ours, &fewer), ["Error t.v1.Q.t: the server does not have this field (number 2)"]);
    }

    #[test]
    fn a_level_that_has_become_weaker_is_an_error_and_a_stronger_one_a_warning() {
        const LEVELS: [&str; 4] = [
            "",
            "option (orchestrator.options.v1.idempotency_key) = {dedupe_horizon: {seconds: 60}};",
            "option idempotency_level = IDEMPOTENT;",
            "option idempotency_level = NO_SIDE_EFFECTS;",
        ];
        let told = ["IDEMPOTENCY_UNKNOWN", "a key that is remembered for 1m", "IDEMPOTENT", "NO_SIDE_EFFECTS"];
        for (i, ours) in LEVELS.iter().enumerate() {
            for (k, theirs) in LEVELS.iter().enumerate() {
                let expected = match i.cmp(&k) {
                    std::cmp::Ordering::Equal => Vec::new(),
                    std::cmp::Ordering::Greater => vec![format!(
                        "Error t.v1.S/M: we would repeat it as {}, and the server says {}",
                        told[i], told[k]
                    )],
                    std::cmp::Ordering::Less => vec![format!(
                        "Warning t.v1.S/M: the server says {}, and we still take it for {}",
                        told[k], told[i]
                    )],
                };
                assert_eq!(findings(&method(ours, ""), &method(theirs, "")), expected);
            }
        }
        assert!(
            stated::strength(Level::Keyed { horizon: Duration::from_secs(2) })
                > stated::strength(Level::Keyed { horizon: Duration::from_secs(1) })
        );
    }

    #[test]
    fn a_field_of_another_type_is_an_error_unless_both_read_each_other() {
        let field = |field: &str| method("", field);
        for (ours, theirs, expected) in [
            (
                "int32 a = 1;",
                "int64 a = 1;",
                "Warning t.v1.Q.a: its type is int32 for us, and int64 at the server, which",
            ),
            (
                "string a = 1;",
                "bytes a = 1;",
                "Warning t.v1.Q.a: its type is string for us, and bytes at the server, which",
            ),
            ("int32 a = 1;", "sint32 a = 1;", "Error t.v1.Q.a: its type is int32 for us, and sint32 at the server"),
            ("string a = 1;", "T a = 1;", "Error t.v1.Q.a: its type is string for us, and "),
            (
                "string a = 1;",
                "repeated string a = 1;",
                "Error t.v1.Q.a: it is one value for us, and a list at the server",
            ),
            (
                "repeated T a = 1;",
                "map<string, T> a = 1;",
                "Error t.v1.Q.a: it is a list for us, and a map at the server",
            ),
            ("string a = 1;", "string b = 1;", "Warning t.v1.Q.a: the server calls field 1 `b`"),
        ] {
            let found = findings(&field(ours), &field(theirs));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(expected), "{found:?}");
        }
    }

    #[test]
    fn what_a_reflection_has_lost_is_not_taken_for_gone() {
        let option = "option (orchestrator.options.v1.idempotency_key) = {dedupe_horizon: {seconds: 60}};";
        let ours = "service S { rpc M(Q) returns (Q) { OPTION } }\nmessage Q {}".replace("OPTION", option);
        let lost = "the server leaves options out that are not protobuf's own: keys are not compared";
        assert_eq!(findings(&ours, &ours.replace(option, "")), [format!("Warning reflection: {lost}")]);
    }

    #[test]
    fn other_differences_are_told_once_each() {
        let ours = method("", "E e = 1; repeated E es = 2;");
        let theirs = ours.replace(" E_ONE = 1;", "");
        assert_eq!(findings(&ours, &theirs), ["Warning t.v1.E: the server does not have its value E_ONE (number 1)"]);
        let streamed = ours.replace("returns (A)", "returns (stream A)");
        assert_eq!(
            findings(&ours, &streamed),
            ["Error t.v1.S/M: it is unary for us, and server streaming at the server"]
        );
        let other = ours.replace("rpc M(Q)", "rpc M(T)");
        assert_eq!(
            findings(&ours, &other)[0],
            "Error t.v1.S/M: its request is t.v1.Q for us, and t.v1.T at the server"
        );
        let keyed = method("", "string request_id = 1 [(google.api.field_info).format = UUID4];");
        assert_eq!(findings(&keyed, &method("", "string request_id = 1;")).len(), 1);
    }
}
