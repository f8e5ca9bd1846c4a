//! From a file to a policy, and why there is none.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    exit::{Exit, Failure},
    policy::{
        self, Broken, Cache, Compilation, Compiler, Limits, LimitsClass, LoadError, LoadedPolicy,
        Program, Runtime, RuntimeError,
    },
    signature::{SignatureError, TrustedKeys},
};

/// The component that a command is about.
#[derive(Debug, Args)]
pub(in crate::cli) struct ComponentArgs {
    /// The component.
    pub(in crate::cli) file: PathBuf,
    /// What it may use.
    #[arg(long, value_name = "CLASS", default_value = "usual")]
    policy_limits: LimitsClass,
}

impl ComponentArgs {
    /// Loads it, or says why the file is none.
    pub(in crate::cli) fn load(&self, runtime: &Runtime) -> Result<LoadedPolicy, Failure> {
        load(runtime, &self.file, self.policy_limits.into())
    }

    /// Loads it after its signature was checked, and tells whose it is. What is checked is what is loaded: the file is
    /// read once.
    pub(super) fn load_signed(
        &self,
        runtime: &Runtime,
        keys: &TrustedKeys,
    ) -> Result<(LoadedPolicy, Option<String>), Failure> {
        let (name, bytes, signed_by) = read_signed(&self.file, keys)?;
        let policy = LoadedPolicy::from_bytes(runtime, &name, &bytes, self.policy_limits.into());
        Ok((policy.map_err(|error| refused(&self.file, &error))?, signed_by))
    }
}

/// The runtime that policies are loaded into.
pub(in crate::cli) fn runtime(compiler: Option<Compiler>) -> Result<Runtime, Failure> {
    let compiler = compiler.unwrap_or_default();
    let runtime = Runtime::new(compiler).map_err(|error| match error {
        RuntimeError::Engine { .. } => Failure::new(Exit::Machine, error)
            .with("policies need 5 GiB of address space, most of it never used: see `ulimit -v`"),
        other => Failure::new(Exit::Usage, other),
    })?;
    Ok(runtime.compiling_by(compilation()))
}

/// How policies are compiled: by another process, and kept in this user's cache.
fn compilation() -> Compilation {
    let compilation = Compilation::new(Program::this());
    let Some(folder) = cache_folder() else { return compilation };
    match Cache::open(folder) {
        Ok(cache) => compilation.with_cache(cache),
        Err(error) => {
            anstream::eprintln!("note: compiled policies are not kept: {error}");
            compilation
        }
    }
}

/// Where they are kept; nowhere for a user without a home.
fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    caches.is_absolute().then(|| caches.join("tce").join("policies"))
}

/// Loads a policy, or says why the file is none.
pub(super) fn load(
    runtime: &Runtime,
    file: &Path,
    limits: Limits,
) -> Result<LoadedPolicy, Failure> {
    LoadedPolicy::from_file(runtime, file, limits).map_err(|error| refused(file, &error))
}

/// The name and the bytes of a policy, and whose signature it has, if one is required.
pub(super) fn read_signed(
    file: &Path,
    keys: &TrustedKeys,
) -> Result<(String, Vec<u8>, Option<String>), Failure> {
    let (name, bytes) =
        policy::read(file, &Limits::default()).map_err(|error| refused(file, &error))?;
    if keys.is_empty() {
        return Ok((name, bytes, None));
    }
    let signed_by = keys.check(file, &bytes).map_err(|error| unsigned(file, &error))?;
    Ok((name, bytes, signed_by.map(str::to_owned)))
}

/// The keys that were given.
pub(super) fn trusted(keys: &[String]) -> Result<TrustedKeys, Failure> {
    TrustedKeys::new(keys).map_err(|error| {
        Failure::new(Exit::Usage, error)
            .with("give the key itself, such as RWQf6LRC…, or the file minisign.pub")
    })
}

fn unsigned(file: &Path, error: &SignatureError) -> Failure {
    let failure = Failure::new(Exit::PolicyFile, format!("policy {}: {error}", file.display()));
    failure.with(match error {
        SignatureError::Missing { .. } | SignatureError::Unreadable { .. } => {
            "get the signature from where the policy came from; its author makes it with \
             `minisign -Sm FILE.wasm`"
        }
        SignatureError::Damaged { .. } | SignatureError::OtherFile { .. } => {
            "get policy and signature again from where they came from"
        }
        SignatureError::OtherKey => {
            "do not use it, or trust its author's key as well, with another --policy-key"
        }
    })
}

pub(super) fn refused(file: &Path, error: &LoadError) -> Failure {
    let failure = Failure::new(Exit::PolicyFile, format!("policy {}: {error}", file.display()));
    let remedy = match error {
        LoadError::Unreadable(_) => {
            "name the file of a component, such as target/plugins/tight.wasm"
        }
        LoadError::NotAComponent { .. } => {
            "a policy is a WebAssembly component; `cargo xtask plugins` builds those of this project"
        }
        LoadError::Damaged { .. } => "build it again, or copy it again",
        LoadError::TooLarge { .. } => "build it with optimisation and without debug information",
        LoadError::Imports { .. } => "a policy decides on what it is told and has no other access",
        LoadError::NoInterface { .. }
        | LoadError::UnknownVersion { .. }
        | LoadError::OtherType { .. } => "build it with the WIT files in wit/ of this version",
        LoadError::Compile { .. } => "build it for the target wasm32-unknown-unknown",
        LoadError::Demands { .. } => "make it of fewer modules, and with less memory to start with",
        LoadError::DoesNotStart(Broken::OutOfMemory { .. } | Broken::Instantiation { .. }) => {
            "if it brings an interpreter with it, as one in Python does, say --policy-limits large"
        }
        LoadError::DoesNotStart(_) => {
            "a policy has no start function to speak of: see what it does there"
        }
        LoadError::Worker { .. } | LoadError::NoSandbox { .. } => {
            "see what `tce policy-worker --examine` tells, or execute it in this process with \
             --policy-isolation in-process"
        }
    };
    failure.with(remedy)
}
