//! The engine that all policies of a process share.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use wasmtime::{
    Config, Engine, StoreContextMut, WasmFeatures,
    component::{Component, Linker},
};

use super::{
    compile::{Code, Compilation},
    interface::{PACKAGE, spoken_version},
    limits::{Limits, MEMORY_BYTES_LARGE, WASM_STACK_BYTES_MAX},
    load::{Digest, LoadError},
    pool::{self, Pool},
    store::{self, State},
    ticker::Ticker,
    wit::Level,
    worker::Program,
};

/// What a guest compiler emits for plain code. All else is off: a proposal that no policy needs is only surface.
const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::COMPONENT_MODEL);

/// How policies are executed. Answers and fuel are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compiler {
    /// Machine code. Not on every machine: Cranelift has no backend for POWER.
    Cranelift,
    /// Bytecode in an interpreter, on every machine.
    Pulley,
}

impl Compiler {
    /// Whether this machine has it.
    #[must_use]
    pub const fn is_available(self) -> bool {
        match self {
            Self::Cranelift => cfg!(any(
                target_arch = "x86_64",
                target_arch = "aarch64",
                target_arch = "riscv64",
                target_arch = "s390x"
            )),
            Self::Pulley => cfg!(target_pointer_width = "64"),
        }
    }
}

impl Default for Compiler {
    /// Machine code where there is a way to make it.
    fn default() -> Self {
        if Self::Cranelift.is_available() { Self::Cranelift } else { Self::Pulley }
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cranelift => "cranelift",
            Self::Pulley => "pulley",
        })
    }
}

impl FromStr for Compiler {
    type Err = RuntimeError;

    fn from_str(name: &str) -> Result<Self, RuntimeError> {
        [Self::Cranelift, Self::Pulley]
            .into_iter()
            .find(|compiler| compiler.to_string() == name)
            .ok_or_else(|| RuntimeError::UnknownCompiler { name: name.to_owned() })
    }
}

/// Why there is no runtime.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RuntimeError {
    /// A name that is none of a compiler.
    #[error("there is no compiler `{name}`: choose cranelift or pulley")]
    UnknownCompiler {
        /// The name.
        name: String,
    },
    /// The compiler makes no code for this machine.
    #[error(
        "{compiler} makes no code for this machine ({}): choose pulley",
        std::env::consts::ARCH
    )]
    Unavailable {
        /// The compiler.
        compiler: Compiler,
    },
    /// wasmtime does not want the configuration.
    #[error("wasmtime refused its configuration: {what}")]
    Engine {
        /// What it says.
        what: String,
    },
}

/// The one configuration under which policies are compiled and run. Whatever loads code that another process compiled
/// must use the same one.
///
/// # Errors
///
/// The compiler is not available on this machine.
pub fn engine_config(compiler: Compiler) -> Result<Config, RuntimeError> {
    if !compiler.is_available() {
        return Err(RuntimeError::Unavailable { compiler });
    }
    let mut config = Config::new();
    if compiler == Compiler::Pulley {
        let target = if cfg!(target_endian = "big") { "pulley64be" } else { "pulley64" };
        config.target(target).map_err(|error| refused(&error))?;
    }
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true)
        .gc_support(false)
        .concurrency_support(false)
        // Fuel is the budget because it is the same everywhere; NaN bits are not unless they are made so.
        .consume_fuel(true)
        // The clock is for what fuel does not see.
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .max_wasm_stack(WASM_STACK_BYTES_MAX)
        // No handlers for SIGSEGV and the like in a process that may be somebody else's; Pulley has none either.
        .signals_based_traps(false)
        // Address space enough for what a policy may use, and no more: a worker lives under a limit of it.
        .memory_reservation(RESERVATION)
        .memory_reservation_for_growth(0)
        .memory_guard_size(0)
        // A trap is reported by its kind. Where in the guest it was is its author's business.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false);
    Ok(config)
}

/// The largest memory limit as wasmtime takes it.
const RESERVATION: u64 = {
    assert!(MEMORY_BYTES_LARGE == 64 << 20, "the reservation is the memory limit");
    64 << 20
};

fn refused(error: &wasmtime::Error) -> RuntimeError {
    RuntimeError::Engine { what: format!("{error:#}") }
}

/// An engine that compiles and executes nothing.
pub(super) fn compiling(compiler: Compiler) -> Result<Engine, RuntimeError> {
    Engine::new(&engine_config(compiler)?).map_err(|error| refused(&error))
}

/// The only thing that a policy may import.
fn provide_log(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut log = linker.instance(&format!("{PACKAGE}/log@{}", spoken_version()))?;
    log.func_wrap(
        "write",
        |mut store: StoreContextMut<'_, State>, (level, line): (Level, String)| {
            store::pay_for_line(&mut store, &line)?;
            store.data_mut().note(level, line);
            Ok(())
        },
    )
}

/// Compiles policies and holds what they share. One per process: policies of different runtimes do not mix.
#[derive(Clone)]
pub struct Runtime {
    compiler: Compiler,
    engine: Engine,
    linker: Linker<State>,
    ticker: Arc<Ticker>,
    pool: Pool,
    compilation: Option<Compilation>,
}

impl Runtime {
    /// A runtime without policies.
    ///
    /// # Errors
    ///
    /// The compiler is not available on this machine.
    pub fn new(compiler: Compiler) -> Result<Self, RuntimeError> {
        Self::with(compiler, pool::PLACES, Ticker::new)
    }

    /// A runtime for a process that makes one decision at a time and may start no thread for a clock: whoever started it
    /// has one.
    pub(super) fn single(compiler: Compiler) -> Result<Self, RuntimeError> {
        Self::with(compiler, 1, |_| Ticker::off())
    }

    fn with(
        compiler: Compiler,
        places: u32,
        ticker: impl FnOnce(&Engine) -> Ticker,
    ) -> Result<Self, RuntimeError> {
        let mut config = engine_config(compiler)?;
        config.allocation_strategy(pool::strategy(places));
        let engine = Engine::new(&config).map_err(|error| refused(&error))?;
        let mut linker = Linker::new(&engine);
        provide_log(&mut linker).map_err(|error| refused(&error))?;
        let ticker = Arc::new(ticker(&engine));
        Ok(Self { compiler, engine, linker, ticker, pool: Pool::new(places), compilation: None })
    }

    /// The same, but another process compiles, where there is a sandbox for one.
    #[must_use]
    pub fn compiling_by(self, compilation: Compilation) -> Self {
        Self { compilation: Some(compilation), ..self }
    }

    /// How it executes policies.
    #[must_use]
    pub fn compiler(&self) -> Compiler {
        self.compiler
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What another process has compiled, or this one.
    pub(super) fn compile(
        &self,
        bytes: &[u8],
        digest: Digest,
        limits: &Limits,
    ) -> Result<Component, LoadError> {
        let elsewhere = self.compilation.as_ref().map(|_| self.code(bytes, digest, limits));
        let component = match elsewhere {
            None | Some(Err(LoadError::NoSandbox { .. })) => {
                Component::from_binary(&self.engine, bytes)
            }
            Some(code) => code?.1.component(&self.engine),
        };
        component.map_err(|error| LoadError::untaken(&error))
    }

    /// What another process has compiled, and the program of such processes.
    pub(super) fn code(
        &self,
        bytes: &[u8],
        digest: Digest,
        limits: &Limits,
    ) -> Result<(&Program, Code), LoadError> {
        let compilation = self.compilation.as_ref().ok_or_else(|| LoadError::Worker {
            what: "has no program: say with `Runtime::compiling_by` which it is".to_owned(),
        })?;
        let code = compilation.code((&self.engine, self.compiler), bytes, digest, limits)?;
        Ok((compilation.program(), code))
    }

    pub(super) fn ticker(&self) -> Arc<Ticker> {
        Arc::clone(&self.ticker)
    }

    pub(super) fn pool(&self) -> Pool {
        self.pool.clone()
    }

    pub(super) fn linker(&self) -> &Linker<State> {
        &self.linker
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("compiler", &self.compiler).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Compiler, Runtime, RuntimeError};

    #[test]
    fn a_compiler_is_known_by_its_name() {
        assert_eq!("cranelift".parse(), Ok(Compiler::Cranelift));
        assert_eq!("pulley".parse(), Ok(Compiler::Pulley));
        let name = "winch".to_owned();
        assert_eq!("winch".parse::<Compiler>(), Err(RuntimeError::UnknownCompiler { name }));
    }

    #[test]
    fn every_machine_has_a_compiler_and_says_so_of_the_others() {
        assert!(Runtime::new(Compiler::default()).is_ok());
        for compiler in [Compiler::Cranelift, Compiler::Pulley] {
            let runtime = Runtime::new(compiler);
            if compiler.is_available() {
                assert_eq!(runtime.map(|runtime| runtime.compiler()).ok(), Some(compiler));
            } else {
                assert_eq!(runtime.err(), Some(RuntimeError::Unavailable { compiler }));
            }
        }
    }
}
