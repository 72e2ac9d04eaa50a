//! `users.erase`: deletes all data of a user at the services, and then the user.

use std::time::Duration;

use clients::guras::orchestration::users::v1::{EraseRequest, EraseResponse};
use clients::guras::users::v1::DeleteUserRequest;
use clients::guras::{audio, journal, meditation, notifications};
use engine::steps::call::Call;
use engine::{Code, Context, Failure, Retry, Rpc, Workflow};

/// Has to finish: every call is tried for weeks. The services are called at the same time, so one that is down does not
/// delay the others. The user is deleted last, because the other data is found by it.
#[derive(Clone, Copy, Debug)]
pub struct Erase;

/// A service that has data of users.
#[derive(Clone, Copy, Debug)]
enum Holder {
    Journal,
    Meditation,
    Audio,
    Notifications,
}

const HOLDERS: [Holder; 4] = [Holder::Journal, Holder::Meditation, Holder::Audio, Holder::Notifications];

impl Holder {
    /// The name that the run and its report show.
    const fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Meditation => "meditation",
            Self::Audio => "audio",
            Self::Notifications => "notifications",
        }
    }
}

/// What a service deleted; `None` if it knew nothing of the user and no earlier attempt can be the reason.
type Deleted = Option<i32>;

impl Workflow for Erase {
    const NAME: &'static str = "users.erase";
    const DESCRIPTION: &'static str = "Deletes all data of a user at every service, and then the user.";
    const DEADLINE: Duration = Duration::from_secs(60 * 24 * 3_600);
    type Input = EraseRequest;
    type Output = EraseResponse;

    async fn run(&self, ctx: &Context, input: EraseRequest) -> Result<EraseResponse, Failure> {
        let user_id = input.user_id;
        if user_id.is_empty() {
            return Err(Failure::new(Code::InvalidArgument, "user_id is empty, expected the id of a user"));
        }
        let user = user_id.clone();
        let erased = ctx
            .fan_out("service", HOLDERS, move |ctx, holder| erase(ctx, holder, user.clone()))
            .key(|holder| holder.name().to_owned())
            .await
            .values()?;

        let user = deleted(ctx.call(DeleteUserRequest { user_id: user_id.clone() }), |_| 1).await?;
        let mut report = EraseResponse { user_id, user_deleted: user.is_some(), ..EraseResponse::default() };
        for (holder, deleted) in HOLDERS.into_iter().zip(erased) {
            let Some(count) = deleted else {
                report.unknown_to.push(holder.name().to_owned());
                continue;
            };
            match holder {
                Holder::Journal => report.deleted_entries = count,
                Holder::Meditation => report.deleted_sessions = count,
                Holder::Audio => report.deleted_files = count,
                Holder::Notifications => report.deleted_device_tokens = count,
            }
        }
        Ok(report)
    }
}

/// One service.
async fn erase(ctx: Context, holder: Holder, user_id: String) -> Result<Deleted, Failure> {
    match holder {
        Holder::Journal => {
            let call = ctx.call(journal::v1::DeleteUserDataRequest { user_id });
            deleted(call, |answer| answer.deleted_entries).await
        }
        Holder::Meditation => {
            let call = ctx.call(meditation::v1::DeleteUserDataRequest { user_id });
            deleted(call, |answer| answer.deleted_sessions).await
        }
        Holder::Audio => {
            let call = ctx.call(audio::v1::DeleteUserFilesRequest { user_id });
            deleted(call, |answer| answer.deleted_files).await
        }
        Holder::Notifications => {
            let call = ctx.call(notifications::v1::DeleteUserDataRequest { user_id });
            deleted(call, |answer| answer.deleted_device_tokens).await
        }
    }
}

/// NOT_FOUND counts as deleted. After a lost answer, the reason may be an earlier attempt, and the number is not known.
async fn deleted<R: Rpc>(call: Call<R>, count: impl Fn(R::Response) -> i32) -> Result<Deleted, Failure> {
    match call.retry(Retry::patient()).await {
        Ok(answer) => Ok(Some(count(answer))),
        Err(failure) if failure.code() == Code::NotFound => Ok(failure.is_repeated().then_some(0)),
        Err(failure) => Err(failure),
    }
}
