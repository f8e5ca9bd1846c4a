//! The table beside a model of it, page by page.

use proptest::prelude::*;

use super::{span::Span, word::Content, *};
use crate::{
    edit::Wish,
    testing::{
        PAGE, PageModel, any_settled, any_wish, grant, handle, pages_of, table_of, target, wish,
    },
};

fn runs(table: &Table) -> Vec<(u64, u64)> {
    table.within(0, u64::MAX).map(|run| (run.first, run.pages)).collect()
}

#[test]
fn neighbours_become_one_run_where_their_memory_is_contiguous_too() {
    assert_eq!(runs(&table_of(&[(0, 2, 10), (4, 2, 14), (2, 2, 12)])), [(0, 6)]);
    assert_eq!(runs(&table_of(&[(0, 2, 10), (2, 2, 13)])), [(0, 2), (2, 2)]);
}

#[test]
fn runs_of_other_regions_and_accesses_stay_apart() {
    let others = [
        Target { region: RegionId(handle(1)), ..target(11) },
        Target { access: Access::Read, ..target(11) },
    ];
    for other in others {
        let mut table = table_of(&[(0, 1, 10)]);
        table.set(MappedRun { first: 1, pages: 1, target: other });
        assert_eq!(runs(&table), [(0, 1), (1, 1)]);
    }
}

#[test]
fn clearing_the_middle_leaves_both_ends_where_they_were() {
    let mut table = table_of(&[(0, 10, 100)]);
    let mut forgotten = Vec::new();
    table.clear(3, 5, |run| forgotten.push((run.first, run.pages, run.target)));
    assert_eq!(forgotten, [(3, 2, target(103))]);
    assert_eq!(runs(&table), [(0, 3), (5, 5)]);
    assert_eq!(table.within(5, 6).next().map(|run| run.target), Some(target(105)));
}

#[test]
fn an_empty_or_backward_range_holds_nothing() {
    let mut table = table_of(&[(0, 10, 100)]);
    for (first, end) in [(5, 5), (0, 0), (10, 10), (8, 2), (u64::MAX, 0)] {
        assert!(table.is_empty_within(first, end), "{first}..{end}");
        assert_eq!(table.within(first, end).count(), 0);
        table.clear(first, end, |run| panic!("{run:?}"));
    }
    assert_eq!(runs(&table), [(0, 10)]);
}

/// Every block says more than one word could, and all blocks that are in use are in the tree.
fn assert_tidy(table: &Table) {
    fn blocks_below(table: &Table, word: Word, span: Span) -> usize {
        let Content::Block(number) = word.content() else { return 0 };
        let words = table.tree.arena.block(number);
        let page = table.page();
        let continues = |pair: &[Word]| pair[0].advanced(span.tces_below(), page) == pair[1];
        assert!(!words.windows(2).all(continues), "a block of {words:?}");
        let below = words.iter().enumerate();
        1 + below.map(|(at, word)| blocks_below(table, *word, span.below(at))).sum::<usize>()
    }
    let blocks = blocks_below(table, table.tree.root, table.tree.span());
    assert_eq!(blocks, table.tree.arena.blocks_used());
}

/// A table at another size and place: each page of it becomes `tces` of them, from `base` on.
#[derive(Clone, Copy, Debug)]
struct Scale {
    base: u64,
    tces: u64,
}

impl Scale {
    fn up(self, wish: &Wish) -> Wish {
        let at = |index: u64| self.base + index * self.tces;
        let target = wish.target.map(|target| Target {
            address: HostAddr::new(target.address.raw() * self.tces),
            ..target
        });
        Wish { first: at(wish.first), end: at(wish.end), target }
    }

    #[track_caller]
    fn down(self, run: MappedRun) -> MappedRun {
        let MappedRun { first, pages, target } = run;
        let whole = |value: u64| {
            assert!(value.is_multiple_of(self.tces), "{run:?} is cut at {self:?}");
            value / self.tces
        };
        let address = HostAddr::new(whole(target.address.raw() >> PAGE.raw()) << PAGE.raw());
        let target = Target { address, ..target };
        MappedRun { first: whole(first - self.base), pages: whole(pages), target }
    }
}

/// Around the borders of blocks of every level, in small windows and in the largest.
fn any_scale() -> impl Strategy<Value = Scale> {
    let tces = prop::sample::select(vec![1, 2, 63, 64, 65, 1 << 11, 1 << 12, 1 << 18, 1 << 30]);
    (tces, 0u32..9, 1u64..8, 0u64..60, 0u64..3).prop_map(|(tces, level, times, before, more)| {
        let border = times << (6 * level).min(44);
        Scale { base: border.saturating_sub(before * tces) + more, tces }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_table_is_what_it_is_page_by_page(
        wishes in proptest::collection::vec(any_wish(), 1..40),
        scale in any_scale(),
        (first, pages) in (0u64..60, 0u64..30),
    ) {
        let mut table = Table::new(PAGE);
        let mut model = PageModel::new();
        for wish in &wishes {
            let mut forgotten = Vec::new();
            let old: PageModel =
                model.range(wish.first..wish.end).map(|(at, old)| (*at, *old)).collect();
            let Wish { first, end, target } = scale.up(wish);
            match target {
                Some(target) => {
                    let run = MappedRun { first, pages: end - first, target };
                    table.replace(run, |run| forgotten.push(scale.down(*run)));
                }
                None => table.clear(first, end, |run| forgotten.push(scale.down(*run))),
            }
            prop_assert_eq!(pages_of(forgotten.into_iter()), old);
            grant(&mut model, wish);
            let all = table.within(0, u64::MAX).map(|run| scale.down(run));
            prop_assert_eq!(pages_of(all), model.clone());
            let tces = u64::try_from(model.len()).expect("it is small") * scale.tces;
            prop_assert_eq!(table.tces(), tces);
            assert_tidy(&table);
        }
        let part: PageModel = model.range(first..first + pages).map(|(at, it)| (*at, *it)).collect();
        let Wish { first, end, .. } = scale.up(&wish(first, pages, None));
        prop_assert_eq!(table.is_empty_within(first, end), part.is_empty());
        prop_assert_eq!(pages_of(table.within(first, end).map(|run| scale.down(run))), part);
        let all: Vec<MappedRun> = table.within(0, u64::MAX).collect();
        let joins = |low: &MappedRun, high: &MappedRun| {
            low.end() == high.first && low.target.advanced(low.pages, PAGE) == high.target
        };
        prop_assert!(all.windows(2).all(|pair| !joins(&pair[0], &pair[1])), "{all:?}");
        table.clear(0, u64::MAX, |_| {});
        prop_assert_eq!((table.tces(), table.bytes()), (0, Bytes::ZERO));
    }
}

proptest! {
    #[test]
    fn many_wishes_at_once_are_fulfilled_as_one_by_one(
        batches in proptest::collection::vec(any_settled(), 1..6),
        base in prop::sample::select(vec![0, 60, (1 << 12) - 100]),
    ) {
        let (mut together, mut single) = (Table::new(PAGE), Table::new(PAGE));
        for wishes in batches {
            let at_base = |it: Wish| Wish { first: it.first + base, end: it.end + base, ..it };
            let wishes: Vec<Wish> = wishes.into_iter().map(at_base).collect();
            let (mut forgotten, mut expected) = (Vec::new(), Vec::new());
            let found = together.find(&wishes);
            together.fulfil(&wishes, &found, |run| forgotten.push(*run));
            forgotten.sort_unstable_by_key(|run| run.first);
            for Wish { first, end, target } in wishes {
                match target {
                    Some(target) => {
                        let run = MappedRun { first, pages: end - first, target };
                        single.replace(run, |run| expected.push(*run));
                    }
                    None => single.clear(first, end, |run| expected.push(*run)),
                }
            }
            prop_assert_eq!(forgotten, expected);
            prop_assert_eq!(runs(&together), runs(&single));
            prop_assert_eq!(together.tces(), single.tces());
            prop_assert!(together.within(0, u64::MAX).eq(single.within(0, u64::MAX)));
            assert_tidy(&together);
        }
    }
}

/// Fulfils wishes in a table of these runs, without the TCEs that are taken out of them.
#[track_caller]
fn check_fulfilled(runs: &[(u64, u64, u64)], without: &[u64], wishes: &[Wish]) {
    let mut table = table_of(runs);
    without.iter().for_each(|tce| table.clear(*tce, tce + 1, |_| {}));
    let mut expected = pages_of(table.within(0, u64::MAX));
    wishes.iter().for_each(|wish| grant(&mut expected, wish));
    let found = table.find(wishes);
    table.fulfil(wishes, &found, |_| {});
    assert_eq!(pages_of(table.within(0, u64::MAX)), expected);
    assert_tidy(&table);
}

#[test]
fn a_block_that_goes_half_way_through_is_looked_up_again() {
    let row = |tce: u64| wish(tce, 1, Some(target(100 + tce)));
    // The first wish makes the only block say one thing, so it goes, and with it the memory that it was in.
    check_fulfilled(&[(0, 64, 100)], &[5, 7], &[row(5), row(7)]);
    // The second block goes with the first 64 wishes, and the last wish is about it.
    let first_64 = (1..=64).map(row);
    let wishes: Vec<Wish> = first_64.chain([wish(66, 1, None)]).collect();
    check_fulfilled(&[(0, 128, 100), (200, 1, 7)], &[3, 64], &wishes);
}

/// What a contiguous run may take, however long it is: the blocks at its two ends, in a few chunks.
const RUN_BYTES_MAX: Bytes = Bytes::kib(64);

#[test]
fn a_contiguous_run_takes_little_memory_however_long_it_is() {
    for pages in [1, 100, 1 << 20, 1 << 39] {
        let table = table_of(&[(12345, pages, 67)]);
        assert!(table.bytes() <= RUN_BYTES_MAX, "{pages} pages take {}", table.bytes());
        assert_eq!(runs(&table), [(12345, pages)]);
    }
}

#[test]
fn a_run_that_was_set_page_by_page_in_any_order_takes_as_little() {
    const PAGES: u64 = 1 << 14;
    let orders: [fn(u64) -> u64; 3] =
        [|at| at, |at| PAGES - 1 - at, |at| at.wrapping_mul(0x9e37_79b1) % PAGES];
    for order in orders {
        let mut table = table_of(&[]);
        (0..PAGES).map(order).for_each(|at| {
            table.set(MappedRun { first: 100 + at, pages: 1, target: target(7 + at) });
        });
        assert_eq!(runs(&table), [(100, PAGES)]);
        assert!(table.bytes() <= RUN_BYTES_MAX, "{}", table.bytes());
        assert_tidy(&table);
    }
}

#[test]
fn tces_without_order_take_little_more_than_a_word_each() {
    const TCES: u64 = 1 << 20;
    let mut table = table_of(&[]);
    for at in 0..TCES {
        let memory_page = at.wrapping_mul(0x9e37_79b1) % TCES;
        table.replace(MappedRun { first: at, pages: 1, target: target(memory_page) }, |_| {});
    }
    assert!(table.bytes().raw() * 2 <= TCES * 17, "{} are more than 8.5 bytes each", table.bytes());
    let mut forgotten = 0;
    table.clear(0, TCES, |run| forgotten += run.pages);
    assert_eq!((forgotten, table.tces(), table.bytes()), (TCES, 0, Bytes::ZERO));
}

#[test]
fn memory_that_no_tce_of_ours_can_name_is_not_taken() {
    let last_page = (TARGETS_END.raw() >> PAGE.raw()) - 1;
    let set = |memory_page| std::panic::catch_unwind(|| table_of(&[(0, 1, memory_page)]).tces());
    assert_eq!(set(last_page - 1).ok(), Some(1));
    assert!(set(last_page).is_err() && set(last_page + 1).is_err());
}
