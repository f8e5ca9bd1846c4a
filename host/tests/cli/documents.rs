//! What the documents promise about exit codes and JSON is what the command does.

use std::{fs, path::PathBuf};

use serde_json::Value;
use tce_host::exit::Exit;

use crate::{
    common::{Folder, example, plugin, tce},
    settings::large,
};

fn document(name: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn every_exit_code_is_documented() {
    let text = document("cli.md");
    for exit in [
        Exit::Done,
        Exit::Unexpected,
        Exit::Usage,
        Exit::Job,
        Exit::Denied,
        Exit::Machine,
        Exit::LockedMemory,
        Exit::PolicyFile,
        Exit::Kernel,
        Exit::LeftBehind,
        Exit::PolicyCrashed,
        Exit::Findings,
        Exit::Trace,
        Exit::Differs,
        Exit::Journal,
        Exit::PolicyOutOfFuel,
        Exit::PolicyTimeout,
        Exit::PolicyWorkerDied,
        Exit::PolicyBadAnswer,
        Exit::Scenario,
        Exit::ScenariosFailed,
    ] {
        let row = format!("\n| {} | ", exit.code());
        assert!(text.contains(&row), "{exit:?}");
    }
}

/// Every key of a document, inside lists and objects too.
fn keys(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                found.push(key.clone());
                // These stand in the other document.
                if key != "recorded" {
                    keys(value, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn every_field_of_every_report_is_documented() {
    let folder = Folder::new();
    let settings = "\n[settings]\nbehaviour = \"trap\"\n";
    let file = folder.file("job.toml", example("demo.toml") + settings);
    let recorded = folder.file("recorded.toml", example("dpdk-22.11-va-256m.toml"));
    let partition = folder.file("partition.toml", example("partition.toml"));
    let fallback = folder.file("fallback.toml", large("fallback = \"smallest\""));
    let mut found = Vec::new();
    for args in [
        &["run", &file, "--policy", &plugin("hostile"), "--json"][..],
        &["run", &recorded, "--json"],
        &["run", &partition, "--json"],
        &["run", &fallback, "--json", "--backend", "sim:pseries"],
        &["policy", "check", &plugin("tight"), "--json"],
        &["doctor", "--json"],
    ] {
        keys(&tce(args).json(), &mut found);
    }
    let text = document("report.md");
    for key in found {
        assert!(text.contains(&format!("`{key}`")), "`{key}` is not in docs/report.md");
    }
}
