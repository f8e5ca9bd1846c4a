//! What an engine knows of its platform beyond the life of a backend.

use std::collections::VecDeque;

use crate::{
    addr::Bytes,
    facts::{ContainerFacts, Creatable, PlatformLimits},
    kernel::GroupNumber,
};

/// The most groups whose end is remembered.
const GIVEN_UP_MAX: usize = 64;

/// Limits that were told, and lessons that cost something.
#[derive(Debug, Default)]
pub(super) struct Platform {
    pub(super) limits: PlatformLimits,
    leaked: Bytes,
    given_up: VecDeque<GroupNumber>,
}

impl Platform {
    /// What the facts of a new backend are, in the light of this.
    pub(super) fn adjust(&self, facts: ContainerFacts, group: GroupNumber) -> ContainerFacts {
        let mut facts = facts.limited_by(&self.limits);
        if self.given_up.contains(&group) {
            facts.creatable = Creatable::Nothing;
        }
        facts
    }

    /// A group for which the kernel makes no window any more. If there are too many, the oldest is found out anew.
    pub(super) fn give_up(&mut self, group: GroupNumber) {
        if self.given_up.contains(&group) {
            return;
        }
        if self.given_up.len() == GIVEN_UP_MAX {
            self.given_up.pop_front();
        }
        self.given_up.push_back(group);
    }

    /// A charge that stays as long as the process lives.
    pub(super) fn note_leak(&mut self, charged: Bytes) {
        self.leaked = self.leaked.saturating_add(charged);
    }

    pub(super) const fn leaked(&self) -> Bytes {
        self.leaked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_groups_are_remembered_than_the_limit() {
        let mut platform = Platform::default();
        for group in (0..100).chain(50..100).map(GroupNumber) {
            platform.give_up(group);
        }
        assert_eq!(platform.given_up.len(), GIVEN_UP_MAX);
        assert!(platform.given_up.contains(&GroupNumber(99)));
    }
}
