//! What each policy answers on one machine, to be held against another one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tce_host::policy::{Compiler, Evaluator, Limits, LoadedPolicy, Runtime, golden::Golden};

/// How the name of a record ends, behind that of the policy.
const RECORD: &str = "golden.jsonl";

/// Asks each policy of a folder all that was asked of the released one, and writes what came of it.
///
/// # Errors
/// If a file cannot be read or written.
pub fn record(plugins: &Path, asked: &Path, records: &Path) -> Result<()> {
    let asked = fs::read_to_string(asked).with_context(|| asked.display().to_string())?;
    let asked: Vec<Golden> = asked.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let runtime = Runtime::new(Compiler::default())?;
    for file in components(plugins)? {
        // Not every component is a policy: some are for tests of what is none.
        let Ok(policy) = LoadedPolicy::from_file(&runtime, &file, Limits::default()) else {
            continue;
        };
        let questions = asked.iter().map(|golden| &golden.question);
        let questions = questions.filter(|question| policy.answers(question.function()));
        let lines = questions.filter_map(|question| Golden::record(&policy, question.clone()).ok());
        let lines: Vec<String> =
            lines.map(|golden| serde_json::to_string(&golden)).collect::<Result<_, _>>()?;
        fs::write(record_of(records, &file), lines.join("\n"))?;
    }
    Ok(())
}

/// Holds each policy of a folder that has a record to it: how many decisions that were.
///
/// # Errors
/// The first difference.
pub fn hold(plugins: &Path, records: &Path) -> Result<usize> {
    let runtime = Runtime::new(Compiler::default())?;
    let mut held = 0;
    for file in components(plugins)? {
        let Ok(record) = fs::read_to_string(record_of(records, &file)) else { continue };
        let policy = LoadedPolicy::from_file(&runtime, &file, Limits::default())
            .with_context(|| file.display().to_string())?;
        held += Golden::hold(&policy, &record).with_context(|| file.display().to_string())?;
    }
    ensure!(held > 0, "no policy in {} has a record", plugins.display());
    Ok(held)
}

/// Names have dots of their own.
fn record_of(records: &Path, component: &Path) -> PathBuf {
    let name = component.file_stem().unwrap_or_default().to_string_lossy();
    records.join(format!("{name}.{RECORD}"))
}

/// The components of a folder, in the order of their names.
fn components(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let files = entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path());
    let is_component = |file: &PathBuf| file.extension().is_some_and(|found| found == "wasm");
    let mut files: Vec<PathBuf> = files.filter(is_component).collect();
    files.sort();
    Ok(files)
}
