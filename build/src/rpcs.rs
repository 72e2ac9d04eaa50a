//! Generates, beside tonic's client and server of a service, one `Rpc` implementation and one table entry for each
//! method that takes one request.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Write;
use std::rc::Rc;

use heck::ToShoutySnakeCase;
use prost_build::{Method, Module, Service, ServiceGenerator};

use crate::collected::Collected;
use crate::policy::{Policy, RequestId};

/// Wraps tonic's generator.
pub(crate) struct Rpcs {
    /// The path of what the code names beside its own types.
    runtime: String,
    tonic: Box<dyn ServiceGenerator>,
    policy: Policy,
    collected: Collected,
    /// Paths of the generated tables, for the list of all.
    tables: Rc<RefCell<Vec<String>>>,
    /// Wrapper types by package, so that two services of a package do not both get one of the same name.
    wrappers: HashSet<(String, String)>,
}

impl Rpcs {
    pub(crate) fn new(
        runtime: String,
        tonic: Box<dyn ServiceGenerator>,
        policy: Policy,
        collected: Collected,
        tables: Rc<RefCell<Vec<String>>>,
    ) -> Self {
        Self { runtime, tonic, policy, collected, tables, wrappers: HashSet::new() }
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

        let mut path = String::new();
        for part in Module::from_protobuf_package_name(&service.package).parts() {
            write!(path, "{part}::")?;
        }
        self.tables.borrow_mut().push(path + &table);
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
        Ok(call)
    }

    fn wrapper(&mut self, service: &Service, method: &Method) -> String {
        let short = format!("{}Call", method.proto_name);
        let long = format!("{}{short}", service.name);
        let of_package = |name: &str| (service.package.clone(), name.to_owned());
        if self.wrappers.insert(of_package(&short)) && !self.policy.has_message(&service.package, &short) {
            return short;
        }
        self.wrappers.insert(of_package(&long));
        long
    }
}

impl ServiceGenerator for Rpcs {
    fn generate(&mut self, service: Service, code: &mut String) {
        let mut generated = String::new();
        self.tonic.generate(service.clone(), &mut generated);
        // The code names tonic as a crate; who includes it need not have it.
        let tonic = format!("use {}::tonic;\n    use tonic::codegen::*;", self.runtime);
        code.push_str(&generated.replace("use tonic::codegen::*;", &tonic));
        // Writing to a string does not fail.
        let _ = self.append(&service, code);
    }

    fn finalize(&mut self, code: &mut String) {
        self.tonic.finalize(code);
    }

    fn finalize_package(&mut self, package: &str, code: &mut String) {
        self.tonic.finalize_package(package, code);
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
