//! What each policy answers on one machine, to be held against another one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tce_host::policy::{Compiler, Evaluator, Limits, LoadedPolicy, Runtime, golden::Golden};

/// How the name of a record ends, behind that of the policy.
const RECORD: &str = "golden.jsonl";

/// The policies that are built here and held on other machines to what they answered on this one. One in Python is not
/// among them: it would be most of what is carried into the lab.
pub const BUILT: [&str; 7] =
    ["tight", "tight-c", "headroom", "tenant-quota", "strict-isolation", "qemu-like", "dpdk-like"];

/// Asks each policy that is built here all that was asked of the released one, and writes what came of it.
///
/// # Errors
/// If a file cannot be read or written, or a policy breaks.
pub fn record(plugins: &Path, asked: &Path, records: &Path) -> Result<()> {
    let asked = fs::read_to_string(asked).with_context(|| asked.display().to_string())?;
    let asked: Vec<Golden> = asked.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let runtime = Runtime::new(Compiler::default())?;
    for name in BUILT {
        let policy = load(&runtime, plugins, name)?;
        let questions = asked.iter().map(|golden| &golden.question);
        let questions = questions.filter(|question| policy.answers(question.function()));
        let mut lines = Vec::new();
        for question in questions {
            let golden = Golden::record(&policy, question.clone());
            lines.push(serde_json::to_string(&golden.with_context(|| name.to_owned())?)?);
        }
        ensure!(!lines.is_empty(), "{name} answers nothing of what was asked");
        fs::write(record_of(records, name), lines.join("\n"))?;
    }
    Ok(())
}

/// Holds these policies of a folder to their records: how many decisions that were.
///
/// # Errors
/// The first difference, or a policy or record that is not there.
pub fn hold(plugins: &Path, records: &Path, names: &[&str]) -> Result<usize> {
    let runtime = Runtime::new(Compiler::default())?;
    let mut held = 0;
    for name in names {
        let record = record_of(records, name);
        let record = fs::read_to_string(&record).with_context(|| record.display().to_string())?;
        let policy = load(&runtime, plugins, name)?;
        let count = Golden::hold(&policy, &record).with_context(|| (*name).to_owned())?;
        ensure!(count > 0, "the record of {name} is empty");
        held += count;
    }
    Ok(held)
}

fn load(runtime: &Runtime, plugins: &Path, name: &str) -> Result<LoadedPolicy> {
    // Names have dots of their own.
    let file = plugins.join(format!("{name}.wasm"));
    LoadedPolicy::from_file(runtime, &file, Limits::default())
        .with_context(|| file.display().to_string())
}

fn record_of(records: &Path, name: &str) -> PathBuf {
    records.join(format!("{name}.{RECORD}"))
}
