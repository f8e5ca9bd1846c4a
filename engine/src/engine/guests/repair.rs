//! What a guest had mapped is made anew after a group has left and the kernel cleared every table.

use crate::{
    addr::{Iova, PageShift, Pages},
    edit::{Edit, Wish},
    error::Error,
    kernel::{GuestTableFd, Kernel},
    lease::LeaseId,
    papr::{GuestMemory, GuestTce, LIST_TCES_MAX, edits_of},
    plan::{PlannedCall, plan},
    table::{Table, Target},
    window::{Claim, Window, WindowId},
};

use super::super::Engine;

/// What a guest had mapped in a window.
pub(in super::super) struct GuestImage {
    pub(in super::super) lease: LeaseId,
    pub(in super::super) window: WindowId,
    pub(in super::super) calls: Vec<PlannedCall>,
    /// Where it has set TCEs that no call can make.
    pub(in super::super) lost: Vec<Claim>,
}

impl<K: Kernel> Engine<K> {
    /// Reads what guests have mapped. They must not run meanwhile.
    pub(in super::super) fn guest_images(
        &mut self,
        memory: &dyn GuestMemory,
    ) -> Result<Vec<GuestImage>, Error> {
        let held: Vec<(LeaseId, GuestTableFd)> = self.held().collect();
        held.into_iter().map(|(id, table)| self.guest_image(id, table, memory)).collect()
    }

    fn guest_image(
        &mut self,
        lease: LeaseId,
        table: GuestTableFd,
        memory: &dyn GuestMemory,
    ) -> Result<GuestImage, Error> {
        let terms = self.leases.get(lease)?;
        let (part, loan) = (*terms.home(), terms.loan.expect("it is lent"));
        let state = self.backend()?.window(part.window).expect("a window outlives its leases");
        let window = state.window;
        let (mut wishes, mut lost) = (Vec::new(), Vec::new());
        let mut first = 0;
        while first < loan.tces.raw() {
            let count = LIST_TCES_MAX.min(loan.tces.raw() - first);
            let mut raw = vec![0; usize::try_from(count).expect("a list is short")];
            self.calls.read_guest_table(table, first, &mut raw)?;
            let tces: Vec<GuestTce> = raw.into_iter().map(GuestTce::new).collect();
            let page = loan.request.page;
            // If one of them cannot be made, the others are found one by one.
            let wish = |first: u64, tces: &[GuestTce]| {
                let claim = pages_of(part.claim.start, page, first, tces.len());
                let edits = edits_of(page, claim, tces, memory).ok()?;
                self.wishes_of(&window, &edits)
            };
            match wish(first, &tces) {
                Some(all) => wishes.extend(all),
                None => {
                    for (at, tce) in (first..).zip(&tces) {
                        match wish(at, &[*tce]) {
                            Some(one) => wishes.extend(one),
                            None => lost.push(pages_of(part.claim.start, page, at, 1)),
                        }
                    }
                }
            }
            first += count;
        }
        let calls = plan(&Table::new(window.page), &wishes).calls;
        Ok(GuestImage { lease, window: window.id, calls, lost })
    }

    /// What edits wish for, as far as they map; `None` if one cannot be made.
    fn wishes_of(&self, window: &Window, edits: &[Edit]) -> Option<Vec<Wish>> {
        let maps = edits.iter().filter_map(|edit| match *edit {
            Edit::Map { region, offset, size, access, .. } => {
                Some((edit.claim(), region, offset, size, access))
            }
            Edit::Unmap(_) => None,
        });
        let wish = |(claim, region, offset, size, access)| {
            let run = window.admit(claim, &[]).ok()?;
            let address = self.regions.locate(region, offset, size, window.page).ok()?;
            let target = Some(Target { address, access, region });
            Some(Wish { first: run.first(), end: run.end(), target })
        };
        maps.map(wish).collect()
    }
}

/// The bus addresses of some of a guest's TCEs.
fn pages_of(start: Iova, page: PageShift, first: u64, count: usize) -> Claim {
    let bytes = |tces| Pages::new(tces).bytes(page).expect("inside the lease");
    let start = start.checked_add(bytes(first)).expect("inside the lease");
    Claim { start, size: bytes(u64::try_from(count).expect("a list is short")) }
}
