//! Picking what most policies pick: a page for some regions, a window that can be paid for.

use crate::{
    lease_policy::AdmitQuestion,
    page_bytes,
    size::Size,
    types::{ContainerFacts, Duration, Instant, PageShift, Refusal, RefusalReason, Region, Terms},
    window_sizing::{Candidate, WindowQuestion},
};

impl ContainerFacts {
    /// The largest page of the container that is no larger than `max` and that each of these regions allows.
    #[must_use]
    pub fn largest_page(&self, regions: &[&Region], max: PageShift) -> Option<PageShift> {
        let suits =
            |page: &PageShift| *page <= max && regions.iter().all(|region| region.allows(*page));
        self.page_shifts.iter().copied().filter(suits).max()
    }
}

impl WindowQuestion {
    /// The first of these candidates, in the order of `rank`, that the locked-memory limit allows.
    ///
    /// # Errors
    /// A refusal for each of the two ways in which there is none. `wanted` is what they would be, such as `a window of
    /// 1 GiB in slot 0`.
    pub fn first_affordable<'a, R: Ord>(
        &self,
        candidates: impl Iterator<Item = &'a Candidate> + Clone,
        rank: impl Fn(&Candidate) -> R,
        wanted: &str,
    ) -> Result<&'a Candidate, Refusal> {
        let left = self.facts.locked_memory.left();
        let affordable = candidates.clone().filter(|each| each.charge <= left);
        if let Some(first) = affordable.min_by_key(|each| rank(each)) {
            return Ok(first);
        }
        Err(match candidates.map(|each| each.charge).min() {
            Some(charge) => Refusal::new(
                RefusalReason::Memory,
                format!(
                    "{wanted} takes {} of locked memory, and {} are left",
                    Size(charge),
                    Size(left)
                ),
            ),
            None => Refusal::new(RefusalReason::Window, format!("{wanted} is not possible here")),
        })
    }
}

impl AdmitQuestion {
    /// What was asked for, in full.
    ///
    /// # Errors
    /// A refusal if the window has not so much unleased, or if nothing was asked for.
    pub fn as_asked(&self) -> Result<Terms, Refusal> {
        let (request, window) = (&self.request, &self.window);
        let pages = request.size / page_bytes(window.page).max(1);
        if pages == 0 {
            let detail = "less than one page of the window was asked for";
            return Err(Refusal::new(RefusalReason::Other, detail));
        }
        if request.size > window.unleased {
            let [asked, left] = [request.size, window.unleased].map(Size);
            return Err(Refusal::new(
                RefusalReason::Window,
                format!("{asked} were asked for, and {left} of the window are not leased yet"),
            ));
        }
        Ok(Terms {
            access: request.access,
            tces_max: request.tces.clamp(1, pages),
            pinned_max: None,
            edits_per_second: None,
            expires: expiry(self.now, request.duration, None),
        })
    }
}

/// When a lease ends that shall last for `asked`, or until it is given back, where none lasts longer than `max`.
///
/// It ends later than now, as the engine wants it, whatever was asked; and the end of time is as good as never.
#[must_use]
pub fn expiry(now: Instant, asked: Option<Duration>, max: Option<Duration>) -> Option<Instant> {
    let duration = match (asked, max) {
        (Some(asked), Some(max)) => Some(asked.min(max)),
        (asked, max) => asked.or(max),
    };
    duration.map(|duration| now.saturating_add(duration.max(1)))
}

#[cfg(test)]
mod tests {
    use super::expiry;

    #[test]
    fn a_lease_ends_after_what_is_shorter_and_later_than_now() {
        assert_eq!(expiry(100, None, None), None);
        assert_eq!(expiry(100, Some(5), None), Some(105));
        assert_eq!(expiry(100, None, Some(7)), Some(107));
        assert_eq!(expiry(100, Some(5), Some(7)), Some(105));
        assert_eq!(expiry(100, Some(9), Some(7)), Some(107));
        assert_eq!(expiry(100, Some(0), None), Some(101));
        assert_eq!(expiry(100, Some(u64::MAX), None), Some(u64::MAX));
    }
}
