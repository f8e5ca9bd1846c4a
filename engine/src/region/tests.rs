//! Regions without a kernel: what is admitted, and what they take.

use proptest::prelude::*;

use super::{
    Admission, BackedPart, PIECES_MAX, REGIONS_MAX, Region, RegionId, RegionRefusal, RegionRequest,
    Regions,
};
use crate::{
    addr::{Bytes, HostAddr, PageShift},
    kernel::MemoryRange,
};

const K4: PageShift = PageShift::K4;
const K64: PageShift = PageShift::K64;
const M2: PageShift = PageShift::M2;

fn range(address: u64, size: u64) -> MemoryRange {
    MemoryRange { address: HostAddr::new(address), size: Bytes::new(size) }
}

fn part(size: u64, page: PageShift) -> BackedPart {
    BackedPart { size: Bytes::new(size), page }
}

fn region(request: &RegionRequest) -> Region {
    Region::new(request, K4).expect("it can be registered")
}

fn uniform(address: u64, size: u64, backing: PageShift) -> Region {
    region(&RegionRequest::uniform(range(address, size), backing))
}

/// Adds a region all of whose pieces are registered.
fn insert(regions: &mut Regions, region: Region) -> RegionId {
    let pieces = region.pieces().len();
    let id = regions.insert(region);
    (0..pieces).for_each(|_| regions.add_piece(id, None));
    id
}

fn one(region: Region) -> (Regions, RegionId) {
    let mut regions = Regions::default();
    let id = insert(&mut regions, region);
    (regions, id)
}

#[test]
fn memory_that_is_not_whole_system_pages_is_no_region() {
    for (address, size) in [(0, 0), (0x8000, 0x10000), (0x10000, 0x8000), (0x10010, 0x10000)] {
        let range = range(address, size);
        let refusal = Region::new(&RegionRequest::uniform(range, K64), K64);
        assert_eq!(refusal, Err(RegionRefusal::Misaligned { range, page: K64 }));
    }
    for parts in
        [vec![], vec![part(0x8000, K64), part(0x8000, K64)], vec![part(0x10000, K64), part(0, K64)]]
    {
        let refusal = Region::new(&RegionRequest::mixed(HostAddr::new(0x10000), parts), K64);
        assert!(matches!(refusal, Err(RegionRefusal::Misaligned { .. })), "{refusal:?}");
    }
}

#[test]
fn memory_ends_where_user_space_ends() {
    let end = 1 << 52;
    assert!(Region::new(&RegionRequest::uniform(range(end - 0x10000, 0x10000), K64), K64).is_ok());
    for (address, size) in
        [(end - 0x10000, 0x20000), (end, 0x10000), (!0xffff, 0x10000), (0x10000, !0xffff)]
    {
        let range = range(address, size);
        let refusal = Region::new(&RegionRequest::uniform(range, K64), K64);
        assert_eq!(refusal, Err(RegionRefusal::BeyondUserSpace { range }));
    }
    let parts = vec![part(1 << 63, K64), part(1 << 63, M2), part(0x10000, K64)];
    let refusal = Region::new(&RegionRequest::mixed(HostAddr::new(0x10000), parts), K64);
    assert!(matches!(refusal, Err(RegionRefusal::BeyondUserSpace { .. })), "{refusal:?}");
}

#[test]
fn parts_of_one_page_are_one_piece_and_others_are_pieces_of_their_own() {
    let parts = vec![part(1 << 21, M2), part(1 << 21, M2), part(0x1000, K4), part(0x2000, K4)];
    let region = region(&RegionRequest::mixed(HostAddr::new(0x20_0000), parts));
    let pieces: Vec<_> = region.pieces().iter().map(|piece| (piece.range, piece.page)).collect();
    assert_eq!(pieces, [(range(0x20_0000, 0x40_0000), M2), (range(0x60_0000, 0x3000), K4)]);
    assert_eq!((region.range, region.page), (range(0x20_0000, 0x40_3000), K4));
}

#[test]
fn regions_may_touch_but_not_overlap() {
    let (regions, other) = one(uniform(0x10_0000, 0x10_0000, K4));
    for (address, size, is_free) in [
        (0x20_0000, 0x1000, true),
        (0xf_f000, 0x1000, true),
        (0x1f_f000, 0x1000, false),
        (0, 0x40_0000, false),
        (0x10_0000, 0xf_f000, false),
        (0xf_f000, 0x2000, false),
    ] {
        let wanted = uniform(address, size, K4);
        let overlaps = RegionRefusal::Overlaps { range: wanted.range, other };
        let expected = if is_free { Ok(Admission::New) } else { Err(overlaps) };
        assert_eq!(regions.admit(&wanted), expected, "{address:#x} {size:#x}");
    }
}

#[test]
fn the_same_memory_is_shared_if_it_is_backed_by_the_same() {
    let wanted = RegionRequest::uniform(range(0x20_0000, 0x40_0000), M2);
    let (regions, id) = one(region(&wanted));
    assert_eq!(regions.admit(&region(&wanted)), Ok(Admission::Shared(id)));
    let in_chunks = region(&wanted.in_chunks(Bytes::mib(2)));
    assert_eq!(in_chunks.pieces().len(), 2);
    assert_eq!(regions.admit(&in_chunks), Ok(Admission::Shared(id)));
    let otherwise = uniform(0x20_0000, 0x40_0000, K4);
    let refusal = RegionRefusal::BackedOtherwise { range: otherwise.range, other: id };
    assert_eq!(regions.admit(&otherwise), Err(refusal));
}

#[test]
fn a_region_can_be_shared_and_mapped_only_while_all_of_it_is_registered() {
    let wanted = uniform(0x10_0000, 0x3000, K4);
    let cut = region(&RegionRequest::uniform(wanted.range, K4).in_chunks(Bytes::kib(4)));
    let mut regions = Regions::default();
    let id = regions.insert(cut);
    let size = Bytes::kib(12);
    let locate = |regions: &Regions| regions.locate(id, Bytes::ZERO, Bytes::kib(4), K4);
    for registered in [Bytes::ZERO, Bytes::kib(4), Bytes::kib(8)] {
        let refusal = RegionRefusal::Registering { region: id, registered, size };
        assert_eq!(locate(&regions), Err(refusal));
        assert_eq!(regions.admit(&wanted), Err(refusal));
        regions.add_piece(id, None);
    }
    assert_eq!(locate(&regions), Ok(HostAddr::new(0x10_0000)));
    regions.remove_piece(id);
    let refusal = RegionRefusal::Leaving { region: id, registered: Bytes::kib(8), size };
    assert_eq!(locate(&regions), Err(refusal));
    assert_eq!(regions.admit(&wanted), Err(refusal));
    assert_eq!(regions.next_piece(id), Err(refusal));
}

#[test]
fn there_is_a_limit_to_regions() {
    let mut regions = Regions::default();
    let page = |at: u64| uniform(at << 12, 0x1000, K4);
    let max = u64::try_from(REGIONS_MAX).expect("it fits");
    (1..max).for_each(|at| {
        insert(&mut regions, page(at));
    });
    assert_eq!(regions.admit(&page(5000)), Ok(Admission::New));
    insert(&mut regions, page(max));
    assert_eq!(regions.admit(&page(5000)), Err(RegionRefusal::TooMany));
    assert!(matches!(regions.admit(&page(7)), Ok(Admission::Shared(_))), "it takes no place");
}

#[test]
fn there_is_a_limit_to_pieces() {
    let in_pages = |at: u64, pages: usize| {
        let size = u64::try_from(pages).expect("it fits") << 12;
        let request = RegionRequest::uniform(range(at, size), K4);
        Region::new(&request.in_chunks(Bytes::kib(4)), K4)
    };
    let (regions, _) = one(in_pages(0x1000_0000, PIECES_MAX - 2).expect("two less"));
    let there = PIECES_MAX - 2;
    let two = in_pages(0x1000, 2).expect("few");
    assert_eq!(regions.admit(&two), Ok(Admission::New));
    let three = in_pages(0x1000, 3).expect("few");
    assert_eq!(regions.admit(&three), Err(RegionRefusal::TooManyPieces { there }));
    assert!(in_pages(0x1000, PIECES_MAX).is_ok());
    let refusal = in_pages(0x1000, PIECES_MAX + 1);
    assert_eq!(refusal, Err(RegionRefusal::TooManyPieces { there: 0 }));
    let huge = RegionRequest::uniform(range(0x1000, 1 << 51), K4).in_chunks(Bytes::ZERO);
    assert_eq!(Region::new(&huge, K4), Err(RegionRefusal::TooManyPieces { there: 0 }));
}

#[test]
fn a_map_stays_inside_its_region_on_pages_the_backing_has() {
    let (regions, region) = one(uniform(0x100_0000, 0x40_0000, M2));
    let locate =
        |offset, size, page| regions.locate(region, Bytes::new(offset), Bytes::new(size), page);
    assert_eq!(locate(0x1000, 0x2000, K4), Ok(HostAddr::new(0x100_1000)));
    assert_eq!(locate(0x20_0000, 0x20_0000, M2), Ok(HostAddr::new(0x120_0000)));
    for (offset, size) in [(0x40_0000, 0x1000), (0x3f_f000, 0x2000), (u64::MAX, 1), (1, !0)] {
        let (offset, size) = (Bytes::new(offset), Bytes::new(size));
        let refusal = regions.locate(region, offset, size, K4);
        assert_eq!(refusal, Err(RegionRefusal::Outside { region, offset, size }));
    }
    let too_large = RegionRefusal::PageTooLarge {
        region,
        piece: range(0x100_0000, 0x40_0000),
        largest: M2,
        page: PageShift::G1,
        offset: Bytes::ZERO,
        size: Bytes::kib(4),
    };
    assert_eq!(locate(0, 0x1000, PageShift::G1), Err(too_large));
    for (offset, size) in [(0x1000, 0x10000), (0x10000, 0x1000), (0x800, 0x10000)] {
        let refusal = locate(offset, size, K64);
        let (offset, size) = (Bytes::new(offset), Bytes::new(size));
        assert_eq!(refusal, Err(RegionRefusal::NotWholePages { region, page: K64, offset, size }));
    }
}

#[test]
fn a_refusal_names_the_piece_that_does_not_take_the_page() {
    let parts =
        vec![part(1 << 21, M2), part(0x1_0000, K4), part(0x1f_0000, M2), part(1 << 21, K64)];
    let (regions, region) = one(region(&RegionRequest::mixed(HostAddr::new(0x100_0000), parts)));
    let refused = |offset: u64, size: u64, page| {
        let (offset, size) = (Bytes::new(offset), Bytes::new(size));
        match regions.locate(region, offset, size, page) {
            Err(RegionRefusal::PageTooLarge { piece, largest, .. }) => Some((piece, largest)),
            Ok(_) => None,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(refused(0, 1 << 21, M2), None);
    assert_eq!(refused(0, 2 << 21, M2), Some((range(0x120_0000, 0x1_0000), K4)));
    // Huge pages, but not from a border on.
    assert_eq!(refused(0x21_0000, 0x1f_0000, M2), Some((range(0x121_0000, 0x1f_0000), K64)));
    assert_eq!(refused(0x21_0000, 0x1f_0000, K64), None);
    assert_eq!(refused(0x20_0000, 0x20_0000, K64), Some((range(0x120_0000, 0x1_0000), K4)));
    assert_eq!(refused(0x21_0000, 0x3f_0000, K64), None, "across a border of pieces");
    assert_eq!(refused(0, 0x60_0000, K4), None);
}

#[test]
fn the_handle_of_a_region_that_is_gone_names_no_other() {
    let (mut regions, old) = one(uniform(0x10_0000, 0x1000, K4));
    regions.remove(old);
    let new = insert(&mut regions, uniform(0x10_0000, 0x1000, K4));
    assert_eq!(regions.get(old), Err(RegionRefusal::Gone(old)));
    assert!(regions.get(new).is_ok());
}

/// Counts of 64K pages, those of whole 2M pages as often as others.
fn k64_pages(max: u64) -> impl Strategy<Value = u64> {
    prop_oneof![0..max, (0..max / 32).prop_map(|pages| pages * 32)]
}

proptest! {
    /// The kernel looks up one registration for each TCE.
    #[test]
    fn no_tce_page_that_is_located_lies_in_two_pieces_or_in_smaller_pages(
        start in k64_pages(96),
        parts in prop::collection::vec((k64_pages(160), prop::sample::select(vec![K4, K64, M2])), 1..5),
        chunk in prop::option::of(k64_pages(96)),
        offset in k64_pages(200), beside in prop::sample::select(vec![0u64, 0, 0, 0x1000]),
        pages in 1u64..6,
        page in prop::sample::select(vec![K4, K64, M2]),
    ) {
        let parts = parts.into_iter().map(|(size, page)| part(size.max(1) << 16, page)).collect();
        let request = RegionRequest::mixed(HostAddr::new(start.max(1) << 16), parts);
        let request = match chunk {
            Some(chunk) => request.in_chunks(Bytes::new(chunk.max(1) << 16)),
            None => request,
        };
        let region = region(&request);
        let (regions, id) = one(region.clone());
        let (offset, size) = (Bytes::new((offset << 16) + beside), Bytes::new(pages << page.raw()));
        let found = regions.locate(id, offset, size, page);
        let lies_in_one = |at: u64| {
            let piece = region.pieces().iter().find(|piece| {
                let piece_start = piece.range.address.raw();
                piece_start <= at && at + page.bytes().raw() <= super::end_of(piece.range)
            });
            piece.is_some_and(|piece| piece.page >= page)
        };
        let at = region.range.address.raw() + offset.raw();
        let fits = at.is_multiple_of(page.bytes().raw())
            && (0..pages).all(|index| lies_in_one(at + (index << page.raw())));
        prop_assert_eq!(found.ok(), fits.then(|| HostAddr::new(at)), "{:?}", found);
    }
}
