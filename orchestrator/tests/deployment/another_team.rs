//! What another team deploys with: the files of its folder need a name changed, nothing else.

use crate::files::{container, final_stage_of, manifest, root, stateful_set, string, text};

const FOLDER: &str = "examples/another-team";
const OVERLAY: &str = "k8s/kustomization.yaml";

fn of_folder(file: &str) -> String {
    format!("{FOLDER}/{file}")
}

/// The lines that are no comments.
fn said(path: &str) -> Vec<String> {
    text(path).lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn the_manifests_of_the_base_name_a_team_only_where_an_overlay_names_another() {
    for file in ["network-policy.yaml", "service-account.yaml", "service.yaml", "stateful-set.yaml"] {
        let lines = said(&format!("k8s/base/{file}")).concat();
        assert!(!lines.contains("guras"), "k8s/base/{file}");
    }
    let named: Vec<String> =
        said("k8s/base/kustomization.yaml").into_iter().filter(|line| line.contains("guras")).collect();
    assert_eq!(named, ["      app.kubernetes.io/part-of: guras"]);
    assert!(!said("k8s/sqlite/store.yaml").concat().contains("guras"));
}

#[test]
fn the_overlay_of_another_team_replaces_image_configuration_and_labels_of_the_base() {
    let (overlay, base) = (manifest(&of_folder(OVERLAY)), manifest("k8s/base/kustomization.yaml"));
    let below = root().join(FOLDER).join("k8s").join(string(&overlay["resources"][0]));
    assert_eq!(below.canonicalize().unwrap(), root().join("k8s/sqlite").canonicalize().unwrap());
    assert_eq!(overlay["images"][0]["name"], container(&stateful_set())["image"]);
    assert_eq!(overlay["images"][0]["name"], base["images"][0]["name"]);

    let (own, replaced) = (&overlay["configMapGenerator"][0], &base["configMapGenerator"][0]);
    assert_eq!((&own["name"], string(&own["behavior"])), (&replaced["name"], "replace"));
    // The pod looks for a file of this name.
    assert_eq!(own["files"], replaced["files"]);
    assert!(root().join(FOLDER).join("k8s").join(string(&own["files"][0])).exists());

    let (own, replaced) = (&overlay["labels"][0]["pairs"], &base["labels"][0]["pairs"]);
    let overridden = own.as_hash().unwrap().keys().all(|label| !replaced[string(label)].is_badvalue());
    assert!(overridden, "an overlay that adds a label leaves one of the base");
    assert!(!said(&of_folder(OVERLAY)).concat().contains("guras"));
}

#[test]
fn the_dockerfile_of_another_team_has_its_name_in_one_line_and_is_otherwise_ours() {
    let path = of_folder("Dockerfile");
    let named: Vec<String> = said(&path).into_iter().filter(|line| line.contains("parcels")).collect();
    assert_eq!(named, ["ARG NAME=parcels"]);
    assert!(
        text(&of_folder("Cargo.toml")).contains("[[bin]]\nname = \"parcels\"\n"),
        "the name is that of the program"
    );
    let (own, ours) = (final_stage_of(&path), final_stage_of("Dockerfile"));
    for instruction in ["ENV", "EXPOSE", "WORKDIR", "USER", "STOPSIGNAL", "ENTRYPOINT", "CMD"] {
        let of = |stage: &[(String, String)]| -> Vec<String> {
            stage.iter().filter(|(name, _)| name == instruction).map(|(_, rest)| rest.clone()).collect()
        };
        assert_eq!(of(&own), of(&ours), "{instruction}");
    }
}
