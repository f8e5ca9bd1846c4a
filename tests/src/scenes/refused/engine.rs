//! The engine's part: each refusal has its name, and comes before any kernel call.

use anyhow::{Context, Result, anyhow, bail, ensure};
use tce_engine::{
    Error, LeaseRequest,
    access::Access,
    addr::{Bytes, Iova, PageShift},
    facts::Slot,
    guest::{LoanRefusal, LoanRequest},
    kernel::{Kernel as _, VmFd},
    lease::{EndCause, Holder, LeaseId, LeaseRefusal, Quota},
    machine::Machine,
    papr::Liobn,
    window::{Claim, Origin, WindowId},
};

use super::Rule;
use crate::{
    rig::NOW,
    spoiled::Spoil,
    stage::{Memory, Stage},
};

const LIOBN: Liobn = Liobn(0x8000_0003);
/// Most leases here; 16 TCEs of the default window.
const SIZE: Bytes = Bytes::kib(64);
/// Whole pages of 64 KiB, and not of 2 MiB.
const ODD: Bytes = Bytes::mib(3);
/// Where a lease stands all the time, so that others are not the container's last: with that devices are reset.
const ASIDE: Iova = Iova::new(512 << 20);

/// An engine with two windows, that of the kernel with pages of 4 KiB and one of 64 KiB.
pub(super) struct Lender<'m, M: Machine> {
    stage: Stage<'m, M>,
    vm: VmFd,
    low: WindowId,
    high: WindowId,
    memory: Memory,
}

impl<'m, M: Machine> Lender<'m, M> {
    pub(super) fn new(machine: &'m mut M) -> Result<Self> {
        let mut stage = Stage::new(machine)?;
        let vm = stage.machine.kernel().create_vm().map_err(|errno| anyhow!("KVM: {errno}"))?;
        let low = stage.default_window()?;
        let high = stage.window(Slot::One, PageShift::K64, Origin::Created)?;
        // In whichever pages, it is a multiple of 64 KiB.
        let memory = stage.memory(32)?;
        let mut lender = Self { stage, vm, low, high, memory };
        let aside = LeaseRequest { at: Some(ASIDE), ..lender.request(low, SIZE)? };
        lender.lease(aside)?;
        Ok(lender)
    }

    /// What goes against the rule is refused by its name, and no call is made for it.
    pub(super) fn refuses(&mut self, rule: Rule) -> Result<()> {
        let (k4, zero) = (PageShift::K4, Iova::new(0));
        let low = self.request(self.low, SIZE)?;
        let high = self.request(self.high, SIZE)?;
        match rule {
            Rule::Linked => {
                self.refuses_lease(low, k4, |_| LoanRefusal::NoGuest)?;
                self.stage.engine.link_guest(self.vm)?;
            }
            Rule::OneLink => {
                let vm = self.vm;
                self.says(LoanRefusal::HasGuest, |stage| stage.engine.link_guest(vm))?;
            }
            Rule::FromTheStart => {
                let start = Iova::new(k4.bytes().raw());
                let behind = LeaseRequest { at: Some(start), ..low };
                let refusal = |lease| LoanRefusal::NotAtStart { lease, start, window: zero };
                self.refuses_lease(behind, k4, refusal)?;
            }
            Rule::NoSmallerPage => {
                let refusal = LoanRefusal::SmallPage { page: k4, window: PageShift::K64 };
                self.refuses_lease(high, k4, |_| refusal)?;
            }
            Rule::WithinTheWindow => self.refuses_more_than_the_window()?,
            Rule::WholePages => {
                let page = PageShift::M2;
                let refusal = LoanRefusal::NotWholePages { start: zero, size: ODD, page };
                self.refuses_lease(LeaseRequest { size: ODD, ..low }, page, |_| refusal)?;
            }
            Rule::NothingMapped => {
                let lease = self.mapped(SIZE)?;
                self.is_refused(lease, k4, LoanRefusal::InUse { lease, tces: 16 })?;
            }
            Rule::NothingUnknown => {
                let lease = self.quarantined()?;
                let tces = self.stage.units(2).pages_up(k4).raw();
                self.is_refused(lease, k4, LoanRefusal::InUse { lease, tces })?;
            }
            Rule::AllAccess => {
                let reading = LeaseRequest { access: Access::Read, ..low };
                self.refuses_lease(reading, k4, LoanRefusal::Terms)?;
            }
            Rule::AllTces => {
                let fewer = LeaseRequest { quota: Quota::of_tces(15), ..low };
                self.refuses_lease(fewer, k4, LoanRefusal::Terms)?;
            }
            Rule::OneGuest => {
                let lease = self.lent()?;
                self.is_refused(lease, k4, LeaseRefusal::Lent(lease))?;
            }
            Rule::OwnNumber => {
                self.lent()?;
                self.refuses_lease(high, PageShift::K64, |_| LoanRefusal::BusTaken(LIOBN))?;
            }
            Rule::OneWindow => {
                let lease = self.lease(low)?;
                self.stage.engine.extend_lease(lease, self.high, None, SIZE)?;
                self.is_refused(lease, k4, LeaseRefusal::TwoParts(lease))?;
            }
            Rule::Undivided => self.refuses_what_is_divided(low)?,
            Rule::Live => {
                let lease = self.lease(low)?;
                self.stage.engine.revoke(lease)?;
                let cause = EndCause::Revoked;
                self.is_refused(lease, k4, LeaseRefusal::Ended { lease, cause })?;
            }
        }
        self.clear()
    }

    /// A guest's table has the size of its lease, of which none is larger than a window.
    fn refuses_more_than_the_window(&mut self) -> Result<()> {
        let size = self.stage.engine.facts().context("a group")?.default_window;
        let size = size.saturating_add(PageShift::K4.bytes());
        let request = self.request(self.low, size)?;
        let refusal = LeaseRefusal::NoRoom { window: self.low, size, at: None };
        self.says(refusal, |stage| stage.engine.grant_lease(request).map(drop))
    }

    /// Neither a lease with a sub-lease nor that one.
    fn refuses_what_is_divided(&mut self, whole: LeaseRequest) -> Result<()> {
        let lease = self.lease(whole)?;
        let page = self.request(self.low, PageShift::K4.bytes())?;
        let part = LeaseRequest { parent: Some(lease), quota: Quota::of_tces(1), ..page };
        let part = self.lease(part)?;
        self.is_refused(lease, PageShift::K4, LeaseRefusal::HasSubleases(lease))?;
        self.is_refused(part, PageShift::K4, LeaseRefusal::IsSublease(part))
    }

    fn request(&self, window: WindowId, size: Bytes) -> Result<LeaseRequest> {
        let holder = Holder::new("lender").context("a holder has a name")?;
        Ok(LeaseRequest::new(holder, window, size))
    }

    fn lease(&mut self, request: LeaseRequest) -> Result<LeaseId> {
        let grant = self.stage.engine.grant_lease(request)?;
        Ok(self.stage.engine.lease(grant)?)
    }

    /// A lease that nothing speaks against is lent.
    fn lent(&mut self) -> Result<LeaseId> {
        let lease = self.lease(self.request(self.low, SIZE)?)?;
        self.stage.engine.lend(lease, &LoanRequest { liobn: LIOBN, page: PageShift::K4 })?;
        Ok(lease)
    }

    /// A lease of which all is mapped.
    fn mapped(&mut self, size: Bytes) -> Result<LeaseId> {
        let lease = self.lease(self.request(self.low, size)?)?;
        let edit = self.memory.map(Iova::new(0), Bytes::ZERO, size);
        self.stage.engine.apply(lease, &[edit], NOW)?;
        Ok(lease)
    }

    /// The same, of which the kernel failed another map half-way, and failed again to put back what had been there.
    fn quarantined(&mut self) -> Result<LeaseId> {
        let two = self.stage.units(2);
        let lease = self.mapped(two)?;
        let stage = &mut self.stage;
        let cliff = stage.cliff(1)?;
        stage.saboteur.spoil([Some(Spoil::Memory(cliff)), Some(Spoil::Misaligned)]);
        let failed = stage.engine.apply(lease, &[self.memory.map(Iova::new(0), two, two)], NOW);
        stage.saboteur.spoil([]);
        match failed {
            Err(Error::Batch(_)) => Ok(lease),
            other => bail!("a batch that was to fail: {other:?}"),
        }
    }

    /// A lease like this is not lent.
    fn refuses_lease<R: Into<Error>>(
        &mut self,
        request: LeaseRequest,
        page: PageShift,
        refusal: impl FnOnce(LeaseId) -> R,
    ) -> Result<()> {
        let lease = self.lease(request)?;
        self.is_refused(lease, page, refusal(lease))
    }

    fn is_refused(
        &mut self,
        lease: LeaseId,
        page: PageShift,
        refusal: impl Into<Error>,
    ) -> Result<()> {
        let request = LoanRequest { liobn: LIOBN, page };
        self.says(refusal, |stage| stage.engine.lend(lease, &request).map(drop))
    }

    fn says(
        &mut self,
        refusal: impl Into<Error>,
        wish: impl FnOnce(&mut Stage<'m, M>) -> Result<(), Error>,
    ) -> Result<()> {
        let calls = self.stage.engine.calls().total();
        let (said, expected) = (wish(&mut self.stage), refusal.into());
        ensure!(said.as_ref() == Err(&expected), "it said {said:?}, not {expected:?}");
        ensure!(self.stage.engine.calls().total() == calls, "a refusal reached the kernel");
        Ok(())
    }

    /// All leases end but the one that stands aside.
    fn clear(&mut self) -> Result<()> {
        let aside = |claim: Claim| claim.start == ASIDE;
        let live = self.stage.engine.leases().live();
        let ending: Vec<LeaseId> =
            live.filter(|(_, lease)| !aside(lease.home().claim)).map(|(id, _)| id).collect();
        ending.into_iter().try_for_each(|lease| self.stage.engine.revoke(lease))?;
        Ok(())
    }

    pub(super) fn close(self) -> Result<()> {
        let Self { stage, vm, .. } = self;
        let mut kernel = stage.machine.kernel();
        stage.close()?;
        kernel.close(vm.fd()).map_err(|errno| anyhow!("closing the virtual machine: {errno}"))
    }
}
