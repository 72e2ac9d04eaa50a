//! What rules of contracts say of messages, on small contracts that are compiled here.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::{Duration, SystemTime};

use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use rules::{Rules, Unchecked};

const VALIDATE: &str = include_str!("../../build/proto/buf/validate/validate.proto");

struct Sources(String);

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "a.proto" => File::from_source(name, &self.0),
            "buf/validate/validate.proto" => File::from_source(name, VALIDATE),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

struct Contract {
    pool: DescriptorPool,
    rules: Rules,
    unchecked: Vec<Unchecked>,
}

/// A contract with these messages.
fn contract(messages: &str) -> Contract {
    let imports = ["buf/validate/validate", "google/protobuf/any", "google/protobuf/duration"]
        .into_iter()
        .chain(["google/protobuf/field_mask", "google/protobuf/timestamp", "google/protobuf/wrappers"])
        .map(|name| format!("import \"{name}.proto\";\n"))
        .collect::<String>();
    let source = format!("syntax = \"proto3\";\npackage a;\n{imports}{messages}");
    let mut resolver = ChainFileResolver::new();
    resolver.add(Sources(source));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("a.proto").map_err(|error| format!("{error:?}")).unwrap();
    let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap();
    let (rules, unchecked) = Rules::read(&pool);
    Contract { pool, rules, unchecked }
}

/// A contract of one message with one field `f`.
fn field(declaration: &str) -> Contract {
    let contract = contract(&format!("enum E {{ ZERO = 0; ONE = 1; }}\nmessage M {{ {declaration} }}"));
    assert_eq!(contract.unchecked, []);
    contract
}

impl Contract {
    fn descriptor(&self, name: &str) -> MessageDescriptor {
        self.pool.get_message_by_name(name).unwrap()
    }

    /// The violations of the message `a.M` that this JSON is, at second 1,000 after 1970.
    fn told(&self, json: &str) -> Vec<(String, String)> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let message = DynamicMessage::deserialize(self.descriptor("a.M"), &mut reader).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let found = self.rules.check("a.M", &message.encode_to_vec(), now);
        found.into_iter().map(|violation| (violation.field, violation.description)).collect()
    }

    fn holds(&self, json: &str) -> bool {
        self.told(json).is_empty()
    }
}

/// Of these values of the field `f`, the ones that the contract takes and those that it refuses differ from what is said.
fn assert_field(declaration: &str, right: &[&str], wrong: &[&str]) {
    let contract = field(declaration);
    let json = |value: &str| if value.is_empty() { "{}".to_owned() } else { format!("{{\"f\": {value}}}") };
    for value in right {
        assert_eq!(contract.told(&json(value)), [], "{declaration}: {value}");
    }
    for value in wrong {
        let told = contract.told(&json(value));
        assert!(told.len() == 1 && told[0].0.starts_with('f'), "{declaration}: {value}: {told:?}");
    }
}

#[test]
fn numbers_are_between_their_bounds_or_outside_of_them_if_the_bounds_are_swapped() {
    assert_field("int32 f = 1 [(buf.validate.field).int32 = {gte: 1, lt: 3}];", &["1", "2"], &["", "3", "-1"]);
    assert_field("sint64 f = 1 [(buf.validate.field).sint64 = {lt: 1, gt: 3}];", &["", "4"], &["\"1\"", "\"3\""]);
    assert_field(
        "uint64 f = 1 [(buf.validate.field).uint64.lte = 18446744073709551614];",
        &["\"18446744073709551614\""],
        &["\"18446744073709551615\""],
    );
    assert_field("fixed32 f = 1 [(buf.validate.field).fixed32 = {in: [2, 3]}];", &["2"], &["", "1"]);
    assert_field("int64 f = 1 [(buf.validate.field).int64 = {not_in: [2, 3]}];", &["", "1"], &["\"3\""]);
    assert_field("uint32 f = 1 [(buf.validate.field).uint32.const = 7];", &["7"], &["8"]);
    assert_field("double f = 1 [(buf.validate.field).double = {gt: 0.5, finite: true}];", &["1"], &["0.5"]);
    assert_field("float f = 1 [(buf.validate.field).float.finite = true];", &["1", ""], &["\"NaN\"", "\"Infinity\""]);
    assert_field("float f = 1 [(buf.validate.field).float.lt = 1];", &["0.5"], &["\"NaN\"", "1"]);
    assert_field("bool f = 1 [(buf.validate.field).bool.const = true];", &["true"], &["", "false"]);
    assert_field("E f = 1 [(buf.validate.field).enum = {defined_only: true, not_in: [0]}];", &["1"], &["", "5"]);
}

#[test]
fn texts_are_counted_in_characters_and_bytes() {
    assert_field(
        "string f = 1 [(buf.validate.field).string = {min_len: 2, max_len: 3}];",
        &["\"äö\""],
        &["", "\"a\"", "\"abcd\""],
    );
    assert_field("string f = 1 [(buf.validate.field).string.len = 2];", &["\"äö\""], &["\"a\""]);
    assert_field(
        "string f = 1 [(buf.validate.field).string = {min_bytes: 3, max_bytes: 4}];",
        &["\"äö\""],
        &["\"ä\"", "\"äöü\""],
    );
    assert_field("string f = 1 [(buf.validate.field).string.pattern = \"^[a-z]+$\"];", &["\"ab\""], &["", "\"aB\""]);
    assert_field("string f = 1 [(buf.validate.field).string.prefix = \"a/\"];", &["\"a/b\""], &["\"b\""]);
    assert_field("string f = 1 [(buf.validate.field).string.suffix = \"b\"];", &["\"ab\""], &["\"a\""]);
    assert_field("string f = 1 [(buf.validate.field).string.contains = \"b\"];", &["\"abc\""], &["\"a\""]);
    assert_field("string f = 1 [(buf.validate.field).string.not_contains = \"b\"];", &["\"a\""], &["\"abc\""]);
    assert_field("string f = 1 [(buf.validate.field).string = {in: [\"a\", \"b\"]}];", &["\"a\""], &["\"c\""]);
    assert_field("string f = 1 [(buf.validate.field).string = {not_in: [\"a\", \"b\"]}];", &["\"c\""], &["\"a\""]);
    assert_field("string f = 1 [(buf.validate.field).string.email = true];", &["\"a@b.c\""], &["", "\"a\""]);
    assert_field("string f = 1 [(buf.validate.field).string.email = false];", &["\"a\""], &[]);
    assert_field(
        "string f = 1 [(buf.validate.field).string = {well_known_regex: KNOWN_REGEX_HTTP_HEADER_NAME}];",
        &["\"x-a\""],
        &["\"a b\""],
    );
    assert_field(
        "string f = 1 [(buf.validate.field).string = {well_known_regex: KNOWN_REGEX_HTTP_HEADER_NAME, strict: false}];",
        &["\"a b\""],
        &["\"\\n\""],
    );
    assert_field(
        "bytes f = 1 [(buf.validate.field).bytes = {min_len: 2, prefix: \"a\"}];",
        &["\"YWI=\""],
        &["\"YQ==\"", "\"Yng=\""],
    );
    assert_field("bytes f = 1 [(buf.validate.field).bytes.contains = \"b\"];", &["\"YWI=\""], &["\"YQ==\""]);
    assert_field("bytes f = 1 [(buf.validate.field).bytes.ipv4 = true];", &["\"AAAAAA==\""], &["\"AAAA\""]);
}

#[test]
fn messages_that_protobuf_knows_have_rules_of_their_own() {
    assert_field(
        "google.protobuf.Duration f = 1 [(buf.validate.field).duration = {gt: {seconds: 1}, lte: {seconds: 2}}];",
        &["", "\"2s\"", "\"1.5s\""],
        &["\"1s\"", "\"-1s\"", "\"3s\""],
    );
    let time = |seconds: u32| format!("\"1970-01-01T00:{:02}:{:02}Z\"", seconds / 60, seconds % 60);
    let (past, now, future) = (time(999), time(1_000), time(1_001));
    assert_field(
        "google.protobuf.Timestamp f = 1 [(buf.validate.field).timestamp.lt_now = true];",
        &["", &past],
        &[&now, &future],
    );
    assert_field(
        "google.protobuf.Timestamp f = 1 [(buf.validate.field).timestamp.gt_now = true];",
        &[&future],
        &[&now, &past],
    );
    assert_field(
        "google.protobuf.Timestamp f = 1 [(buf.validate.field).timestamp.within = {seconds: 1}];",
        &[&past, &future],
        &[&time(1_002)],
    );
    assert_field(
        "google.protobuf.StringValue f = 1 [(buf.validate.field).string.min_len = 2];",
        &["", "\"ab\""],
        &["\"\"", "\"a\""],
    );
    assert_field(
        "google.protobuf.FieldMask f = 1 [(buf.validate.field).field_mask = {in: [\"a\", \"b.c\"]}];",
        &["\"a.x,b.c\"", ""],
        &["\"b\"", "\"a,d\""],
    );
    assert_field(
        "google.protobuf.FieldMask f = 1 [(buf.validate.field).field_mask = {not_in: [\"a\"]}];",
        &["\"b\""],
        &["\"a.b\""],
    );
    assert_field(
        "google.protobuf.Any f = 1 [(buf.validate.field).any = {in: [\"type.googleapis.com/a.M\"]}];",
        &["{\"@type\": \"type.googleapis.com/a.M\"}"],
        &["{\"@type\": \"type.googleapis.com/google.protobuf.Duration\", \"value\": \"1s\"}"],
    );
}

#[test]
fn lists_and_maps_are_counted_and_so_is_what_is_in_them() {
    assert_field(
        "repeated string f = 1 [(buf.validate.field).repeated = {min_items: 1, max_items: 2}];",
        &["[\"a\"]"],
        &["", "[\"a\", \"b\", \"c\"]"],
    );
    assert_field(
        "repeated float f = 1 [(buf.validate.field).repeated.unique = true];",
        &["[1, 2]", "[\"NaN\", \"NaN\"]"],
        &["[0, -0.0]"],
    );
    assert_field("repeated E f = 1 [(buf.validate.field).repeated.unique = true];", &["[0, 1]"], &["[1, 1]"]);
    assert_field("map<string, int32> f = 1 [(buf.validate.field).map.min_pairs = 1];", &["{\"a\": 0}"], &[""]);
    let items = field("repeated string f = 1 [(buf.validate.field).repeated.items.string.min_len = 2];");
    assert_eq!(
        items.told("{\"f\": [\"ab\", \"a\"]}"),
        [("f[1]".to_owned(), "has 1; expected at least 2 characters".to_owned())]
    );
    let ignored = field(
        "repeated string f = 1 [(buf.validate.field).repeated.items = {ignore: IGNORE_IF_ZERO_VALUE, string: {min_len: 2}}];",
    );
    assert_eq!(ignored.told("{\"f\": [\"\", \"a\"]}").len(), 1);
    let entries = field(
        "map<string, int32> f = 1 [(buf.validate.field).map = {keys: {string: {max_len: 1}}, values: {int32: {gt: 0}}}];",
    );
    let fields: Vec<String> =
        entries.told("{\"f\": {\"b\": 0, \"aa\": 1}}").into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["f[\"aa\"]", "f[\"b\"]"]);
}

#[test]
fn what_is_required_must_be_set_and_what_is_not_set_is_not_checked() {
    assert_field("string f = 1 [(buf.validate.field).required = true];", &["\"a\""], &["", "\"\""]);
    assert_field("optional string f = 1 [(buf.validate.field).required = true];", &["\"\""], &[""]);
    assert_field(
        "M f = 1; string g = 2 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE, string: {min_len: 2}}];",
        &["", "{\"g\": \"ab\"}"],
        &["{\"g\": \"a\"}"],
    );
    assert_field("optional string f = 1 [(buf.validate.field).string.min_len = 1];", &["", "\"a\""], &["\"\""]);
    assert_field(
        "string f = 1 [(buf.validate.field) = {required: true, string: {min_len: 5}, ignore: IGNORE_ALWAYS}];",
        &["", "\"a\""],
        &[],
    );
    let oneof = field("oneof f { option (buf.validate.oneof).required = true; string a = 1; string b = 2; }");
    assert_eq!(oneof.told("{}"), [("f".to_owned(), "expected one of a, b".to_owned())]);
    assert!(oneof.holds("{\"a\": \"\"}"));
    let choice = field(
        "option (buf.validate.message).oneof = {fields: [\"a\", \"b\"], required: true}; string a = 1 [(buf.validate.field).string.min_len = 2]; string b = 2;",
    );
    assert!(choice.holds("{\"b\": \"x\"}") && choice.holds("{\"a\": \"xy\"}"));
    assert_eq!(
        choice.told("{\"a\": \"xy\", \"b\": \"x\"}"),
        [(String::new(), "2 of a, b are set; expected exactly one".to_owned())]
    );
    assert_eq!(choice.told("{}").len(), 1);
}

#[test]
fn messages_within_messages_are_checked_wherever_they_are_and_only_if_they_can_break_a_rule() {
    let nested = contract(
        "message M { repeated N list = 1; map<string, N> by_name = 2; M again = 3; oneof one { N n = 4; } }
         message N { string id = 1 [(buf.validate.field).string.min_len = 1]; }
         message Free { Free again = 1; repeated Other others = 2; }
         message Other { string id = 1; }",
    );
    let told = nested.told("{\"list\": [{}], \"byName\": {\"x\": {}}, \"again\": {\"n\": {}}}");
    let fields: Vec<String> = told.into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["list[0].id", "by_name[\"x\"].id", "again.n.id"]);
    assert!(nested.rules.has("a.M") && nested.rules.has("a.N"));
    assert!(!nested.rules.has("a.Free") && !nested.rules.has("a.Other"));
}

#[test]
fn a_violation_never_shows_the_value_nor_a_key_that_is_redacted() {
    let secret = field(
        "map<string, string> f = 1 [debug_redact = true, (buf.validate.field).map.values.string.min_len = 20];
         string g = 2 [(buf.validate.field).string.uuid = true];",
    );
    let told = secret.told("{\"f\": {\"secret\": \"secret\"}, \"g\": \"secret\"}");
    assert_eq!(told.len(), 2);
    assert!(!format!("{told:?}").contains("secret"), "{told:?}");
}

#[test]
fn many_violations_are_cut_short() {
    let many = field("repeated string f = 1 [(buf.validate.field).repeated.items.string.min_len = 1];");
    let json = format!("{{\"f\": [{}]}}", vec!["\"\""; 1_000].join(", "));
    assert_eq!(many.told(&json).len(), 20);
}

#[test]
fn bytes_that_are_no_such_message_break_the_rules() {
    let some = field("string f = 1 [(buf.validate.field).string.min_len = 1];");
    let found = some.rules.check("a.M", &[0xff], SystemTime::UNIX_EPOCH);
    assert!(found[0].description.starts_with("not a a.M: "), "{found:?}");
}

#[test]
fn a_rule_that_is_not_checked_is_named_with_its_file_and_field() {
    let cases = [
        (
            "string f = 1 [(buf.validate.field).cel = {id: \"x\", expression: \"this != ''\"}];",
            "a.M.f",
            "an expression",
        ),
        ("string f = 1 [(buf.validate.field).cel_expression = \"this != ''\"];", "a.M.f", "an expression"),
        ("option (buf.validate.message).cel_expression = \"true\"; string f = 1;", "a.M", "an expression"),
        ("string f = 1 [(buf.validate.field).int32.gt = 1];", "a.M.f", "rules of `int32` do not fit"),
        ("repeated string f = 1 [(buf.validate.field).string.len = 1];", "a.M.f", "expected `repeated`"),
        ("repeated M f = 1 [(buf.validate.field).repeated.unique = true];", "a.M.f", "does not fit messages"),
        ("string f = 1 [(buf.validate.field).string.pattern = \"(\"];", "a.M.f", "cannot be read"),
        ("option (buf.validate.message).oneof = {fields: [\"g\"]}; string f = 1;", "a.M", "g is no field"),
    ];
    for (declaration, place, reason) in cases {
        let told = contract(&format!("message M {{ {declaration} }}")).unchecked;
        assert_eq!(told.len(), 1, "{declaration}: {told:?}");
        assert!(told[0].file == "a.proto" && told[0].place == place && told[0].reason.contains(reason), "{told:?}");
    }
}
