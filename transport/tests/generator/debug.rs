//! What is nested in a message whose `Debug` is not prost's is shown all the same, and what is marked is not.

use std::collections::BTreeMap;

use test_contracts::acme::members::v1::{GetMemberResponse, get_member_response::Standing};
use test_contracts::fixture::hidden::v1::outer::middle::{Depth, Inner, inner};
use test_contracts::fixture::hidden::v1::outer::{self, Choice, ChoiceOneOf, Kind, Middle, middle};
use test_contracts::fixture::hidden::v1::{self as hidden, Outer};

#[test]
fn an_enum_in_a_message_that_hides_something_is_shown() {
    let member = GetMemberResponse {
        member_id: String::from("m1"),
        email: String::from("Secret"),
        standing: Standing::Good.into(),
    };
    assert_eq!(format!("{member:?}"), r#"GetMemberResponse { member_id: "m1", email: [redacted], standing: Good }"#);
}

#[test]
fn everything_in_a_message_that_hides_something_is_shown_but_what_is_marked() {
    let inner = Inner {
        colours: BTreeMap::from([(String::from("a"), inner::Colour::Red.into())]),
        depths: vec![Depth::Deep.into()],
        choice: Some(inner::Choice::Text(String::from("plain"))),
    };
    let found = middle::Found { depth: Some(Depth::Deep.into()), hidden: Some(String::from("Secret")) };
    let outer = Outer {
        hidden: Some(String::from("Secret")),
        kinds: vec![Kind::Some.into()],
        needed: Kind::Some.into(),
        choice: Some(ChoiceOneOf::Middle(Middle {
            depth: Some(Depth::Shallow.into()),
            inners: BTreeMap::from([(1, inner)]),
            found: Some(found),
        })),
        secret: Some(outer::Secret::Word(String::from("Secret"))),
        ..Outer::default()
    };
    let shown = format!("{outer:?}");
    assert!(!shown.contains("Secret"), "{shown}");
    for part in ["hidden: [redacted]", "secret: Some([redacted])", "Text(\"plain\")", "Found { depth: "] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(format!("{:?}", Choice { kind: Some(Kind::None.into()) }), "Choice { kind: Some(0) }");
    assert_eq!(format!("{:?}", Kind::Some), "Some");
}

#[test]
fn messages_with_names_that_need_care_hide_what_is_marked() {
    let own = hidden::Self_ { self_: Some(String::from("Secret")), r#type: Some(hidden::self_::Type::T.into()) };
    assert_eq!(
        format!("{own:?}"),
        "Self_ { self: Some([redacted]), type: Some(0) }".replace("Some([redacted])", "[redacted]")
    );
    let first = hidden::_1st { _2nd: Some(String::from("Secret")) };
    assert_eq!(format!("{first:?}"), "_1st { _2nd: [redacted] }");
}
