//! Generates, beside tonic's client and server of a service, one `Rpc` implementation and one table entry for each
//! method that takes one request.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Write;
use std::rc::Rc;

use heck::ToShoutySnakeCase;
use prost_build::{Method, Service, ServiceGenerator};

use crate::collected::Collected;
use crate::names::{package_scope, type_name};
use crate::paged;
use crate::places::Places;
use crate::policy::{Policy, RequestId};

/// Functions of every client that tonic makes.
const FUNCTIONS: [&str; 8] = [
    "new",
    "with_origin",
    "with_interceptor",
    "send_compressed",
    "accept_compressed",
    "max_decoding_message_size",
    "max_encoding_message_size",
    "connect",
];

/// What the server that tonic makes names without a path, beside the trait that has the name of the service. A service of
/// such a name has `Service` behind it there.
const SHADOWED: [&str; 34] = [
    "Arc",
    "B",
    "Body",
    "Box",
    "BoxFuture",
    "BoxStream",
    "Bytes",
    "Clone",
    "CompressionEncoding",
    "Context",
    "D",
    "Default",
    "Drop",
    "EnabledCompressionEncodings",
    "Err",
    "F",
    "Fn",
    "From",
    "GrpcMethod",
    "InterceptedService",
    "Into",
    "Never",
    "None",
    "Ok",
    "Option",
    "Poll",
    "Result",
    "Self_",
    "Service",
    "Some",
    "StdError",
    "String",
    "T",
    "Vec",
];

/// Wraps tonic's generator.
pub(crate) struct Rpcs {
    /// The path of what the code names beside its own types.
    runtime: String,
    client: Box<dyn ServiceGenerator>,
    server: Box<dyn ServiceGenerator>,
    policy: Policy,
    collected: Collected,
    /// Paths of the generated tables, for the list of all.
    tables: Rc<RefCell<Vec<String>>>,
    /// Names of wrapper types are taken among those of the contracts.
    places: Places,
}

impl Rpcs {
    pub(crate) fn new(
        runtime: String,
        policy: Policy,
        collected: Collected,
        places: Places,
        tables: Rc<RefCell<Vec<String>>>,
    ) -> Self {
        let tonic = |client| {
            tonic_prost_build::configure()
                .codec_path(format!("{runtime}::Codec"))
                .build_client(client)
                .build_server(!client)
                // Clients are made over the channel of ours, never over tonic's.
                .build_transport(false)
                .service_generator()
        };
        let (client, server) = (tonic(true), tonic(false));
        Self { runtime, client, server, policy, collected, tables, places }
    }

    fn append(&mut self, service: &Service, code: &mut String) -> std::fmt::Result {
        let called: Vec<&Method> = service.methods.iter().filter(|method| !method.client_streaming).collect();
        if called.is_empty() {
            return Ok(());
        }
        let runtime = self.runtime.clone();
        let table = format!("{}_METHODS", service.proto_name.to_shouty_snake_case());
        let mut entries = String::new();
        for method in called {
            let collected = self.collected.name(&format!("{}.{}", full_name(service), method.proto_name));
            let collected = collected.map(str::to_owned);
            let response = collected.as_ref().unwrap_or(&method.output_type);
            let call = self.append_rpc(service, method, response, code)?;
            match collected {
                Some(name) => {
                    let name = in_package(service, &name);
                    writeln!(entries, "    {runtime}::MethodEntry::collecting::<{call}>({name:?}),")?;
                }
                None => writeln!(entries, "    {runtime}::MethodEntry::unary::<{call}>(),")?,
            }
        }
        writeln!(code, "/// The methods of `{}` that take one request.", full_name(service))?;
        writeln!(code, "pub static {table}: &[{runtime}::MethodEntry] = &[\n{entries}];")?;

        self.tables.borrow_mut().push(package_scope(&service.package) + &table);
        Ok(())
    }

    /// Returns the type that stands for the method: its request message, or a wrapper of the method's own.
    fn append_rpc(
        &mut self,
        service: &Service,
        method: &Method,
        response: &str,
        code: &mut String,
    ) -> Result<String, std::fmt::Error> {
        let path = format!("/{}/{}", full_name(service), method.proto_name);
        let request = &method.input_type;
        let (call, unwrap) = if self.policy.owns_its_request(method) {
            (request.clone(), "self")
        } else {
            let wrapper = self.wrapper(service, method);
            writeln!(code, "/// A call of `{path}`, whose request message does not belong to it alone.")?;
            writeln!(code, "#[derive(Clone, Debug, Default, PartialEq)]")?;
            writeln!(code, "pub struct {wrapper}(pub {request});")?;
            (wrapper, "self.0")
        };

        let request_id = self.policy.request_id(method);
        let rpc = format!("{}::engine::rpc", self.runtime);
        writeln!(code, "impl {rpc}::Rpc for {call} {{")?;
        writeln!(code, "    type Request = {request};")?;
        writeln!(code, "    type Response = {response};")?;
        writeln!(code, "    const METHOD: &'static {rpc}::Method = &{rpc}::Method {{")?;
        writeln!(code, "        service: {:?},", full_name(service))?;
        writeln!(code, "        name: {:?},", method.proto_name)?;
        writeln!(code, "        path: {path:?},")?;
        writeln!(code, "        level: {rpc}::Level::{},", self.policy.level(&full_name(service), method))?;
        writeln!(code, "        request_id: {:?},", request_id.map(|_| "request_id"))?;
        writeln!(code, "    }};")?;
        writeln!(code, "    fn into_request(self) -> Self::Request {{ {unwrap} }}")?;
        if let Some(kind) = request_id {
            let (is_empty, value) = match kind {
                RequestId::Plain => ("is_empty()", "key.into()"),
                RequestId::Optional => ("as_ref().is_none_or(|id| id.is_empty())", "Some(key.into())"),
            };
            writeln!(code, "    fn fill_request_id(request: &mut Self::Request, key: &str) {{")?;
            writeln!(code, "        if request.request_id.{is_empty} {{ request.request_id = {value}; }}")?;
            writeln!(code, "    }}")?;
        }
        writeln!(code, "}}")?;
        let request = unwrap.trim_start_matches("self");
        if let Some(paged) = paged::implementation(self.policy.pool(), &self.runtime, service, method, (&call, request))
        {
            code.push_str(&paged);
        }
        Ok(call)
    }

    fn wrapper(&mut self, service: &Service, method: &Method) -> String {
        let short = format!("{}Call", type_name(&method.proto_name));
        let long = format!("{}{short}", service.name);
        let what = format!("a call of {}/{}", full_name(service), method.proto_name);
        self.places.take(&service.package, [short, long], &what)
    }

    /// What tonic makes of the service. It names tonic as a crate; who includes the code need not have it.
    fn append_tonic(&mut self, service: Service, code: &mut String) {
        let mut generated = String::new();
        let mut served = service.clone();
        if SHADOWED.contains(&served.name.as_str()) {
            served.name.push_str("Service");
        }
        self.client.generate(service, &mut generated);
        self.server.generate(served, &mut generated);
        let tonic = format!("use {}::tonic;\n    use tonic::codegen::*;", self.runtime);
        code.push_str(&generated.replace("use tonic::codegen::*;", &tonic));
    }
}

/// Gives each method a function of its own in the client, which has functions that no contract names.
fn distinct_functions(service: &mut Service) {
    let mut taken: HashSet<String> = FUNCTIONS.into_iter().map(str::to_owned).collect();
    for method in &mut service.methods {
        while !taken.insert(method.name.clone()) {
            method.name = format!("{}_", method.name.trim_start_matches("r#"));
        }
    }
}

impl ServiceGenerator for Rpcs {
    fn generate(&mut self, mut service: Service, code: &mut String) {
        distinct_functions(&mut service);
        // Writing to a string does not fail.
        let _ = self.append(&service, code);
        self.append_tonic(service, code);
    }
}

fn in_package(service: &Service, name: &str) -> String {
    match service.package.as_str() {
        "" => name.to_owned(),
        package => format!("{package}.{name}"),
    }
}

fn full_name(service: &Service) -> String {
    in_package(service, &service.proto_name)
}
