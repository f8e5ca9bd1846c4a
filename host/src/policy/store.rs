//! One decision's sandbox: a fresh store with every limit set, and what its errors mean.

use std::mem;

use thiserror::Error;
use wasmtime::{Engine, ResourceLimiter, Store, StoreContextMut, Trap};

use super::{
    evaluator::{Broken, Line, Log},
    limits::{LOG_LINE_BYTES_MAX, LOG_LINE_FUEL, LOG_LINES_MAX, Limits, WASM_STACK_BYTES_MAX},
    shown,
    ticker::Ticker,
    wit::Level,
};

/// How wasmtime's private `HostcallFuelExhausted` starts to tell what it is.
const TOO_MUCH_DATA: &str = "fuel allocated for hostcalls has been exhausted";

/// What a store knows: how much its guest may grow, and what it noted.
pub(super) struct State {
    limits: Limits,
    memory_bytes: usize,
    log: Log,
}

impl State {
    /// Notes a line, as far as there is room for it.
    pub(super) fn note(&mut self, level: Level, mut text: String) {
        if self.log.lines.len() == LOG_LINES_MAX {
            self.log.dropped = self.log.dropped.saturating_add(1);
            return;
        }
        shown::sentence(&mut text, LOG_LINE_BYTES_MAX);
        self.log.lines.push(Line { level: level.into(), text });
    }

    fn items(&self) -> usize {
        usize::try_from(self.limits.items).unwrap_or(usize::MAX)
    }

    /// What was noted.
    pub(super) fn take_log(&mut self) -> Log {
        mem::take(&mut self.log)
    }
}

/// A growth that the limits forbid. It ends the decision: a guest that is told "no" may go on in its own way, and what
/// is reported should be the cause.
#[derive(Debug, Error)]
enum Reached {
    #[error("the memory limit of {0} bytes is reached")]
    Memory(usize),
    #[error("the table limit of {0} elements is reached")]
    Table(usize),
}

/// A store for one decision.
pub(super) fn fresh(engine: &Engine, limits: &Limits) -> wasmtime::Result<Store<State>> {
    let mut store =
        Store::new(engine, State { limits: *limits, memory_bytes: 0, log: Log::default() });
    store.limiter(|state| state);
    store.set_fuel(limits.fuel)?;
    store.set_epoch_deadline(Ticker::ticks(limits.decision_time));
    store.set_hostcall_fuel(limits.answer_bytes);
    store.set_max_component_handles(limits.handles);
    Ok(store)
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let all = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if all > self.limits.memory_bytes {
            return Err(Reached::Memory(self.limits.memory_bytes).into());
        }
        self.memory_bytes = all;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.limits.table_elements {
            return Err(Reached::Table(self.limits.table_elements).into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.items()
    }

    fn tables(&self) -> usize {
        self.items()
    }
}

/// Takes the fuel for a line. Without it a policy would make the host read gigabytes with what a loop burns.
pub(super) fn pay_for_line(
    store: &mut StoreContextMut<'_, State>,
    line: &str,
) -> wasmtime::Result<()> {
    let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
    let left = store.get_fuel()?.checked_sub(bytes.saturating_add(LOG_LINE_FUEL));
    store.set_fuel(left.unwrap_or(0))?;
    left.map(|_| ()).ok_or_else(|| Trap::OutOfFuel.into())
}

/// What an error of a call means.
pub(super) fn broken(error: &wasmtime::Error, limits: &Limits) -> Broken {
    match error.downcast_ref() {
        Some(Reached::Memory(limit)) => return Broken::OutOfMemory { limit: *limit },
        Some(table @ Reached::Table(_)) => return Broken::Trap { what: table.to_string() },
        None => {}
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Broken::OutOfFuel { budget: limits.fuel },
        Some(Trap::Interrupt) => Broken::Timeout { millis: limits.decision_millis() },
        Some(Trap::StackOverflow) => Broken::OutOfStack { limit: WASM_STACK_BYTES_MAX },
        Some(trap) => {
            let what = trap.to_string();
            Broken::Trap { what: what.trim_start_matches("wasm trap: ").to_owned() }
        }
        None if error.root_cause().to_string().contains(TOO_MUCH_DATA) => {
            Broken::TooMuchData { limit: limits.answer_bytes }
        }
        None => Broken::Malformed { what: error.root_cause().to_string() },
    }
}

/// What an error of an instantiation means.
pub(super) fn broken_at_start(error: &wasmtime::Error, limits: &Limits) -> Broken {
    if let Some(table @ Reached::Table(_)) = error.downcast_ref() {
        return Broken::Instantiation { what: table.to_string() };
    }
    match broken(error, limits) {
        Broken::Malformed { what } => Broken::Instantiation { what },
        named => named,
    }
}
