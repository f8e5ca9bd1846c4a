//! A word for each TCE of the window, set or not.

use tce_engine::{
    access::Access,
    addr::{HostAddr, Pages},
    region::RegionId,
    table::{MappedRun, Target},
};

use super::candidate::{Candidate, Change, PAGE};

/// A TCE is its page of memory, counted from 1; nothing is zero. It would hold region and access as well.
pub(crate) struct Dense {
    tces: Vec<u64>,
    region: Option<RegionId>,
}

impl Dense {
    fn runs(&self, first: u64, end: u64, mut each: impl FnMut(MappedRun)) {
        let mut at = place(first);
        let end = place(end).min(self.tces.len());
        while at < end {
            let start = at;
            at += 1;
            if self.tces[start] == 0 {
                continue;
            }
            while at < end && self.tces[at] == self.tces[at - 1] + 1 {
                at += 1;
            }
            let memory = Pages::new(self.tces[start] - 1).bytes(PAGE).expect("it fits");
            each(MappedRun {
                first: number(start),
                pages: number(at - start),
                target: Target {
                    address: HostAddr::new(memory.raw()),
                    access: Access::ReadWrite,
                    region: self.region.expect("a TCE is set"),
                },
            });
        }
    }
}

impl Candidate for Dense {
    const NAME: &'static str = "dense array";

    fn new(window: u64) -> Self {
        Self { tces: vec![0; place(window)], region: None }
    }

    fn change(&mut self, change: Change, region: RegionId) -> u64 {
        let Change { first, pages, memory } = change;
        self.region = Some(region);
        let mut forgotten = 0;
        self.runs(first, first + pages, |run| forgotten += run.pages);
        let tces = &mut self.tces[place(first)..place(first + pages)];
        match memory {
            Some(page) => tces.iter_mut().zip(page + 1..).for_each(|(tce, page)| *tce = page),
            None => tces.fill(0),
        }
        forgotten
    }

    fn tces_within(&self, first: u64, end: u64) -> u64 {
        let mut tces = 0;
        self.runs(first, end, |run| tces += run.pages);
        tces
    }

    fn bytes(&self) -> u64 {
        8 * number(self.tces.capacity())
    }
}

fn place(tce: u64) -> usize {
    usize::try_from(tce).expect("the window fits the memory")
}

fn number(place: usize) -> u64 {
    u64::try_from(place).expect("it fits")
}
