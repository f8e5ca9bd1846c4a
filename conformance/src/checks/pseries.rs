//! Logical partitions, where the hypervisor makes the windows.

use tce_engine::errno::Errno;

use super::{
    Applies, Check, Leaves, Need, Script, Topic,
    script::{OK, fails, starts_at},
    steps::{C0, create, remove},
    window::{SHIFT, SIZE},
};

/// Larger than what any partition has.
const FAR_TOO_LARGE: u64 = 1 << 60;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "firmware-places-dynamic-windows",
        topic: Topic::Pseries,
        title: "A partition's dynamic window is high, in the first slot too; one like the \
                  default window is low",
        asserts: "With the default window declined CREATE of 64K pages answers the high start, \
                  CREATE of 4K pages and the default size 0; each charges its user-space copy \
                  alone, and REMOVE gives it back.",
        function: "spapr_tce_create_table, is_default_window_request",
        trap: "The start does not follow the slot as on powernv.",
        engine: "`Layouts::candidates` knows where a partition's windows lie.",
        applies: Applies::PSERIES.with(&[Need::SecondWindow]),
        leaves: None,
        script: |facts| {
            let (high, low) = (facts.charge(SHIFT, SIZE, 1), facts.default_charge());
            let start = facts.slot_starts[1];
            Script::ready()
                .expect(remove(C0, 0), OK)
                .expect(create(C0, SHIFT, SIZE, 1), starts_at(start).charging(high))
                .expect(remove(C0, start), OK.releasing(high))
                .expect(create(C0, 12, facts.default_window, 1), starts_at(0).charging(low))
                .expect(remove(C0, 0), OK.releasing(low))
        },
    },
    Check {
        name: "default-window-does-not-return-beside-another",
        topic: Topic::Pseries,
        title: "Beside a dynamic window the first slot cannot be taken again, and the attempt \
                  leaks",
        asserts: "With a dynamic window in the second slot and the default window removed, \
                  CREATE like the default window is EPERM, and its charge is never given back.",
        function: "spapr_tce_create_table, find_existing_ddw",
        trap: "A default window that was removed is gone while the other stands.",
        engine: "`Layouts::check` refuses that layout; the order of a layout is fixed.",
        applies: Applies::PSERIES.with(&[Need::SecondWindow]),
        leaves: None,
        script: |facts| {
            let low = facts.default_charge();
            Script::ready()
                .expect(
                    create(C0, SHIFT, SIZE, 1),
                    starts_at(facts.slot_starts[1]).charging(low + facts.charge(SHIFT, SIZE, 1)),
                )
                .expect(remove(C0, 0), OK.releasing(low))
                .expect(create(C0, 12, facts.default_window, 1), fails(Errno::EPERM).charging(low))
        },
    },
    Check {
        name: "partition-tables-have-one-level",
        topic: Topic::Pseries,
        title: "A partition's table has one level: none is taken for one, and two leak 4 GiB of \
                  charge",
        asserts: "CREATE with two levels is EINVAL and charges 4 GiB less a page for good; with \
                  no level it is made as with one.",
        function: "spapr_tce_get_table_size, spapr_tce_create_table",
        trap: "One attempt with two levels uses up the limit on locked memory.",
        engine: "`Geometry` knows one level here.",
        applies: Applies::PSERIES.with(&[Need::SecondWindow]),
        leaves: None,
        script: |facts| {
            let cost = facts.charge(SHIFT, SIZE, 1);
            Script::ready()
                .expect(remove(C0, 0), OK)
                .expect(
                    create(C0, SHIFT, SIZE, 2),
                    fails(Errno::EINVAL).charging(facts.charge(SHIFT, SIZE, 2)),
                )
                .expect(create(C0, SHIFT, SIZE, 0), starts_at(facts.slot_starts[1]).charging(cost))
        },
    },
    Check {
        name: "refused-sizes-leak-in-a-partition",
        topic: Topic::Pseries,
        title: "A window that is odd or too large is EINVAL, leaks its charge, and may be tried \
                  smaller",
        asserts: "CREATE of 3 GiB and of 2^60 bytes is EINVAL, each charged for good; a window \
                  of 1 GiB is made after that.",
        function: "spapr_tce_create_table",
        trap: "How large a window may be is not told; each attempt costs the charge of the whole \
                  window.",
        engine: "Sizes are powers of two, and no larger than configured.",
        applies: Applies::PSERIES.with(&[Need::SecondWindow]),
        leaves: None,
        script: |facts| {
            let refused = |shift, size| fails(Errno::EINVAL).charging(facts.charge(shift, size, 1));
            Script::ready()
                .expect(remove(C0, 0), OK)
                .expect(create(C0, SHIFT, 3 << 30, 1), refused(SHIFT, 3 << 30))
                .expect(create(C0, 12, FAR_TOO_LARGE, 1), refused(12, FAR_TOO_LARGE))
                .expect(
                    create(C0, SHIFT, SIZE, 1),
                    starts_at(facts.slot_starts[1]).charging(facts.charge(SHIFT, SIZE, 1)),
                )
        },
    },
    Check {
        name: "refused-window-spoils-the-pe",
        topic: Topic::Pseries,
        title: "A window that the firmware refuses ends all windows of the PE until the next boot",
        asserts: "Where the firmware has one dynamic window, a second CREATE is ENODEV and \
                  leaks; after the first was removed, even one like the default window is \
                  ENODEV.",
        function: "spapr_tce_create_table, create_ddw",
        trap: "One wrong request, and no process can use the device through VFIO any more.",
        engine: "`Layouts::check` refuses a second dynamic window in a partition.",
        applies: Applies::PSERIES.with(&[Need::SecondWindow]),
        leaves: Some(Leaves::SpoiledPe),
        script: |facts| {
            let cost = facts.charge(SHIFT, SIZE, 1);
            let start = facts.slot_starts[1];
            Script::ready()
                .expect(remove(C0, 0), OK)
                .expect(create(C0, SHIFT, SIZE, 1), starts_at(start).charging(cost))
                .expect(create(C0, SHIFT, SIZE, 1), fails(Errno::ENODEV).charging(cost))
                .expect(remove(C0, start), OK.releasing(cost))
                .expect(
                    create(C0, 12, facts.default_window, 1),
                    fails(Errno::ENODEV).charging(facts.default_charge()),
                )
        },
    },
];
