//! Eventfds: counters that the kernel raises and the process reads. None of them blocks.

use std::collections::BTreeMap;

use tce_engine::errno::Errno;

/// Names an eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EventId(pub(crate) u32);

/// The largest count an eventfd holds (`eventfd_signal_mask`).
const COUNT_MAX: u64 = u64::MAX - 1;

/// The eventfds whose descriptors are open. Signals to others go nowhere: nobody can read them.
#[derive(Debug, Default)]
pub(crate) struct Events {
    counts: BTreeMap<EventId, u64>,
}

impl Events {
    pub(crate) fn open(&mut self, id: EventId) {
        self.counts.insert(id, 0);
    }

    pub(crate) fn close(&mut self, id: EventId) {
        self.counts.remove(&id);
    }

    /// `eventfd_signal`.
    pub(crate) fn signal(&mut self, id: EventId) {
        if let Some(count) = self.counts.get_mut(&id) {
            *count = count.saturating_add(1).min(COUNT_MAX);
        }
    }

    /// `eventfd_read`: takes the whole count.
    pub(crate) fn read(&mut self, id: EventId) -> Result<u64, Errno> {
        let count = self.counts.get_mut(&id).ok_or(Errno::EBADF)?;
        match std::mem::take(count) {
            0 => Err(Errno::EAGAIN),
            counted => Ok(counted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_takes_the_whole_count() {
        let mut events = Events::default();
        let (event, closed) = (EventId(1), EventId(2));
        events.open(event);
        assert_eq!(events.read(event), Err(Errno::EAGAIN));
        events.signal(event);
        events.signal(event);
        events.signal(closed);
        assert_eq!(events.read(event), Ok(2));
        assert_eq!(events.read(event), Err(Errno::EAGAIN));
        events.close(event);
        assert_eq!(events.read(event), Err(Errno::EBADF));
    }
}
