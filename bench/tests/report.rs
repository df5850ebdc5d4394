//! The command `report` from outside: files, messages, exit codes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn result() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results/load-4-connections.json")
}

/// The same result, with each throughput multiplied by `factor` and so many rounds.
fn altered(dir: &Path, factor: f64, rounds: u64) -> PathBuf {
    let mut value: Value = serde_json::from_slice(&std::fs::read(result()).unwrap()).unwrap();
    for summary in value["summaries"].as_array_mut().unwrap() {
        summary["rounds"] = rounds.into();
        for end in ["median", "min", "max"] {
            let old = summary["mb_per_s"][end].as_f64().unwrap();
            summary["mb_per_s"][end] = (old * factor).into();
        }
    }
    let path = dir.join(format!("altered-{factor}-{rounds}.json"));
    std::fs::write(&path, value.to_string()).unwrap();
    path
}

fn report(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmain-bench")).arg("report").args(arguments).output().unwrap()
}

fn against(dir: &Path, new: &Path, old: &Path, percent: &str) -> (Option<i32>, String) {
    let out = dir.join("against.html");
    let options = ["--out", "--against", "--fail-on-regression"].map(Path::new);
    let done = report(&[new, options[0], &out, options[1], old, options[2], Path::new(percent)]);
    let page = std::fs::read_to_string(&out).unwrap_or_default();
    let said = String::from_utf8(done.stderr).unwrap();
    (done.status.code(), said + &page)
}

#[test]
fn a_page_and_pictures_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let (out, pictures) = (dir.path().join("report.html"), dir.path().join("pictures"));
    let done = report(&[&result(), Path::new("--out"), &out, Path::new("--svg"), &pictures]);
    assert!(done.status.success(), "{done:?}");
    assert!(std::fs::read_to_string(&out).unwrap().contains("plot-load-throughput"));
    for name in ["load-throughput-light.svg", "load-throughput-dark.svg", "pictures.md"] {
        assert!(pictures.join(name).exists(), "{name}");
    }
}

#[test]
fn exit_codes_tell_what_came_of_a_comparison() {
    let dir = tempfile::tempdir().unwrap();
    let slower = altered(dir.path(), 0.5, 4);
    assert_eq!(against(dir.path(), &result(), &result(), "1").0, Some(0));
    assert_eq!(against(dir.path(), &result(), &slower, "1").0, Some(0), "twice as fast is no regression");
    let (code, page) = against(dir.path(), &slower, &result(), "20");
    assert_eq!(code, Some(3));
    assert!(page.contains("slower") && page.contains("within noise"));
    assert_eq!(against(dir.path(), &slower, &result(), "60").0, Some(0), "half is less than that");
    let few = altered(dir.path(), 0.5, 2);
    let (code, said) = against(dir.path(), &few, &result(), "1");
    assert_eq!(code, Some(1), "a check that cannot fail is none");
    assert!(said.contains("3 rounds"), "{said}");
}

#[test]
fn what_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let future = dir.path().join("future.json");
    std::fs::write(&future, "{\"format\": \"ringmain-bench/run/99\"}").unwrap();
    let out = dir.path().join("out.html");
    let done = report(&[&future, Path::new("--out"), &out]);
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(said.contains("future.json") && said.contains("`format`") && said.contains("run/99"), "{said}");
    assert!(!out.exists());
    assert_eq!(report(&[Path::new("--out"), &out]).status.code(), Some(2));
    let lonely = ["--out", "x", "--fail-on-regression", "5"].map(Path::new);
    assert_eq!(report(&[&[result().as_path()][..], &lonely].concat()).status.code(), Some(2));
}
