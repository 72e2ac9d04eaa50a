//! Who may call the admin API, and how callers prove who they are: every method, every role, every way.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use server::access::{Role, Tokens};
use server::configuration::{Configuration, Grant, StaticToken};
use server::proto::ROLES;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use crate::issuer::{Issuer, claims, key, now, sign_with};
use crate::support::{Services, World};

pub(crate) fn static_token(name: &str, token: &str) -> StaticToken {
    let sha256 = Tokens::hash(token).iter().map(|byte| format!("{byte:02x}")).collect();
    StaticToken { name: name.to_owned(), sha256 }
}

pub(crate) fn grant(who: &str, role: Role, workflows: &[&str]) -> Grant {
    let workflows = workflows.iter().map(|prefix| (*prefix).to_owned()).collect();
    Grant { who: who.to_owned(), role, workflows }
}

const ROLE_NAMES: [(Role, &str); 3] = [(Role::Viewer, "viewer"), (Role::Operator, "operator"), (Role::Admin, "admin")];

/// A token and a JWT of each role, each named as its role; and of somebody without a grant.
fn all_roles(issuer: &Issuer) -> impl FnOnce(&mut Configuration) {
    let jwt = issuer.configuration();
    move |configuration: &mut Configuration| {
        let admin = &mut configuration.admin;
        admin.jwt = jwt;
        admin.tokens.push(static_token("stranger", "stranger"));
        for (role, name) in ROLE_NAMES {
            admin.tokens.push(static_token(name, name));
            admin.grants.push(grant(&format!("token:{name}"), role, &[]));
            admin.grants.push(grant(&format!("jwt:{name}"), role, &[]));
        }
    }
}

/// What a call of the method with an empty message, and this as `authorization`, is answered with.
async fn called(channel: &Channel, path: &'static str, authorization: Option<&str>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(());
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    }
    let path = http::uri::PathAndQuery::from_static(path);
    client.unary::<(), (), _>(request, path, ProstCodec::default()).await.map(drop)
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

const LIST: &str = "/orchestrator.admin.v1.RunService/ListRuns";

#[tokio::test]
async fn every_method_takes_its_role_and_no_less_by_every_way_of_proving_oneself() {
    let issuer = Issuer::new();
    let world = World::configured(Services::good(), all_roles(&issuer)).await;
    let channel = World::channel(&world.admin).await;
    assert!(ROLES.len() > 30, "{}", ROLES.len());
    for rule in ROLES {
        for authorization in [None, Some("Bearer wrong"), Some("Bearer a.b.c"), Some("Basic YTpi"), Some("Bearer ")] {
            let refused = called(&channel, rule.path, authorization).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated, "{} {authorization:?}", rule.path);
            assert!(!refused.message().contains("wrong"), "{}", refused.message());
        }
        for (role, name) in ROLE_NAMES {
            for token in [name.to_owned(), issuer.token(name)] {
                let told = called(&channel, rule.path, Some(&format!("Bearer {token}"))).await;
                let code = told.as_ref().err().map_or(Code::Ok, Status::code);
                if role < rule.role {
                    assert_eq!(code, Code::PermissionDenied, "{} as {name}", rule.path);
                    assert_eq!(told.map_err(|told| reason(&told)), Err(String::from("NOT_GRANTED")));
                } else {
                    let refusals = [Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented];
                    assert!(!refusals.contains(&code), "{} as {name}: {told:?}", rule.path);
                }
            }
        }
        for token in [String::from("stranger"), issuer.token("stranger")] {
            let refused = called(&channel, rule.path, Some(&format!("Bearer {token}"))).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, "{}", rule.path);
        }
    }
    let unknown = called(&channel, "/orchestrator.admin.v1.RunService/Nothing", Some("Bearer admin")).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    assert_eq!(called(&channel, reflection, None).await.unwrap_err().code(), Code::Unauthenticated);
    world.running.drain().await;
}

#[tokio::test]
async fn without_a_way_to_prove_oneself_everybody_who_reaches_the_listener_may_call() {
    let world = World::start(Services::good()).await;
    let channel = World::channel(&world.admin).await;
    for authorization in [None, Some("Bearer whatever")] {
        called(&channel, LIST, authorization).await.unwrap();
    }
    world.running.drain().await;
}

/// The claims with some of them replaced; null takes one out.
fn with(changes: Value) -> Value {
    let mut all = claims("viewer");
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        }
    }
    all
}

#[tokio::test]
async fn a_jwt_proves_nothing_unless_it_is_signed_meant_for_us_and_in_force() {
    let issuer = Issuer::new();
    let world = World::configured(Services::good(), all_roles(&issuer)).await;
    let channel = World::channel(&world.admin).await;
    let refused = async |what: &str, token: &str| {
        let told = called(&channel, LIST, Some(&format!("Bearer {token}"))).await.unwrap_err();
        assert_eq!((told.code(), reason(&told).as_str()), (Code::Unauthenticated, "BAD_TOKEN"), "{what}");
        assert!(!told.message().contains(token), "{what}");
        told.message().to_owned()
    };
    called(&channel, LIST, Some(&format!("Bearer {}", issuer.token("viewer")))).await.unwrap();

    for (what, claims, told) in [
        ("expired", with(json!({"exp": now() - 60})), "has expired"),
        ("not yet valid", with(json!({"nbf": now() + 600})), "not in force yet"),
        ("another audience", with(json!({"aud": "others"})), "another audience"),
        ("another issuer", with(json!({"iss": "https://other.example"})), "another issuer"),
        ("no expiry", with(json!({"exp": null})), "lacks one of the claims"),
        ("no audience", with(json!({"aud": null})), "lacks one of the claims"),
        ("no issuer", with(json!({"iss": null})), "lacks one of the claims"),
        ("no subject", with(json!({"sub": null})), "lacks one of the claims"),
        ("a subject that is no name", with(json!({"sub": "a\nb"})), "no name"),
        ("a subject that is too long", with(json!({"sub": "a".repeat(201)})), "no name"),
        ("an expiry that is no number", with(json!({"exp": "never"})), "lacks one of the claims"),
    ] {
        let message = refused(what, &issuer.sign(&claims)).await;
        assert!(message.contains(told), "{what}: {message}");
    }

    let good = issuer.token("admin");
    let (head, signature) = good.rsplit_once('.').unwrap();
    let payload = head.split_once('.').unwrap().1;
    let encoded = |header: Value| BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    // No signature, and the claim that none is needed.
    for alg in ["none", "None", "NONE", ""] {
        let header = encoded(json!({"alg": alg, "typ": "JWT"}));
        refused(alg, &format!("{header}.{payload}.")).await;
        refused(alg, &format!("{header}.{payload}.{signature}")).await;
    }
    // The public key as the secret of a symmetric signature.
    let published = serde_json::to_vec(&issuer.jwk).unwrap();
    let point = serde_json::to_value(&issuer.jwk).unwrap()["x"].as_str().unwrap().as_bytes().to_vec();
    for secret in [published, point] {
        let secret = EncodingKey::from_secret(&secret).unwrap();
        let header = Header { kid: Some(String::from("first")), ..Header::new(Algorithm::HS256) };
        refused("key confusion", &encode(&header, &claims("admin"), &secret).unwrap()).await;
    }
    // Somebody else's key under the name of the issuer's, or brought along in the token.
    let (other, other_jwk) = key("first");
    refused("another key", &sign_with(&other, "first", &claims("admin"))).await;
    refused("an unknown key", &sign_with(&other, "second", &claims("admin"))).await;
    let brought = Header { jwk: Some(other_jwk), ..Header::new(Algorithm::ES256) };
    refused("a key of its own", &encode(&brought, &claims("admin"), &other).unwrap()).await;
    // Extensions that must be understood.
    let critical = Header { crit: Some(vec![String::from("exp")]), ..Header::new(Algorithm::ES256) };
    refused("critical", &encode(&critical, &claims("admin"), &other).unwrap()).await;
    // What is changed or cut.
    refused("another payload", &good.replace(payload, issuer.token("viewer").split('.').nth(1).unwrap())).await;
    for length in 0..good.len() {
        let cut = &good[..length];
        let told = called(&channel, LIST, Some(&format!("Bearer {cut}"))).await.unwrap_err();
        assert_eq!(told.code(), Code::Unauthenticated, "{cut}");
    }
    let mut twice = Request::new(());
    for token in ["viewer", "admin"] {
        twice.metadata_mut().append("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(LIST);
    let told = client.unary::<(), (), _>(twice, path, ProstCodec::default()).await.unwrap_err();
    assert_eq!(told.code(), Code::Unauthenticated);
    world.running.drain().await;
}

#[tokio::test]
async fn a_key_that_is_published_holds_and_one_that_is_withdrawn_does_not() {
    let issuer = Issuer::new();
    let world = World::configured(Services::good(), all_roles(&issuer)).await;
    let channel = World::channel(&world.admin).await;
    let code = async |token: &str| {
        called(&channel, LIST, Some(&format!("Bearer {token}"))).await.err().map_or(Code::Ok, |told| told.code())
    };
    let (next, next_jwk) = key("next");
    let signed = sign_with(&next, "next", &claims("viewer"));
    assert_eq!(code(&signed).await, Code::Unauthenticated);
    issuer.publish(&[issuer.jwk.clone(), next_jwk.clone()]);
    world.running.guard().refresh();
    assert_eq!((code(&signed).await, code(&issuer.token("viewer")).await), (Code::Ok, Code::Ok));
    // What cannot be read leaves the last good keys in force.
    for broken in ["", "{}", "{\"keys\": []}", "{\"keys\": [{\"kty\": \"oct\", \"k\": \"c2VjcmV0\"}]}"] {
        std::fs::write(issuer.keys_file(), broken).unwrap();
        world.running.guard().refresh();
        assert_eq!(code(&signed).await, Code::Ok, "{broken}");
    }
    issuer.publish(&[next_jwk]);
    world.running.guard().refresh();
    assert_eq!((code(&signed).await, code(&issuer.token("viewer")).await), (Code::Ok, Code::Unauthenticated));
    world.running.drain().await;
}

#[tokio::test]
async fn the_command_line_logs_in_with_a_token_of_a_file_and_says_what_is_missing() {
    let world = World::configured(Services::good(), |configuration| {
        configuration.admin.tokens.push(static_token("ci", "canary-of-a-token"));
        configuration.admin.grants.push(grant("token:ci", Role::Viewer, &[]));
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "canary-of-a-token\n").unwrap();
    let file = file.to_str().unwrap();
    let (exit, _, talk) = world.command(&["runs", "list", "--token-file", file]).await;
    assert_eq!(exit, server::command_line::Exit::Ok, "{talk}");
    let (exit, _, talk) = world.command(&["runs", "list"]).await;
    assert_eq!(exit, server::command_line::Exit::Failed);
    assert!(talk.contains("UNAUTHENTICATED") && talk.contains("--token-file"), "{talk}");
    let (exit, _, talk) = world.command(&["runs", "start", "test.greet", "--token-file", file]).await;
    assert_eq!(exit, server::command_line::Exit::Failed);
    assert!(talk.contains("PERMISSION_DENIED") && talk.contains("operator") && !talk.contains("canary"), "{talk}");
    let arguments = ["orchestrator", "runs", "list", "--token-file", file, "--server", "http://10.0.0.1:1"];
    let arguments = arguments.map(String::from);
    let (exit, _, talk) = tokio::task::spawn_blocking(move || crate::support::command(&arguments)).await.unwrap();
    assert_eq!(exit, server::command_line::Exit::Usage);
    assert!(talk.contains("--token-file") && talk.contains("TLS") && !talk.contains("allow_insecure"), "{talk}");
    world.running.drain().await;
}
