//! From a file to a policy that can be asked.

use std::{collections::BTreeMap, fmt, fs::File, io::Read, path::Path, str::FromStr, sync::Arc};

use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use super::{
    component::{DESCRIBE_SETTINGS, VALIDATE_SETTINGS},
    engine::Runtime,
    evaluator::{Broken, Identity},
    inspect::inspect,
    interface::{Export, Exported, Interface, PACKAGE, spoken_version},
    limits::Limits,
    pool::Pool,
    question::Function,
    shown,
    store::State,
    ticker::Ticker,
};

/// Why a file is no policy for this host.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It is larger than the limit.
    #[error("it has more than {limit} bytes, which is the limit for a policy")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// It is something else than a component.
    #[error("this is no component but {found}")]
    NotAComponent {
        /// What it is, and what to do about it.
        found: &'static str,
    },
    /// It starts as a component and goes on as something else.
    #[error("this component is damaged: {what}; build it or copy it again")]
    Damaged {
        /// What the parser says.
        what: String,
    },
    /// It wants something of the host.
    #[error(
        "it imports {}, and a policy imports nothing but {PACKAGE}/log: build it without WASI \
         (wasm32-unknown-unknown) and without other host functions",
        names.join(", ")
    )]
    Imports {
        /// The imports.
        names: Vec<String>,
    },
    /// It implements none of the interfaces.
    #[error(
        "it implements no interface of {PACKAGE}: it exports {}, and has to export one of {}",
        list(exports),
        Interface::ALL.map(|each| format!("{PACKAGE}/{each}@{}", spoken_version())).join(", ")
    )]
    NoInterface {
        /// What it exports.
        exports: Vec<String>,
    },
    /// It was built for another version of the interfaces.
    #[error(
        "it implements {PACKAGE}/{exported}, and this host speaks version {}: {}",
        spoken_version(),
        advice(&exported.version)
    )]
    UnknownVersion {
        /// The interface, and the version it was built for.
        exported: Exported,
    },
    /// It does not compile: invalid, or it uses a WebAssembly feature that policies do not get.
    #[error("it does not compile: {what}")]
    Compile {
        /// What the compiler says.
        what: String,
    },
    /// Whatever its limits, there is no room for it.
    #[error("it needs more than any policy may have: {what}")]
    Demands {
        /// What wasmtime says of it.
        what: String,
    },
    /// What it calls by our interface's name has another type.
    #[error(
        "its {interface} is not the one of {PACKAGE}@{}: {what}; build it with this host's WIT files",
        spoken_version()
    )]
    OtherType {
        /// The interface.
        interface: Export,
        /// What differs.
        what: String,
    },
    /// It compiles, and breaks before it can be asked anything.
    #[error("it does not start: {0}")]
    DoesNotStart(Broken),
    /// Its worker process has no sandbox, so that it was told nothing.
    #[error("its worker process has no sandbox on this machine: {what}")]
    NoSandbox {
        /// What is missing.
        what: String,
    },
    /// Its worker process cannot be had, or died of it.
    #[error("its worker process {what}")]
    Worker {
        /// What is with it.
        what: String,
    },
}

/// How wasmtime calls what sets memories, tables and instances aside.
const ALLOCATOR: &str = "pooling allocator";

impl LoadError {
    /// What wasmtime says of a component that it does not take.
    pub(super) fn untaken(error: &wasmtime::Error) -> Self {
        let what = shown::ascii(&format!("{error:#}"));
        // The error has no type; everything that the allocator says names it.
        if !what.contains(ALLOCATOR) {
            return Self::Compile { what };
        }
        let cause = error.root_cause().to_string();
        let cause = shown::ascii(cause.lines().next().unwrap_or_default());
        let what = cause.trim_end_matches(ALLOCATOR).trim_end_matches(" in the ");
        let what = what.split("; breakdown").next().unwrap_or_default();
        Self::Demands { what: what.replace("The component", "the component") }
    }
}

/// An import by a name of ours that is something else inside.
fn other_import(error: &wasmtime::Error) -> LoadError {
    let what = format!("{error:#}");
    let what = what.strip_prefix("component imports ").unwrap_or(&what);
    LoadError::Imports { names: vec![shown::ascii(what)] }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn advice(version: &Version) -> &'static str {
    if *version > spoken_version() {
        "update the host, or build the policy for this version"
    } else {
        "build the policy for this version"
    }
}

/// The SHA-256 of a policy's file: what it is known by in a journal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A text that is no SHA-256.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a SHA-256 is 64 hexadecimal digits")]
pub struct NoDigest;

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        if text.len() != 64 || !text.bytes().all(|each| each.is_ascii_hexdigit()) {
            return Err(NoDigest);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(2 * index..2 * index + 2).ok_or(NoDigest)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NoDigest)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Reads a policy's file, and gives its name with it. No more than the limit and a byte is read, whatever the file's
/// length claims to be.
///
/// # Errors
///
/// It cannot be read.
pub fn read(path: &Path, limits: &Limits) -> Result<(String, Vec<u8>), LoadError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limits.file_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    Ok((name.into_owned(), bytes))
}

/// What is known of a component before it is compiled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outline {
    pub(super) identity: Identity,
    pub(super) interfaces: Vec<Exported>,
    pub(super) size: u64,
    pub(super) digest: Digest,
}

impl Outline {
    /// Looks a component through, without compiling it.
    pub(super) fn of(name: &str, bytes: &[u8], limits: &Limits) -> Result<Self, LoadError> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > limits.file_bytes {
            return Err(LoadError::TooLarge { limit: limits.file_bytes });
        }
        let interfaces = inspect(bytes)?;
        let digest = Digest::of(bytes);
        let identity = Identity { name: name.to_owned(), sha256: Some(digest) };
        Ok(Self { identity, interfaces, size, digest })
    }
}

/// A component that passed every check and can be asked.
pub struct LoadedPolicy {
    outline: Outline,
    limits: Limits,
    pub(super) ticker: Arc<Ticker>,
    pub(super) pool: Pool,
    pub(super) pre: InstancePre<State>,
    pub(super) exports: Exports,
}

/// Where a component has each function. One that it was built without, because the package gained it later, is asked
/// of the built-in policy.
pub(super) struct Exports {
    pub(super) functions: BTreeMap<Function, ComponentExportIndex>,
    pub(super) describe_settings: Option<ComponentExportIndex>,
    pub(super) validate_settings: Option<ComponentExportIndex>,
}

impl LoadedPolicy {
    /// Loads a file. The policy is named after it.
    ///
    /// # Errors
    ///
    /// The file is no policy for this host, and the error says why and what to do.
    pub fn from_file(runtime: &Runtime, path: &Path, limits: Limits) -> Result<Self, LoadError> {
        let (name, bytes) = read(path, &limits)?;
        Self::from_bytes(runtime, &name, &bytes, limits)
    }

    /// Loads what is in memory, under this name.
    ///
    /// # Errors
    ///
    /// The bytes are no policy for this host, and the error says why and what to do.
    pub fn from_bytes(
        runtime: &Runtime,
        name: &str,
        bytes: &[u8],
        limits: Limits,
    ) -> Result<Self, LoadError> {
        let outline = Outline::of(name, bytes, &limits)?;
        let component = runtime.compile(bytes, outline.digest, &limits)?;
        Self::from_component(runtime, outline, &component, limits)
    }

    /// Gets ready what was compiled.
    pub(super) fn from_component(
        runtime: &Runtime,
        outline: Outline,
        component: &Component,
        limits: Limits,
    ) -> Result<Self, LoadError> {
        // The only imports that came this far are types and the log. If more than that is in them, it has no provider.
        let pre =
            runtime.linker().instantiate_pre(component).map_err(|error| other_import(&error))?;
        let exports = Exports::find(&outline.interfaces, component);
        let (ticker, pool) = (runtime.ticker(), runtime.pool());
        let limits = limits.with_room();
        let policy = Self { outline, limits, ticker, pool, pre, exports };
        policy.try_out()?;
        Ok(policy)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.outline.identity.name
    }

    /// What it is known by.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.outline.identity
    }

    /// What it implements.
    #[must_use]
    pub fn interfaces(&self) -> &[Exported] {
        &self.outline.interfaces
    }

    /// The bytes of its file.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.outline.size
    }

    /// The hash of its file.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.outline.digest
    }

    /// What it may use.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl Exports {
    fn find(exported: &[Exported], component: &Component) -> Self {
        let find = |export: Export, function: &str| {
            let name = exported.iter().find(|each| each.interface == export)?.full_name();
            let interface = component.get_export_index(None, &name)?;
            component.get_export_index(Some(&interface), function)
        };
        let functions = Function::ALL.into_iter().filter_map(|function| {
            let at = find(Export::Point(function.interface()), function.name())?;
            Some((function, at))
        });
        Self {
            functions: functions.collect(),
            describe_settings: find(Export::Settings, DESCRIBE_SETTINGS),
            validate_settings: find(Export::Settings, VALIDATE_SETTINGS),
        }
    }
}

impl fmt::Debug for LoadedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedPolicy")
            .field("name", &self.outline.identity.name)
            .field("interfaces", &self.outline.interfaces)
            .field("size", &self.outline.size)
            .field("digest", &self.outline.digest)
            .finish_non_exhaustive()
    }
}
