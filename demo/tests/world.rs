//! The services as a client sees them, over real sockets.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use clients::guras::ai::v1::AnalyzeTextRequest;
use clients::guras::ai::v1::ai_service_client::AiServiceClient;
use clients::guras::journal::v1::journal_service_client::JournalServiceClient;
use clients::guras::journal::v1::{ListEntriesWithoutEmotionsRequest, SaveEntryEmotionsRequest};
use clients::guras::notifications::v1::notification_service_client::NotificationServiceClient;
use clients::guras::notifications::v1::{
    DueRecipient, ListDeviceTokensRequest, ListDueRecipientsRequest, MarkNotifiedRequest, PushOutcome, SendPushRequest,
};
use clients::guras::teachers::v1::PickTeachingRequest;
use clients::guras::teachers::v1::teacher_service_client::TeacherServiceClient;
use demo::proto::demo::control::v1::control_service_client::ControlServiceClient;
use demo::proto::demo::control::v1::{self as control, GetLedgerRequest, ResetRequest, SetFaultsRequest};
use demo::{Count, Faults, Listen, Settings, World};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

const SEND_PUSH: &str = "/guras.notifications.v1.NotificationService/SendPush";

async fn world() -> World {
    World::start(Settings::default()).await.unwrap()
}

async fn connect(world: &World, service: &str) -> Channel {
    let address = world.address(service).unwrap();
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Noon of today, when no one of these settings is asleep.
fn noon() -> prost_types::Timestamp {
    let seconds = jiff::Timestamp::now().as_second();
    prost_types::Timestamp { seconds: seconds - seconds.rem_euclid(86_400) + 43_200, nanos: 0 }
}

async fn due(world: &World) -> Vec<DueRecipient> {
    let mut client = NotificationServiceClient::new(connect(world, "notifications").await);
    let (mut due, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListDueRecipientsRequest { as_of: Some(noon()), page_size: 7, page_token };
        let page = client.list_due_recipients(request).await.unwrap().into_inner();
        due.extend(page.recipients);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return due;
        }
    }
}

fn keyed<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

async fn first_push(world: &World) -> SendPushRequest {
    let recipient = due(world).await.remove(0);
    let mut client = NotificationServiceClient::new(connect(world, "notifications").await);
    let request = ListDeviceTokensRequest { user_id: recipient.user_id.clone(), ..Default::default() };
    let tokens = client.list_device_tokens(request).await.unwrap().into_inner().device_tokens;
    SendPushRequest {
        user_id: recipient.user_id,
        token: tokens[0].token.clone(),
        title: "Today".to_owned(),
        body: "Drink the tea while it is tea.".to_owned(),
        slot: recipient.slot,
        ..Default::default()
    }
}

fn pushed(push: &SendPushRequest) -> String {
    format!("push:{}/{}/{}", push.user_id, push.slot, push.token)
}

#[tokio::test]
async fn every_user_who_is_enabled_is_due_once() {
    let world = world().await;
    let due = due(&world).await;
    // Of fifty, every twelfth is disabled.
    assert_eq!(due.len(), 46);
    let mut users: Vec<_> = due.iter().map(|recipient| &recipient.user_id).collect();
    users.dedup();
    assert_eq!(users.len(), 46);
}

#[tokio::test]
async fn a_closed_slot_stays_closed_and_the_next_has_another_name() {
    let world = world().await;
    let recipient = due(&world).await.remove(0);
    let mut client = NotificationServiceClient::new(connect(&world, "notifications").await);
    let mark = |time: prost_types::Timestamp| MarkNotifiedRequest {
        user_id: recipient.user_id.clone(),
        slot: recipient.slot.clone(),
        notified_time: Some(time),
    };
    let long_ago = prost_types::Timestamp { seconds: noon().seconds - 90_000, nanos: 0 };
    assert!(client.mark_notified(mark(long_ago)).await.unwrap().into_inner().closed);
    let next = due(&world).await.into_iter().find(|next| next.user_id == recipient.user_id).unwrap();
    assert_ne!(next.slot, recipient.slot);

    // Late word of the old slot does not close the new one.
    assert!(!client.mark_notified(mark(noon())).await.unwrap().into_inner().closed);
    assert!(due(&world).await.contains(&next));
    let identity = format!("notified:{}/{}", recipient.user_id, recipient.slot);
    assert_eq!(world.ledger().effects()[&identity], Count { entered: 2, applied: 1 });
}

#[tokio::test]
async fn a_repeat_with_the_same_key_pushes_once() {
    let world = world().await;
    let push = first_push(&world).await;
    let mut client = NotificationServiceClient::new(connect(&world, "notifications").await);
    let first = client.send_push(keyed(push.clone(), "k")).await.unwrap().into_inner();
    let second = client.send_push(keyed(push.clone(), "k")).await.unwrap().into_inner();
    assert_eq!(first.outcome(), PushOutcome::Delivered);
    assert_eq!(first, second);
    assert_eq!(world.ledger().effects()[&pushed(&push)], Count { entered: 2, applied: 1 });
    assert!(world.ledger().doubled().is_empty());
}

#[tokio::test]
async fn the_key_alone_says_what_is_a_repeat() {
    let world = world().await;
    let push = first_push(&world).await;
    let mut client = NotificationServiceClient::new(connect(&world, "notifications").await);
    let first = client.send_push(keyed(push.clone(), "k")).await.unwrap().into_inner();
    let other_words = SendPushRequest { body: "Another line.".to_owned(), ..push.clone() };
    let second = client.send_push(keyed(other_words, "k")).await.unwrap().into_inner();
    assert_eq!(first, second);
    assert_eq!(world.ledger().effects()[&pushed(&push)], Count { entered: 2, applied: 1 });
}

#[tokio::test]
async fn another_key_for_the_same_push_is_a_doubled_effect() {
    let world = world().await;
    let push = first_push(&world).await;
    let mut client = NotificationServiceClient::new(connect(&world, "notifications").await);
    for key in ["a", "b"] {
        client.send_push(keyed(push.clone(), key)).await.unwrap();
    }
    assert_eq!(world.ledger().doubled()[&pushed(&push)], Count { entered: 2, applied: 2 });
}

#[tokio::test]
async fn a_fault_before_the_effect_leaves_no_effect_and_one_after_it_does() {
    let world = world().await;
    let push = first_push(&world).await;
    let mut client = NotificationServiceClient::new(connect(&world, "notifications").await);

    let always = Faults { error_rate: 1.0, code: Code::Internal, ..Faults::default() };
    world.faults().set(SEND_PUSH, always);
    assert_eq!(client.send_push(keyed(push.clone(), "k")).await.unwrap_err().code(), Code::Internal);
    assert_eq!(world.ledger().effects()[&pushed(&push)], Count { entered: 1, applied: 0 });

    world.faults().set(SEND_PUSH, Faults { after_effect_rate: 1.0, ..always });
    assert_eq!(client.send_push(keyed(push.clone(), "k")).await.unwrap_err().code(), Code::Internal);
    assert_eq!(world.ledger().effects()[&pushed(&push)], Count { entered: 2, applied: 1 });

    world.faults().set(SEND_PUSH, Faults::default());
    let answer = client.send_push(keyed(push.clone(), "k")).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), PushOutcome::Delivered);
    assert_eq!(world.ledger().effects()[&pushed(&push)], Count { entered: 3, applied: 1 });
    let counts = world.ledger().methods()[SEND_PUSH];
    assert_eq!((counts.failed_before, counts.failed_after, counts.deduplicated), (1, 1, 1));
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_take_back_the_effect() {
    let world = world().await;
    let push = first_push(&world).await;
    world.faults().set(SEND_PUSH, Faults { delay: Duration::from_millis(150), ..Faults::default() });
    let mut client = NotificationServiceClient::new(connect(&world, "notifications").await);
    let mut request = keyed(push.clone(), "k");
    request.set_timeout(Duration::from_millis(20));
    client.send_push(request).await.unwrap_err();
    assert_eq!(world.ledger().effects()[&pushed(&push)].applied, 0);

    // The repeat waits its own delay, by which time the first one has acted.
    let answer = client.send_push(keyed(push.clone(), "k")).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), PushOutcome::Delivered);
    assert_eq!(world.ledger().effects()[&pushed(&push)], Count { entered: 2, applied: 1 });
}

#[tokio::test]
async fn a_dead_token_is_said_to_be_unregistered() {
    let world = world().await;
    let user_id = "00000000-0000-4000-8000-000000000003".to_owned();
    let mut client = NotificationServiceClient::new(connect(&world, "notifications").await);
    let request = ListDeviceTokensRequest { user_id: user_id.clone(), ..Default::default() };
    let tokens = client.list_device_tokens(request).await.unwrap().into_inner().device_tokens;
    let mut outcomes = Vec::new();
    for token in tokens {
        let (title, body) = ("Today".to_owned(), "Sit.".to_owned());
        let push = SendPushRequest { user_id: user_id.clone(), token: token.token, title, body, ..Default::default() };
        outcomes.push(client.send_push(push).await.unwrap().into_inner().outcome());
    }
    assert_eq!(outcomes, [PushOutcome::Delivered, PushOutcome::TokenUnregistered]);
}

#[tokio::test]
async fn an_entry_with_emotions_is_no_longer_without() {
    let world = world().await;
    let mut client = JournalServiceClient::new(connect(&world, "journal").await);
    let list = ListEntriesWithoutEmotionsRequest { page_size: 1_000, ..Default::default() };
    let entries = client.list_entries_without_emotions(list.clone()).await.unwrap().into_inner().entries;
    assert_eq!(entries.len(), 30);
    let entry_id = entries[0].entry_id.clone();
    let save = SaveEntryEmotionsRequest { entry_id: entry_id.clone(), emotion_ids: vec!["joy".to_owned()] };
    client.save_entry_emotions(save).await.unwrap();
    let left = client.list_entries_without_emotions(list).await.unwrap().into_inner().entries;
    assert_eq!(left.len(), 29);
    assert!(left.iter().all(|entry| entry.entry_id != entry_id));
}

#[tokio::test]
async fn one_port_serves_all_and_nothing_of_control() {
    let listen = Listen::OnePort("127.0.0.1:0".parse().unwrap());
    let world = World::start(Settings { listen, ..Settings::default() }).await.unwrap();
    assert_eq!(world.address("users"), world.address("ai"));
    let channel = connect(&world, "teachers").await;
    let picked =
        TeacherServiceClient::new(channel.clone()).pick_teaching(PickTeachingRequest::default()).await.unwrap();
    assert!(!picked.into_inner().teaching.unwrap().text.is_empty());
    let request = AnalyzeTextRequest { text: "Joy.".to_owned(), labels: vec!["joy".to_owned()], max_labels: 1 };
    AiServiceClient::new(channel.clone()).analyze_text(request).await.unwrap();
    let status = ControlServiceClient::new(channel).reset(ResetRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn faults_and_ledger_can_be_reached_by_grpc() {
    let world = world().await;
    let mut control = ControlServiceClient::new(connect(&world, "control").await);
    let faults = control::Faults { error_rate: 1.0, error_code: Code::ResourceExhausted.into(), ..Default::default() };
    let target = "guras.teachers.v1.TeacherService".to_owned();
    control.set_faults(SetFaultsRequest { target: target.clone(), faults: Some(faults) }).await.unwrap();
    let mut teachers = TeacherServiceClient::new(connect(&world, "teachers").await);
    let status = teachers.pick_teaching(PickTeachingRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);

    let ledger = control.get_ledger(GetLedgerRequest::default()).await.unwrap().into_inner();
    assert_eq!((ledger.methods.len(), ledger.methods[0].entered, ledger.methods[0].failed_before), (1, 1, 1));

    control.reset(ResetRequest {}).await.unwrap();
    teachers.pick_teaching(PickTeachingRequest::default()).await.unwrap();
    assert_eq!(world.ledger().methods().len(), 1);
    let wrong = control::Faults { error_rate: 2.0, ..Default::default() };
    let status = control.set_faults(SetFaultsRequest { target, faults: Some(wrong) }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("error_rate"));
}

#[tokio::test]
async fn a_world_that_lives_can_be_stopped() {
    let world = World::start(Settings { life: Some(Duration::from_millis(1)), ..Settings::default() }).await.unwrap();
    let mut journal = JournalServiceClient::new(connect(&world, "journal").await);
    let list = ListEntriesWithoutEmotionsRequest { page_size: 1_000, ..Default::default() };
    while journal.list_entries_without_emotions(list.clone()).await.unwrap().into_inner().entries.len() < 35 {}
    tokio::time::timeout(Duration::from_secs(10), world.stop()).await.unwrap();
    assert!(journal.list_entries_without_emotions(list).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let world = world().await;
    let taken = world.address("users").unwrap();
    let listen = Listen::PortEach { ip: taken.ip(), base: taken.port() };
    let error = World::start(Settings { listen, ..Settings::default() }).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("users cannot listen on {taken}")), "{error}");
}
