//! What holders are told.

use std::collections::VecDeque;

use crate::{kernel::GroupNumber, window::Claim};

use super::{EndCause, Holder, LeaseId, Timestamp};

/// The most news besides ends that wait to be taken. Older ones go, and are counted.
pub const NEWS_MAX: usize = 4096;

/// What happened to a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It ended. Nothing comes after this.
    Ended(EndCause),
    /// It ends at another time now; `None`: not by itself.
    Renewed(Option<Timestamp>),
    /// This is the range that is left of it.
    Shrunk(Claim),
    /// The kernel wants a group of it back, because a driver is unbound or a device unplugged. It will leave soon.
    GroupWanted(GroupNumber),
    /// A group of it left; its mappings are there for the others.
    GroupLeft(GroupNumber),
    /// The TCEs of this range are not known: mappings may be lost.
    Quarantined(Claim),
    /// A PE of the container is frozen: devices transfer nothing.
    Frozen,
    /// The container's PEs work again. Their devices were reset.
    Recovered,
}

/// Something that happened to a lease, for its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseEvent {
    /// The lease.
    pub lease: LeaseId,
    /// Its holder.
    pub holder: Holder,
    /// What happened.
    pub news: News,
}

impl LeaseEvent {
    /// Why the lease ended, if it did.
    #[must_use]
    pub const fn end(&self) -> Option<EndCause> {
        match self.news {
            News::Ended(cause) => Some(cause),
            _ => None,
        }
    }
}

/// Events that nobody took yet.
#[derive(Debug, Default)]
pub(crate) struct Events {
    waiting: VecDeque<LeaseEvent>,
    ends: usize,
    missed: u64,
}

impl Events {
    pub(crate) fn push(&mut self, event: LeaseEvent) {
        if event.end().is_some() {
            self.ends += 1;
        } else if self.waiting.len() - self.ends == NEWS_MAX {
            let oldest = self.waiting.iter().position(|waiting| waiting.end().is_none());
            self.waiting.remove(oldest.expect("there are many"));
            self.missed += 1;
        }
        self.waiting.push_back(event);
    }

    pub(crate) fn take(&mut self) -> Vec<LeaseEvent> {
        self.ends = 0;
        std::mem::take(&mut self.waiting).into()
    }

    /// How many ends wait. They are bounded by the leases, since none begins while there are too many.
    pub(crate) const fn ends(&self) -> usize {
        self.ends
    }

    pub(crate) const fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use crate::slots::Slots;

    use super::*;

    #[test]
    fn of_too_many_news_the_oldest_go_but_no_end_does() {
        let lease = LeaseId(Slots::new(1).insert(()).expect("room"));
        let holder = Holder::new("tenant").expect("a name");
        let event = |news| LeaseEvent { lease, holder: holder.clone(), news };
        let mut events = Events::default();
        events.push(event(News::Ended(EndCause::Revoked)));
        for at in 0..NEWS_MAX + 3 {
            let at = u64::try_from(at).expect("it is small");
            events.push(event(News::Renewed(Some(Timestamp(at)))));
        }
        assert_eq!((events.missed(), events.ends()), (3, 1));
        let taken = events.take();
        assert_eq!(taken.len(), NEWS_MAX + 1);
        assert_eq!(taken[0].end(), Some(EndCause::Revoked));
        assert_eq!(taken[1].news, News::Renewed(Some(Timestamp(3))));
        assert_eq!((events.take().len(), events.ends()), (0, 0));
    }
}
