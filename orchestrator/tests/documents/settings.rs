//! Settings in documents are ones that the orchestrator takes.

use std::sync::OnceLock;

use prost::Message;
use prost_types::FileDescriptorSet;
use server::configuration::{Sources, load};
use transport::Contracts;

use crate::blocks::of;
use crate::files::{documents, text};

/// Not those that are there because they share a name with services of Guras.
fn is_documented(service: &&'static [transport::methods::MethodEntry]) -> bool {
    !service.iter().any(|entry| entry.method.service.starts_with("acme.users."))
}

/// The contracts of Guras and those of the examples, as one.
fn install() {
    static ALL: OnceLock<Contracts> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let both = [guras::APP.contracts, &clients::CONTRACTS];
        let services: Vec<_> =
            both.iter().flat_map(|contracts| contracts.services.iter().copied()).filter(is_documented).collect();
        let mut files = Vec::new();
        for contracts in both {
            for file in FileDescriptorSet::decode(contracts.descriptors).unwrap().file {
                if !files.iter().any(|known: &prost_types::FileDescriptorProto| known.name() == file.name()) {
                    files.push(file);
                }
            }
        }
        Contracts { services: services.leak(), descriptors: FileDescriptorSet { file: files }.encode_to_vec().leak() }
    });
    // Settings of a team are for the team to check.
    server::App { contracts: all, own: |_| Ok(()), ..guras::APP }.install().unwrap();
}

/// What is wrong with this configuration, but for files that it names: those are on the reader's machine.
fn mistakes(toml: &str) -> Vec<String> {
    install();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orchestrator.toml");
    std::fs::write(&file, toml).unwrap();
    match load(&Sources { file: Some(file), ..Sources::default() }) {
        Ok(_) => Vec::new(),
        Err(mistakes) => {
            let all = mistakes.to_string();
            // The first line counts them.
            let found = all.lines().skip(1).filter(|line| !line.trim().is_empty() && !line.contains("_file"));
            found.map(str::to_owned).collect()
        }
    }
}

#[test]
fn every_configuration_in_a_document_is_one_without_mistakes() {
    let blocks = of("toml");
    assert!(blocks.len() >= 5, "only {} blocks were found", blocks.len());
    for block in blocks {
        let mistakes = mistakes(&block.text());
        assert!(mistakes.is_empty(), "{}: {mistakes:#?}", block.place);
    }
}

#[test]
fn a_setting_that_does_not_exist_is_found() {
    assert!(!mistakes("[drain]\npatience = \"1s\"\n").is_empty());
    assert!(!mistakes("[services.nobody]\naddress = \"http://nobody:1\"\n").is_empty());
}

#[test]
fn every_service_config_in_a_document_is_one_without_mistakes() {
    for block in of("json") {
        let value = serde_json::to_string(&block.text()).unwrap();
        let mistakes = mistakes(&format!("[services.users]\nservice_config = {value}\n"));
        assert!(mistakes.is_empty(), "{}: {mistakes:#?}", block.place);
    }
}

#[test]
fn every_manifest_in_a_document_is_yaml() {
    for block in of("yaml") {
        let read = yaml_rust2::YamlLoader::load_from_str(&block.text());
        assert!(read.is_ok_and(|documents| !documents.is_empty()), "{}", block.place);
    }
}

/// `ORCHESTRATOR__SECTION__KEY`, as far as the key is written out.
#[test]
fn every_variable_in_a_document_is_a_setting() {
    install();
    for document in documents() {
        for span in text(&document).split('`').skip(1).step_by(2) {
            let Some(rest) = span.strip_prefix("ORCHESTRATOR__") else { continue };
            let (key, value) = rest.split_once('=').unwrap_or((rest, "40s"));
            if key.starts_with("SECTION") {
                continue;
            }
            let key = key.to_lowercase().replace("__", ".");
            let loaded = load(&Sources { overrides: vec![format!("{key}={value}")], ..Sources::default() });
            let unknown = loaded.err().map(|mistakes| mistakes.to_string()).filter(|said| said.contains("unknown"));
            assert_eq!(unknown, None, "{document}: {span}");
        }
    }
}
