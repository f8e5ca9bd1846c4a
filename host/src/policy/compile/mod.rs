//! From a component to code, without risk for this process: a process that may do nothing but compute compiles it, and
//! what it makes is kept in a private folder.
//!
//! Code is executed as it is, so it is taken from two places only: from that process, which has executed nothing but
//! the compiler, and from an entry of the cache that proves to be what was once stored (`trusted.rs`).

mod cache;
mod trusted;

use wasmtime::Engine;

pub use cache::{Cache, CacheError};
pub(super) use trusted::Code;

use super::{
    engine::Compiler,
    limits::Limits,
    load::{Digest, LoadError},
    worker::{self, Program},
};
use cache::EntryName;

/// How components are compiled: by another process, and each only once where there is a cache.
#[derive(Clone, Debug)]
pub struct Compilation {
    program: Program,
    cache: Option<Cache>,
}

impl Compilation {
    /// By this program's worker processes.
    #[must_use]
    pub const fn new(program: Program) -> Self {
        Self { program, cache: None }
    }

    /// The same with a cache.
    #[must_use]
    pub fn with_cache(self, cache: Cache) -> Self {
        Self { cache: Some(cache), ..self }
    }

    pub(super) const fn program(&self) -> &Program {
        &self.program
    }

    /// The code of a component whose digest is this, for this engine.
    pub(super) fn code(
        &self,
        (engine, compiler): (&Engine, Compiler),
        component: &[u8],
        digest: Digest,
        limits: &Limits,
    ) -> Result<Code, LoadError> {
        let name = EntryName::new(digest, compiler, engine);
        if let Some(code) = self.cache.as_ref().and_then(|cache| cache.find(&name)) {
            return Ok(Code::from_cache(code));
        }
        let code = worker::compile(&self.program, compiler, component, limits.compile_time)?;
        if let Some(cache) = &self.cache {
            // A cache that cannot be written to is one that is slow.
            let _ = cache.keep(&name, &code);
        }
        Ok(Code::from_compiler(code))
    }
}
