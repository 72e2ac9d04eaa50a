//! Every Rust name that the contracts make, and where it comes from: two proto names that become one are told apart, or
//! the build says which two they are.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor, ServiceDescriptor,
};

use crate::Error;
use crate::names::{inner_scope, modules, oneof_type, package_scope, scope, service_module, snake, type_name, variant};

/// What stands at a Rust name.
#[derive(Clone, Debug)]
struct Place {
    what: String,
    is_package: bool,
}

/// The names of the contracts.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// By Rust path. Types and modules share their names.
    taken: HashMap<String, Place>,
    /// Full names of everything that the contracts declare.
    symbols: HashSet<String>,
    clashes: Vec<String>,
}

impl Places {
    /// Reads the names of these files.
    ///
    /// # Errors
    /// Two of them become one name in Rust; all such pairs are named.
    pub(crate) fn read(pool: &DescriptorPool, generated: impl Fn(&FileDescriptor) -> bool) -> Result<Self, Error> {
        let mut places = Self::default();
        for file in pool.files() {
            places.know(&file);
        }
        for file in pool.files().filter(|file| generated(file)) {
            places.file(&file);
        }
        if places.clashes.is_empty() {
            return Ok(places);
        }
        let mut told =
            String::from("names of the contracts become one name in Rust; expected one of each two to change");
        for clash in &places.clashes {
            write!(told, "\n  {clash}")?;
        }
        Err(told.into())
    }

    /// Whether no contract declares this full name.
    pub(crate) fn is_new_symbol(&self, full_name: &str) -> bool {
        !self.symbols.contains(full_name)
    }

    /// Takes the first of these names that no type of the package has, with numbers behind the last one if all are taken.
    pub(crate) fn take(&mut self, package: &str, candidates: [String; 2], what: &str) -> String {
        let scope = package_scope(package);
        let numbered = (2..).map(|number| format!("{}{number}", candidates[1]));
        let mut names = candidates.iter().cloned().chain(numbered);
        let is_free = |name: &String| {
            let full_name = if package.is_empty() { name.clone() } else { format!("{package}.{name}") };
            !self.taken.contains_key(&format!("{scope}{}", type_name(name))) && self.is_new_symbol(&full_name)
        };
        let name = names.find(is_free).unwrap_or_default();
        self.taken.insert(format!("{scope}{}", type_name(&name)), Place { what: what.to_owned(), is_package: false });
        name
    }

    /// Makes the full names of the file known, those of packages included.
    fn know(&mut self, file: &FileDescriptor) {
        let package = file.package_name();
        self.symbols.extend(package.match_indices('.').map(|(end, _)| package[..end].to_owned()));
        self.symbols.insert(package.to_owned());
        let values = |of: &EnumDescriptor| of.values().map(|value| value.full_name().to_owned()).collect::<Vec<_>>();
        self.symbols.extend(file.messages().map(|message| message.full_name().to_owned()));
        self.symbols.extend(file.enums().map(|of| of.full_name().to_owned()));
        self.symbols.extend(file.enums().flat_map(|of| values(&of)));
        self.symbols.extend(file.services().map(|service| service.full_name().to_owned()));
        self.symbols.extend(file.extensions().map(|extension| extension.full_name().to_owned()));
    }

    fn file(&mut self, file: &FileDescriptor) {
        let mut path = String::new();
        for module in modules(file.package_name()) {
            path.push_str(&module);
            let place = Place { what: format!("package {} ({})", file.package_name(), file.name()), is_package: true };
            self.claim(path.clone(), place);
            path.push_str("::");
        }
        file.messages().for_each(|message| self.message(&message));
        file.enums().for_each(|of| self.enumeration(&of, &package_scope(of.package_name())));
        file.services().for_each(|service| self.service(&service));
    }

    fn message(&mut self, message: &MessageDescriptor) {
        if message.is_map_entry() {
            return;
        }
        let file = message.parent_file();
        let what = format!("message {}", message.full_name());
        self.claim_at(format!("{}{}", scope(message), type_name(message.name())), &what, &file, message.path());

        let oneofs: Vec<_> = message.oneofs().filter(|oneof| !oneof.is_synthetic()).collect();
        let nests =
            message.child_messages().any(|nested| !nested.is_map_entry()) || message.child_enums().next().is_some();
        let inner = inner_scope(message);
        if nests || !oneofs.is_empty() {
            // Its contents and those of a package of this name can stand in one module.
            let place = Place { what: placed(&what, &file, message.path()), is_package: true };
            self.claim(inner.trim_end_matches("::").to_owned(), place);
        }
        let fields = format!("fields of {}.", message.full_name());
        for field in message.fields().filter(is_own) {
            self.claim_at(format!("{fields}{}", snake(field.name())), &told(&field), &file, field.path());
        }
        for oneof in oneofs {
            let what = format!("oneof {}", oneof.full_name());
            self.claim_at(format!("{fields}{}", snake(oneof.name())), &what, &file, oneof.path());
            self.claim_at(format!("{inner}{}", oneof_type(&oneof)), &what, &file, oneof.path());
            for field in oneof.fields() {
                let variant = format!("variants of {}.{}", oneof.full_name(), type_name(field.name()));
                self.claim_at(variant, &told(&field), &file, field.path());
            }
        }
        message.child_messages().for_each(|nested| self.message(&nested));
        message.child_enums().for_each(|of| self.enumeration(&of, &inner));
    }

    fn enumeration(&mut self, of: &EnumDescriptor, scope: &str) {
        let file = of.parent_file();
        let what = format!("enum {}", of.full_name());
        self.claim_at(format!("{scope}{}", type_name(of.name())), &what, &file, of.path());
        let mut numbers = HashSet::new();
        for value in of.values().filter(|value| numbers.insert(value.number())) {
            let name = format!("variants of {}.{}", of.full_name(), variant(of, value.name()));
            self.claim_at(name, &format!("value {}", value.full_name()), &file, value.path());
        }
    }

    fn service(&mut self, service: &ServiceDescriptor) {
        let (file, scope) = (service.parent_file(), package_scope(service.package_name()));
        let what = format!("service {}", service.full_name());
        for kind in ["client", "server"] {
            let module = format!("{scope}{}", service_module(&type_name(service.name()), kind));
            self.claim_at(module, &what, &file, service.path());
        }
    }

    fn claim_at(&mut self, path: String, what: &str, file: &FileDescriptor, at: &[i32]) {
        self.claim(path, Place { what: placed(what, file, at), is_package: false });
    }

    fn claim(&mut self, path: String, place: Place) {
        match self.taken.get(&path) {
            Some(there) if there.is_package && place.is_package => {}
            Some(there) => self.clashes.push(format!("{path}: {} and {}", there.what, place.what)),
            None => drop(self.taken.insert(path, place)),
        }
    }
}

fn is_own(field: &FieldDescriptor) -> bool {
    field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic())
}

fn told(field: &FieldDescriptor) -> String {
    format!("field {}", field.full_name())
}

/// What it is, with the file and line of its declaration.
fn placed(what: &str, file: &FileDescriptor, path: &[i32]) -> String {
    format!("{what} ({})", place(file, path))
}

/// The file and line of a declaration.
pub(crate) fn place(file: &FileDescriptor, path: &[i32]) -> String {
    let source = file.file_descriptor_proto().source_code_info.as_ref();
    let location = source.and_then(|source| source.location.iter().find(|location| location.path == path));
    match location.and_then(|location| location.span.first()) {
        Some(line) => format!("{}:{}", file.name(), line + 1),
        None => file.name().to_owned(),
    }
}
