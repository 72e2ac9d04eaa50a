//! Requests on their way in and answers on their way out, each counted by its bytes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use engine::store::for_caller;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;

use super::bounds::{Pace, SMALL};
use super::peer::{Call, Peer, Receiving, Untaken};
use crate::admin::status;

/// Room for the bytes of one request, held as long as somebody has this.
#[derive(Debug)]
pub(super) struct Held {
    room: Arc<Semaphore>,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Held {
    pub(super) fn new(room: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self { room, permit: Mutex::default() })
    }

    fn add(&self, bytes: usize) -> Result<(), Status> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let more = more.map_err(|_| status::busy("callers have not sent whole what they began to send"))?;
        let mut permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *permit {
            Some(permit) => permit.merge(more),
            None => *permit = Some(more),
        }
        Ok(())
    }
}

/// The body of a request.
pub(super) struct Received {
    body: Incoming,
    held: Arc<Held>,
    bytes: usize,
    /// When all of it has to be there, and how long a part may take.
    until: Instant,
    part: Duration,
    /// Made when something is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    receiving: Option<Receiving>,
}

impl Received {
    pub(super) fn new(body: Incoming, held: Arc<Held>, peer: Arc<Peer>, pace: Pace) -> Self {
        let receiving = (!body.is_end_stream()).then(|| Receiving::begin(peer));
        let Pace { part, whole } = pace;
        Self { body, held, bytes: 0, until: Instant::now() + whole, part, timer: None, receiving }
    }

    fn count(&mut self, bytes: usize) -> Result<(), Status> {
        let before = self.bytes.max(SMALL);
        self.bytes += bytes;
        let more = self.bytes.saturating_sub(before);
        if more > 0 { self.held.add(more) } else { Ok(()) }
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.timer = None;
                if let Err(refused) = this.count(frame.data_ref().map_or(0, Bytes::len)) {
                    this.receiving = None;
                    return Poll::Ready(Some(Err(refused.into())));
                }
                if this.body.is_end_stream() {
                    this.receiving = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => {
                (this.timer, this.receiving) = (None, None);
                Poll::Ready(end.map(|end| end.map_err(Into::into)))
            }
            Poll::Pending => {
                let (until, part) = (this.until, this.part);
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until.min(Instant::now() + part))));
                ready!(timer.as_mut().poll(cx));
                this.receiving = None;
                Poll::Ready(Some(Err(status::late().into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer. HTTP/2 asks for the next part of it when the peer has taken the one before.
pub(super) struct Answer {
    body: Body,
    first: Option<Frame<Bytes>>,
    /// Room for the bytes that the peer has not taken.
    held: Option<OwnedSemaphorePermit>,
    untaken: Option<Untaken>,
    /// Where room is for further parts.
    room: Option<Arc<Semaphore>>,
    ended: bool,
    call: Option<Call>,
    _places: [Option<OwnedSemaphorePermit>; 2],
}

impl Answer {
    /// Nothing behind the headers.
    pub(super) fn none() -> Self {
        Self {
            body: Body::empty(),
            first: None,
            held: None,
            untaken: None,
            room: None,
            ended: false,
            call: None,
            _places: [None, None],
        }
    }

    pub(super) fn whole(
        body: Body,
        first: Option<Frame<Bytes>>,
        held: Option<OwnedSemaphorePermit>,
        call: Call,
        places: [Option<OwnedSemaphorePermit>; 2],
    ) -> Self {
        let untaken = first.is_some().then(|| Untaken::begin(Arc::clone(&call.0)));
        Self { body, first, held, untaken, room: None, ended: false, call: Some(call), _places: places }
    }

    pub(super) fn stream(
        body: Body,
        call: Call,
        places: [Option<OwnedSemaphorePermit>; 2],
        room: Arc<Semaphore>,
    ) -> Self {
        let call = Some(call);
        Self { body, first: None, held: None, untaken: None, room: Some(room), ended: false, call, _places: places }
    }

    /// Notes that a part goes out, and takes room for it; false if there is no room.
    fn goes_out(&mut self, frame: &Frame<Bytes>) -> bool {
        self.untaken = self.call.as_ref().map(|call| Untaken::begin(Arc::clone(&call.0)));
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(room) = self.room.as_ref().filter(|_| length > SMALL) else { return true };
        self.held = Arc::clone(room).try_acquire_many_owned(u32::try_from(length).unwrap_or(u32::MAX)).ok();
        self.held.is_some()
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        this.untaken = None;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(first) = this.first.take() {
            // Its room was taken before, and is given back with the next part.
            this.untaken = this.call.as_ref().map(|call| Untaken::begin(Arc::clone(&call.0)));
            return Poll::Ready(Some(Ok(first)));
        }
        this.held = None;
        let polled = ready!(for_caller(|| Pin::new(&mut this.body).poll_frame(cx)));
        if let Some(Ok(frame)) = &polled
            && !this.goes_out(frame)
        {
            // The stream ends as gRPC ends one, with a status.
            this.ended = true;
            let busy = status::busy("callers have not taken the answers that they asked for");
            let mut trailers = http::HeaderMap::new();
            return Poll::Ready(Some(busy.add_header(&mut trailers).map(|()| Frame::trailers(trailers))));
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.first.is_none() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.first.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}
