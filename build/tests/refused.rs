//! What cannot be turned into Rust is refused with its file, its line and a reason, not by the compiler of Rust.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;

use orchestrator_build::Contracts;

/// What the generator says of these files.
fn generate(files: &[(&str, &str)]) -> Result<(), String> {
    generate_as(&Contracts::of("proto"), files)
}

fn generate_as(contracts: &Contracts, files: &[(&str, &str)]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, source) in files {
        let path = folder.path().join("proto").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, source).unwrap();
    }
    contracts.generate_to(folder.path(), &folder.path().join("out")).map_err(|error| error.to_string())
}

fn refused(source: &str) -> String {
    generate(&[("a/v1/a.proto", source)]).unwrap_err()
}

fn assert_names(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "expected {part:?} in: {told}");
    }
}

#[test]
fn two_messages_that_become_one_type_are_named_with_their_lines() {
    let told = refused("syntax = \"proto3\";\npackage a.v1;\nmessage HTTPCall {}\nmessage HttpCall {}\n");
    assert_names(
        &told,
        &["a::v1::HttpCall", "message a.v1.HTTPCall (a/v1/a.proto:3)", "message a.v1.HttpCall (a/v1/a.proto:4)"],
    );
}

#[test]
fn a_message_and_an_enum_that_become_one_type_are_named_across_files_and_packages() {
    let told = generate(&[
        ("a/v1/a.proto", "syntax = \"proto3\";\npackage a.V1;\nmessage Shelf_One {}\n"),
        ("a/v1/b.proto", "syntax = \"proto3\";\npackage a.v1;\n\nenum ShelfOne { NONE = 0; }\n"),
    ]);
    assert_names(
        &told.unwrap_err(),
        &["message a.V1.Shelf_One (a/v1/a.proto:3)", "enum a.v1.ShelfOne (a/v1/b.proto:4)"],
    );
}

#[test]
fn what_is_nested_and_what_is_in_a_package_of_the_messages_name_are_told_apart_or_named() {
    let outer = "syntax = \"proto3\";\npackage a.v1;\nmessage Box {\n  message Size {}\n}\n";
    let inner = |name: &str| format!("syntax = \"proto3\";\npackage a.v1.box;\nmessage {name} {{}}\n");
    generate(&[("a/v1/a.proto", outer), ("a/v1/box/b.proto", &inner("Weight"))]).unwrap();
    let told = generate(&[("a/v1/a.proto", outer), ("a/v1/box/b.proto", &inner("Size"))]).unwrap_err();
    assert_names(&told, &["message a.v1.Box.Size (a/v1/a.proto:4)", "message a.v1.box.Size (a/v1/box/b.proto:3)"]);
}

#[test]
fn fields_variants_and_values_that_become_one_name_are_named() {
    let fields = "syntax = \"proto2\";\npackage a.v1;\nmessage M {\n  optional string fooBar = 1 [json_name = \"a\"];\n  optional string foo_bar = 2 [json_name = \"b\"];\n}\n";
    assert_names(&refused(fields), &["field a.v1.M.fooBar (a/v1/a.proto:4)", "field a.v1.M.foo_bar (a/v1/a.proto:5)"]);
    let values = "syntax = \"proto2\";\npackage a.v1;\nenum Kind {\n  KIND_ONE = 0;\n  ONE = 1;\n}\n";
    assert_names(&refused(values), &["value a.v1.KIND_ONE (a/v1/a.proto:4)", "value a.v1.ONE (a/v1/a.proto:5)"]);
    let oneof = "syntax = \"proto2\";\npackage a.v1;\nmessage M {\n  oneof of {\n    string fooBar = 1 [json_name = \"a\"];\n    string foo_bar = 2 [json_name = \"b\"];\n  }\n}\n";
    assert_names(&refused(oneof), &["field a.v1.M.fooBar (a/v1/a.proto:5)", "field a.v1.M.foo_bar (a/v1/a.proto:6)"]);
}

#[test]
fn a_message_whose_module_is_that_of_a_client_is_named_with_the_service() {
    let told =
        refused("syntax = \"proto3\";\npackage a.v1;\nservice Foo {}\nmessage FooClient {\n  message Inner {}\n}\n");
    assert_names(&told, &["service a.v1.Foo (a/v1/a.proto:3)", "message a.v1.FooClient (a/v1/a.proto:4)"]);
}

#[test]
fn an_edition_that_is_not_known_is_named_with_its_line() {
    let told = refused("// One line before it.\nedition = \"2026\";\npackage a.v1;\n");
    assert_names(&told, &["a/v1/a.proto:2", "edition 2026 is not known; expected 2023 or 2024"]);
}

#[test]
fn features_that_cannot_be_lowered_are_named_with_their_line() {
    let unknown = "edition = \"2023\";\npackage a.v1;\n\nmessage M {\n  string s = 1 [features.colour = RED];\n}\n";
    assert_names(&refused(unknown), &["a/v1/a.proto:5", "feature colour = RED is not known"]);
    let open = "edition = \"2023\";\npackage a.v1;\n\nenum E {\n  ONE = 1;\n}\n";
    assert_names(&refused(open), &["a/v1/a.proto:4", "enum E is open, and its first value is not 0"]);
    let both = "edition = \"2023\";\npackage a.v1;\noption features.enum_type = CLOSED;\nmessage M {\n  \
                string s = 1 [features.field_presence = IMPLICIT];\n}\nenum E {\n  ONE = 1;\n}\n";
    assert_names(&refused(both), &["a/v1/a.proto:7", "implicit presence"]);
    let default = "edition = \"2023\";\npackage a.v1;\nmessage M {\n  \
                   int32 n = 1 [features.field_presence = IMPLICIT, default = 3];\n}\n";
    assert_names(&refused(default), &["a/v1/a.proto:4", "field n has implicit presence and a default"]);
}

#[test]
fn what_the_parser_does_not_know_of_an_edition_is_named_with_its_line() {
    let told = refused("edition = \"2023\";\npackage a.v1;\nmessage M {\n  group Old = 1 {}\n}\n");
    assert_names(&told, &["a/v1/a.proto", "4"]);
}

#[test]
fn a_rule_that_is_not_checked_ends_the_build_unless_it_is_left_to_services() {
    let expression = "syntax = \"proto3\";\npackage a.v1;\nimport \"buf/validate/validate.proto\";\nmessage M {\n  \
                      string s = 1 [(buf.validate.field).cel_expression = \"this != 'a'\"];\n}\n";
    let told = refused(expression);
    assert_names(&told, &["a/v1/a.proto", "a.v1.M.s", "expression", "leave_unchecked_rules_to_services()"]);
    let lenient = Contracts::of("proto").leave_unchecked_rules_to_services();
    generate_as(&lenient, &[("a/v1/a.proto", expression)]).unwrap();
    generate(&[("a/v1/a.proto", &expression.replace("cel_expression = \"this != 'a'\"", "string.min_len = 1"))])
        .unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let told = Contracts::of("proto").generate_to(folder.path(), &folder.path().join("out")).unwrap_err().to_string();
    assert_names(&told, &["proto"]);
}

#[test]
fn a_method_without_a_role_is_named_with_its_line_where_roles_are_asked_for() {
    let contract = |option: &str| {
        format!(
            "syntax = \"proto3\";\npackage a.v1;\nimport \"orchestrator/options/v1/options.proto\";\nmessage M {{}}\n\
             service S {{\n  rpc Do(M) returns (M) {{\n    {option}\n  }}\n}}\n"
        )
    };
    let with_roles = Contracts::of("proto").with_roles("crate::access");
    for option in ["", "option (orchestrator.options.v1.role) = ROLE_UNSPECIFIED;", "option deprecated = true;"] {
        let told = generate_as(&with_roles, &[("a/v1/a.proto", &contract(option))]).unwrap_err();
        assert_names(&told, &["method a.v1.S.Do (a/v1/a.proto:6)", "has no role", "VIEWER"]);
        generate(&[("a/v1/a.proto", &contract(option))]).unwrap();
    }
    let told = contract("option (orchestrator.options.v1.role) = OPERATOR;");
    generate_as(&with_roles, &[("a/v1/a.proto", &told)]).unwrap();
}
