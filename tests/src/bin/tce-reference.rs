//! Writes the reports that the lab compares its own with: the same jobs, on the simulated machine of each kind, with
//! policies compiled to machine code; and what each policy answers. `tce-reference FOLDER`.

#![forbid(unsafe_code)]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tce_host::policy::Compiler;
use tce_sim::{Profile, SimMachine};
use tce_tests::{
    answers,
    jobs::{COMPARED_JOBS, Places},
};

/// The questions that every policy is asked.
const ASKED: &str = "../plugins/fixtures/tight-0.2.0.golden.jsonl";

fn main() -> Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from).context("say where to write to")?;
    fs::create_dir_all(&folder)?;
    for profile in Profile::NAMES {
        for job in COMPARED_JOBS {
            let mut machine = SimMachine::new(Profile::named(profile).context("a known profile")?);
            let backend = format!("sim:{profile}");
            let report =
                Places::checkout().run(job, &mut machine, &backend, Compiler::default())?;
            let text = serde_json::to_string_pretty(&report)?;
            fs::write(folder.join(format!("{job}.{profile}.json")), text)?;
        }
    }
    let asked = Path::new(env!("CARGO_MANIFEST_DIR")).join(ASKED);
    answers::record(&Places::checkout().plugins, &asked, &folder)
}
