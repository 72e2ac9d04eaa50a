//! Asks a server for its contracts, by gRPC server reflection: v1, or v1alpha where that is all it has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::BytesMut;
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorProto;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use transport::channel::Direct;

use crate::descriptors;

/// Both versions have the same messages.
const VERSIONS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Time for all of it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer to one question.
const MAX_ANSWER: usize = 64 << 20;
/// The most files that a server may name.
const MAX_FILES: usize = 10_000;

/// Why the contracts of a server are not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReflectionError {
    #[error("{}", .0.message())]
    Status(Box<Status>),
    #[error("the server has no reflection; expected grpc.reflection.v1 or v1alpha")]
    None,
    #[error("the server did not answer within {TIMEOUT:?}")]
    TimedOut,
    #[error("the reflection of the server is of no use: {0}")]
    Unusable(String),
}

impl From<Status> for ReflectionError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// The server's reflection.
pub(crate) struct Reflection {
    channel: Direct,
    path: &'static str,
    /// The services that it says it has.
    pub(crate) services: BTreeSet<String>,
}

impl Reflection {
    /// Asks which services there are.
    pub(crate) async fn of(channel: Direct) -> Result<Self, ReflectionError> {
        let listed = async {
            for path in VERSIONS {
                let asked = ask(&channel, path, vec![MessageRequest::ListServices(String::new())]).await;
                let answers = match asked {
                    Err(status) if status.code() == Code::Unimplemented => continue,
                    answers => answers?,
                };
                let mut services = BTreeSet::new();
                for answer in answers {
                    match answer {
                        MessageResponse::ListServicesResponse(list) => {
                            services.extend(list.service.into_iter().map(|service| service.name));
                        }
                        MessageResponse::ErrorResponse(error) => return Err(unusable(error.error_message)),
                        _ => {}
                    }
                }
                return Ok((path, services));
            }
            Err(ReflectionError::None)
        };
        let (path, services) = in_time(listed).await?;
        Ok(Self { channel, path, services })
    }

    /// The contracts of those of these services that the server has.
    pub(crate) async fn contracts(&self, services: &[&str]) -> Result<DescriptorPool, ReflectionError> {
        let there = services.iter().filter(|service| self.services.contains(**service));
        let questions = there.map(|service| MessageRequest::FileContainingSymbol((*service).to_owned())).collect();
        let files = in_time(self.files(questions)).await?;
        let mut set = BytesMut::new();
        // As they came: decoded and encoded again, they would lose the options that we do not know.
        files.values().for_each(|file| prost::encoding::bytes::encode(1, file, &mut set));
        DescriptorPool::decode(set.freeze()).map_err(|error| unusable(error.to_string()))
    }

    /// The answers to these questions, and all files that they need.
    async fn files(&self, mut questions: Vec<MessageRequest>) -> Result<BTreeMap<String, Vec<u8>>, ReflectionError> {
        let mut files = BTreeMap::new();
        while !questions.is_empty() {
            let mut needed = BTreeSet::new();
            for answer in ask(&self.channel, self.path, questions).await? {
                let described = match answer {
                    MessageResponse::FileDescriptorResponse(described) => described.file_descriptor_proto,
                    // Who lists a service and does not know it does not have it; a file is missed below.
                    _ => continue,
                };
                for bytes in described {
                    let file =
                        FileDescriptorProto::decode(bytes.as_slice()).map_err(|error| unusable(error.to_string()))?;
                    needed.extend(file.dependency.iter().cloned());
                    files.insert(file.name().to_owned(), bytes);
                }
            }
            let (mut missing, asked) = (Vec::new(), files.len());
            for name in needed.into_iter().filter(|name| !files.contains_key(name)).collect::<Vec<_>>() {
                match well_known(&name) {
                    // These are the same everywhere, and some servers leave them out.
                    Some(file) => drop(files.insert(name, file)),
                    None => missing.push(MessageRequest::FileByFilename(name)),
                }
            }
            if files.len() + missing.len() > MAX_FILES {
                return Err(unusable(format!("it names more than {MAX_FILES} files")));
            }
            // A file that was asked for and did not come is missing for good.
            if asked == 0 && !missing.is_empty() {
                return Err(unusable(String::from("it names files that it does not have")));
            }
            questions = missing;
        }
        Ok(files)
    }
}

fn unusable(reason: String) -> ReflectionError {
    ReflectionError::Unusable(reason)
}

fn well_known(name: &str) -> Option<Vec<u8>> {
    let file = descriptors::file(name).filter(|_| name.starts_with("google/protobuf/"))?;
    Some(file.file_descriptor_proto().encode_to_vec())
}

async fn in_time<T>(work: impl Future<Output = Result<T, ReflectionError>>) -> Result<T, ReflectionError> {
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or(Err(ReflectionError::TimedOut))
}

/// Asks all questions in one call. A server answers each once.
async fn ask(
    channel: &Direct,
    path: &'static str,
    questions: Vec<MessageRequest>,
) -> Result<Vec<MessageResponse>, Status> {
    let expected = questions.len();
    let questions = questions
        .into_iter()
        .map(|question| ServerReflectionRequest { host: String::new(), message_request: Some(question) });
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(MAX_ANSWER);
    grpc.ready().await?;
    let codec = ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
    let request = Request::new(tokio_stream::iter(questions.collect::<Vec<_>>()));
    let answers = grpc.streaming(request, PathAndQuery::from_static(path), codec).await?;
    let mut answers = answers.into_inner();
    let mut all = Vec::with_capacity(expected);
    while all.len() < expected
        && let Some(answer) = answers.message().await?
    {
        all.extend(answer.message_response);
    }
    Ok(all)
}
