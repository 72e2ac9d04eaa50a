//! What makes workflows short: counted results, calls whose NOT_FOUND is an answer, lists that are read page by page.

use std::time::Duration;

use engine::rpc::Paged;
use engine::testing::{Reply, Services, World, crash_everywhere};
use engine::{Code, Failure, Level, Limits, Method, Retry, Rpc, Timestamp};
use prost::Message;

use crate::common::{Input, Look, Output, Put, services, workflow};

workflow!(Counted, "test.counted", |ctx, _input| {
    let results = ctx
        .fan_out("item", ["a", "b", "a", "bad", "c"], |ctx, item| async move {
            if item == "bad" {
                return Err(Failure::new(Code::Aborted, "bad"));
            }
            Ok(ctx.call(Put::of(item, item.len() as u32)).await?.number)
        })
        .key(|item| (*item).to_owned())
        .await;
    let text = format!(
        "{} unique, {} done, {} failed, {} duplicate, {} of 2",
        results.unique(),
        results.succeeded(),
        results.failed(),
        results.duplicates(),
        results.count(|number| *number == 2),
    );
    Ok(Output::of(text, results.sum(|number| *number)))
});

#[tokio::test(start_paused = true)]
async fn results_of_a_fan_out_are_counted_without_a_loop() {
    let world = World::new(services(), |registry| registry.register(|| Counted));
    let run = world.start::<Counted>(Input::of("", 0)).await.unwrap();
    let expected = Output::of("4 unique, 3 done, 1 failed, 1 duplicate, 3 of 2", 6);
    assert_eq!(world.result_of::<Counted>(run).await, Ok(expected));
}

workflow!(Optional, "test.optional", |ctx, _input| {
    let never = Retry::never();
    let missing = ctx.call(Look::of("missing", 0)).retry(never).optional().await?;
    let (there, put) = ctx.all((ctx.call(Look::of("there", 4)).optional(), ctx.call(Put::of("put", 1)))).await?;
    let other = ctx.call(Put::of("other", 0)).retry(never).optional().await;
    let text = format!("{:?} {:?}", missing.map(|answer| answer.number), other.map_err(|failure| failure.code()));
    Ok(Output::of(text, there.map_or(0, |answer| answer.number) + put.number))
});

#[tokio::test(start_paused = true)]
async fn an_optional_call_has_no_value_where_the_service_knows_no_such_thing_and_other_failures_stay() {
    let world = World::new(services(), |registry| registry.register(|| Optional));
    world.services().script::<Look>([Reply::Refuse(Code::NotFound), Reply::Slow(Duration::ZERO)]);
    world.services().script::<Put>([Reply::Slow(Duration::ZERO), Reply::Refuse(Code::PermissionDenied)]);
    let run = world.start::<Optional>(Input::of("", 0)).await.unwrap();
    assert_eq!(world.result_of::<Optional>(run).await, Ok(Output::of("None Err(PermissionDenied)", 5 + 2)));
}

/// A list of ten numbers.
#[derive(Clone, PartialEq, Message)]
struct ListNumbers {
    #[prost(int32, tag = "1")]
    page_size: i32,
    #[prost(string, tag = "2")]
    page_token: String,
}

#[derive(Clone, PartialEq, Message)]
struct Numbers {
    #[prost(uint32, repeated, tag = "1")]
    numbers: Vec<u32>,
    #[prost(string, tag = "2")]
    next_page_token: String,
}

impl Rpc for ListNumbers {
    type Request = Self;
    type Response = Numbers;
    const METHOD: &'static Method = &Method {
        service: "test.Service",
        name: "ListNumbers",
        path: "/test.Service/ListNumbers",
        level: Level::NoSideEffects,
        request_id: None,
    };

    fn into_request(self) -> Self {
        self
    }
}

impl Paged for ListNumbers {
    type Item = u32;

    fn page_size(&self) -> i32 {
        self.page_size
    }

    fn set_page_size(&mut self, page_size: i32) {
        self.page_size = page_size;
    }

    fn set_page_token(&mut self, page_token: String) {
        self.page_token = page_token;
    }

    fn into_page(response: Numbers) -> (Vec<u32>, String) {
        (response.numbers, response.next_page_token)
    }
}

fn lists() -> Services {
    services().on::<ListNumbers>(|request| {
        let first: u32 = request.page_token.parse().unwrap_or(0);
        let size = if request.page_size > 0 { request.page_size.unsigned_abs() } else { 4 };
        let end = (first + size).min(10);
        let next_page_token = if end < 10 { end.to_string() } else { String::new() };
        Ok(Numbers { numbers: (first..end).collect(), next_page_token })
    })
}

workflow!(Listed, "test.listed", |ctx, input| {
    let request = ListNumbers { page_size: 4, page_token: String::new() };
    let (numbers, token) = match input.text.as_str() {
        "token" => ctx.pages(request).up_to(input.number as usize).with_token().await?,
        _ => (ctx.pages(request).up_to(input.number as usize).await?, String::new()),
    };
    Ok(Output::of(format!("{numbers:?} {token}"), numbers.len() as u32))
});

#[tokio::test(start_paused = true)]
async fn a_list_is_read_page_by_page_until_its_end_or_its_bound() {
    let cases = [
        ("", 100, "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] "),
        ("", 10, "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] "),
        ("", 6, "[0, 1, 2, 3, 4, 5] "),
        ("", 0, "[] "),
        ("token", 100, "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] "),
        ("token", 6, "[0, 1, 2, 3, 4, 5] 6"),
        ("token", 8, "[0, 1, 2, 3, 4, 5, 6, 7] 8"),
        ("token", 0, "[] "),
    ];
    for (form, limit, expected) in cases {
        let world = World::new(lists(), |registry| registry.register(|| Listed));
        let run = world.start::<Listed>(Input::of(form, limit)).await.unwrap();
        let output = world.result_of::<Listed>(run).await.unwrap();
        assert_eq!(output.text, expected, "{form:?} up to {limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_read_to_its_end_whatever_crashes() {
    let world = |probe| World::with(lists(), |registry| registry.register(|| Listed), Limits::default(), probe);
    let sweep = crash_everywhere::<Listed>(world, Input::of("", 9)).await;
    assert_eq!(sweep.holds(), &Ok(Output::of("[0, 1, 2, 3, 4, 5, 6, 7, 8] ", 9)));
}

#[test]
fn timestamps_come_from_messages_and_go_into_them() {
    for (seconds, nanos) in [(0, 0), (1_767_225_600, 250_000_000), (-1, 999_999_000), (-5, 0)] {
        let stored = prost_types::Timestamp { seconds, nanos };
        assert_eq!(prost_types::Timestamp::from(Timestamp::from(stored)), stored);
    }
    let beyond = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
    assert_eq!(Timestamp::from(beyond), Timestamp::from_micros(i64::MAX));
}
