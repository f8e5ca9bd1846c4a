//! What the engine maps the kernel maps, and what it refuses for a page's size the kernel refuses as well.
//!
//! The kernel is asked beside the engine, in the same window and for the same memory.

use proptest::prelude::*;
use tce_engine::{
    Error,
    addr::{Bytes, HostAddr, PageShift},
    error::EditRefusal,
    kernel::Raw,
    machine::Backing,
    region::{BackedPart, RegionRefusal, RegionRequest},
};
use tce_sim::Profile;

use crate::bench::{K4, K64};

use super::bench::{G1, M2, M16, MEMORY, MemoryBench};

/// A stretch of memory to be made: so many pages.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// Huge pages, or the system's.
    huge: Option<PageShift>,
    pages: u64,
}

/// Memory, and which part of it is registered.
#[derive(Clone, Debug)]
struct Memory {
    stretches: Vec<Stretch>,
    /// System pages that are left out at its start and at its end, if it has as many.
    left_out: [u64; 2],
    chunk: Option<Bytes>,
}

/// Makes the memory, one stretch behind the other with anonymous memory where alignment leaves a gap, and says what to
/// register.
fn make(bench: &mut MemoryBench, memory: &Memory) -> RegionRequest {
    let system_page = bench.system_page();
    let mut at = MEMORY;
    let mut parts: Vec<BackedPart> = Vec::new();
    let mut put = |bench: &mut MemoryBench, at: &mut u64, size: u64, huge: Option<PageShift>| {
        let size = Bytes::new(size);
        if size.is_zero() {
            return;
        }
        bench.place(*at, size, huge.map_or(Backing::Anonymous, Backing::Hugetlb));
        parts.push(BackedPart { size, page: huge.unwrap_or(system_page) });
        *at += size.raw();
    };
    for stretch in &memory.stretches {
        let page = stretch.huge.unwrap_or(system_page).bytes().raw();
        let gap = at.next_multiple_of(page) - at;
        put(bench, &mut at, gap, None);
        put(bench, &mut at, stretch.pages * page, stretch.huge);
    }
    let [first_out, last_out] = memory.left_out.map(|pages| pages << system_page.raw());
    let first_out = shorten(&mut parts[0], first_out);
    let last = parts.len() - 1;
    shorten(&mut parts[last], last_out);
    let request = RegionRequest::mixed(HostAddr::new(MEMORY + first_out), parts);
    match memory.chunk {
        Some(chunk) => request.in_chunks(chunk),
        None => request,
    }
}

/// Takes bytes away from a part if some are left then. Returns how many.
fn shorten(part: &mut BackedPart, bytes: u64) -> u64 {
    if bytes >= part.size.raw() {
        return 0;
    }
    part.size = Bytes::new(part.size.raw() - bytes);
    bytes
}

/// A range of a region to map: its first TCE page after an offset of so many system pages, and a little more.
#[derive(Clone, Copy, Debug)]
struct Trial {
    system_pages: u64,
    tces: u64,
    beside: Bytes,
}

/// Maps ranges by way of the engine, and by way of the kernel alone, and compares. Returns how many were mapped.
fn compare(profile: &Profile, page: PageShift, memory: &Memory, trials: &[Trial]) -> usize {
    let mut bench = MemoryBench::new(profile.clone(), page);
    let request = make(&mut bench, memory);
    let region = bench.engine.register_memory(&request).expect("it can be registered");
    bench.assert_agreement();
    let range = bench.engine.regions().expect("a group").get(region).expect("there").range;
    let mut mapped = 0;
    for trial in trials {
        let after = trial.system_pages << profile.page_shift.raw();
        let after = after % range.size.raw().next_multiple_of(page.bytes().raw());
        let address = (range.address.raw() + after).next_multiple_of(page.bytes().raw());
        let offset = Bytes::new(address - range.address.raw() + trial.beside.raw());
        let size = Bytes::new(trial.tces << page.raw());
        if offset.raw() + size.raw() > range.size.raw() {
            continue;
        }
        let ours = bench.map(0, region, offset, size);
        bench.assert_agreement();
        bench.unmap_all();
        let address = range.address.checked_add(offset).expect("inside");
        let theirs = bench.map_unchecked(address, size);
        match ours {
            Ok(()) => {
                assert_eq!(theirs, Raw::OK);
                mapped += 1;
            }
            Err(Error::Edit(EditRefusal::Region {
                refusal: RegionRefusal::PageTooLarge { .. } | RegionRefusal::NotWholePages { .. },
                ..
            })) => assert_ne!(theirs, Raw::OK, "{page} at {offset}, {size} of {memory:?}"),
            Err(error) => panic!("{page} at {offset}, {size} of {memory:?}: {error}"),
        }
    }
    bench.close();
    mapped
}

/// The pages that a machine's TCEs can have.
fn pages_of(profile: &Profile) -> Vec<PageShift> {
    let shifts = (0..31).filter(|shift| profile.page_sizes & 1 << shift != 0);
    shifts.filter_map(PageShift::new).collect()
}

#[test]
fn every_machine_maps_every_backing_as_the_engine_says() {
    let backings = [None, Some(M2), Some(M16), Some(G1)];
    for name in Profile::NAMES {
        let profile = Profile::named(name).expect("it is a known name");
        for page in pages_of(&profile) {
            let mut mapped = 0;
            for huge in backings {
                let stretches = vec![Stretch { huge, pages: 3 }];
                for left_out in [[0, 0], [1, 0], [0, 1], [1, 1], [16, 0], [512, 16], [4096, 0]] {
                    for chunk in [None, Some(Bytes::mib(4))] {
                        let memory = Memory { stretches: stretches.clone(), left_out, chunk };
                        let trials = [0, 1, 16, 256, 512, 8192].map(|system_pages| Trial {
                            system_pages,
                            tces: 1 + system_pages % 2,
                            beside: Bytes::ZERO,
                        });
                        mapped += compare(&profile, page, &memory, &trials);
                    }
                }
            }
            assert!(mapped > 10, "{name}, {page}: {mapped}");
        }
    }
}

fn any_memory() -> impl Strategy<Value = Memory> {
    let huge = prop::sample::select(vec![None, Some(M2), Some(M2), Some(M16), Some(G1)]);
    let stretch = (huge, 1u64..5).prop_map(|(huge, pages)| {
        // As much of small pages as of large ones, more or less.
        let pages = if huge.is_none() { pages * 160 } else { pages };
        Stretch { huge, pages }
    });
    let left_out = prop_oneof![2 => Just(0), 1 => 0u64..40, 1 => (0u64..20).prop_map(|n| n * 32)];
    let chunk =
        prop_oneof![3 => Just(None), 1 => (0u64..40).prop_map(|n| Some(Bytes::new(n << 20)))];
    (prop::collection::vec(stretch, 1..5), [left_out.clone(), left_out], chunk)
        .prop_map(|(stretches, left_out, chunk)| Memory { stretches, left_out, chunk })
        .prop_filter("small chunks of much memory are too many pieces", |memory| {
            let has = |huge| memory.stretches.iter().any(|it| it.huge == Some(huge));
            match memory.chunk {
                None => true,
                Some(Bytes::ZERO) => !has(G1) && !has(M16),
                Some(_) => !has(G1),
            }
        })
}

fn any_trial() -> impl Strategy<Value = Trial> {
    let beside = prop_oneof![8 => Just(0u64), 1 => Just(0x1000), 1 => Just(0x1_0000)];
    let system_pages = prop_oneof![0u64..64, 0u64..4096, any::<u32>().prop_map(u64::from)];
    (system_pages, 1u64..8, beside).prop_map(|(system_pages, tces, beside)| Trial {
        system_pages,
        tces,
        beside: Bytes::new(beside),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_memory_is_mapped_as_the_engine_says(
        name in prop::sample::select(Profile::NAMES.to_vec()),
        nth_page in any::<prop::sample::Index>(),
        memory in any_memory(),
        trials in prop::collection::vec(any_trial(), 12),
    ) {
        let profile = Profile::named(name).expect("it is a known name");
        let pages = pages_of(&profile);
        compare(&profile, pages[nth_page.index(pages.len())], &memory, &trials);
    }
}

#[test]
fn a_range_over_different_backings_is_one_call_in_pages_that_suit_all() {
    for name in ["powernv9", "powernv9-64k"] {
        let profile = Profile::named(name).expect("it is a known name");
        let system_page = profile.page_shift;
        let mut bench = MemoryBench::new(profile, system_page.max(K4));
        let request = bench.mixed();
        let region = bench.engine.register_memory(&request).expect("it can be registered");
        let pages = bench.engine.regions().expect("a group").get(region).expect("there").pieces();
        let pages: Vec<PageShift> = pages.iter().map(|piece| piece.page).collect();
        assert_eq!(pages, [system_page, M2, system_page]);
        bench.map(0, region, Bytes::mib(3), Bytes::mib(6)).expect("all take such pages");
        bench.assert_agreement();
        bench.close();
    }
    let mut bench = MemoryBench::new(Profile::powernv9(), K64);
    let request = bench.mixed();
    let region = bench.engine.register_memory(&request).expect("it can be registered");
    bench.map(0, region, Bytes::mib(4), Bytes::mib(4)).expect("the huge pages take them");
    bench.map(0, region, Bytes::mib(3), Bytes::mib(2)).expect_err("the others do not");
    bench.close();
}
