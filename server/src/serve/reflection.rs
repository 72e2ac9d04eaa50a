//! Reflection: what a server says of its own contracts.

use prost_reflect::DescriptorPool;
use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

use crate::installed;

/// What the names of both versions begin with, in a path.
pub(super) const PATH: &str = "/grpc.reflection.";

/// Adds reflection, v1 and v1alpha, that names these services and itself.
pub(super) fn with_reflection(routes: Routes, services: &[&str]) -> Result<Routes, Error> {
    // Not only the admin API: a client that reads a run wants to read what is packed in it.
    let contracts = installed::pool().map(DescriptorPool::encode_to_vec).unwrap_or_default();
    let builder = || {
        let own = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(&contracts)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
        services.iter().copied().chain(own).fold(builder, Builder::with_service_name)
    };
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}
