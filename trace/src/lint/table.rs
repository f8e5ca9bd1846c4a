//! Tables far larger than what is mapped needs.

use std::collections::{BTreeMap, BTreeSet};

use tce_engine::{
    addr::{Bytes, PageShift},
    kernel::Platform,
};
use tce_sim::{Profile, WindowView};

use super::{
    Check, Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost, counted},
};
use crate::{
    event::Call,
    format::Place,
    replay::{ContainerId, Leaving, Step},
};

/// A waste below this is not worth a word.
const WASTE_MIN: u64 = 1 << 20;
/// Nor is one below this factor.
const FACTOR_MIN: u64 = 16;
/// Bytes of a TCE.
const TCE_BYTES: u64 = 8;

/// A window that was created, and what was mapped in it.
struct Made {
    place: Place,
    size: Bytes,
    page: PageShift,
    charge: u64,
    span: Option<(u64, u64)>,
}

pub(super) struct Table {
    system_page: PageShift,
    /// Tables are charged with their mirror.
    tables_charged: u64,
    made: BTreeMap<(ContainerId, u64), Made>,
    over: Vec<(ContainerId, Made)>,
    /// Containers that were mapped in by `MAP_DMA` at all. In others KVM may set the TCEs.
    mapped: BTreeSet<ContainerId>,
}

impl Table {
    pub(super) fn new(profile: &Profile) -> Self {
        Self {
            system_page: profile.page_shift,
            tables_charged: match profile.platform {
                Platform::Powernv => 2,
                Platform::Pseries => 1,
            },
            made: BTreeMap::new(),
            over: Vec::new(),
            mapped: BTreeSet::new(),
        }
    }

    fn map(&mut self, container: ContainerId, window: &WindowView, start: u64, size: Bytes) {
        self.mapped.insert(container);
        if let Some(made) = self.made.get_mut(&(container, window.start.raw())) {
            let end = start.saturating_add(size.raw());
            let (low, high) = made.span.unwrap_or((start, end));
            made.span = Some((low.min(start), high.max(end)));
        }
    }

    /// What a window just for the addresses from the first to the last mapped one would be charged.
    fn needed(&self, made: &Made) -> u64 {
        let Some((low, high)) = made.span else { return 0 };
        let pages = Bytes::new(high - low).pages_up(made.page).raw();
        let entries = pages.checked_next_power_of_two().unwrap_or(pages);
        let table = Bytes::new(entries.saturating_mul(TCE_BYTES));
        let table = table.round_up(self.system_page).unwrap_or(table);
        table.raw().saturating_mul(self.tables_charged)
    }
}

impl Check for Table {
    fn step(&mut self, step: &Step<'_>) {
        let Some(container) = step.container else { return };
        if !step.event.answer.is_zero() {
            return;
        }
        match step.event.call {
            Call::Create { start, size, .. } => {
                let Some(window) = step.after.window(start) else { return };
                let made = Made {
                    place: step.place,
                    size,
                    page: window.page_shift,
                    charge: window.charge.raw(),
                    span: None,
                };
                self.made.insert((container, window.start.raw()), made);
            }
            Call::Map { iova, size, .. } => {
                if let Some(window) = step.before.window(iova) {
                    self.map(container, window, iova.raw(), size);
                }
            }
            Call::Remove { start, .. } => {
                let Some(window) = step.before.window(start) else { return };
                let removed = self.made.remove(&(container, window.start.raw()));
                self.over.extend(removed.map(|made| (container, made)));
            }
            _ => {}
        }
    }

    fn leaving(&mut self, leaving: &Leaving<'_>) {
        let made = self.made.extract_if(.., |(container, _), _| *container == leaving.container);
        self.over.extend(made.map(|((container, _), made)| (container, made)));
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let mut hits = Hits::default();
        let (mut charged, mut needed, mut sizes) = (0, 0, Vec::new());
        for (container, made) in &self.over {
            let needs = self.needed(made);
            let waste = made.charge.saturating_sub(needs);
            let is_large = waste >= WASTE_MIN && made.charge >= needs.saturating_mul(FACTOR_MIN);
            if self.mapped.contains(container) && is_large {
                hits.hit(made.place);
                charged += made.charge;
                needed += needs;
                sizes.push(match made.span {
                    Some((low, high)) => {
                        format!("{} for {} of addresses in use", made.size, Bytes::new(high - low))
                    }
                    None => format!("{}, in which nothing was ever mapped", made.size),
                });
            }
        }
        let windows = counted(hits.count(), "window is", "windows are");
        hits.finding(Rule::OversizedTable, Severity::Warning, Told {
            what: format!("{windows} far larger than what was mapped: {}", sizes.join(", ")),
            cause: "the first level of a table is allocated, and the whole table with its mirror is \
                    charged, when the window is made (pnv_pci_ioda2_get_table_size)",
            costs: vec![
                cost("locked memory charged for tables", charged, Unit::Bytes),
                cost("of which the mapped addresses need", needed, Unit::Bytes),
            ],
            remedy: "choose low IOVAs that lie close together, and make the window as large as they need; \
                     remove a window that is not used",
        })
    }
}
