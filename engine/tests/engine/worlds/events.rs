//! What must be told of a step.

use std::collections::BTreeMap;

use tce_engine::{
    kernel::GroupNumber,
    lease::{Lease, LeaseId, LeaseState, News},
};

use super::world::World;

impl World {
    /// Each end is told once, with its cause, and last of all; and so is each group that left, and each quarantine that
    /// nobody has an error of. Nothing is told of a lease that had ended.
    pub(super) fn check_events(
        &mut self,
        before: &BTreeMap<LeaseId, Lease>,
        has_news_of_quarantine: bool,
    ) {
        let events = self.engine_mut().take_events();
        let mut told: BTreeMap<LeaseId, Vec<News>> = BTreeMap::new();
        for event in events {
            let lease = self.engine().leases().get(event.lease).expect("it is remembered");
            assert_eq!(event.holder, lease.holder, "{} is told to its holder", event.lease);
            told.entry(event.lease).or_default().push(event.news);
        }
        let quarantines = told.values().flatten().filter(|it| matches!(it, News::Quarantined(_)));
        let is_quarantined = quarantines.count() > 0;
        assert_eq!(is_quarantined, has_news_of_quarantine, "a quarantine is told: {told:?}");
        for (id, lease) in before {
            let news = told.remove(id).unwrap_or_default();
            self.check_news(*id, lease, &news);
        }
        for (id, news) in told {
            let is_live = self.engine().leases().live().any(|(live, _)| live == id);
            assert!(is_live, "{id} had ended, and is told {news:?}");
        }
        assert_eq!(self.engine().missed_events(), 0);
    }

    fn check_news(&self, id: LeaseId, before: &Lease, news: &[News]) {
        let lease = self.engine().leases().get(id).expect("it is remembered");
        let ends = news.iter().filter(|it| matches!(it, News::Ended(_))).count();
        match lease.state {
            LeaseState::Ended(cause) => {
                assert_eq!(ends, 1, "the end of {id} is told: {news:?}");
                assert_eq!(news.last(), Some(&News::Ended(cause)), "{id}");
                if let LeaseState::Ending(first) = before.state {
                    assert_eq!(cause, first, "{id} keeps its cause");
                }
                return;
            }
            _ => assert_eq!(ends, 0, "{id} has not ended: {news:?}"),
        }
        let is_there = |group: &&GroupNumber| lease.groups.contains(group);
        for group in before.groups.iter().filter(|group| !is_there(group)) {
            let left = news.iter().filter(|it| **it == News::GroupLeft(*group)).count();
            assert_eq!(left, 1, "{id} is told that {group:?} left: {news:?}");
        }
        for group in &lease.groups {
            assert!(!news.contains(&News::GroupLeft(*group)), "{id}: {group:?} is there");
        }
        if lease.expires != before.expires {
            assert!(news.contains(&News::Renewed(lease.expires)), "{id}: {news:?}");
        }
    }
}
