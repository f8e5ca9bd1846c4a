//! The work of the process that is to be killed.

use anyhow::{Context, Result};
use fastrand::Rng;
use tce_engine::{
    Engine, LeaseRequest,
    access::Access,
    addr::{Bytes, Iova, PageShift},
    edit::Edit,
    facts::Slot,
    kernel::{GroupNumber, Kernel, MemoryRange},
    layout::{Candidate, CandidateQuery, WindowChoice},
    lease::{Holder, LeaseId},
    machine::{Backing, Machine, MemoryRequest},
    region::RegionId,
    window::{Claim, Origin, WindowId},
};

use super::phase::Phase;
use crate::rig::{NOW, seats_in_one_container};

/// Memory in small pages.
const ANONYMOUS: Bytes = Bytes::mib(16);
/// Memory of a file.
const FILE: Bytes = Bytes::mib(4);
/// Memory in huge pages, where there are any.
const HUGE: Bytes = Bytes::mib(8);
/// The second window.
const SECOND_WINDOW: Bytes = Bytes::mib(64);
/// Each lease, of which each window has two.
const LEASE: Bytes = Bytes::mib(4);
/// Batches of one life of the backend, and edits of a batch.
const BATCHES: usize = 24;
const EDITS_MAX: usize = 12;
/// Pages of 64 KiB of one edit at most.
const EDIT_PAGES_MAX: u64 = 12;

/// Where the news of a new phase go.
pub type Tell<'t> = &'t mut dyn FnMut(Phase) -> Result<()>;

/// One round: a container, in which the backend lives once or twice, and at its end nothing is left. The seed of the
/// dice says what is mapped where.
///
/// # Errors
/// Whatever fails; nothing should.
pub fn round<M: Machine>(machine: &mut M, dice: &mut Rng, tell: Tell<'_>) -> Result<()> {
    let memories = allocate(machine)?;
    let played = play(machine, &memories, dice, tell);
    memories.into_iter().try_for_each(|(memory, _)| machine.free(memory))?;
    played
}

type Memories = Vec<(MemoryRange, PageShift)>;

fn allocate<M: Machine>(machine: &mut M) -> Result<Memories> {
    let system = machine.kernel().system().page_shift;
    let wanted = [(ANONYMOUS, Backing::Anonymous), (FILE, Backing::Memfd)];
    let request = |(size, backing)| MemoryRequest { size, backing, align: system };
    let mut memories = Memories::new();
    for request in wanted.map(request) {
        memories.push((machine.allocate(&request)?, system));
    }
    let (backing, align) = (Backing::Hugetlb(PageShift::M2), PageShift::M2);
    if let Ok(memory) = machine.allocate(&MemoryRequest { size: HUGE, backing, align }) {
        memories.push((memory, align));
    }
    Ok(memories)
}

fn play<M: Machine>(
    machine: &M,
    memories: &Memories,
    dice: &mut Rng,
    tell: Tell<'_>,
) -> Result<()> {
    tell(Phase::Attach)?;
    let mut engine = Engine::open(machine.kernel())?;
    let seats = seats_in_one_container(machine);
    let (first, others) = seats.split_first().context("there is no edu device for VFIO")?;
    let lives = dice.usize(1..=2);
    for life in 1..=lives {
        if life > 1 {
            // All groups leave, and come back to the same container.
            others.iter().try_for_each(|seat| engine.part(seat.group).map(drop))?;
            engine.detach(first.group)?;
            tell(Phase::Attach)?;
        }
        for seat in &seats {
            engine.attach(seat.group)?;
            engine.open_device(seat.group, &seat.address)?;
        }
        live(&mut engine, first.group, memories, dice, tell)?;
        tell(Phase::TakeDown)?;
    }
    engine.close()?;
    Ok(())
}

/// All of a backend's life but its begin and its end.
fn live<K: Kernel>(
    engine: &mut Engine<K>,
    group: GroupNumber,
    memories: &Memories,
    dice: &mut Rng,
    tell: Tell<'_>,
) -> Result<()> {
    tell(Phase::Register)?;
    let mut regions = Vec::new();
    for (memory, backing) in memories {
        regions.push((engine.register(*memory, *backing)?, memory.size));
    }
    tell(Phase::Create)?;
    let leases = lease_windows(engine, group)?;
    tell(Phase::Map)?;
    for _ in 0..BATCHES {
        let (lease, claim) = *dice.choice(&leases).context("there are leases")?;
        let edits: Result<Vec<Edit>> =
            (0..dice.usize(1..=EDITS_MAX)).map(|_| edit(dice, claim, &regions)).collect();
        engine.apply(lease, &edits?, NOW)?;
    }
    tell(Phase::Revoke)?;
    // The take-down finds some leases, or none.
    for (lease, _) in leases {
        if dice.bool() {
            engine.revoke(lease)?;
        }
    }
    Ok(engine.resume_devices()?)
}

/// Makes both windows, and two leases in each.
fn lease_windows<K: Kernel>(
    engine: &mut Engine<K>,
    group: GroupNumber,
) -> Result<Vec<(LeaseId, Claim)>> {
    let choices = [default_window(engine)?, second_window(engine)?];
    let grant = engine.grant_layout(&choices)?;
    let mut leases = Vec::new();
    for window in engine.create_windows(grant)? {
        for holder in ["guest", "driver"] {
            leases.push(lease(engine, window, group, holder)?);
        }
    }
    Ok(leases)
}

fn lease<K: Kernel>(
    engine: &mut Engine<K>,
    window: WindowId,
    group: GroupNumber,
    holder: &str,
) -> Result<(LeaseId, Claim)> {
    let holder = Holder::new(holder).context("a holder has a name")?;
    // Only one group has an open device, which is what a lease asks for.
    let request = LeaseRequest { groups: vec![group], ..LeaseRequest::new(holder, window, LEASE) };
    let grant = engine.grant_lease(request)?;
    let claim = grant.claim();
    Ok((engine.lease(grant)?, claim))
}

fn default_window<K: Kernel>(engine: &Engine<K>) -> Result<WindowChoice> {
    let size = engine.facts().context("a group is attached")?.default_window;
    choose(engine, size, |it| it.slot == Slot::Zero && it.origin == Origin::DefaultWindow)
}

fn second_window<K: Kernel>(engine: &Engine<K>) -> Result<WindowChoice> {
    let page = engine.system().page_shift;
    choose(engine, SECOND_WINDOW, |it| it.slot == Slot::One && it.page == page)
}

/// The window of this size that could be made and is meant.
fn choose<K: Kernel>(
    engine: &Engine<K>,
    size: Bytes,
    is_meant: impl Fn(&Candidate) -> bool,
) -> Result<WindowChoice> {
    let query = CandidateQuery { size_min: size, size_max: size, device_mask: Iova::new(!0) };
    let candidates = engine.layouts().context("a group is attached")?.candidates(&query);
    let found = candidates.into_iter().find(is_meant);
    let Candidate { slot, page, size, table, .. } =
        found.with_context(|| format!("no window of {size} can be made here"))?;
    let levels = table.levels;
    Ok(WindowChoice { slot, page, size, fallback: None, levels, needs: Vec::new() })
}

/// Maps or unmaps some pages of a lease.
fn edit(dice: &mut Rng, claim: Claim, regions: &[(RegionId, Bytes)]) -> Result<Edit> {
    let (region, memory) = *dice.choice(regions).context("there are regions")?;
    // Every page of the windows made here is a divisor of this one.
    let page = PageShift::K64;
    let pages = dice.u64(1..=EDIT_PAGES_MAX);
    let size = Bytes::new(pages * page.bytes().raw());
    let mut offset_in = |whole: Bytes| {
        let room = whole.checked_sub(size).unwrap_or_default().pages_up(page).raw();
        Bytes::new(dice.u64(0..=room) * page.bytes().raw())
    };
    let (at, offset) = (offset_in(claim.size), offset_in(memory));
    let iova = claim.start.checked_add(at).context("inside the lease")?;
    Ok(match dice.u8(0..3) {
        0 => Edit::Unmap(Claim { start: iova, size }),
        _ => Edit::Map { iova, region, offset, size, access: Access::ReadWrite },
    })
}
