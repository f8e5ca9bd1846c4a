//! Edits that continue one another, as one: what they have in common is checked once.

use crate::{
    addr::{Bytes, PageShift},
    window::Claim,
};

use super::Edit;

/// The first edits as far as they continue one another, as one, and how many they are; `None` if there are none.
///
/// All of several are whole pages. So if the one is right in a window of this page or a smaller one, each of them is.
#[inline]
pub(crate) fn joined(edits: &[Edit], page: PageShift) -> Option<(Edit, usize)> {
    let (first, others) = edits.split_first()?;
    let mut all = *first;
    let count = 1 + others.iter().take_while(|next| take_in(&mut all, next, page)).count();
    Some((all, count))
}

/// Takes in the edit that follows, if it wants that the one before just goes on.
#[inline]
fn take_in(all: &mut Edit, next: &Edit, page: PageShift) -> bool {
    let (claim, more) = (all.claim(), next.claim());
    let follows = claim.start.checked_add(claim.size) == Some(more.start)
        && is_whole_pages(claim.size, page)
        && is_whole_pages(more.size, page);
    let Some(sum) = claim.size.checked_add(more.size).filter(|_| follows) else { return false };
    let goes_on = match (&*all, next) {
        (Edit::Unmap(_), Edit::Unmap(_)) => true,
        (
            Edit::Map { region, offset, access, .. },
            Edit::Map { region: next_region, offset: next_offset, access: next_access, .. },
        ) => {
            region == next_region
                && access == next_access
                && offset.checked_add(claim.size) == Some(*next_offset)
        }
        _ => false,
    };
    if goes_on {
        let (Edit::Map { size, .. } | Edit::Unmap(Claim { size, .. })) = all;
        *size = sum;
    }
    goes_on
}

const fn is_whole_pages(size: Bytes, page: PageShift) -> bool {
    !size.is_zero() && size.is_multiple_of(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::Access,
        addr::Iova,
        region::RegionId,
        testing::{PAGE, handle},
    };

    fn map(place: u32, at: u64, offset: u64, size: u64, access: Access) -> Edit {
        let (iova, offset, size) = (Iova::new(at), Bytes::new(offset), Bytes::new(size));
        Edit::Map { iova, region: RegionId(handle(place)), offset, size, access }
    }

    fn unmap(at: u64, size: u64) -> Edit {
        Edit::Unmap(Claim { start: Iova::new(at), size: Bytes::new(size) })
    }

    #[test]
    fn edits_that_continue_one_another_are_one() {
        let row = |at: u64| map(0, 0x10000 + at, at, 0x1000, Access::Read);
        let edits = [row(0), row(0x1000), row(0x2000), row(0x4000)];
        let all = map(0, 0x10000, 0, 0x3000, Access::Read);
        assert_eq!(joined(&edits, PAGE), Some((all, 3)));
        let edits = [unmap(0, 0x2000), unmap(0x2000, 0x1000)];
        assert_eq!(joined(&edits, PAGE), Some((unmap(0, 0x3000), 2)));
        assert_eq!(joined(&[], PAGE), None);
    }

    #[test]
    fn edits_that_differ_or_are_not_whole_pages_stay_apart() {
        let first = map(0, 0, 0, 0x1000, Access::Read);
        let others = [
            map(1, 0x1000, 0x1000, 0x1000, Access::Read),
            map(0, 0x2000, 0x1000, 0x1000, Access::Read),
            map(0, 0x1000, 0x2000, 0x1000, Access::Read),
            map(0, 0x1000, 0x1000, 0x1000, Access::ReadWrite),
            map(0, 0x1000, 0x1000, 0x800, Access::Read),
            map(0, 0x1000, 0x1000, 0, Access::Read),
            unmap(0x1000, 0x1000),
        ];
        for other in others {
            assert_eq!(joined(&[first, other], PAGE), Some((first, 1)), "{other:?}");
        }
        let half = unmap(0, 0x800);
        assert_eq!(joined(&[half, unmap(0x800, 0x1000)], PAGE), Some((half, 1)));
        let last = unmap(!0xfff, 0x1000);
        assert_eq!(joined(&[last, unmap(0, 0x1000)], PAGE), Some((last, 1)));
    }
}
