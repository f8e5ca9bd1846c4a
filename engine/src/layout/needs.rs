//! Whether a window can hold what it shall.

use crate::{
    addr::{Bytes, Iova, PageShift},
    facts::ContainerFacts,
    room::Room,
};

use super::{Candidate, LayoutRefusal};

/// Memory that a window shall hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its size.
    pub size: Bytes,
    /// The page that backs it.
    pub backing: PageShift,
    /// The bus address it must have, if any.
    pub at: Option<Iova>,
}

/// Finds a place in the window for each need, in one piece: those with an address of their own first, then the largest
/// first.
pub(super) fn check(
    facts: &ContainerFacts,
    window: &Candidate,
    needs: &[Need],
) -> Result<(), LayoutRefusal> {
    let (start, size, page) = (window.start, window.size, window.page);
    let mut room = Room::of(start, size, &facts.reserved).in_pages(page);
    let usable = room.size();
    let mut anywhere = Vec::new();
    let mut needed = Bytes::ZERO;
    for need in needs {
        if need.backing < page {
            return Err(LayoutRefusal::PageTooLarge { backing: need.backing, page });
        }
        let whole = need.size.round_up(page).unwrap_or(Bytes::new(u64::MAX));
        needed = needed.saturating_add(whole);
        match need.at {
            Some(at) if !at.is_aligned(page) || !room.take_at(at, whole) => {
                return Err(LayoutRefusal::Unreachable { at, start, size });
            }
            Some(_) => {}
            None => anywhere.push(whole),
        }
    }
    anywhere.sort_unstable_by(|one, other| other.cmp(one));
    if anywhere.into_iter().all(|whole| room.take(whole)) {
        return Ok(());
    }
    Err(LayoutRefusal::NoRoom { needed, size, usable })
}
