//! What holders must be told: every change of their leases that they did not make, once, and nothing after an end.

use tce_engine::lease::{EndCause, News};

use super::run::Run;

impl Run {
    #[track_caller]
    pub(super) fn take_events(&mut self) {
        for event in self.engine.take_events() {
            let lease = event.lease;
            assert!(!self.told_ends.contains(&lease), "{lease} had ended: {:?}", event.news);
            let known = self.engine.leases().get(lease).map(|lease| &lease.holder);
            assert!(known.is_err() || known == Ok(&event.holder), "{lease} is told to its holder");
            match &event.news {
                News::Ended(cause) => {
                    assert_eq!(Some(*cause), self.ended.remove(&lease), "{lease}");
                    self.told_ends.insert(lease);
                }
                News::Quarantined(claim) => {
                    let at = self.lost.iter().position(|lost| lost == claim);
                    let at = at.unwrap_or_else(|| panic!("{lease} lost nothing at {claim}"));
                    self.lost.swap_remove(at);
                }
                news => {
                    let expected = self.news.iter().position(|(id, it)| *id == lease && it == news);
                    // What KVM did not take again when a group had left knew of that, too.
                    let is_untaken = self.ending.get(&lease) == Some(&EndCause::NotTakenByGuest);
                    let is_known = is_untaken && matches!(news, News::GroupLeft(_));
                    assert!(expected.is_some() || is_known, "{lease} is told {news:?}");
                    if let Some(at) = expected {
                        self.news.remove(at);
                    }
                }
            }
        }
        assert!(self.ended.is_empty(), "ends that nobody is told of: {:?}", self.ended);
        assert!(self.news.is_empty(), "news that nobody is told: {:?}", self.news);
        assert!(self.lost.is_empty(), "quarantines that nobody is told of: {:?}", self.lost);
        assert_eq!(self.engine.missed_events(), 0);
    }
}
