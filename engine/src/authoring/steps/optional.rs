//! A call whose NOT_FOUND is an answer: there is no such thing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use super::call::Call;
use super::{Step, sealed::Sealed};
use crate::failure::{Code, Failure};
use crate::rpc::Rpc;
use crate::step_id::SlotId;

/// A call that was built with [`Call::optional`]. It returns `None` if the service answers NOT_FOUND.
#[must_use = "a call is made when it is awaited"]
#[derive(Debug)]
pub struct Optional<R: Rpc>(Call<R>);

impl<R: Rpc> Call<R> {
    /// Makes NOT_FOUND an answer instead of a failure: the step returns `None`. A call with effects whose answer was lost
    /// may have deleted the thing itself; match [`Failure::is_repeated`] instead if that matters.
    ///
    /// ```
    /// # use engine::{Context, Failure, Level, Method, Rpc};
    /// # #[derive(Clone, PartialEq, prost::Message)] struct GetUser { #[prost(string, tag = "1")] user_id: String }
    /// # #[derive(Clone, PartialEq, prost::Message)] struct User {}
    /// # impl Rpc for GetUser {
    /// #     type Request = Self;
    /// #     type Response = User;
    /// #     const METHOD: &'static Method = &Method {
    /// #         service: "s.S", name: "GetUser", path: "/s.S/GetUser", level: Level::NoSideEffects, request_id: None,
    /// #     };
    /// #     fn into_request(self) -> Self { self }
    /// # }
    /// async fn is_known(ctx: &Context, user_id: String) -> Result<bool, Failure> {
    ///     Ok(ctx.call(GetUser { user_id }).optional().await?.is_some())
    /// }
    /// ```
    pub fn optional(self) -> Optional<R> {
        Optional(self)
    }
}

impl<R: Rpc> Future for Optional<R> {
    type Output = Result<Option<R::Response>, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|result| match result {
            Ok(response) => Ok(Some(response)),
            Err(failure) if failure.code() == Code::NotFound => Ok(None),
            Err(failure) => Err(failure),
        })
    }
}

impl<R: Rpc> Sealed for Optional<R> {
    fn let_go(&mut self, gone: &mut Vec<SlotId>) {
        self.0.let_go(gone);
    }
}

impl<R: Rpc> Step for Optional<R> {
    type Value = Option<R::Response>;
}
