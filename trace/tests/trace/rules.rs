//! Each rule: what it finds, and what it must not find.

use tce_engine::{errno::Errno, kernel::Fd};
use tce_trace::{
    event::{Answer, Call},
    lint::{Rule, Severity},
};

use crate::scene::{CONTAINER, EINVAL, EPERM, GROUP, MEMORY, OTHER_GROUP, Scene, opened};

const WINDOW: u64 = 64 << 20;
const PAGE: u64 = 4096;

#[test]
fn a_tidy_program_has_no_finding() {
    let mut scene = Scene::ready(WINDOW);
    scene.map(MEMORY, 0x10000, 1 << 20).unmap(0x10000, 1 << 20);
    scene.take_down().is_clean();
}

#[test]
fn an_unmap_of_another_range_before_memory_is_freed_is_wrong() {
    let mut scene = Scene::ready(WINDOW);
    scene.register(MEMORY + (1 << 20), PAGE);
    scene.map(MEMORY, 0x1000, PAGE).map(MEMORY + (1 << 20), 0x8000, PAGE);
    // Line 12: the freed page is at 0x8000, not below it.
    scene.unmap(0, 0x8000).unregister(MEMORY + (1 << 20), PAGE);
    let report = scene.unmap(0x1000, PAGE).take_down().report();
    let finding = report.finding(Rule::UnmapWrongRange).unwrap();
    assert_eq!((finding.count, finding.lines.as_slice()), (1, [12].as_slice()));
    assert_eq!(finding.cost("TCEs cleared that were not meant"), Some(1));
    assert_eq!(finding.cost("freed mappings that are still there at the end"), None);
    let leak = report.finding(Rule::UnregisterWhileMapped).unwrap();
    assert_eq!(leak.cost("memory that stays pinned for good"), Some(PAGE));
}

#[test]
fn an_unmap_that_covers_more_than_the_freed_memory_is_not_called_wrong() {
    let mut scene = Scene::ready(WINDOW);
    scene.map(MEMORY, 0x1000, PAGE).map(MEMORY + PAGE, 0x8000, PAGE);
    scene.unmap(0, 0x10000).take_down().is_clean();
}

#[test]
fn memory_that_is_unregistered_while_mapped_leaks() {
    let mut scene = Scene::ready(WINDOW);
    scene.map(MEMORY, 0, PAGE).take_down();
    let finding = scene.only(Rule::UnregisterWhileMapped);
    assert_eq!((finding.count, finding.severity), (1, Severity::Error));
    assert_eq!(finding.cost("memory that stays pinned for good"), Some(1 << 20));
}

#[test]
fn memory_that_two_containers_registered_does_not_leak_with_the_first() {
    let mut scene = Scene::ready(WINDOW);
    let (other, other_group) = (Fd::new(20), Fd::new(21));
    scene.call(Call::OpenContainer, opened(other));
    scene.call(Call::OpenGroup { group: 1 }, opened(other_group));
    scene.call(Call::SetContainer { group: other_group, container: other }, Answer::OK);
    scene.call(Call::SetIommu { container: other, backend: 7 }, Answer::OK);
    let (address, size) =
        (tce_engine::addr::HostAddr::new(MEMORY), tce_engine::addr::Bytes::new(1 << 20));
    scene.call(Call::Register { container: other, flags: 0, address, size }, Answer::OK);
    scene.unregister(MEMORY, 1 << 20);
    assert_eq!(scene.report().finding(Rule::UnregisterWhileMapped), None);
}

#[test]
fn a_failed_create_leaves_its_charge() {
    let mut scene = Scene::attached();
    scene.remove(0);
    // One level of 256 MiB: more than the kernel can allocate in one piece.
    scene.try_create(21, 1 << 46, 1, Answer::Failed(Errno::ENOMEM)).leave();
    let finding = scene.only(Rule::ChargeLeaked);
    assert_eq!(finding.cost("locked memory charged for nothing"), Some(512 << 20));
}

#[test]
fn a_map_past_the_windows_end_endangers_the_host() {
    // Large enough that the kernel does not round it up.
    let mut scene = Scene::ready(WINDOW);
    scene.map(MEMORY, WINDOW - PAGE, 3 * PAGE);
    let report = scene.report();
    let finding = report.finding(Rule::Overrun).unwrap();
    assert_eq!(finding.cost("TCEs behind the table's end"), Some(2));
    assert_eq!(finding.severity, Severity::Error);
}

#[test]
fn an_unmap_past_the_windows_end_endangers_older_kernels_only() {
    let mut old = Scene::ready(WINDOW);
    old.unmap(WINDOW - PAGE, 2 * PAGE).take_down();
    assert_eq!(old.only(Rule::Overrun).count, 1);
    let mut fixed = Scene::ready(WINDOW);
    fixed.header.kernel = Some("6.12.117-powerpc64le".to_owned());
    fixed.try_unmap(WINDOW - PAGE, 2 * PAGE, Answer::Returned(1)).take_down();
    assert_eq!(fixed.only(Rule::PositiveResult).count, 1);
}

#[test]
fn a_failed_map_erases_what_was_there() {
    let mut scene = Scene::ready(WINDOW);
    scene.map(MEMORY, 0, 8 * PAGE);
    // The memory ends after 4 pages: those are exchanged, then emptied.
    scene.try_map(MEMORY + (1 << 20) - 4 * PAGE, 0, 8 * PAGE, EINVAL);
    scene.unmap(0, 8 * PAGE).take_down();
    let report = scene.report();
    let finding = report.finding(Rule::MappingLostByRollback).unwrap();
    assert_eq!(finding.cost("TCEs lost"), Some(4));
}

#[test]
fn a_group_that_leaves_takes_the_mappings_of_the_others_along() {
    let mut scene = Scene::ready(WINDOW);
    scene.call(Call::OpenGroup { group: 1 }, opened(OTHER_GROUP));
    scene.call(Call::SetContainer { group: OTHER_GROUP, container: CONTAINER }, Answer::OK);
    scene.map(MEMORY, 0, 8 * PAGE);
    scene.call(Call::UnsetContainer { group: OTHER_GROUP }, Answer::OK);
    scene.call(Call::Close { fd: OTHER_GROUP }, Answer::OK);
    scene.take_down();
    let finding = scene.only(Rule::MappingLostByDetach);
    assert_eq!(finding.cost("TCEs lost by the groups that stay"), Some(8));
}

#[test]
fn the_range_of_32_bit_mmio_is_reserved_in_the_first_window() {
    for (iova, is_reserved) in
        [(0x7fff_0000, false), (0x8000_0000, true), (0xffff_f000, true), (0x1_0000_0000, false)]
    {
        let mut scene = Scene::ready(8 << 30);
        scene.map(MEMORY, iova, PAGE).unmap(iova, PAGE).take_down();
        let finding = scene.report().finding(Rule::ReservedRange).map(|it| it.count);
        assert_eq!(finding, is_reserved.then_some(1), "{iova:#x}");
    }
}

#[test]
fn a_window_that_is_mapped_sparsely_is_no_waste_but_one_with_unused_room_is() {
    let mut used = Scene::ready(1 << 30);
    used.map(MEMORY, 0, PAGE).map(MEMORY, (1 << 30) - PAGE, PAGE).unmap(0, 1 << 30).take_down();
    used.is_clean();
    let mut unused = Scene::ready(1 << 30);
    unused.map(MEMORY, 0, PAGE).unmap(0, PAGE).take_down();
    let finding = unused.only(Rule::OversizedTable);
    assert_eq!(finding.cost("locked memory charged for tables"), Some(4 << 20));
    assert_eq!(finding.cost("of which the mapped addresses need"), Some(8192));
}

#[test]
fn a_window_that_nobody_maps_in_may_be_kvms() {
    Scene::ready(1 << 30).take_down().is_clean();
}

#[test]
fn a_call_for_each_page_is_too_many() {
    let mut scene = Scene::ready(WINDOW);
    for page in 0..64 {
        scene.map(MEMORY + page * PAGE, page * PAGE, PAGE);
    }
    for page in 0..64 {
        scene.unmap(page * PAGE, PAGE);
    }
    let report = scene.take_down().report();
    assert_eq!(report.calls["map"].needed, Some(1));
    assert_eq!(report.calls["unmap"].needed, Some(1));
    let finding = report.finding(Rule::OneCallPerPage).unwrap();
    assert_eq!(finding.cost("calls too many"), Some(126));
}

#[test]
fn calls_that_could_not_have_been_joined_are_fine() {
    let mut scene = Scene::ready(WINDOW);
    // A ring of one place: what is mapped is unmapped before the next.
    for page in 0..64 {
        scene.map(MEMORY + page * PAGE, 0, PAGE).unmap(0, PAGE);
    }
    // Neighbours on the bus, not in memory.
    for page in 0..64 {
        scene.map(MEMORY + (64 - page) * PAGE, page * PAGE, PAGE);
    }
    let report = scene.unmap(0, 64 * PAGE).take_down().report();
    assert_eq!(report.findings, []);
    assert_eq!(report.calls["map"].needed, Some(128));
    assert_eq!(report.calls["unmap"].needed, Some(65));
}

#[test]
fn a_map_over_a_mapping_exchanges_it_silently() {
    let mut scene = Scene::ready(WINDOW);
    scene.map(MEMORY, 0, 4 * PAGE).map(MEMORY + 8 * PAGE, 2 * PAGE, 4 * PAGE);
    scene.unmap(0, 6 * PAGE).take_down();
    let finding = scene.only(Rule::SilentExchange);
    assert_eq!((finding.cost("TCEs replaced"), finding.severity), (Some(2), Severity::Note));
}

#[test]
fn a_map_of_nothing_hangs_power8() {
    let mut scene = Scene::ready(WINDOW);
    scene.map(MEMORY, 0x5000, 0).take_down();
    assert_eq!(scene.only(Rule::EmptyMap).severity, Severity::Warning);
    let mut power8 = Scene::attached();
    power8.call(
        Call::Info {
            container: CONTAINER,
            flags: 1,
            window_start: tce_engine::addr::Iova::new(0),
            window_size: tce_engine::addr::Bytes::gib(2),
            page_sizes: 0x1101_1000,
            windows_max: 2,
            levels_max: 5,
        },
        Answer::OK,
    );
    power8.remove(0).create(12, WINDOW).register(MEMORY, 1 << 20);
    power8.map(MEMORY, 0x5000, 0).take_down();
    assert_eq!(power8.only(Rule::EmptyMap).severity, Severity::Error);
}

#[test]
fn a_misaligned_map_returns_1() {
    let mut scene = Scene::ready(WINDOW);
    scene.try_map(MEMORY, 0x800, PAGE, Answer::Returned(1)).take_down();
    assert_eq!(scene.only(Rule::PositiveResult).count, 1);
}

#[test]
fn a_window_page_larger_than_the_memorys_is_refused() {
    let mut scene = Scene::attached();
    scene.remove(0).create(16, WINDOW).register(MEMORY, 1 << 20);
    scene.try_map(MEMORY, 0, 1 << 16, EINVAL).take_down();
    assert_eq!(scene.only(Rule::WrongPageSize).count, 1);
}

#[test]
fn a_map_that_fails_for_other_reasons_has_no_wrong_page() {
    let mut scene = Scene::ready(WINDOW);
    scene.try_map(MEMORY + (1 << 20), 0, PAGE, EINVAL).take_down().is_clean();
}

#[test]
fn the_default_window_comes_unasked() {
    let mut scene = Scene::attached();
    scene.register(MEMORY, 1 << 20).map(MEMORY, 0, PAGE).unmap(0, PAGE).take_down();
    let finding = scene.only(Rule::ImplicitDefaultWindow);
    assert_eq!(finding.cost("locked memory for the default window"), Some(8 << 20));
}

#[test]
fn a_second_opener_is_refused() {
    let mut scene = Scene::ready(WINDOW);
    scene.call(Call::OpenGroup { group: 0 }, Answer::Failed(Errno::EBUSY)).take_down();
    assert_eq!(scene.only(Rule::SecondOpener).count, 1);
}

#[test]
fn calls_after_the_last_group_left_are_told() {
    let mut scene = Scene::ready(WINDOW);
    scene.unregister(MEMORY, 1 << 20).remove(0);
    scene.call(Call::UnsetContainer { group: GROUP }, Answer::OK);
    scene.try_map(MEMORY, 0, PAGE, EINVAL);
    scene.call(Call::Close { fd: GROUP }, Answer::OK);
    assert_eq!(scene.only(Rule::CallAfterLastGroup).count, 1);
}

#[test]
fn what_is_left_at_exit_is_a_note() {
    let mut scene = Scene::ready(WINDOW);
    scene.map(MEMORY, 0, 2 * PAGE).call(Call::Exit, Answer::OK);
    let finding = scene.only(Rule::LeftAtExit);
    assert_eq!(finding.severity, Severity::Note);
    assert_eq!((finding.cost("windows"), finding.cost("TCEs still set")), (Some(1), Some(2)));
    assert_eq!(finding.cost("memory still registered"), Some(1 << 20));
}

#[test]
fn a_trace_that_is_cut_off_ends_like_an_exit() {
    let mut scene = Scene::ready(WINDOW);
    scene.map(MEMORY, 0, PAGE);
    assert_eq!(scene.only(Rule::LeftAtExit).count, 1);
}

#[test]
fn a_child_that_inherited_the_group_keeps_the_container_alive() {
    let mut scene = Scene::ready(WINDOW);
    scene.call(Call::Fork { child: 2 }, Answer::Returned(2));
    // The parent's exit is not the end: the child still holds all descriptors.
    scene.call(Call::Exit, Answer::OK);
    let report = scene.report();
    assert_eq!(report.finding(Rule::LeftAtExit).unwrap().count, 1);
    assert_eq!(report.calls["exit"].made, 1);
}

#[test]
fn a_disagreement_is_told_with_both_answers() {
    let mut scene = Scene::ready(WINDOW);
    scene.try_map(MEMORY, 0, PAGE, EPERM).take_down();
    let report = scene.report_anyway();
    assert_eq!(report.disagreed, 1);
    let entry = &report.disagreements[0];
    assert_eq!((entry.line, entry.call), (9, "map"));
    assert_eq!((entry.recorded.as_str(), entry.simulated.as_str()), ("EPERM", "0"));
    // The replay went on with what was recorded: nothing was mapped when the memory was unregistered.
    assert_eq!(report.finding(Rule::UnregisterWhileMapped), None);
}

#[test]
fn another_process_than_the_one_that_registered_is_refused() {
    let mut scene = Scene::ready(WINDOW);
    scene.call(Call::Fork { child: 2 }, Answer::Returned(2));
    scene.by(2).try_map(MEMORY, 0, PAGE, EPERM).call(Call::Exit, Answer::OK);
    scene.by(1).take_down().is_clean();
}

#[test]
fn windows_that_kvm_fills_are_no_waste() {
    let mut scene = Scene::ready(1 << 30);
    let [vm, link, table] = [30, 31, 32].map(Fd::new);
    scene.call(Call::CreateVm, opened(vm));
    scene.call(Call::CreateKvmVfio { vm }, opened(link));
    scene.call(Call::AddGroup { link, group: GROUP }, Answer::OK);
    let guest = Call::CreateGuestTable { vm, liobn: 1, page_shift: 12, offset: 0, size: 1 << 18 };
    scene.call(guest, opened(table));
    scene.call(Call::AttachGuestTable { link, group: GROUP, table }, Answer::OK);
    scene.call(Call::DeleteGroup { link, group: GROUP }, Answer::OK);
    for fd in [table, link, vm] {
        scene.call(Call::Close { fd }, Answer::OK);
    }
    scene.take_down().is_clean();
}

#[test]
fn descriptors_that_the_program_had_before_are_taken_for_what_they_are_used_as() {
    let mut scene = Scene::empty();
    scene.call(Call::SetContainer { group: GROUP, container: CONTAINER }, Answer::OK);
    scene.call(Call::SetIommu { container: CONTAINER, backend: 7 }, Answer::OK);
    scene.remove(0).create(12, WINDOW).register(MEMORY, 1 << 20);
    scene.map(MEMORY, 0, PAGE).take_down();
    assert_eq!(scene.only(Rule::UnregisterWhileMapped).count, 1);
}

#[test]
fn a_duplicate_keeps_a_group_open() {
    let mut scene = Scene::ready(WINDOW);
    let copy = Fd::new(40);
    scene.call(Call::Duplicate { fd: GROUP }, opened(copy));
    scene.call(Call::Close { fd: GROUP }, Answer::OK);
    scene.map(MEMORY, 0, PAGE).unmap(0, PAGE).unregister(MEMORY, 1 << 20).remove(0);
    scene.call(Call::UnsetContainer { group: copy }, Answer::OK);
    scene.call(Call::Close { fd: copy }, Answer::OK).is_clean();
}

#[test]
fn memory_in_small_pages_told_by_the_recorder_fits_no_large_tce() {
    let mut scene = Scene::attached();
    scene.remove(0).create(21, 1 << 30).register(MEMORY, 2 << 21).backed(4096);
    scene.try_map(MEMORY, 0, 1 << 21, EINVAL).unregister(MEMORY, 2 << 21).remove(0).leave();
    assert_eq!(scene.only(Rule::WrongPageSize).count, 1);
}
