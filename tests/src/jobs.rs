//! The example jobs, run as `tce run` does, and their reports compared.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use tce_engine::machine::Machine;
use tce_host::{
    decide::Policies,
    job::Job,
    policy::{Compiler, Limits, LoadedPolicy, Runtime},
    report::Report,
    run::{self, Options, Silent},
};

use crate::rig::{NOW, seat};

/// The jobs whose reports must be the same on every machine of one kind.
pub const COMPARED_JOBS: [&str; 2] = ["smoke", "demo"];

/// Where jobs and plugins are: in the lab's image, or in the checkout.
pub struct Places {
    /// The folder of jobs.
    pub jobs: PathBuf,
    /// The folder of components.
    pub plugins: PathBuf,
}

impl Places {
    /// The checkout's.
    #[must_use]
    pub fn checkout() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let plugins = env::var_os("TCE_PLUGINS").map(PathBuf::from);
        Self {
            jobs: root.join("examples"),
            plugins: plugins.unwrap_or_else(|| root.join("target/plugins")),
        }
    }

    /// The lab image's.
    #[must_use]
    pub fn lab() -> Self {
        Self { jobs: PathBuf::from("/lab/jobs"), plugins: PathBuf::from("/lab/plugins") }
    }

    /// Loads the reference policy.
    ///
    /// # Errors
    /// If it is not there.
    pub fn tight(&self, compiler: Compiler) -> Result<LoadedPolicy> {
        let runtime = Runtime::new(compiler)?;
        let file = self.plugins.join("tight.wasm");
        LoadedPolicy::from_file(&runtime, &file, Limits::default())
            .with_context(|| format!("policy {} (`cargo xtask plugins` makes it)", file.display()))
    }

    /// Runs a job on a machine's first `edu`, decided by the reference policy in a component.
    ///
    /// # Errors
    /// If the job does not come to its end.
    pub fn run<M: Machine>(
        &self,
        name: &str,
        machine: &mut M,
        backend: &str,
        compiler: Compiler,
    ) -> Result<Report> {
        let mut job = Job::read(&self.jobs.join(name).with_extension("toml"))?;
        job.devices = vec![seat(machine)?.address];
        let policies = Policies::new(vec![self.tight(compiler)?])?;
        let options = Options {
            policies: &policies,
            backend: backend.to_owned(),
            policy_compiler: compiler.to_string(),
            clock: &NOW,
        };
        run::run(&job, machine, &options, &Silent)
            .map_err(|stopped| anyhow!("job {name} on {backend}: {}", stopped.failure))
    }
}

/// The part of a report that must not depend on which machine of one kind it ran on, how policies were executed, or
/// what else the process had locked.
#[must_use]
pub fn comparable(mut report: Report) -> Report {
    "any".clone_into(&mut report.backend);
    "any".clone_into(&mut report.policy_compiler);
    report.container.groups.clear();
    report.container.devices.clear();
    report.container.locked_limit = None;
    report.locked.before = 0;
    report
}

/// Reads a report.
///
/// # Errors
/// If it is none.
pub fn read(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
