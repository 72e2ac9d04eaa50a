//! Steps as values: each claims its place when it is built and does its work when it is awaited.
//!
//! What would be wrong does not compile. Steps continue together:
//!
//! ```
//! # use engine::{Context, Failure, Level, Method, Rpc};
//! # #[derive(Clone, PartialEq, prost::Message)] struct Ask { #[prost(string, tag = "1")] text: String }
//! # #[derive(Clone, PartialEq, prost::Message)] struct Answer {}
//! # impl Rpc for Ask {
//! #     type Request = Self;
//! #     type Response = Answer;
//! #     const METHOD: &'static Method = &Method {
//! #         service: "s.S", name: "Ask", path: "/s.S/Ask", level: Level::NoSideEffects, request_id: None,
//! #     };
//! #     fn into_request(self) -> Self { self }
//! # }
//! async fn two(ctx: &Context) -> Result<(), Failure> {
//!     let ask = |text: &str| ctx.call(Ask { text: text.to_owned() });
//!     let (_left, _right) = ctx.all((ask("left"), ask("right"))).await?;
//!     Ok(())
//! }
//! ```
//!
//! but futures of several steps do not; they need branches:
//!
//! ```compile_fail,E0277
//! # use engine::{Context, Failure, Level, Method, Rpc};
//! # #[derive(Clone, PartialEq, prost::Message)] struct Ask { #[prost(string, tag = "1")] text: String }
//! # #[derive(Clone, PartialEq, prost::Message)] struct Answer {}
//! # impl Rpc for Ask {
//! #     type Request = Self;
//! #     type Response = Answer;
//! #     const METHOD: &'static Method = &Method {
//! #         service: "s.S", name: "Ask", path: "/s.S/Ask", level: Level::NoSideEffects, request_id: None,
//! #     };
//! #     fn into_request(self) -> Self { self }
//! # }
//! async fn two(ctx: &Context) -> Result<(), Failure> {
//!     let ask = |text: &str| ctx.call(Ask { text: text.to_owned() });
//!     let (_left, _right) = ctx.all((async { ask("left").await }, async { ask("right").await })).await?;
//!     Ok(())
//! }
//! ```
//!
//! A fan-out has a key:
//!
//! ```
//! # use engine::{Context, Failure, Level, Method, Rpc};
//! # #[derive(Clone, PartialEq, prost::Message)] struct Ask { #[prost(string, tag = "1")] text: String }
//! # #[derive(Clone, PartialEq, prost::Message)] struct Answer {}
//! # impl Rpc for Ask {
//! #     type Request = Self;
//! #     type Response = Answer;
//! #     const METHOD: &'static Method = &Method {
//! #         service: "s.S", name: "Ask", path: "/s.S/Ask", level: Level::NoSideEffects, request_id: None,
//! #     };
//! #     fn into_request(self) -> Self { self }
//! # }
//! async fn many(ctx: &Context, texts: Vec<String>) -> u32 {
//!     ctx.fan_out("text", texts, |ctx, text| async move { ctx.call(Ask { text }).await })
//!         .key(|text| text.clone())
//!         .await
//!         .succeeded()
//! }
//! ```
//!
//! and without one it cannot be awaited:
//!
//! ```compile_fail,E0277
//! # use engine::{Context, Failure, Level, Method, Rpc};
//! # #[derive(Clone, PartialEq, prost::Message)] struct Ask { #[prost(string, tag = "1")] text: String }
//! # #[derive(Clone, PartialEq, prost::Message)] struct Answer {}
//! # impl Rpc for Ask {
//! #     type Request = Self;
//! #     type Response = Answer;
//! #     const METHOD: &'static Method = &Method {
//! #         service: "s.S", name: "Ask", path: "/s.S/Ask", level: Level::NoSideEffects, request_id: None,
//! #     };
//! #     fn into_request(self) -> Self { self }
//! # }
//! async fn many(ctx: &Context, texts: Vec<String>) -> u32 {
//!     ctx.fan_out("text", texts, |ctx, text| async move { ctx.call(Ask { text }).await })
//!         .await
//!         .succeeded()
//! }
//! ```
//!
//! A run moves between threads, so what a workflow holds over a step does too:
//!
//! ```compile_fail
//! # use engine::{Context, Failure, Level, Method, Rpc};
//! # #[derive(Clone, PartialEq, prost::Message)] struct Ask { #[prost(string, tag = "1")] text: String }
//! # #[derive(Clone, PartialEq, prost::Message)] struct Answer {}
//! # impl Rpc for Ask {
//! #     type Request = Self;
//! #     type Response = Answer;
//! #     const METHOD: &'static Method = &Method {
//! #         service: "s.S", name: "Ask", path: "/s.S/Ask", level: Level::NoSideEffects, request_id: None,
//! #     };
//! #     fn into_request(self) -> Self { self }
//! # }
//! fn is_send(_future: impl Future + Send) {}
//! fn check(ctx: &'static Context) {
//!     is_send(async move {
//!         let local = std::rc::Rc::new(1);
//!         let _answer = ctx.call(Ask { text: String::new() }).await;
//!         drop(local);
//!     });
//! }
//! ```

pub mod all;
pub mod branch;
pub mod call;
pub mod child;
pub mod fan_out;
pub mod optional;
pub mod pages;
pub mod race;
pub mod record;
pub mod signal;
pub mod sleep;

/// A single step, the only thing that may continue beside others on one branch.
///
/// Futures of several steps are not steps: two of them on one branch would swap their places after a crash.
pub trait Step: Future<Output = Result<Self::Value, crate::failure::Failure>> + sealed::Sealed {
    /// What the step brings.
    type Value;
}

pub(crate) mod sealed {
    use crate::step_id::SlotId;

    pub trait Sealed {
        /// Code waits for the step no more; notes the slots that it waited for.
        fn let_go(&mut self, gone: &mut Vec<SlotId>);
    }
}
