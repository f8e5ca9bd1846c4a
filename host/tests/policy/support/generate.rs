//! Questions of every kind, from the ordinary to the absurd.

use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
};
use tce_host::policy::wit::{
    Access, AdmitQuestion, Candidate, ContainerFacts, Demand, GroupLossQuestion, GrowthQuestion,
    Hint, IovaChoice, Lease, LeaseRequest, LockedMemory, Origin, PageChoice, PageQuestion,
    Platform, ReclaimQuestion, Region, RenewQuestion, ReservedRange, Setting, Shortage, SlotFacts,
    SlotUse, Terms, Window, WindowQuestion,
};

fn page() -> impl Strategy<Value = u8> {
    prop_oneof![9 => select(&[12u8, 16, 21, 24, 30][..]), 1 => any::<u8>()]
}

fn slot() -> impl Strategy<Value = u8> {
    prop_oneof![9 => 0..2u8, 1 => any::<u8>()]
}

/// Mostly a few pages or a power of two.
fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..40u32).prop_map(|shift| 1 << shift),
        4 => (1..100u64, select(&[12u32, 16, 21][..])).prop_map(|(pages, shift)| pages << shift),
        1 => any::<u64>(),
    ]
}

fn iova() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..8u64).prop_map(|gib| gib << 30),
        4 => (0..8u64).prop_map(|mib| (1 << 59) + (mib << 20)),
        1 => any::<u64>(),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("vm-7".to_owned()), Just("\u{20ac}\n\"\u{0}".to_owned())]
}

fn access() -> impl Strategy<Value = Access> {
    select(&[Access::Read, Access::Write, Access::ReadWrite][..])
}

fn settings() -> impl Strategy<Value = Vec<Setting>> {
    let other = select(
        &[
            "guest-page",
            "ddw",
            "top",
            "headroom",
            "memory-share",
            "groups",
            "lease-max",
            "shares",
            "default-share",
            "priorities",
        ][..],
    );
    let key = prop_oneof![2 => select(&["page-max", "colour"][..]), 1 => other];
    let usual = select(&["12", "16", "30", "x", ""][..]);
    let other = select(&["off", "64T", "any", "15m", "vm-7=50,=9", "vm-7 = 200"][..]);
    let value = prop_oneof![3 => usual, 1 => other];
    vec(
        (key, value)
            .prop_map(|(key, value)| Setting { key: key.to_owned(), value: value.to_owned() }),
        0..3,
    )
}

fn hints() -> impl Strategy<Value = Vec<Hint>> {
    vec((text(), text()).prop_map(|(key, value)| Hint { key, value }), 0..2)
}

fn slot_facts() -> impl Strategy<Value = SlotFacts> {
    let uses = select(&[SlotUse::Free, SlotUse::DefaultWindow, SlotUse::Taken][..]);
    (slot(), iova(), uses).prop_map(|(slot, start, holds)| SlotFacts { slot, start, holds })
}

fn reserved() -> impl Strategy<Value = Vec<ReservedRange>> {
    let mmio = || ReservedRange { start: 2 << 30, size: 2 << 30, what: "mmio-32bit".to_owned() };
    let other = (iova(), size(), text()).prop_map(|(start, size, what)| ReservedRange {
        start,
        size,
        what,
    });
    prop_oneof![Just(vec![]), Just(vec![mmio()]), vec(other, 0..3)]
}

pub(crate) fn facts() -> impl Strategy<Value = ContainerFacts> {
    (
        select(&[Platform::Powernv, Platform::Pseries][..]),
        page(),
        prop_oneof![3 => Just(vec![12, 16, 21, 30]), 1 => vec(page(), 0..4)],
        vec(slot_facts(), 0..3),
        any::<u8>(),
        reserved(),
        (option::of(size()), size()),
        (vec(any::<u32>(), 0..3), hints()),
    )
        .prop_map(
            |(platform, system_page, page_shifts, slots, levels_max, reserved, locked, rest)| {
                ContainerFacts {
                    platform,
                    system_page,
                    page_shifts,
                    slots,
                    levels_max,
                    reserved_ranges: reserved,
                    locked_memory: LockedMemory { limit: locked.0, charged: locked.1 },
                    groups: rest.0,
                    hints: rest.1,
                }
            },
        )
}

/// Regions with the ids 0, 1 and so on.
fn regions() -> impl Strategy<Value = Vec<Region>> {
    let at = prop_oneof![3 => Just(None), 1 => option::of(iova())];
    vec((size(), page(), page(), access(), at, (text(), hints())), 0..6).prop_map(|all| {
        let numbered = (0..).zip(all);
        numbered
            .map(|(id, (size, backing, granule, access, at, (name, hints)))| Region {
                id,
                name,
                size,
                backing,
                granule,
                access,
                at,
                hints,
            })
            .collect()
    })
}

pub(crate) fn demand() -> impl Strategy<Value = Demand> {
    let choice = select(&[IovaChoice::Holder, IovaChoice::Engine][..]);
    (regions(), size(), any::<u64>(), choice, hints()).prop_map(
        |(regions, growth, device_mask, iova_choice, hints)| Demand {
            regions,
            growth,
            device_mask,
            iova_choice,
            hints,
        },
    )
}

pub(crate) fn page_question() -> impl Strategy<Value = PageQuestion> {
    (facts(), demand(), settings()).prop_map(|(facts, demand, settings)| PageQuestion {
        facts,
        demand,
        settings,
    })
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let origin = select(&[Origin::Created, Origin::DefaultWindow][..]);
    let usual = (0..2u8).prop_map(|slot| (slot, u64::from(slot) << 59));
    let place = prop_oneof![4 => usual, 1 => (slot(), iova())];
    (place, page(), size(), 1..4u8, origin, size(), size()).prop_map(
        |((slot, start), page, size, levels, origin, table, charge)| Candidate {
            slot,
            start,
            page,
            size,
            levels,
            origin,
            table,
            charge,
        },
    )
}

/// The regions in one choice, in two, or in some that make no sense.
fn choices() -> impl Strategy<Value = Vec<PageChoice>> {
    let one = page().prop_map(|page| vec![PageChoice { page, regions: (0..6).collect() }]);
    let two = (page(), page()).prop_map(|(a, b)| {
        vec![
            PageChoice { page: a, regions: vec![0, 2, 4] },
            PageChoice { page: b, regions: vec![1, 3, 5] },
        ]
    });
    let absurd =
        (page(), vec(any::<u32>(), 0..4)).prop_map(|(page, regions)| PageChoice { page, regions });
    prop_oneof![4 => one, 2 => two, 1 => vec(absurd, 0..4)]
}

pub(crate) fn window_question() -> impl Strategy<Value = WindowQuestion> {
    (facts(), demand(), choices(), vec(candidate(), 0..60), settings()).prop_map(
        |(facts, demand, pages, candidates, settings)| WindowQuestion {
            facts,
            demand,
            pages,
            candidates,
            settings,
        },
    )
}

fn terms() -> impl Strategy<Value = Terms> {
    let quotas = (any::<u64>(), option::of(size()), option::of(any::<u32>()));
    (access(), quotas, option::of(any::<u64>())).prop_map(
        |(access, (tces_max, pinned_max, edits_per_second), expires)| Terms {
            access,
            tces_max,
            pinned_max,
            edits_per_second,
            expires,
        },
    )
}

fn lease() -> impl Strategy<Value = Lease> {
    let now = (any::<u64>(), any::<u64>(), size(), hints());
    (any::<u64>(), text(), slot(), iova(), size(), terms(), now).prop_map(
        |(id, holder, slot, start, size, terms, (since, tces, pinned, hints))| Lease {
            id,
            holder,
            slot,
            start,
            size,
            terms,
            since,
            tces,
            pinned,
            hints,
        },
    )
}

fn leases() -> impl Strategy<Value = Vec<Lease>> {
    vec(lease(), 0..4)
}

fn request() -> impl Strategy<Value = LeaseRequest> {
    (text(), size(), access(), size(), size(), option::of(any::<u64>()), hints()).prop_map(
        |(holder, size, access, tces, memory, duration, hints)| LeaseRequest {
            holder,
            size,
            access,
            tces,
            memory,
            duration,
            hints,
        },
    )
}

fn window() -> impl Strategy<Value = Window> {
    (slot(), iova(), size(), page(), 1..4u8, size(), hints()).prop_map(
        |(slot, start, size, page, levels, unleased, hints)| Window {
            slot,
            start,
            size,
            page,
            levels,
            unleased,
            hints,
        },
    )
}

fn windows() -> impl Strategy<Value = Vec<Window>> {
    vec(window(), 0..3)
}

pub(crate) fn growth_question() -> impl Strategy<Value = GrowthQuestion> {
    let rest = (leases(), any::<u64>(), settings());
    (facts(), windows(), lease(), size(), vec(candidate(), 0..20), rest).prop_map(
        |(facts, windows, lease, size, candidates, (leases, now, settings))| GrowthQuestion {
            facts,
            windows,
            lease,
            size,
            candidates,
            leases,
            now,
            settings,
        },
    )
}

pub(crate) fn admit_question() -> impl Strategy<Value = AdmitQuestion> {
    let rest = (leases(), any::<u64>(), settings());
    (facts(), window(), request(), rest).prop_map(
        |(facts, window, request, (leases, now, settings))| AdmitQuestion {
            facts,
            window,
            request,
            leases,
            now,
            settings,
        },
    )
}

pub(crate) fn renew_question() -> impl Strategy<Value = RenewQuestion> {
    let duration = option::of(any::<u64>());
    (facts(), window(), lease(), duration, leases(), any::<u64>(), settings()).prop_map(
        |(facts, window, lease, duration, leases, now, settings)| RenewQuestion {
            facts,
            window,
            lease,
            duration,
            leases,
            now,
            settings,
        },
    )
}

pub(crate) fn reclaim_question() -> impl Strategy<Value = ReclaimQuestion> {
    let shortage = select(&[Shortage::WindowSpace, Shortage::LockedMemory][..]);
    let rest = (leases(), any::<u64>(), settings());
    let places = (window(), windows());
    (facts(), places, shortage, size(), request(), rest).prop_map(
        |(facts, (window, windows), shortage, wanted, request, (leases, now, settings))| {
            ReclaimQuestion {
                facts,
                window,
                windows,
                request,
                shortage,
                wanted,
                leases,
                now,
                settings,
            }
        },
    )
}

pub(crate) fn group_loss_question() -> impl Strategy<Value = GroupLossQuestion> {
    (facts(), any::<u32>(), windows(), leases(), any::<u64>(), settings()).prop_map(
        |(facts, group, windows, leases, now, settings)| GroupLossQuestion {
            facts,
            windows,
            group,
            leases,
            now,
            settings,
        },
    )
}
