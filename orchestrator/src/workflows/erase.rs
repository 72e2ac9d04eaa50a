//! `users.erase`: deletes all data of a user at the services, and then the user.

use clients::guras::orchestration::users::v1::{EraseRequest, EraseResponse};
use clients::guras::users::v1::DeleteUserRequest;
use clients::guras::{audio, journal, meditation, notifications};
use engine::prelude::*;
use engine::steps::call::Call;

/// Has to finish: every call is tried for weeks. The services are asked at the same time, so one that is away does not
/// keep the others from deleting. The user goes last, because their data could not be found without them.
#[derive(Clone, Copy, Debug)]
pub struct Erase;

/// The services that have data of users.
#[derive(Clone, Copy, Debug)]
enum Service {
    Journal,
    Meditation,
    Audio,
    Notifications,
}

impl Service {
    const ALL: [Self; 4] = [Self::Journal, Self::Meditation, Self::Audio, Self::Notifications];

    /// The name that the run shows, and that its journal has.
    const fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Meditation => "meditation",
            Self::Audio => "audio",
            Self::Notifications => "notifications",
        }
    }
}

/// How much a service deleted; `None` if it does not know the user, and no earlier attempt of ours can be the reason.
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
            .fan_out("service", Service::ALL, move |ctx, service| erase(ctx, service, user.clone()))
            .key(|service| service.name().to_owned())
            .await
            .values()?;

        let user = deleted(ctx.call(DeleteUserRequest { user_id: user_id.clone() }), |_| 1).await?;
        let mut report = EraseResponse { user_id, user_deleted: user.is_some(), ..EraseResponse::default() };
        for (service, deleted) in Service::ALL.into_iter().zip(erased) {
            match (service, deleted) {
                (_, None) => report.unknown_to.push(service.name().to_owned()),
                (Service::Journal, Some(count)) => report.deleted_entries = count,
                (Service::Meditation, Some(count)) => report.deleted_sessions = count,
                (Service::Audio, Some(count)) => report.deleted_files = count,
                (Service::Notifications, Some(count)) => report.deleted_device_tokens = count,
            }
        }
        Ok(report)
    }
}

/// One service.
async fn erase(ctx: Context, service: Service, user_id: String) -> Result<Deleted, Failure> {
    match service {
        Service::Journal => {
            let call = ctx.call(journal::v1::DeleteUserDataRequest { user_id });
            deleted(call, |answer| answer.deleted_entries).await
        }
        Service::Meditation => {
            let call = ctx.call(meditation::v1::DeleteUserDataRequest { user_id });
            deleted(call, |answer| answer.deleted_sessions).await
        }
        Service::Audio => {
            let call = ctx.call(audio::v1::DeleteUserFilesRequest { user_id });
            deleted(call, |answer| answer.deleted_files).await
        }
        Service::Notifications => {
            let call = ctx.call(notifications::v1::DeleteUserDataRequest { user_id });
            deleted(call, |answer| answer.deleted_device_tokens).await
        }
    }
}

/// A user who is not there counts as deleted. After a lost answer it may have been this step that deleted them; how much
/// that was is not known, so it counts as nothing.
async fn deleted<R: Rpc>(call: Call<R>, count: impl Fn(R::Response) -> i32) -> Result<Deleted, Failure> {
    match call.retry(Retry::patient()).await {
        Ok(answer) => Ok(Some(count(answer))),
        Err(failure) if failure.code() == Code::NotFound => Ok(failure.is_repeated().then_some(0)),
        Err(failure) => Err(failure),
    }
}
