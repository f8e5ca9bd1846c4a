//! Random hypercalls against a guest's table as plain as can be: after each one the simulated hardware has what the
//! plain table says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tce_engine::{
    access::Access,
    addr::GuestAddress,
    papr::{GuestTce, Hypercall, ReturnCode},
};

use crate::bench::HIGH;

use super::guest::{Guest, LIOBN, LIST, MEMORY_END, SEAM, Setup, list_bytes};

/// TCEs of the bus: few, so that calls meet.
const TCES: u64 = 24;

/// A call in pages, so that one strategy serves every page size.
#[derive(Clone, Debug)]
enum Step {
    Put { index: u64, tce: Tce },
    List { index: u64, tces: Vec<Tce> },
    Stuff { index: u64, tce: Tce, count: u64 },
    Get { index: u64 },
}

/// Where in the guest's memory pages are counted from.
#[derive(Clone, Copy, Debug)]
enum Place {
    Start,
    /// Four pages before the host's memory goes on elsewhere.
    Seam,
    /// Four pages before the end.
    End,
    /// Where no memory is.
    Far,
}

#[derive(Clone, Copy, Debug)]
struct Tce {
    place: Place,
    page: u64,
    bits: u64,
}

impl Tce {
    fn raw(self, page_bytes: u64) -> u64 {
        let base = match self.place {
            Place::Start => 0,
            Place::Seam => SEAM - 4 * page_bytes,
            Place::End => MEMORY_END - 4 * page_bytes,
            Place::Far => u64::MAX - 64 * page_bytes + 1,
        };
        (base + self.page * page_bytes) | self.bits
    }
}

fn any_place() -> impl Strategy<Value = Place> {
    prop_oneof![
        10 => Just(Place::Start),
        5 => Just(Place::Seam),
        2 => Just(Place::End),
        1 => Just(Place::Far),
    ]
}

/// Mostly right. Bits go beyond the two that have a meaning.
fn any_tce() -> impl Strategy<Value = Tce> {
    let bits = prop_oneof![20 => 0u64..4, 1 => Just(4u64), 1 => Just(0x803)];
    (any_place(), 0u64..6, bits).prop_map(|(place, page, bits)| Tce { place, page, bits })
}

/// TCEs of pages in a row, as guests make them.
fn any_row() -> impl Strategy<Value = Vec<Tce>> {
    (any_place(), 0u64..3, 0u64..4, 1u64..12).prop_map(|(place, first, bits, count)| {
        (first..first + count).map(|page| Tce { place, page, bits }).collect()
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let index = || prop_oneof![30 => 0..TCES, 1 => Just(TCES), 1 => Just(1 << 40)];
    let tces = prop_oneof![any_row(), proptest::collection::vec(any_tce(), 0..10)];
    let nothing = any_tce().prop_map(|tce| Tce { bits: tce.bits & !3, ..tce });
    let stuffed = prop_oneof![10 => nothing, 1 => any_tce()];
    let count = prop_oneof![10 => 0..TCES, 1 => Just(u64::MAX)];
    prop_oneof![
        3 => (index(), any_tce()).prop_map(|(index, tce)| Step::Put { index, tce }),
        3 => (index(), tces).prop_map(|(index, tces)| Step::List { index, tces }),
        2 => (index(), stuffed, count)
            .prop_map(|(index, tce, count)| Step::Stuff { index, tce, count }),
        1 => index().prop_map(|index| Step::Get { index }),
    ]
}

/// The guest's table as an array would be.
struct Model {
    page_bytes: u64,
    tces: BTreeMap<u64, u64>,
}

impl Model {
    fn is_right(&self, tce: u64) -> bool {
        let address = u128::from(tce & !3);
        let page = u128::from(self.page_bytes);
        tce & 3 == 0 || address % page == 0 && address + page <= u128::from(MEMORY_END)
    }

    fn has(index: u64, count: u128) -> bool {
        index < TCES && u128::from(index) + count <= u128::from(TCES)
    }

    /// What the call must answer, having done it.
    fn step(&mut self, step: &Step) -> (ReturnCode, Option<u64>) {
        let raw = |tce: &Tce| tce.raw(self.page_bytes);
        let (index, tces): (u64, Vec<u64>) = match step {
            Step::Put { index, tce } => (*index, vec![raw(tce)]),
            Step::List { index, tces } => (*index, tces.iter().map(raw).collect()),
            Step::Stuff { index, tce, count } => {
                if raw(tce) & 3 != 0 || !Self::has(*index, u128::from(*count)) {
                    return (ReturnCode::Parameter, None);
                }
                (*index, (0..*count).map(|_| raw(tce)).collect())
            }
            Step::Get { index } => {
                let value = self.tces.get(index).copied().unwrap_or(0);
                return if Self::has(*index, 1) {
                    (ReturnCode::Success, Some(value))
                } else {
                    (ReturnCode::Parameter, None)
                };
            }
        };
        let count = u128::try_from(tces.len()).expect("it fits");
        if !Self::has(index, count) || !tces.iter().all(|tce| self.is_right(*tce)) {
            return (ReturnCode::Parameter, None);
        }
        for (index, tce) in (index..).zip(tces) {
            if tce & 3 == 0 {
                self.tces.remove(&index);
            } else {
                self.tces.insert(index, tce);
            }
        }
        (ReturnCode::Success, None)
    }

    fn targets(&self) -> BTreeMap<u64, (GuestAddress, Access)> {
        let access = |tce: u64| match tce & 3 {
            1 => Access::Read,
            2 => Access::Write,
            _ => Access::ReadWrite,
        };
        let target =
            |(index, tce): (&u64, &u64)| (*index, (GuestAddress::new(tce & !3), access(*tce)));
        self.tces.iter().map(target).collect()
    }
}

fn call_of(guest: &Guest, step: &Step) -> Hypercall {
    let page_bytes = guest.page_bytes();
    let ioba = |index: u64| HIGH.wrapping_add(index.wrapping_mul(page_bytes));
    let raw = |tce: &Tce| tce.raw(page_bytes);
    match step {
        Step::Put { index, tce } => {
            Hypercall::PutTce { liobn: LIOBN, ioba: ioba(*index), tce: GuestTce::new(raw(tce)) }
        }
        Step::List { index, tces } => {
            let list: Vec<u64> = tces.iter().map(raw).collect();
            guest.memory.write(LIST, &list_bytes(&list));
            let count = u64::try_from(list.len()).expect("it is short");
            Hypercall::PutTceIndirect { liobn: LIOBN, ioba: ioba(*index), list: LIST, count }
        }
        Step::Stuff { index, tce, count } => Hypercall::StuffTce {
            liobn: LIOBN,
            ioba: ioba(*index),
            tce: GuestTce::new(raw(tce)),
            count: *count,
        },
        Step::Get { index } => Hypercall::GetTce { liobn: LIOBN, ioba: ioba(*index) },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn the_hardware_has_what_a_plain_table_says(
        steps in proptest::collection::vec(any_step(), 1..40),
    ) {
        for setup in Setup::ALL {
            let mut guest = Guest::new(Setup { tces: Some(TCES), ..setup });
            let mut model = Model { page_bytes: guest.page_bytes(), tces: BTreeMap::new() };
            for step in &steps {
                let call = call_of(&guest, step);
                let before = guest.bench.calls();
                let (code, value) = match guest.serve(&call) {
                    Ok(answer) => (answer.code(), answer.value()),
                    Err(failure) => (failure.code(), None),
                };
                prop_assert_eq!((code, value), model.step(step), "{:?}", step);
                if code != ReturnCode::Success {
                    prop_assert_eq!(guest.bench.calls(), before, "{:?}", step);
                }
                guest.assert_hardware(&model.targets());
            }
        }
    }
}
