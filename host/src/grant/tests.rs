//! Each kind of nonsense is told by its name.

use tce_engine::layout::LayoutRefusal;

use super::{Rejection, growth, layout, leases, pages, renewal, terms};
use crate::policy::wit;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn facts() -> wit::ContainerFacts {
    let slot = |slot, holds| wit::SlotFacts { slot, start: u64::from(slot) << 59, holds };
    wit::ContainerFacts {
        platform: wit::Platform::Powernv,
        system_page: 12,
        page_shifts: vec![12, 16, 21],
        slots: vec![slot(0, wit::SlotUse::DefaultWindow), slot(1, wit::SlotUse::Free)],
        levels_max: 5,
        reserved_ranges: vec![],
        locked_memory: wit::LockedMemory { limit: None, charged: 0 },
        groups: vec![1],
        hints: vec![],
    }
}

/// Region 3 has 2M pages and is mapped in 64K pieces; region 5 has 64K pages and is mapped as a whole.
fn demand() -> wit::Demand {
    let region = |id, backing, granule| wit::Region {
        id,
        name: "memory".to_owned(),
        size: 4 * MIB,
        backing,
        granule,
        access: wit::Access::ReadWrite,
        at: None,
        hints: vec![],
    };
    wit::Demand {
        regions: vec![region(3, 21, 16), region(5, 16, 22)],
        growth: 0,
        device_mask: u64::MAX,
        iova_choice: wit::IovaChoice::Engine,
        hints: vec![],
    }
}

fn choice(page: u8, regions: &[u32]) -> wit::PageChoice {
    wit::PageChoice { page, regions: regions.to_vec() }
}

fn select(answer: &[wit::PageChoice]) -> Result<usize, String> {
    let question = wit::PageQuestion { facts: facts(), demand: demand(), settings: vec![] };
    pages(&question, answer).map(|groups| groups.len()).map_err(|why| why.to_string())
}

#[test]
fn pages_that_every_region_allows_are_taken() {
    assert_eq!(select(&[choice(16, &[3, 5])]), Ok(1));
    assert_eq!(select(&[choice(12, &[5]), choice(16, &[3])]), Ok(2));
}

#[test]
fn pages_that_cannot_be_are_not_taken() {
    for (answer, why) in [
        (vec![], "0 page sizes, where 1 to 2 can be"),
        (vec![choice(12, &[3]); 3], "3 page sizes, where 1 to 2 can be"),
        (vec![choice(16, &[3, 5]), choice(16, &[3])], "region 3 stands twice"),
        (vec![choice(16, &[3, 5, 7])], "there is no region 7"),
        (vec![choice(16, &[3])], "region 5 is left out"),
        (vec![choice(16, &[3, 5]), choice(12, &[])], "the choice of 4K pages is for no region"),
        (vec![choice(24, &[3, 5])], "no window has pages of shift 24"),
        (vec![choice(200, &[3, 5])], "no window has pages of shift 200"),
        (
            vec![choice(16, &[3]), choice(21, &[5])],
            "region 5 is backed by pages of shift 16, too small for 2M TCEs",
        ),
        (
            vec![choice(21, &[3]), choice(16, &[5])],
            "pieces of region 3 are mapped by themselves that 2M TCEs cannot map",
        ),
    ] {
        assert_eq!(select(&answer), Err(why.to_owned()));
    }
}

fn candidate(slot: u8, page: u8, origin: wit::Origin) -> wit::Candidate {
    wit::Candidate {
        slot,
        start: u64::from(slot) << 59,
        page,
        size: 2 * GIB,
        levels: 1,
        origin,
        table: 0,
        // The default window's charge is in that of slot 1.
        charge: if slot == 1 { 4 * MIB } else { MIB },
    }
}

/// The default window, and one of 64K pages in each slot; region 3 is to have 64K pages and region 5 others.
fn window_question(page_of_5: u8) -> wit::WindowQuestion {
    wit::WindowQuestion {
        facts: facts(),
        demand: demand(),
        pages: vec![choice(16, &[3]), choice(page_of_5, &[5])],
        candidates: vec![
            candidate(0, 12, wit::Origin::DefaultWindow),
            candidate(0, 16, wit::Origin::Created),
            candidate(1, 16, wit::Origin::Created),
        ],
        settings: vec![],
    }
}

fn window(candidate: &wit::Candidate, regions: &[u32]) -> wit::WindowChoice {
    wit::WindowChoice {
        slot: candidate.slot,
        page: candidate.page,
        size: candidate.size,
        levels: candidate.levels,
        origin: candidate.origin,
        regions: regions.to_vec(),
    }
}

fn lay_out(question: &wit::WindowQuestion, answer: &[wit::WindowChoice]) -> Result<usize, String> {
    layout(question, answer).map(|wanted| wanted.choices.len()).map_err(|why| why.to_string())
}

#[test]
fn a_window_of_the_page_that_was_chosen_for_its_regions_is_taken() {
    let question = window_question(16);
    let [_, low, high] = &question.candidates[..] else { panic!("three candidates") };
    assert_eq!(lay_out(&question, &[window(low, &[3, 5])]), Ok(1));
    assert_eq!(lay_out(&question, &[window(low, &[5]), window(high, &[3])]), Ok(2));
    let question = window_question(12);
    let [default, _, high] = &question.candidates[..] else { panic!("three candidates") };
    assert_eq!(lay_out(&question, &[window(default, &[5]), window(high, &[3])]), Ok(2));
}

#[test]
fn a_window_of_another_page_than_was_chosen_is_not_taken() {
    let question = window_question(12);
    let [default, _, high] = &question.candidates[..] else { panic!("three candidates") };
    assert_eq!(
        lay_out(&question, &[window(high, &[3, 5])]),
        Err("region 5 is in a window with pages of shift 16, and 12 was chosen for it".to_owned())
    );
    assert_eq!(
        lay_out(&question, &[window(default, &[3]), window(high, &[5])]),
        Err("region 3 is in a window with pages of shift 12, and 16 was chosen for it".to_owned())
    );
}

#[test]
fn a_window_is_a_candidate_in_every_number() {
    let question = window_question(16);
    let low = window(&question.candidates[1], &[3, 5]);
    for other in [
        wit::WindowChoice { slot: 2, ..low.clone() },
        wit::WindowChoice { page: 21, ..low.clone() },
        wit::WindowChoice { size: GIB, ..low.clone() },
        wit::WindowChoice { levels: 2, ..low.clone() },
    ] {
        let why = lay_out(&question, &[other]).expect_err("no candidate");
        assert!(why.starts_with("no candidate is of "), "{why}");
    }
    assert_eq!(
        lay_out(&question, &[wit::WindowChoice { size: GIB, ..low }]),
        Err("no candidate is of 1 GiB in pages of shift 16 with 1 level(s) in slot 0".to_owned())
    );
}

#[test]
fn a_window_comes_about_as_its_candidate_does() {
    let question = window_question(12);
    let default = window(&question.candidates[0], &[5]);
    let created = wit::WindowChoice { origin: wit::Origin::Created, ..default };
    let high = window(&question.candidates[2], &[3]);
    assert_eq!(
        lay_out(&question, &[created, high.clone()]),
        Err("the window of 2 GiB in slot 0 is the default one, and not to be created".to_owned())
    );
    let found = wit::WindowChoice { origin: wit::Origin::DefaultWindow, ..high };
    assert_eq!(
        lay_out(&question, &[window(&question.candidates[0], &[5]), found]),
        Err("the window of 2 GiB in slot 1 is to be created, and not the default one".to_owned())
    );
}

#[test]
fn each_region_is_in_one_window_and_each_window_has_one() {
    let question = window_question(16);
    let [_, low, high] = &question.candidates[..] else { panic!("three candidates") };
    for (answer, why) in [
        (vec![], "region 3 is left out"),
        (vec![window(low, &[3])], "region 5 is left out"),
        (vec![window(low, &[3, 5]), window(high, &[5])], "region 5 stands twice"),
        (vec![window(low, &[3, 5, 4])], "there is no region 4"),
        (vec![window(low, &[3, 5]), window(high, &[])], "the window in slot 1 is for no region"),
    ] {
        assert_eq!(lay_out(&question, &answer), Err(why.to_owned()));
    }
}

#[test]
fn tables_beyond_what_the_memory_leaves_are_not_taken() {
    let mut question = window_question(16);
    let [_, low, high] = &question.candidates.clone()[..] else { panic!("three candidates") };
    let both = [window(low, &[3]), window(high, &[5])];
    // 1 MiB, and 4 MiB of which 1 MiB is for a default window that gives way.
    question.facts.locked_memory = wit::LockedMemory { limit: Some(12 * MIB), charged: 8 * MIB };
    assert_eq!(lay_out(&question, &both), Ok(2));
    assert_eq!(lay_out(&question, &[window(high, &[3, 5])]), Ok(1));
    question.facts.locked_memory.charged += 1;
    assert_eq!(lay_out(&question, &[window(low, &[3, 5])]), Ok(1));
    let refused = layout(&question, &both).expect_err("too much");
    assert!(
        matches!(
            &refused,
            Rejection::Refused(tce_engine::Error::Layout(LayoutRefusal::LockedMemory {
                needed, ..
            })) if needed.raw() == 4 * MIB
        ),
        "{refused}"
    );
}

fn admit(answer: &wit::Terms) -> Result<(), String> {
    let question = wit::AdmitQuestion {
        facts: facts(),
        window: wit::Window {
            slot: 0,
            start: 0,
            size: GIB,
            page: 16,
            levels: 1,
            unleased: GIB,
            hints: vec![],
        },
        request: wit::LeaseRequest {
            holder: "vm-7".to_owned(),
            size: MIB,
            access: wit::Access::Read,
            tces: 4,
            memory: MIB,
            duration: None,
            hints: vec![],
        },
        leases: vec![],
        now: 1_000,
        settings: vec![],
    };
    terms(&question, answer).map(|_| ()).map_err(|why| why.to_string())
}

#[test]
fn terms_are_within_what_was_asked_for() {
    let good = wit::Terms {
        access: wit::Access::Read,
        tces_max: 16,
        pinned_max: None,
        edits_per_second: None,
        expires: Some(1_001),
    };
    assert_eq!(admit(&good), Ok(()));
    assert_eq!(admit(&wit::Terms { tces_max: 1, expires: None, ..good }), Ok(()));
    for (answer, why) in [
        (
            wit::Terms { access: wit::Access::ReadWrite, ..good },
            "read-write access, where read was asked for",
        ),
        (wit::Terms { tces_max: 0, ..good }, "0 TCEs for a lease that has 16"),
        (
            wit::Terms { edits_per_second: Some(0), ..good },
            "0 edits in a second, which allows nothing",
        ),
        (wit::Terms { tces_max: 17, ..good }, "17 TCEs for a lease that has 16"),
        (wit::Terms { expires: Some(1_000), ..good }, "an end at 1000, when it is 1000 already"),
    ] {
        assert_eq!(admit(&answer), Err(why.to_owned()));
    }
}

fn lease(id: u64, access: wit::Access) -> wit::Lease {
    wit::Lease {
        id,
        holder: "vm-7".to_owned(),
        slot: 0,
        start: 0,
        size: MIB,
        terms: allowed(access, 16),
        since: 0,
        tces: 0,
        pinned: 0,
        hints: vec![],
    }
}

fn allowed(access: wit::Access, tces_max: u64) -> wit::Terms {
    wit::Terms { access, tces_max, pinned_max: None, edits_per_second: None, expires: None }
}

#[test]
fn a_renewal_gives_no_more_than_the_lease_has() {
    let window = wit::Window {
        slot: 0,
        start: 0,
        size: GIB,
        page: 16,
        levels: 1,
        unleased: GIB,
        hints: vec![],
    };
    let renew = |answer: wit::Terms| {
        let lease = lease(1, wit::Access::Read);
        let question = wit::RenewQuestion {
            facts: facts(),
            window: window.clone(),
            leases: vec![lease.clone()],
            lease,
            duration: None,
            now: 5,
            settings: vec![],
        };
        renewal(&question, &answer).map(drop).map_err(|why| why.to_string())
    };
    assert_eq!(renew(allowed(wit::Access::Read, 16)), Ok(()));
    assert!(renew(allowed(wit::Access::ReadWrite, 16)).is_err());
    assert!(renew(allowed(wit::Access::Read, 17)).is_err());
    let ended = wit::Terms { expires: Some(5), ..allowed(wit::Access::Read, 16) };
    assert!(renew(ended).is_err());
}

#[test]
fn leases_that_end_are_there_and_stand_once() {
    let there = [lease(1, wit::Access::Read), lease(2, wit::Access::Read)];
    let check = |answer: &[u64]| leases(&there, answer).map_err(|why| why.to_string());
    assert_eq!(check(&[]), Ok(vec![]));
    assert_eq!(check(&[2, 1]), Ok(vec![2, 1]));
    assert_eq!(check(&[3]), Err("there is no lease 3".to_owned()));
    assert_eq!(check(&[1, 1]), Err("lease 1 stands twice".to_owned()));
}

#[test]
fn a_lease_grows_into_a_candidate_as_it_is_that_fits_the_limit() {
    let candidate = wit::Candidate {
        slot: 1,
        start: 1 << 59,
        page: 16,
        size: GIB,
        levels: 1,
        origin: wit::Origin::Created,
        table: MIB,
        charge: 2 * MIB,
    };
    let grow = |limit: Option<u64>, answer: wit::Candidate| {
        let lease = lease(1, wit::Access::Read);
        let locked_memory = wit::LockedMemory { limit, charged: MIB };
        let question = wit::GrowthQuestion {
            facts: wit::ContainerFacts { locked_memory, ..facts() },
            windows: vec![],
            leases: vec![lease.clone()],
            lease,
            size: GIB,
            candidates: vec![candidate],
            now: 0,
            settings: vec![],
        };
        growth(&question, &answer)
    };
    assert!(grow(None, candidate).is_ok());
    assert!(grow(Some(3 * MIB), candidate).is_ok());
    let poor = grow(Some(3 * MIB - 1), candidate);
    assert!(matches!(poor, Err(Rejection::Refused(_))), "{poor:?}");
    let cheaper = wit::Candidate { charge: 0, ..candidate };
    assert!(matches!(grow(None, cheaper), Err(Rejection::Nonsense(_))));
}
