//! Who the command line says it is: `user@host`, unless told otherwise.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::exit::CommandError;
use crate::admin::CALLER;

/// Puts the caller's name on every call.
#[derive(Clone, Debug)]
pub(super) struct Named(MetadataValue<Ascii>);

impl Named {
    pub(super) fn new(said: Option<&str>) -> Result<Self, CommandError> {
        let name = said.map_or_else(user_at_host, str::to_owned);
        name.parse()
            .map(Self)
            .map_err(|_| CommandError::usage(format!("--caller: {name:?} has other than visible ASCII")))
    }
}

impl Interceptor for Named {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(CALLER, self.0.clone());
        Ok(request)
    }
}

fn user_at_host() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = user.unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname();
    let name = format!("{user}@{}", host.nodename().to_string_lossy());
    name.chars().map(|char| if char.is_ascii_graphic() { char } else { '?' }).collect()
}
