//! Which policies decide in a run, and how they are executed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, ValueEnum};

use crate::{
    decide::{
        Member, Policies,
        file::{PoliciesFile, PolicyEntry},
    },
    exit::{Exit, Failure},
    policy::{Compiler, Evaluator, LimitsClass, LoadedPolicy, Runtime, WorkerPolicy},
    signature::TrustedKeys,
};

use super::load::{read_signed, refused, runtime, trusted};

/// Which policies decide, and how they are executed.
#[derive(Debug, Args)]
pub(in crate::cli) struct PolicyArgs {
    /// A policy component. Say it again for one that decides something else; what none decides, the built-in one does.
    #[arg(long = "policy", value_name = "FILE.wasm")]
    policies: Vec<PathBuf>,
    /// The policies, what each decides, and its settings, as a file says (docs/policies.md describes it).
    #[arg(long = "policies", value_name = "FILE.toml", conflicts_with = "policies")]
    policies_file: Option<PathBuf>,
    /// Require of each policy a signature of minisign, in FILE.wasm.minisig, of this key: the key or its file. Say it
    /// again for more keys of which one must have signed. The keys of a file of policies count only without this.
    #[arg(long = "policy-key", value_name = "KEY")]
    keys: Vec<String>,
    /// How policies are executed. [default: cranelift where it can, else pulley]
    #[arg(long, value_name = "COMPILER")]
    policy_compiler: Option<CompilerArg>,
    /// Where policies are executed. [default: worker on vfio, else in-process]
    #[arg(long, value_name = "WHERE")]
    policy_isolation: Option<Isolation>,
    /// What a policy may use. A file of policies may say it of each.
    #[arg(long, value_name = "CLASS", default_value = "usual")]
    policy_limits: LimitsClass,
}

/// Where policies are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Isolation {
    /// In this process.
    InProcess,
    /// Each in a process of its own that may do nothing but compute, and is killed and started again as needed.
    Worker,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompilerArg {
    /// Native code.
    Cranelift,
    /// Bytecode for an interpreter; the only way where Cranelift has no backend, as on POWER.
    Pulley,
}

impl From<CompilerArg> for Compiler {
    fn from(arg: CompilerArg) -> Self {
        match arg {
            CompilerArg::Cranelift => Self::Cranelift,
            CompilerArg::Pulley => Self::Pulley,
        }
    }
}

impl PolicyArgs {
    /// Loads the policies; with them the name of what executes them. Where nothing else was said, they are executed as
    /// is usual there.
    pub(in crate::cli) fn load(&self, usual: Isolation) -> Result<(Policies, String), Failure> {
        let file = self.policies_file.as_deref().map(PoliciesFile::read).transpose()?;
        let keys = match &file {
            Some(file) if self.keys.is_empty() => &file.keys,
            _ => &self.keys,
        };
        let (keys, compiler) = (trusted(keys)?, self.policy_compiler.map(Into::into));
        if file.is_none() && self.policies.is_empty() {
            // Nothing that takes a runtime, and its address space.
            let compiler: Compiler = compiler.unwrap_or_default();
            return Ok((Policies::of(Vec::new())?, compiler.to_string()));
        }
        let loader = Loader {
            runtime: runtime(compiler)?,
            keys,
            isolation: self.policy_isolation.unwrap_or(usual),
            limits: self.policy_limits,
        };
        let policies = match &file {
            Some(file) => loader.of_file(file)?,
            None => loader.of_components(&self.policies)?,
        };
        Ok((policies, loader.runtime.compiler().to_string()))
    }
}

/// How each policy of a run is loaded.
struct Loader {
    runtime: Runtime,
    keys: TrustedKeys,
    isolation: Isolation,
    limits: LimitsClass,
}

impl Loader {
    fn of_components(&self, files: &[PathBuf]) -> Result<Policies, Failure> {
        let members = files.iter().map(|file| self.member(file, self.limits));
        Ok(Policies::of(members.collect::<Result<_, _>>()?)?)
    }

    fn of_file(&self, file: &PoliciesFile) -> Result<Policies, Failure> {
        let members = file.policies.iter().map(|entry| self.of_entry(entry));
        Ok(Policies::of(members.collect::<Result<_, _>>()?)?.with_ejection(file.ejection))
    }

    fn of_entry(&self, entry: &PolicyEntry) -> Result<Member, Failure> {
        let mut member = self.member(&entry.file, entry.limits.unwrap_or(self.limits))?;
        if let Some(name) = &entry.name {
            member = member.named(name.clone());
        }
        if let Some(points) = &entry.decides {
            member = member.deciding(points.clone());
        }
        if let Some(settings) = entry.wit_settings() {
            member = member.with_settings(settings);
        }
        Ok(if entry.shadow { member.as_shadow() } else { member })
    }

    /// A policy among others.
    fn member(&self, file: &Path, limits: LimitsClass) -> Result<Member, Failure> {
        Member::new(self.evaluator(file, limits)?).map_err(|broken| {
            let file = file.display();
            let what =
                format!("policy {file}: it broke when it was asked for its settings: {broken}");
            Failure::new(Exit::PolicyFile, what)
        })
    }

    /// What answers for a policy.
    fn evaluator(&self, file: &Path, limits: LimitsClass) -> Result<Arc<dyn Evaluator>, Failure> {
        let (name, bytes, _) = read_signed(file, &self.keys)?;
        let (runtime, limits) = (&self.runtime, limits.into());
        let refused = |error| refused(file, &error);
        Ok(match self.isolation {
            Isolation::InProcess => {
                Arc::new(LoadedPolicy::from_bytes(runtime, &name, &bytes, limits).map_err(refused)?)
            }
            Isolation::Worker => {
                Arc::new(WorkerPolicy::from_bytes(runtime, &name, &bytes, limits).map_err(refused)?)
            }
        })
    }
}
