//! Code that is executed as it is. The only place outside of the engine's kernel calls where something has to be
//! believed that no type can say.

#![expect(unsafe_code, reason = "compiled code has no safe form")]

use wasmtime::{Engine, component::Component};

/// What wasmtime has compiled a component to.
pub(in crate::policy) struct Code(Vec<u8>);

impl Code {
    /// From a process that has compiled it and executed nothing of it.
    pub(super) const fn from_compiler(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// From an entry of the cache, which has proved that it is what was stored.
    pub(super) const fn from_cache(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// In a worker, from whoever started it.
    pub(in crate::policy) const fn from_parent(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(in crate::policy) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The component, ready to be instantiated. What was made by another wasmtime or under another configuration is an
    /// error.
    pub(in crate::policy) fn component(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: `Component::deserialize` takes what `Engine::precompile_component` has made, unchanged. The three ways
        // to a `Code` give that: a compiling process is this same program and has executed nothing but the compiler; an
        // entry of the cache has the MAC of bytes that came from such a process; and a worker, which has nothing that
        // could be lost, believes the process that started it.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
