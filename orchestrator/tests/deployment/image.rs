//! The Dockerfile fits the workspace that it builds and the manifests that run it.

use std::collections::BTreeSet;

use crate::files::{container, final_stage, instructions, manifest, pod, root, sqlite, stateful_set, string, text};

/// The values of one instruction of the final stage.
fn of_final_stage(wanted: &str) -> Vec<String> {
    final_stage().into_iter().filter(|(name, _)| name == wanted).map(|(_, value)| value).collect()
}

/// What the build copies from the repository.
fn copied() -> Vec<String> {
    let copies = instructions().into_iter().filter(|(name, rest)| name == "COPY" && !rest.starts_with("--from"));
    copies
        .flat_map(|(_, rest)| {
            let mut paths: Vec<String> = rest.split(' ').map(String::from).collect();
            paths.pop();
            paths
        })
        .collect()
}

#[test]
fn the_layer_of_dependencies_knows_every_crate_of_the_workspace() {
    let manifest = text("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
    let empty = text("k8s/image/empty-crates");
    let crates = empty.lines().find_map(|line| line.strip_prefix("for crate in ")).unwrap();
    let crates: BTreeSet<&str> = crates.trim_end_matches("; do").split(' ').collect();
    for member in members.trim_end_matches(']').split(", ").map(|member| member.trim_matches('"')) {
        assert!(copied().contains(&format!("{member}/Cargo.toml")), "{member}");
        assert!(crates.contains(member), "{member}");
        let own = text(&format!("{member}/Cargo.toml"));
        for bench in own.split("[[bench]]\nname = \"").skip(1).filter_map(|bench| bench.split('"').next()) {
            assert!(empty.contains(&format!("{member}/benches/{bench}.rs")), "{member}, {bench}");
        }
    }
}

#[test]
fn everything_that_the_build_copies_is_there_and_sent_to_it() {
    let sent = text(".dockerignore");
    let sent: Vec<&str> = sent.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for path in copied() {
        assert!(root().join(&path).exists(), "{path}");
        assert!(sent.iter().any(|sent| path == *sent || path.starts_with(&format!("{sent}/"))), "{path}");
    }
}

#[test]
fn base_images_are_pinned_and_dependencies_are_those_of_the_lock_file() {
    for (name, rest) in instructions() {
        match name.as_str() {
            "FROM" => {
                let image = rest.split(' ').next().unwrap();
                let version = image.split_once(':').map(|(_, version)| version);
                assert!(image == "scratch" || version.is_some_and(|version| version.contains('.')), "{image}");
            }
            "RUN" => {
                assert_eq!(rest.matches("cargo build").count(), rest.matches("cargo build --locked").count(), "{rest}");
            }
            _ => {}
        }
    }
}

#[test]
fn signals_reach_the_binary_because_no_shell_stands_before_it() {
    assert_eq!(of_final_stage("ENTRYPOINT"), [r#"["/usr/bin/orchestrator"]"#]);
    assert_eq!(of_final_stage("CMD"), [r#"["serve"]"#]);
    assert_eq!(of_final_stage("STOPSIGNAL"), ["SIGTERM"]);
    assert!(container(&stateful_set())["command"].is_badvalue());
}

#[test]
fn the_image_and_the_pod_agree_on_the_user_and_on_the_place_of_the_store() {
    let (base, sqlite) = (stateful_set(), sqlite());
    let security = &pod(&base)["securityContext"];
    let user = format!("{}:{}", security["runAsUser"].as_i64().unwrap(), security["runAsGroup"].as_i64().unwrap());
    assert_eq!(of_final_stage("USER"), std::slice::from_ref(&user));
    assert_eq!(security["runAsGroup"], pod(&sqlite)["securityContext"]["fsGroup"]);

    let place = of_final_stage("WORKDIR").remove(0);
    assert_eq!(string(&container(&sqlite)["volumeMounts"][0]["mountPath"]), place);
    assert!(of_final_stage("COPY").contains(&format!("--from=build --chown={user} /store {place}")));
}

#[test]
fn the_version_is_the_same_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(of_final_stage("ARG").contains(&format!("VERSION={version}")));
    let base = manifest("k8s/base/kustomization.yaml");
    assert_eq!(string(&base["images"][0]["newTag"]), version);
    assert_eq!(string(&base["labels"][0]["pairs"]["app.kubernetes.io/version"]), version);
}

#[test]
fn the_toolchain_is_the_same_everywhere() {
    let toolchain = text("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    let build = instructions().into_iter().find(|(name, _)| name == "FROM").unwrap().1;
    assert!(build.starts_with(&format!("rust:{channel}-")), "{build}");
    let manifest = text("Cargo.toml");
    let oldest = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert_eq!(channel.strip_prefix(oldest), Some(".0"), "{channel}, {oldest}");
}

#[test]
fn the_image_has_our_own_licences_beside_those_of_its_dependencies() {
    let folder = "/image/usr/share/doc/orchestrator";
    let manifest = text("Cargo.toml");
    let stated = manifest.lines().find_map(|line| line.strip_prefix("license = ")).unwrap().trim_matches('"');
    let texts: Vec<&str> = stated.split(" OR ").collect();
    assert_eq!(texts, ["MIT", "Apache-2.0"]);
    assert!(of_final_stage("LABEL").concat().contains(&format!("licenses=\"{stated}\"")));
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(copied().contains(&file.to_owned()), "{file}");
        let installed = instructions().into_iter().any(|(name, rest)| {
            name == "RUN" && rest.contains(&format!("install -m 644 LICENSE-MIT LICENSE-APACHE {folder}"))
        });
        assert!(installed, "{file} is not put into {folder}");
    }
}

#[test]
fn the_image_of_another_team_is_sent_what_it_builds() {
    let ignored = text("examples/another-team/Dockerfile.dockerignore");
    let patterns: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(patterns, [".git", "**/target"], "the folder and the crates that it has by path are sent");
}
