//! Maps of no bytes.

use tce_sim::{Profile, profile::EmptyMap};

use super::{
    Check, Finding, Rule, Severity,
    finding::{Hits, Told, counted},
};
use crate::{event::Call, replay::Step};

pub(super) struct Empty {
    hits: Hits,
    hangs: bool,
}

impl Empty {
    pub(super) fn new(profile: &Profile) -> Self {
        Self { hits: Hits::default(), hangs: profile.empty_map == EmptyMap::HangsHost }
    }
}

impl Check for Empty {
    fn step(&mut self, step: &Step<'_>) {
        if matches!(step.event.call, Call::Map { size, .. } if size.is_zero()) {
            self.hits.hit(step.place);
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let severity = if self.hangs { Severity::Error } else { Severity::Warning };
        let maps = counted(self.hits.count(), "MAP_DMA", "MAP_DMAs");
        self.hits.finding(Rule::EmptyMap, severity, Told {
            what: format!("{maps} of no bytes"),
            cause: "the kernel does not refuse a size of 0; on POWER8, at the window's first page, \
                    pnv_pci_phb3_tce_invalidate then never ends, and the host hangs",
            costs: Vec::new(),
            remedy: "make no call for nothing",
        })
    }
}
