//! One method of every level, three that take effects back, and the workflow's input and output.

use std::time::Duration;

use engine::testing::{Arrival, Services};
use engine::{Level, Method, Rpc};
use prost::{Message, Name};

use crate::ledger::Ledger;

macro_rules! messages {
    ($($name:ident),+) => {$(
        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $name {
            #[prost(string, tag = "1")]
            pub(crate) text: String,
            #[prost(uint64, tag = "2")]
            pub(crate) number: u64,
        }

        impl Name for $name {
            const NAME: &'static str = stringify!($name);
            const PACKAGE: &'static str = "model";

            fn full_name() -> String {
                concat!("model.", stringify!($name)).to_owned()
            }
        }
    )+};
}

messages!(Look, Put, Pay, Charge, Cancel, Recall, Refund, Answer, Input, Output);

/// How long the keyed methods remember.
pub(crate) const HORIZON: Duration = Duration::from_secs(60);

macro_rules! rpc {
    ($request:ident, $path:literal, $level:expr) => {
        impl Rpc for $request {
            type Request = Self;
            type Response = Answer;
            const METHOD: &'static Method = &Method {
                service: "model.Service",
                name: stringify!($request),
                path: $path,
                level: $level,
                request_id: None,
            };

            fn into_request(self) -> Self {
                self
            }
        }
    };
}

rpc!(Look, "/model.Service/Look", Level::NoSideEffects);
rpc!(Put, "/model.Service/Put", Level::Idempotent);
rpc!(Pay, "/model.Service/Pay", Level::Keyed { horizon: HORIZON });
rpc!(Charge, "/model.Service/Charge", Level::Unknown);
// What takes effects back, under the key in its text.
rpc!(Cancel, "/model.Service/Cancel", Level::Idempotent);
rpc!(Recall, "/model.Service/Recall", Level::Keyed { horizon: HORIZON });
rpc!(Refund, "/model.Service/Refund", Level::Unknown);

/// What every method answers to a request with this text.
pub(crate) fn answer_to(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(crate) fn answer(text: String) -> Answer {
    Answer { number: answer_to(&text), text }
}

/// Services that keep this ledger of what they did.
pub(crate) fn services(ledger: &Ledger) -> Services {
    let book = || {
        let ledger = ledger.clone();
        move |arrival: &Arrival, text: String| {
            ledger.act(arrival, &text);
            Ok(answer(text))
        }
    };
    let take_back = || {
        let ledger = ledger.clone();
        move |arrival: &Arrival, text: String| ledger.take_back(arrival, &text).map(|()| answer(text))
    };
    let (put, pay, charge) = (book(), book(), book());
    let (cancel, recall, refund) = (take_back(), take_back(), take_back());
    Services::new()
        .on::<Look>(|look| Ok(answer(look.text)))
        .on_arrival::<Put>(move |arrival, request| put(arrival, request.text))
        .on_arrival::<Pay>(move |arrival, request| pay(arrival, request.text))
        .on_arrival::<Charge>(move |arrival, request| charge(arrival, request.text))
        .on_arrival::<Cancel>(move |arrival, request| cancel(arrival, request.text))
        .on_arrival::<Recall>(move |arrival, request| recall(arrival, request.text))
        .on_arrival::<Refund>(move |arrival, request| refund(arrival, request.text))
        .remembers::<Pay>(HORIZON)
        .remembers::<Recall>(HORIZON)
}
