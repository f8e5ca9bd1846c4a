//! What policies see of a job and of a container.

use tce_engine::{
    addr::{Bytes, Iova, PageShift},
    facts::Slot,
    geometry::TableShape,
    layout::Candidate,
    window::Origin,
};

use super::{candidates, demand};
use crate::{job::Job, policy::wit};

fn job(regions: &str) -> Job {
    let text = format!("name = \"test\"\ngroups = [1]\n{regions}");
    Job::new(toml::from_str(&text).expect("TOML")).expect("a job")
}

#[test]
fn a_granule_is_the_job_s_or_else_the_backing() {
    let job = job("[[region]]\nname = \"a\"\nsize = \"4M\"\n\
         [[region]]\nname = \"b\"\nsize = \"4M\"\nmemory = \"hugetlb\"\npage = \"2M\"\n\
         [[region]]\nname = \"c\"\nsize = \"4M\"\nmemory = \"hugetlb\"\npage = \"2M\"\n\
         granule = \"64K\"\n");
    let demand = demand(&job, &[PageShift::K64, PageShift::M2, PageShift::M2]);
    let pages: Vec<_> = demand.regions.iter().map(|it| (it.id, it.backing, it.granule)).collect();
    assert_eq!(pages, [(0, 16, 16), (1, 21, 21), (2, 21, 16)]);
}

fn candidate(slot: Slot, levels: u8, origin: Origin) -> Candidate {
    let size = Bytes::gib(2);
    Candidate {
        slot,
        start: Iova::new(0),
        page: PageShift::K4,
        size,
        table: TableShape { levels, table: size, charge: size },
        origin,
    }
}

#[test]
fn a_created_window_that_would_be_the_default_one_again_is_no_candidate() {
    let created = [Slot::Zero, Slot::One]
        .map(|slot| [1, 2].map(|levels| candidate(slot, levels, Origin::Created)));
    let mut found = vec![candidate(Slot::Zero, 1, Origin::DefaultWindow)];
    found.extend(created.into_iter().flatten());
    let listed: Vec<_> =
        candidates(&found).iter().map(|it| (it.slot, it.levels, it.origin)).collect();
    let expected = [
        (0, 1, wit::Origin::DefaultWindow),
        (0, 2, wit::Origin::Created),
        (1, 1, wit::Origin::Created),
        (1, 2, wit::Origin::Created),
    ];
    assert_eq!(listed, expected);
    // Without a default window all are there.
    assert_eq!(candidates(&found[1..]).len(), 4);
}

#[test]
fn what_a_lease_wants_beyond_its_regions_is_growth() {
    let lease = |size: &str, at: &str| {
        job(&format!(
            "[[region]]\nname = \"a\"\nsize = \"4M\"\n{at}\n\
             [[lease]]\nname = \"l\"\nholder = \"h\"\nregions = [\"a\"]\n{size}\n\
             [demand]\ngrowth = \"1M\"\n"
        ))
    };
    let growth = |job: &Job| demand(job, &[PageShift::K64]).growth;
    assert_eq!(growth(&lease("", "")), 1 << 20);
    assert_eq!(growth(&lease("size = \"16M\"", "")), 13 << 20);
    assert_eq!(growth(&lease("size = \"16M\"", "at = \"0x10000\"")), 1 << 20);
}
