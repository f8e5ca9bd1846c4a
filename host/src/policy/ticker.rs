//! The clock behind the fuel: a thread that advances the engine's epoch while decisions run.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use wasmtime::Engine;

/// How often the epoch advances.
const TICK: Duration = Duration::from_millis(10);

/// Ticks without a decision after which the thread ends: a process that asks nothing has none.
const IDLE_TICKS_MAX: u32 = 100;

/// Advances the epoch of one engine.
pub(super) struct Ticker {
    engine: Option<Engine>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Decisions that run.
    running: usize,
    /// Whether there is a thread.
    ticks: bool,
}

/// A decision that runs. While there is one, the epoch advances.
pub(super) struct Watched<'a>(&'a Ticker);

impl Ticker {
    pub(super) fn new(engine: &Engine) -> Self {
        Self { engine: Some(engine.clone()), state: Arc::default() }
    }

    /// One that never ticks.
    pub(super) fn off() -> Self {
        Self { engine: None, state: Arc::default() }
    }

    /// So many ticks are no less than this time.
    pub(super) fn ticks(time: Duration) -> u64 {
        let ticks = time.as_millis().div_ceil(TICK.as_millis());
        // The tick under way is none. Half of the numbers, so that what the engine adds stays one.
        u64::try_from(ticks).unwrap_or(u64::MAX).min(u64::MAX / 2) + 1
    }

    /// Starts to tick, if it does not yet.
    pub(super) fn run(&self) -> Watched<'_> {
        let mut state = lock(&self.state);
        state.running += 1;
        if let Some(engine) = self.engine.as_ref().filter(|_| !state.ticks) {
            let (engine, shared) = (engine.clone(), Arc::clone(&self.state));
            let thread = thread::Builder::new().name("policy-clock".to_owned());
            // Without a thread there is still the fuel, and the next decision tries again.
            state.ticks = thread.spawn(move || tick(&engine, &shared)).is_ok();
        }
        drop(state);
        Watched(self)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).running -= 1;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's life.
fn tick(engine: &Engine, state: &Mutex<State>) {
    let mut idle = 0;
    loop {
        thread::sleep(TICK);
        let mut state = lock(state);
        if state.running > 0 {
            idle = 0;
            engine.increment_epoch();
        } else if idle < IDLE_TICKS_MAX {
            idle += 1;
        } else {
            state.ticks = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Ticker};

    #[test]
    fn ticks_are_no_less_than_the_time() {
        for (millis, ticks) in [(0, 1), (1, 2), (10, 2), (11, 3), (1_000, 101)] {
            assert_eq!(Ticker::ticks(Duration::from_millis(millis)), ticks, "{millis}");
        }
        assert_eq!(Ticker::ticks(Duration::MAX), u64::MAX / 2 + 1);
    }
}
