//! A service with methods of each level, and helpers that every engine test uses.

use std::time::Duration;

use engine::testing::{Services, World};
use engine::{Level, Method, Rpc, State};
use prost::{Message, Name};
use uuid::Uuid;

macro_rules! messages {
    ($($name:ident),+) => {$(
        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $name {
            #[prost(string, tag = "1")]
            pub(crate) text: String,
            #[prost(uint32, tag = "2")]
            pub(crate) number: u32,
        }

        impl $name {
            pub(crate) fn of(text: impl Into<String>, number: u32) -> Self {
                Self { text: text.into(), number }
            }
        }

        impl Name for $name {
            const NAME: &'static str = stringify!($name);
            const PACKAGE: &'static str = "test";

            fn full_name() -> String {
                concat!("test.", stringify!($name)).to_owned()
            }
        }
    )+};
}

messages!(Look, Put, Charge, Cancel, Pay, Refund, Answer, Input, Output);

macro_rules! rpc {
    ($request:ident, $name:literal, $level:expr) => {
        impl Rpc for $request {
            type Request = Self;
            type Response = Answer;
            const METHOD: &'static Method = &Method {
                service: "test.Service",
                name: $name,
                path: concat!("/test.Service/", $name),
                level: $level,
                request_id: None,
            };

            fn into_request(self) -> Self {
                self
            }
        }
    };
}

rpc!(Look, "Look", Level::NoSideEffects);
rpc!(Put, "Put", Level::Idempotent);
rpc!(Charge, "Charge", Level::Unknown);
rpc!(Cancel, "Cancel", Level::Idempotent);
rpc!(Pay, "Pay", Level::Keyed { horizon: HORIZON });
rpc!(Refund, "Refund", Level::Keyed { horizon: HORIZON });

/// How long the service remembers the keys of the calls that it does once for each.
pub(crate) const HORIZON: Duration = Duration::from_secs(60);

/// Services that answer every method with the text of its request and the next number.
pub(crate) fn services() -> Services {
    Services::new()
        .on::<Look>(|look| Ok(Answer::of(look.text, look.number + 1)))
        .on::<Put>(|put| Ok(Answer::of(put.text, put.number + 1)))
        .on::<Charge>(|charge| Ok(Answer::of(charge.text, charge.number + 1)))
        .on::<Cancel>(|cancel| Ok(Answer::of(cancel.text, 0)))
        .on::<Pay>(|pay| Ok(Answer::of(pay.text, pay.number + 1)))
        .on::<Refund>(|refund| Ok(Answer::of(refund.text, 0)))
}

/// Waits until a run is in one of these states, in virtual time.
pub(crate) async fn until(world: &World, run: Uuid, states: &[State]) -> engine::view::Detail {
    for _ in 0..100_000 {
        let detail = world.detail(run).await;
        if states.contains(&detail.row.status.state) {
            return detail;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let detail = world.detail(run).await;
    panic!("run is {} ({}), not one of {states:?}", detail.row.status.state, detail.row.status.reason);
}

/// Declares a workflow of one test.
macro_rules! workflow {
    ($name:ident, $path:literal, |$ctx:ident, $input:ident| $body:expr) => {
        #[derive(Clone)]
        struct $name;

        impl engine::Workflow for $name {
            const NAME: &'static str = $path;
            type Input = crate::common::Input;
            type Output = crate::common::Output;

            async fn run(
                &self,
                $ctx: &engine::Context,
                $input: crate::common::Input,
            ) -> Result<crate::common::Output, engine::Failure> {
                $body
            }
        }
    };
}
pub(crate) use workflow;
