//! Signals to the recorder while a command is recorded.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use nix::sys::signal::{SigSet, Signal};
use tce_vfio::tracee::{self, Tid};

/// Those that a terminal sends to the command as well.
const LEFT_TO_THE_COMMAND: [Signal; 2] = [Signal::SIGINT, Signal::SIGQUIT];
/// Those that are sent to this process alone.
const PASSED_ON: [Signal; 2] = [Signal::SIGTERM, Signal::SIGHUP];

/// Takes signals in and passes them on to the processes that live.
pub(super) struct Passing {
    live: Arc<Mutex<BTreeSet<Tid>>>,
}

impl Passing {
    /// From now on this thread, and those it starts, get none of the signals.
    pub(super) fn begin() -> Self {
        let live = Arc::new(Mutex::new(BTreeSet::new()));
        let set = all();
        // Neither fails with signals that exist.
        let _ = set.thread_block();
        let targets = Arc::clone(&live);
        thread::spawn(move || {
            while let Ok(signal) = set.wait() {
                if PASSED_ON.contains(&signal) {
                    let targets = lock(&targets).clone();
                    targets.into_iter().for_each(|process| tracee::send(process, signal));
                }
            }
        });
        Self { live }
    }

    /// A process that gets what is passed on.
    pub(super) fn add(&self, process: Tid) {
        lock(&self.live).insert(process);
    }

    /// It has ended.
    pub(super) fn remove(&self, process: Tid) {
        lock(&self.live).remove(&process);
    }
}

/// Undoes in the command what it inherited of [`Passing::begin`].
pub(super) fn unblock() {
    let _ = all().thread_unblock();
}

fn all() -> SigSet {
    LEFT_TO_THE_COMMAND.into_iter().chain(PASSED_ON).collect()
}

/// The set is whole even after a panic elsewhere: each change of it is a single step.
fn lock(live: &Mutex<BTreeSet<Tid>>) -> MutexGuard<'_, BTreeSet<Tid>> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}
