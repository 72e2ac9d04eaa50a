//! Workflows that each do one thing that a test needs.

use std::time::Duration;

use engine::{Context, Failure, Level, Method, Retry, Rpc, SignalType, Workflow};

use test_contracts::app::acme::orchestration::greetings::v1::{GreetRequest, GreetResponse};
use test_contracts::app::acme::users::v1::{
    CreateUserRequest, CreateUserResponse, DeleteUserRequest, GetUserRequest, User,
};

/// Reads a user and creates one; the input's limit comes back as `due`.
pub struct Greet;

impl Workflow for Greet {
    const NAME: &'static str = "test.greet";
    const DESCRIPTION: &'static str = "Greets a user.";
    type Input = GreetRequest;
    type Output = GreetResponse;

    async fn run(&self, ctx: &Context, input: GreetRequest) -> Result<GreetResponse, Failure> {
        let user = ctx.call(GetUserRequest { user_id: String::from("u1") }).await?.user.unwrap_or_default();
        let create = CreateUserRequest { email: user.email, name: user.name, ..CreateUserRequest::default() };
        ctx.call(create).await?;
        Ok(GreetResponse { due: input.limit.unsigned_abs() })
    }
}

/// Creates as many users as the input's limit says, or four, each with an address that no other run uses.
pub struct Invite;

impl Workflow for Invite {
    const NAME: &'static str = "test.invite";
    type Input = GreetRequest;
    type Output = GreetResponse;

    async fn run(&self, ctx: &Context, input: GreetRequest) -> Result<GreetResponse, Failure> {
        let limit = if input.limit == 0 { 4 } else { input.limit };
        for number in 0..limit {
            let email = format!("{}-{number}@example.org", ctx.run_id());
            ctx.call(CreateUserRequest { email, ..CreateUserRequest::default() }).retry(Retry::patient()).await?;
            ctx.sleep("pause", Duration::from_millis(20)).await?;
            ctx.call(GetUserRequest { user_id: number.to_string() }).await?;
        }
        Ok(GreetResponse { due: limit.unsigned_abs() })
    }
}

/// Sleeps for an hour.
pub struct Nap;

impl Workflow for Nap {
    const NAME: &'static str = "test.nap";
    type Input = GreetRequest;
    type Output = GreetResponse;

    async fn run(&self, ctx: &Context, _: GreetRequest) -> Result<GreetResponse, Failure> {
        ctx.sleep("nap", Duration::from_secs(3_600)).await?;
        Ok(GreetResponse::default())
    }
}

/// Waits for a user, and says how many there were.
pub struct Wait;

impl Workflow for Wait {
    const NAME: &'static str = "test.wait";
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<User>("arrived")];
    type Input = GreetRequest;
    type Output = GreetResponse;

    async fn run(&self, ctx: &Context, _: GreetRequest) -> Result<GreetResponse, Failure> {
        let user: User = ctx.signal("arrived").await?;
        Ok(GreetResponse { due: u32::from(!user.name.is_empty()) })
    }
}

/// Creates a user, which can be undone, and then waits for a signal that it does not declare.
pub struct Undeclared;

impl Workflow for Undeclared {
    const NAME: &'static str = "test.undeclared";
    type Input = GreetRequest;
    type Output = GreetResponse;

    async fn run(&self, ctx: &Context, _: GreetRequest) -> Result<GreetResponse, Failure> {
        let delete = DeleteUserRequest { user_id: String::from("u1") };
        ctx.call(CreateUserRequest::default()).undo(move |_| delete).await?;
        let _: User = ctx.signal("undeclared").await?;
        Ok(GreetResponse::default())
    }
}

/// Has a user for as long as nothing goes wrong: waits for a signal meanwhile, and deletes the user if it is cancelled.
pub struct Stay;

impl Workflow for Stay {
    const NAME: &'static str = "test.stay";
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<User>("arrived")];
    type Input = GreetRequest;
    type Output = GreetResponse;

    async fn run(&self, ctx: &Context, input: GreetRequest) -> Result<GreetResponse, Failure> {
        let create = CreateUserRequest { email: input.text, ..CreateUserRequest::default() };
        ctx.call(create).retry(Retry::patient()).undo(|key| DeleteUserRequest { user_id: key.to_string() }).await?;
        let user: User = ctx.signal("arrived").await?;
        Ok(GreetResponse { due: u32::from(!user.name.is_empty()) })
    }
}

/// Charges as many users as the input's limit says, each in a run of its own; says how many could be charged.
pub struct Round;

impl Workflow for Round {
    const NAME: &'static str = "test.round";
    type Input = GreetRequest;
    type Output = GreetResponse;

    async fn run(&self, ctx: &Context, input: GreetRequest) -> Result<GreetResponse, Failure> {
        let charged = ctx
            .fan_out("user", 0..input.limit, async |ctx, _| {
                ctx.child::<Charge>("charge", GreetRequest::default()).await
            })
            .key(|number| number.to_string())
            .limit(4)
            .await;
        Ok(GreetResponse { due: charged.count(|_| true) })
    }
}

/// Creates a user through a method whose contract says nothing of repeats.
pub struct Charge;

impl Workflow for Charge {
    const NAME: &'static str = "test.unsure";
    type Input = GreetRequest;
    type Output = GreetResponse;

    async fn run(&self, ctx: &Context, _: GreetRequest) -> Result<GreetResponse, Failure> {
        let email = format!("{}-charged@example.org", ctx.run_id());
        ctx.call(CreateUnkeyed(CreateUserRequest { email, ..CreateUserRequest::default() })).await?;
        Ok(GreetResponse::default())
    }
}

/// `CreateUser`, as if its contract did not state a level.
struct CreateUnkeyed(CreateUserRequest);

impl Rpc for CreateUnkeyed {
    type Request = CreateUserRequest;
    type Response = CreateUserResponse;
    const METHOD: &'static Method = &Method { level: Level::Unknown, request_id: None, ..*CreateUserRequest::METHOD };

    fn into_request(self) -> CreateUserRequest {
        self.0
    }
}
