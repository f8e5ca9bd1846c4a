//! `tce policy …`.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{
    decide::{Member, Policies, file::PoliciesFile},
    exit::{Exit, Failure},
    policy::{
        self, Broken, Cache, Compilation, Compiler, Evaluator, Exported, Limits, LoadError,
        LoadedPolicy, Program, Runtime, WorkerPolicy,
    },
    replay::{self, ReplayError},
    signature::{SignatureError, TrustedKeys},
};

use super::{print_json, print_text};

/// Which policies decide, and how they are executed.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    /// A policy component. Say it again for one that decides something else; what none decides, the built-in one does.
    #[arg(long = "policy", value_name = "FILE.wasm")]
    policies: Vec<PathBuf>,
    /// The policies, what each decides, and its settings, as a file says (docs/policies.md describes it).
    #[arg(long = "policies", value_name = "FILE.toml", conflicts_with = "policies")]
    policies_file: Option<PathBuf>,
    /// Require of each policy a signature of minisign, in FILE.wasm.minisig, of this key: the key or its file. Say it
    /// again for more keys of which one must have signed.
    #[arg(long = "policy-key", value_name = "KEY")]
    keys: Vec<String>,
    /// How policies are executed. [default: cranelift where it can, else pulley]
    #[arg(long, value_name = "COMPILER")]
    policy_compiler: Option<CompilerArg>,
    /// Where policies are executed. [default: worker on vfio, else in-process]
    #[arg(long, value_name = "WHERE")]
    policy_isolation: Option<Isolation>,
    /// What a policy may use.
    #[arg(long, value_name = "CLASS", default_value = "usual")]
    policy_limits: LimitsArg,
}

/// What a policy may use.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LimitsArg {
    /// 16 MiB, and 16 modules: what one in Rust or C needs, many times over.
    Usual,
    /// 64 MiB, and 64 modules, for one that brings an interpreter with it, as in Python.
    Large,
}

impl From<LimitsArg> for Limits {
    fn from(arg: LimitsArg) -> Self {
        match arg {
            LimitsArg::Usual => Self::default(),
            LimitsArg::Large => Self::large(),
        }
    }
}

/// Where policies are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Isolation {
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
    pub(super) fn load(&self, usual: Isolation) -> Result<(Policies, String), Failure> {
        let runtime = runtime(self.policy_compiler.map(Into::into))?;
        let keys = trusted(&self.keys)?;
        let isolation = self.policy_isolation.unwrap_or(usual);
        let load = |file: &PathBuf| member(file, self.evaluator(isolation, &runtime, file, &keys)?);
        if let Some(path) = &self.policies_file {
            return Ok((from_file(path, load)?, runtime.compiler().to_string()));
        }
        let members = self.policies.iter().map(load);
        let policies = Policies::of(members.collect::<Result<_, _>>()?)?;
        Ok((policies, runtime.compiler().to_string()))
    }

    /// What answers for a policy.
    fn evaluator(
        &self,
        isolation: Isolation,
        runtime: &Runtime,
        file: &Path,
        keys: &TrustedKeys,
    ) -> Result<Arc<dyn Evaluator>, Failure> {
        let limits = self.policy_limits.into();
        if isolation == Isolation::InProcess {
            return Ok(Arc::new(load_signed(runtime, file, keys, limits)?.0));
        }
        let (name, bytes, _) = read_signed(file, keys)?;
        let policy = WorkerPolicy::from_bytes(runtime, &name, &bytes, limits)
            .map_err(|error| refused(file, &error))?;
        Ok(Arc::new(policy))
    }
}

/// A policy among others.
fn member(file: &Path, policy: Arc<dyn Evaluator>) -> Result<Member, Failure> {
    Member::new(policy).map_err(|broken| {
        let file = file.display();
        let what = format!("policy {file}: it broke when it was asked for its settings: {broken}");
        Failure::new(Exit::PolicyFile, what)
    })
}

/// The policies that a file names.
fn from_file(
    path: &Path,
    load: impl Fn(&PathBuf) -> Result<Member, Failure>,
) -> Result<Policies, Failure> {
    let file = PoliciesFile::read(path)?;
    let members = file.policies.iter().map(|entry| {
        let mut member = load(&entry.file)?;
        if let Some(name) = &entry.name {
            member = member.named(name.clone());
        }
        if let Some(points) = &entry.decides {
            member = member.deciding(points.clone());
        }
        if let Some(settings) = entry.wit_settings() {
            member = member.with_settings(settings);
        }
        Ok::<_, Failure>(if entry.shadow { member.as_shadow() } else { member })
    });
    let members = members.collect::<Result<_, _>>()?;
    Ok(Policies::of(members)?.with_ejection(file.ejection))
}

/// The version of the document.
const FORMAT: &str = "tce-policy-check/1";

/// What `tce policy check` says of a good policy. `docs/report.md` describes its JSON.
#[derive(Serialize)]
struct Checked<'a> {
    format: &'static str,
    file: String,
    name: &'a str,
    bytes: u64,
    sha256: String,
    interfaces: &'a [Exported],
    imports: [&'static str; 0],
    /// The key whose signature it has; none if no signature was required.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
}

pub(super) fn check(
    file: &Path,
    json: bool,
    keys: &[String],
    limits: LimitsArg,
) -> Result<Exit, Failure> {
    let runtime = runtime(None)?;
    let (policy, signed_by) = load_signed(&runtime, file, &trusted(keys)?, limits.into())?;
    let checked = Checked {
        format: FORMAT,
        file: file.display().to_string(),
        name: policy.name(),
        bytes: policy.size(),
        sha256: policy.digest().to_string(),
        interfaces: policy.interfaces(),
        imports: [],
        signed_by,
    };
    if json {
        print_json(&checked)?;
    } else {
        print_text(&text(&checked))?;
    }
    Ok(Exit::Done)
}

fn text(checked: &Checked<'_>) -> String {
    let interfaces: Vec<String> = checked.interfaces.iter().map(ToString::to_string).collect();
    let signed =
        checked.signed_by.as_ref().map_or_else(String::new, |key| format!("  signed by  {key}\n"));
    format!(
        "{} is a policy that this host can use\n  implements {}\n  imports    nothing\n  size       {} bytes\n  sha256     {}\n{signed}",
        checked.file,
        interfaces.join("\n             "),
        checked.bytes,
        checked.sha256,
    )
}

pub(super) fn replay(journal: &Path, file: &Path, json: bool) -> Result<Exit, Failure> {
    let policy = load(&runtime(None)?, file, Limits::default())?;
    let replay = replay::replay(journal, &policy)?;
    if json {
        print_json(&replay)?;
    } else {
        print_text(&replay::render(&replay))?;
    }
    Ok(Exit::Done)
}

/// The runtime that policies are loaded into.
pub(super) fn runtime(compiler: Option<Compiler>) -> Result<Runtime, Failure> {
    let compiler = compiler.unwrap_or_default();
    let runtime = Runtime::new(compiler).map_err(|error| Failure::new(Exit::Unexpected, error))?;
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

/// Loads a policy after its signature was checked, and tells whose it is. What is checked is what is loaded: the file
/// is read once.
fn load_signed(
    runtime: &Runtime,
    file: &Path,
    keys: &TrustedKeys,
    limits: Limits,
) -> Result<(LoadedPolicy, Option<String>), Failure> {
    let (name, bytes, signed_by) = read_signed(file, keys)?;
    let policy = LoadedPolicy::from_bytes(runtime, &name, &bytes, limits);
    Ok((policy.map_err(|error| refused(file, &error))?, signed_by))
}

/// The name and the bytes of a policy, and whose signature it has, if one is required.
fn read_signed(
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

/// The keys of the command line.
fn trusted(keys: &[String]) -> Result<TrustedKeys, Failure> {
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

fn refused(file: &Path, error: &LoadError) -> Failure {
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

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Journal(error) => error.into(),
        }
    }
}
