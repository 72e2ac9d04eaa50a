//! Servers that say by reflection which contracts they have.

use std::path::PathBuf;
use std::process::Stdio;

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic_reflection::server::Builder;

/// Names a Python that has what `tests/requirements.txt` lists; `./test` makes one and sets it.
const PYTHON: &str = "ORCHESTRATOR_TEST_PYTHON";

#[derive(Clone, Copy)]
pub(crate) enum Version {
    V1,
    V1Alpha,
}

/// The contracts that we were built with.
pub(crate) fn contracts() -> FileDescriptorSet {
    FileDescriptorSet::decode(test_app::contracts::CONTRACTS.descriptors).unwrap()
}

pub(crate) fn file<'a>(contracts: &'a mut FileDescriptorSet, name: &str) -> &'a mut FileDescriptorProto {
    contracts.file.iter_mut().find(|file| file.name() == name).unwrap()
}

pub(crate) fn method<'a>(file: &'a mut FileDescriptorProto, name: &str) -> &'a mut MethodDescriptorProto {
    file.service[0].method.iter_mut().find(|method| method.name() == name).unwrap()
}

/// A server on tonic that has this service of these contracts.
pub(crate) async fn served(contracts: FileDescriptorSet, service: &str, version: Version) -> String {
    let (listener, address) = listen().await;
    let builder = Builder::configure().register_file_descriptor_set(contracts).with_service_name(service);
    match version {
        Version::V1 => {
            let router = Server::builder().add_service(builder.build_v1().unwrap());
            tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        }
        Version::V1Alpha => {
            let router = Server::builder().add_service(builder.build_v1alpha().unwrap());
            tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        }
    }
    address
}

/// A server that has nothing but health.
pub(crate) async fn without_reflection() -> String {
    let (listener, address) = listen().await;
    let (_, health) = tonic_health::server::health_reporter();
    let router = Server::builder().add_service(health);
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

/// A server on grpcio; it ends when this is dropped.
pub(crate) struct Grpcio {
    pub(crate) address: String,
    _process: Child,
    _contracts: tempfile::NamedTempFile,
}

/// A server on grpcio that has this service of these contracts; none where there is no Python with grpcio.
pub(crate) async fn grpcio(contracts: &[u8], service: &str) -> Option<Grpcio> {
    let Some(python) = python().await else {
        eprintln!("SKIPPED: no Python with grpcio was found; run `./test`, or set {PYTHON} to one that has it");
        return None;
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), contracts).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contracts/server.py");
    let mut server = Command::new(python);
    server.arg(script).arg(file.path()).arg(service).stdout(Stdio::piped()).kill_on_drop(true);
    let mut process = server.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let Some(port) = lines.next_line().await.unwrap() else { panic!("the server on grpcio did not start") };
    Some(Grpcio { address: format!("http://127.0.0.1:{port}"), _process: process, _contracts: file })
}

/// The one that was named, which must do; else one that happens to do.
async fn python() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(PYTHON) {
        return Some(named.into());
    }
    let mut probe = Command::new("python3");
    let probe = probe.args(["-c", "import grpc, grpc_reflection"]).output().await.ok()?;
    probe.status.success().then(|| "python3".into())
}
