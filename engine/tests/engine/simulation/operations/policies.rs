//! Policies that lie: what they answer goes to the engine as it is, right, almost right or absurd. A refusal is typed,
//! makes no call, and leaves everything as it was.

use tce_engine::{
    Error, LeaseRequest,
    addr::{Bytes, Iova, PageShift},
    facts::Slot,
    growth::{Addresses, GrowthRequest},
    layout::{Need, UnusedDefault, WindowChoice},
    lease::{Lease, LeaseId, Quota, Timestamp},
    lingering::{Deferral, Unmapping},
    window::{Claim, WindowId},
};

use crate::{
    bench::request,
    simulation::{
        run::{Run, must_make_no_call},
        sights::Sight,
    },
};

/// The largest lease of a lie's that is taken: the model counts pages.
const LEASE_PAGES_MAX: u64 = 4096;

/// What an observer sees of the engine's books.
type Books = (Vec<(LeaseId, Lease)>, Vec<(WindowId, u64)>, usize);

impl Run {
    pub(super) fn believe_a_layout(&mut self) -> Result<(), Error> {
        let count = self.dice.index(4).unwrap_or(0);
        let choices: Vec<WindowChoice> = (0..count).map(|_| self.any_choice()).collect();
        let (books, calls) = (self.books(), self.calls());
        let granted = self.engine.grant_layout(&choices);
        assert_eq!((self.books(), self.calls()), (books, calls), "an answer alone does nothing");
        let granted = granted.map(|grant| drop(grant.with_unused_default(UnusedDefault::Remove)));
        self.note_believed(granted)
    }

    /// A refusal of an answer is one of a request, whatever it was.
    fn note_believed(&mut self, granted: Result<(), Error>) -> Result<(), Error> {
        if let Err(error) = &granted {
            assert!(is_of_an_answer(error), "an answer is refused as a failure: {error}");
        }
        self.saw(if granted.is_ok() { Sight::AnswerTaken } else { Sight::AnswerRefused });
        granted
    }

    fn any_choice(&mut self) -> WindowChoice {
        let slot = if self.dice.one_in(2) { Slot::Zero } else { Slot::One };
        let shift = u8::try_from(12 + self.dice.roll(23)).expect("it is small");
        let page = PageShift::new(shift).expect("PAPR knows it");
        let size = self.any_bytes();
        let fallback = if self.dice.one_in(3) { Some(self.any_bytes()) } else { None };
        let levels = u8::try_from(self.dice.roll(8)).expect("it is small");
        let needs = if self.dice.one_in(3) { vec![self.any_need()] } else { Vec::new() };
        WindowChoice { slot, page, size, fallback, levels, needs }
    }

    fn any_need(&mut self) -> Need {
        let at = Iova::new(self.any_bytes().raw());
        let backing = self.dice.pick(&[PageShift::K4, PageShift::K64, PageShift::M2]);
        Need {
            size: self.any_bytes(),
            backing: backing.expect("there are some"),
            at: self.dice.one_in(2).then_some(at),
        }
    }

    /// A power of two, one beside it, any number, or next to the end of all numbers.
    fn any_bytes(&mut self) -> Bytes {
        let power = 1_u64 << self.dice.roll(64);
        Bytes::new(match self.dice.roll(6) {
            0 => power.wrapping_sub(1),
            1 => power.wrapping_add(1),
            2 => self.dice.roll(u64::MAX),
            3 => u64::MAX - self.dice.roll(1 << 16),
            _ => power,
        })
    }

    pub(super) fn believe_a_lease(&mut self) -> Result<(), Error> {
        let Some(id) = self.any_window() else { return Ok(()) };
        let (near, size) = self.place(id);
        let start = self.window(id).map(|window| window.start.raw());
        let at = match (self.dice.roll(3), start) {
            (0, Some(start)) => Some(Iova::new(start.wrapping_add(self.any_bytes().raw()))),
            (1, _) => Some(Iova::new(self.any_bytes().raw())),
            _ => near,
        };
        let wanted = LeaseRequest {
            holder: self.holder(),
            at,
            size: if self.dice.one_in(2) { self.any_bytes() } else { size },
            expires: self.any_end(),
            groups: self.any_groups(),
            unmapping: self.any_unmapping(),
            parent: if self.dice.one_in(4) { self.dice.pick(&self.leases) } else { None },
            quota: Quota::of_tces(self.any_bytes().raw()),
            ..request(id, size)
        };
        let (books, calls) = (self.books(), self.calls());
        let granted = self.engine.grant_lease(wanted.clone()).map(drop);
        assert_eq!((self.books(), self.calls()), (books, calls), "an answer alone does nothing");
        let page = self.window(id).map_or(1, |window| window.page.bytes().raw());
        self.note_believed(granted)?;
        if wanted.size.raw() / page > LEASE_PAGES_MAX {
            return Ok(());
        }
        self.take_lease(id, wanted)
    }

    fn any_groups(&mut self) -> Vec<tce_engine::kernel::GroupNumber> {
        let mut groups = self.groups();
        if self.dice.one_in(4) {
            let number = u32::try_from(self.dice.roll(1 << 32)).unwrap_or(u32::MAX);
            groups.push(tce_engine::kernel::GroupNumber(number));
        }
        groups
    }

    fn any_unmapping(&mut self) -> Unmapping {
        let (tces, delay) = (self.any_bytes().raw(), self.any_bytes().raw());
        // What is out of bounds is no deferral.
        match Deferral::new(tces, delay) {
            Some(deferral) if self.dice.one_in(2) => Unmapping::Deferred(deferral),
            _ => Unmapping::Strict,
        }
    }

    fn any_end(&mut self) -> Option<Timestamp> {
        let end = if self.dice.one_in(2) { self.any_bytes().raw() } else { self.now + 100 };
        self.dice.one_in(2).then_some(Timestamp(end))
    }

    /// Terms of a lease that is there: another end, another range, another quota, a second window.
    pub(super) fn believe_terms(&mut self) -> Result<(), Error> {
        let Some(id) = self.any_lease(|_, _| true) else { return Ok(()) };
        let Some(window) = self.any_window() else { return Ok(()) };
        let (books, calls) = (self.books(), self.calls());
        let at = self.dice.one_in(2).then(|| Iova::new(self.any_bytes().raw()));
        // All these are wrong.
        let (odd, now) = (Bytes::new(self.any_bytes().raw() | 1), Timestamp(self.now));
        let refused = match self.dice.roll(4) {
            0 => {
                let start = Iova::new(self.any_bytes().raw());
                self.engine.shrink(id, Claim { start, size: odd })
            }
            1 => self.engine.extend_lease(id, window, at, odd).map(|_| ()),
            2 => {
                let addresses = Addresses::Movable;
                let device_mask = Iova::new(self.any_bytes().raw());
                let growth = GrowthRequest { window, at, size: odd, device_mask, addresses };
                self.engine.begin_growth(id, &growth, now).map(|_| ())
            }
            _ => {
                let growth = GrowthRequest {
                    window,
                    at,
                    size: self.any_bytes(),
                    device_mask: Iova::new(0xfff),
                    addresses: Addresses::Movable,
                };
                self.engine.begin_growth(id, &growth, now).map(|_| ())
            }
        };
        let error = refused.expect_err("no window has such a range");
        assert!(must_make_no_call(&error), "{error}");
        assert_eq!((self.books(), self.calls()), (books, calls), "{error}");
        self.saw(Sight::TermsRefused);
        Err(error)
    }

    fn books(&self) -> Books {
        let leases = self.engine.leases().live().map(|(id, lease)| (id, lease.clone()));
        let windows = self.engine.windows().map(|it| (it.window().id, it.table().tces()));
        (leases.collect(), windows.collect(), self.engine.charges().len())
    }
}

/// A device that cannot be reset, or does not answer, keeps somebody else's lease from being granted, too.
const fn is_of_an_answer(error: &Error) -> bool {
    must_make_no_call(error)
        || matches!(error, Error::Layout(_) | Error::Freeze(_) | Error::Device(_))
}
