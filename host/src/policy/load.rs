//! From a file to a policy that can be asked.

use std::{fmt, fs::File, io::Read, path::Path};

use semver::Version;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use wasmtime::component::{Component, InstancePre};

use super::{
    engine::Runtime,
    evaluator::Broken,
    inspect::inspect,
    interface::{Exported, Interface, PACKAGE, spoken_version},
    limits::Limits,
    store::State,
    wit::{lease_policy, page_selection, window_sizing},
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
        "it imports {}, and a policy imports nothing: build it without WASI \
         (wasm32-unknown-unknown) and without host functions",
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
    /// What it calls by our interface's name has another type.
    #[error(
        "its {interface} is not the one of {PACKAGE}@{}: {what}; build it with this host's WIT files",
        spoken_version()
    )]
    OtherType {
        /// The interface.
        interface: Interface,
        /// What differs.
        what: String,
    },
    /// It compiles, and breaks before it can be asked anything.
    #[error("it does not start: {0}")]
    DoesNotStart(Broken),
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

/// A component that passed every check and can be asked.
pub struct LoadedPolicy {
    name: String,
    interfaces: Vec<Exported>,
    size: u64,
    digest: Digest,
    limits: Limits,
    pub(super) pre: InstancePre<State>,
    pub(super) indices: Indices,
}

/// Where a component has each interface.
pub(super) struct Indices {
    pub(super) pages: Option<page_selection::GuestIndices>,
    pub(super) windows: Option<window_sizing::GuestIndices>,
    pub(super) leases: Option<lease_policy::GuestIndices>,
}

impl LoadedPolicy {
    /// Loads a file. The policy is named after it.
    ///
    /// # Errors
    ///
    /// The file is no policy for this host, and the error says why and what to do.
    pub fn from_file(runtime: &Runtime, path: &Path, limits: Limits) -> Result<Self, LoadError> {
        let mut bytes = Vec::new();
        // Never more than the limit and a byte, whatever the file's length claims to be.
        File::open(path)?.take(limits.file_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
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
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > limits.file_bytes {
            return Err(LoadError::TooLarge { limit: limits.file_bytes });
        }
        let interfaces = inspect(bytes)?;
        let compile = |error: wasmtime::Error| LoadError::Compile { what: format!("{error:#}") };
        let component = Component::from_binary(runtime.engine(), bytes).map_err(compile)?;
        // The only import that came this far is the one of types. If more than types is in it, it has no provider.
        let pre = runtime
            .linker()
            .instantiate_pre(&component)
            .map_err(|error| LoadError::Imports { names: vec![format!("{error:#}")] })?;
        let indices = Indices::find(&interfaces, &pre)?;
        let digest = Digest::of(bytes);
        let policy = Self { name: name.to_owned(), interfaces, size, digest, limits, pre, indices };
        policy.try_out()?;
        Ok(policy)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it implements.
    #[must_use]
    pub fn interfaces(&self) -> &[Exported] {
        &self.interfaces
    }

    /// The bytes of its file.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hash of its file.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What it may use.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl Indices {
    fn find(interfaces: &[Exported], pre: &InstancePre<State>) -> Result<Self, LoadError> {
        let has = |interface| interfaces.iter().any(|each| each.interface == interface);
        let find = |interface, result: wasmtime::Result<()>| {
            result.map_err(|error| LoadError::OtherType { interface, what: format!("{error:#}") })
        };
        let mut indices = Self { pages: None, windows: None, leases: None };
        if has(Interface::PageSelection) {
            let found = page_selection::GuestIndices::new(pre).map(|at| indices.pages = Some(at));
            find(Interface::PageSelection, found)?;
        }
        if has(Interface::WindowSizing) {
            let found = window_sizing::GuestIndices::new(pre).map(|at| indices.windows = Some(at));
            find(Interface::WindowSizing, found)?;
        }
        if has(Interface::LeasePolicy) {
            let found = lease_policy::GuestIndices::new(pre).map(|at| indices.leases = Some(at));
            find(Interface::LeasePolicy, found)?;
        }
        Ok(indices)
    }
}

impl fmt::Debug for LoadedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedPolicy")
            .field("name", &self.name)
            .field("interfaces", &self.interfaces)
            .field("size", &self.size)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
