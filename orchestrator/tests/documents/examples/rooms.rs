//! The workflow that the page on workflows takes its examples from: reserves a room, and releases it if no one pays.

use std::time::Duration;

use clients::acme::orchestration::rooms::v1::{BookRequest, BookResponse, Paid};
use clients::acme::rooms::v1::{ChargeGuestRequest, ReleaseRoomRequest, ReserveRoomRequest, ReserveRoomResponse};
use engine::testing::{Probe, Services, World};
use engine::{Code, Context, Failure, Limits, SignalType, Workflow};

struct Book;

impl Workflow for Book {
    const NAME: &'static str = "rooms.book";
    const VERSION: u32 = 2;
    const DEADLINE: Duration = Duration::from_hours(96);
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Paid>("payment")];
    type Input = BookRequest;
    type Output = BookResponse;

    async fn run(&self, ctx: &Context, input: BookRequest) -> Result<BookResponse, Failure> {
        let room = ctx
            .call(ReserveRoomRequest { user_id: input.user_id.clone(), ..ReserveRoomRequest::default() })
            .undo(|key| ReleaseRoomRequest { reservation_id: key.to_string() })
            .await?
            .room;
        // Since version 2, the guest pays when the room is reserved.
        if ctx.version_at_least(2) {
            ctx.call(ChargeGuestRequest { user_id: input.user_id.clone(), cents: 9_900 }).await?;
        }
        let paid = ctx.signal::<Paid>("payment").within(Duration::from_hours(72)).await?;
        if paid.is_none() {
            return Err(Failure::new(Code::FailedPrecondition, "nobody paid"));
        }
        Ok(BookResponse { room, paid: true })
    }
}

fn world(probe: Probe) -> World {
    let services = Services::new()
        .on::<ReserveRoomRequest>(|_| Ok(ReserveRoomResponse { room: String::from("12") }))
        .grants::<ReleaseRoomRequest>()
        .grants::<ChargeGuestRequest>();
    World::with(services, |registry| registry.register(|| Book), Limits::default(), probe)
}

#[tokio::test(start_paused = true)]
async fn a_room_that_nobody_pays_for_is_released() {
    let world = world(Probe::counting());
    let ended = world.run::<Book>(BookRequest { user_id: String::from("u1") }).await;
    assert_eq!(ended.map_err(|failure| failure.code()), Err(Code::FailedPrecondition));
    assert_eq!(world.services().effects_of::<ReserveRoomRequest>(), 1);
    assert_eq!(world.services().effects_of::<ReleaseRoomRequest>(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_paid_for_is_kept() {
    let world = world(Probe::counting());
    let run = world.start::<Book>(BookRequest { user_id: String::from("u1") }).await.unwrap();
    world.signal(run, "payment", &Paid { cents: 9_900 }, None).await.unwrap();
    assert_eq!(world.result_of::<Book>(run).await, Ok(BookResponse { room: String::from("12"), paid: true }));
    assert_eq!(world.services().arrivals_of::<ReleaseRoomRequest>(), 0);
}
