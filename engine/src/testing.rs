//! What the unit tests share: targets, and tables seen page by page.

use std::collections::BTreeMap;

use proptest::{
    option,
    prelude::{Just, Strategy, any, prop_oneof},
};

use crate::{
    access::Access,
    addr::{HostAddr, PageShift},
    edit::Wish,
    region::RegionId,
    slots::{Handle, Slots},
    table::{MappedRun, Table, Target},
};

/// The page of the windows in these tests.
pub(crate) const PAGE: PageShift = PageShift::K4;

/// A table page by page.
pub(crate) type PageModel = BTreeMap<u64, Target>;

/// The handle of a place that nobody had before.
pub(crate) fn handle(index: u32) -> Handle {
    let mut slots = Slots::new(64);
    (0..=index).filter_map(|_| slots.insert(())).last().expect("there is room for 64")
}

/// Read-write access to a page of memory.
pub(crate) fn target(memory_page: u64) -> Target {
    Target {
        address: HostAddr::new(memory_page << PAGE.raw()),
        access: Access::ReadWrite,
        region: RegionId(handle(0)),
    }
}

/// A wish for `pages` TCEs.
pub(crate) const fn wish(first: u64, pages: u64, target: Option<Target>) -> Wish {
    Wish { first, end: first + pages, target }
}

/// Wishes among the first 60 TCEs that often overlap, touch and repeat one another.
pub(crate) fn any_wish() -> impl Strategy<Value = Wish> {
    let access = prop_oneof![4 => Just(Access::ReadWrite), 1 => Just(Access::Read)];
    let targets = option::of((0u64..50, access, any::<bool>()));
    (0u64..48, 1u64..12, targets).prop_map(|(first, pages, wanted)| {
        let target = wanted.map(|(page, access, is_identity)| {
            // Many wishes of the same offset make runs that join.
            let page = if is_identity { 100 + first } else { page };
            Target { access, ..target(page) }
        });
        wish(first, pages, target)
    })
}

/// Settled wishes, more than are looked up together, close enough that they join and split blocks for one another.
pub(crate) fn any_settled() -> impl Strategy<Value = Vec<Wish>> {
    let chosen = prop_oneof![
        3 => (0u64..8).prop_map(Some),
        1 => Just(None),
    ];
    let one = (1u64..3, prop_oneof![8 => Just(1), 1 => 2u64..70], chosen);
    proptest::collection::vec(one, 1..300).prop_map(|parts| {
        let mut next = 0;
        let wishes = parts.into_iter().map(|(gap, pages, row)| {
            let first = next + gap - 1;
            next = first + pages;
            // Mostly one row, so that neighbours continue one another.
            wish(first, pages, row.map(|row| target(first + 1_000 * (row / 6))))
        });
        wishes.collect()
    })
}

/// What a wish says of each of its pages.
pub(crate) fn wished_pages(wish: &Wish) -> impl Iterator<Item = (u64, Option<Target>)> + '_ {
    (wish.first..wish.end)
        .map(|page| (page, wish.target.map(|target| target.advanced(page - wish.first, PAGE))))
}

/// Makes a model as wished.
pub(crate) fn grant(model: &mut PageModel, wish: &Wish) {
    for (page, target) in wished_pages(wish) {
        match target {
            Some(target) => model.insert(page, target),
            None => model.remove(&page),
        };
    }
}

/// A table of runs, each a first TCE, a number of pages and a page of memory.
pub(crate) fn table_of(runs: &[(u64, u64, u64)]) -> Table {
    let mut table = Table::new(PAGE);
    for (first, pages, memory_page) in runs {
        table.set(MappedRun { first: *first, pages: *pages, target: target(*memory_page) });
    }
    table
}

/// Makes a table as wished.
pub(crate) fn grant_table(table: &mut Table, wish: &Wish) {
    table.clear(wish.first, wish.end, |_| {});
    if let Some(target) = wish.target {
        table.set(MappedRun { first: wish.first, pages: wish.end - wish.first, target });
    }
}

/// The pages of some runs.
pub(crate) fn pages_of(runs: impl Iterator<Item = MappedRun>) -> PageModel {
    let pages_of_run = |run: MappedRun| {
        (run.first..run.end()).map(move |page| (page, run.target.advanced(page - run.first, PAGE)))
    };
    runs.flat_map(pages_of_run).collect()
}
