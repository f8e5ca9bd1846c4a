//! The checks that need no machine: names, references, alignment, limits.

use std::collections::HashMap;

use tce_engine::{
    access::Access,
    addr::{Bytes, Iova, PageShift},
    kernel::GroupNumber,
    lease::{HOLDER_NAME_MAX, Holder},
    lingering::Unmapping,
};

use super::{
    DEVICES_MAX, EditPlan, GroupPlan, IovaChoice, Job, JobError, LEASES_MAX, LeasePlan,
    REGIONS_MAX, RegionPlan, Ring, STEPS_MAX, Step,
    file::{
        AccessEntry, EditEntry, IovaEntry, JobFile, LeaseEntry, Memory, RegionEntry, StepEntry,
    },
};

type Checked<T> = Result<T, JobError>;

fn invalid<T>(place: impl Into<String>, problem: impl Into<String>) -> Checked<T> {
    Err(JobError::Invalid { place: place.into(), problem: problem.into() })
}

pub(super) fn check(file: JobFile) -> Checked<Job> {
    check_counts(&file)?;
    let regions: Vec<RegionPlan> = file.regions.iter().map(region).collect::<Checked<_>>()?;
    let region_names = names("region", regions.iter().map(|region| region.name.as_str()))?;
    let lease = |entry| lease(entry, &regions, &region_names);
    let leases: Vec<LeasePlan> = file.leases.iter().map(lease).collect::<Checked<_>>()?;
    let lease_names = names("lease", leases.iter().map(|lease| lease.name.as_str()))?;
    let script = Script { regions: &regions, leases: &leases, region_names, lease_names };
    let steps = file.steps.into_iter().enumerate();
    let steps: Vec<Step> =
        steps.map(|(index, step)| script.step(index, step)).collect::<Checked<_>>()?;
    check_later(&leases, &steps)?;
    Ok(Job {
        name: file.name,
        backend: file.backend,
        devices: file.devices.into_iter().map(|device| device.address).collect(),
        groups: file.groups.into_iter().map(GroupNumber).collect(),
        growth: file.demand.growth.bytes(),
        hints: file.demand.hints.clone(),
        device_mask: device_mask(file.demand.device_mask_bits)?,
        iova: match file.demand.iova {
            IovaEntry::Holder => IovaChoice::Holder,
            IovaEntry::Engine => IovaChoice::Engine,
        },
        limits: file.platform.limits().or_else(|why| invalid("platform", why.to_string()))?,
        fallback: file.windows.fallback,
        unused_default: file.windows.unused_default.into(),
        regions,
        leases,
        steps,
        settings: file.settings,
        recorded: file.recorded,
    })
}

fn check_counts(file: &JobFile) -> Checked<()> {
    for (place, count, most) in [
        ("devices", file.devices.len(), DEVICES_MAX),
        ("groups", file.groups.len(), DEVICES_MAX),
        ("regions", file.regions.len(), REGIONS_MAX),
        ("leases", file.leases.len(), LEASES_MAX),
        ("steps", file.steps.len(), STEPS_MAX),
    ] {
        if count > most {
            return invalid(place, format!("there are {count}; {most} is the most"));
        }
    }
    if file.devices.is_empty() && file.groups.is_empty() {
        return invalid("the job", "names no device: add a [[device]] with its PCI address");
    }
    if file.regions.is_empty() {
        return invalid("the job", "names no memory: add a [[region]] with name and size");
    }
    Ok(())
}

fn device_mask(bits: u8) -> Checked<Iova> {
    match bits {
        12..=63 => Ok(Iova::new((1 << bits) - 1)),
        64 => Ok(Iova::new(u64::MAX)),
        _ => invalid("demand", format!("device-mask-bits is {bits}; it is 12 to 64")),
    }
}

fn names<'a>(kind: &str, all: impl Iterator<Item = &'a str>) -> Checked<HashMap<String, usize>> {
    let mut found = HashMap::new();
    for (index, name) in all.enumerate() {
        if found.insert(name.to_owned(), index).is_some() {
            return invalid(format!("{kind} {name}"), "this name stands twice");
        }
    }
    Ok(found)
}

fn region(entry: &RegionEntry) -> Checked<RegionPlan> {
    let place = format!("region {}", entry.name);
    let page = entry.page.map(|page| page.0);
    if entry.memory == Memory::Hugetlb && page.is_none() {
        return invalid(
            place,
            "hugetlb memory needs the page it is made of, such as page = \"2M\"",
        );
    }
    let unit = page.unwrap_or(PageShift::K4);
    let size = entry.size.bytes();
    if size.is_zero() || !size.is_multiple_of(unit) {
        let problem = format!("its size of {size} is not a whole number of {unit} pages");
        return invalid(place, problem);
    }
    let granule = entry.granule.map(|granule| granule.0);
    if let Some(granule) = granule.filter(|granule| !size.is_multiple_of(*granule)) {
        let problem = format!(
            "its size of {size} is not a whole number of pieces of {granule}: a smaller granule \
             would be right"
        );
        return invalid(place, problem);
    }
    let at = entry.at.map(|at| at.iova());
    if let Some(at) = at.filter(|at| !at.is_aligned(PageShift::K4)) {
        return invalid(place, format!("its address {at} is not on a page border"));
    }
    Ok(RegionPlan {
        name: entry.name.clone(),
        size,
        page,
        granule,
        memory: entry.memory,
        access: access(entry.access),
        at,
        hints: entry.hints.clone(),
    })
}

const fn access(entry: AccessEntry) -> Access {
    match entry {
        AccessEntry::Read => Access::Read,
        AccessEntry::Write => Access::Write,
        AccessEntry::ReadWrite => Access::ReadWrite,
    }
}

fn lease(
    entry: &LeaseEntry,
    regions: &[RegionPlan],
    names: &HashMap<String, usize>,
) -> Checked<LeasePlan> {
    let place = format!("lease {}", entry.name);
    let Some(holder) = Holder::new(&entry.holder) else {
        return invalid(place, format!("its holder's name has 1 to {HOLDER_NAME_MAX} bytes"));
    };
    if entry.regions.is_empty() {
        return invalid(place, "it is for no region: name some in `regions`");
    }
    let mut chosen = Vec::new();
    for name in &entry.regions {
        match names.get(name) {
            Some(index) => chosen.push(*index),
            None => return invalid(place, format!("there is no region {name}")),
        }
    }
    let (at, span) = span(chosen.iter().map(|index| &regions[*index]));
    let Some(size) = entry.size.map(|size| size.bytes()).or(span) else {
        return invalid(place, "its regions are larger than 64 bits can count");
    };
    Ok(LeasePlan {
        name: entry.name.clone(),
        holder,
        regions: chosen,
        size,
        at: entry.at.map(|at| at.iova()).or(at),
        access: access(entry.access),
        tces: entry.tces,
        duration: entry.duration,
        unmapping: entry.deferred.map_or(Unmapping::Strict, |it| Unmapping::Deferred(it.0)),
        later: entry.later,
        hints: entry.hints.clone(),
    })
}

/// The range that regions need: from the lowest address that one must have, so far that all fit.
fn span<'a>(regions: impl Iterator<Item = &'a RegionPlan>) -> (Option<Iova>, Option<Bytes>) {
    let mut low: Option<Iova> = None;
    let mut high: Option<Iova> = None;
    let mut total = Some(Bytes::ZERO);
    for region in regions {
        total = total.and_then(|total| total.checked_add(region.size));
        if let Some(at) = region.at {
            low = Some(low.map_or(at, |low| low.min(at)));
            let end = at.checked_add(region.size);
            high = high.max(end);
        }
    }
    let fixed = low.and_then(|low| high?.offset_from(low));
    (low, total.map(|total| fixed.map_or(total, |fixed| fixed.max(total))))
}

struct Script<'a> {
    regions: &'a [RegionPlan],
    leases: &'a [LeasePlan],
    region_names: HashMap<String, usize>,
    lease_names: HashMap<String, usize>,
}

impl Script<'_> {
    fn step(&self, index: usize, entry: StepEntry) -> Checked<Step> {
        let place = format!("step {}", index + 1);
        Ok(match entry {
            StepEntry::MapAll { lease } => Step::MapAll { lease: self.lease(&place, &lease)? },
            StepEntry::UnmapAll { lease } => Step::UnmapAll { lease: self.lease(&place, &lease)? },
            StepEntry::Revoke { lease } => Step::Revoke { lease: self.lease(&place, &lease)? },
            StepEntry::Lease { lease } => Step::Lease { lease: self.lease(&place, &lease)? },
            StepEntry::Renew { lease, duration } => {
                Step::Renew { lease: self.lease(&place, &lease)?, duration }
            }
            StepEntry::Grow { lease, size } => {
                let (lease, size) = (self.lease(&place, &lease)?, size.bytes());
                let least = self.leases[lease].size;
                if size <= least {
                    let problem = format!("growing to {size} is no growth: the lease has {least}");
                    return invalid(place, problem);
                }
                Step::Grow { lease, size }
            }
            StepEntry::Leave { group, device } => Step::Leave(match (group, device) {
                (Some(number), None) => GroupPlan::Number(GroupNumber(number)),
                (None, Some(device)) => GroupPlan::Of(device),
                _ => return invalid(place, "to leave, a step has either `group` or `device`"),
            }),
            StepEntry::Batch { lease, edits } => {
                let lease = self.lease(&place, &lease)?;
                let edits = edits.iter().map(|edit| self.edit(&place, lease, edit));
                Step::Batch { lease, edits: edits.collect::<Checked<_>>()? }
            }
            StepEntry::Ring { lease, region, at, entries, entry_size, batch, turns } => {
                let lease = self.lease(&place, &lease)?;
                let region = self.region(&place, lease, &region)?;
                let (at, entry_size) = (at.bytes(), entry_size.bytes());
                let access = self.regions[region].access;
                let ring = Ring { region, at, entries, entry_size, batch, turns, access };
                self.check_ring(&place, &ring)?;
                Step::Ring { lease, ring }
            }
        })
    }

    fn lease(&self, place: &str, name: &str) -> Checked<usize> {
        match self.lease_names.get(name) {
            Some(index) => Ok(*index),
            None => invalid(place, format!("there is no lease {name}")),
        }
    }

    /// A region that the lease is for.
    fn region(&self, place: &str, lease: usize, name: &str) -> Checked<usize> {
        let lease = &self.leases[lease];
        match self.region_names.get(name) {
            Some(index) if lease.regions.contains(index) => Ok(*index),
            Some(_) => invalid(place, format!("lease {} is not for region {name}", lease.name)),
            None => invalid(place, format!("there is no region {name}")),
        }
    }

    fn edit(&self, place: &str, lease: usize, entry: &EditEntry) -> Checked<EditPlan> {
        match (&entry.map, entry.unmap) {
            (Some(region), None) => self.map(place, self.region(place, lease, region)?, entry),
            (None, Some(at)) => unmap(place, at.bytes(), entry),
            _ => invalid(place, "an edit has either `map` or `unmap`"),
        }
    }

    fn map(&self, place: &str, region: usize, entry: &EditEntry) -> Checked<EditPlan> {
        let plan = &self.regions[region];
        let offset = entry.offset.unwrap_or_default().bytes();
        let Some(rest) = plan.size.checked_sub(offset) else {
            return invalid(place, format!("offset {offset} lies behind region {}", plan.name));
        };
        Ok(EditPlan::Map {
            region,
            at: entry.at.unwrap_or_default().bytes(),
            offset,
            size: entry.size.map_or(rest, |size| size.bytes()),
            access: entry.access.map_or(plan.access, access),
        })
    }

    fn check_ring(&self, place: &str, ring: &Ring) -> Checked<()> {
        let Ring { entries, batch, entry_size, .. } = *ring;
        if batch == 0 || entries == 0 || !entries.is_multiple_of(batch) {
            let problem = format!("a ring of {entries} entries is not a number of {batch}s");
            return invalid(place, problem);
        }
        let region = &self.regions[ring.region];
        let buffers = region.size.raw().checked_div(entry_size.raw()).unwrap_or(0);
        if buffers < u64::from(entries) {
            let problem = format!(
                "region {} has {buffers} buffers of {entry_size}, the ring wants {entries}",
                region.name
            );
            return invalid(place, problem);
        }
        Ok(())
    }
}

/// A lease for later is asked for by one step, and every other step of it comes behind that one.
fn check_later(leases: &[LeasePlan], steps: &[Step]) -> Checked<()> {
    let mut there: Vec<bool> = leases.iter().map(|lease| !lease.later).collect();
    for (step, number) in steps.iter().zip(1..) {
        let Some(lease) = step.lease() else { continue };
        let (place, name) = (format!("step {number}"), &leases[lease].name);
        match step {
            Step::Lease { .. } if !leases[lease].later => {
                let problem =
                    format!("lease {name} is there from the start: it has no later = true");
                return invalid(place, problem);
            }
            Step::Lease { .. } if there[lease] => {
                return invalid(place, format!("lease {name} is asked for twice"));
            }
            Step::Lease { .. } => there[lease] = true,
            _ if there[lease] => {}
            _ => {
                let problem = format!("lease {name} is not there yet: a step `lease` comes first");
                return invalid(place, problem);
            }
        }
    }
    Ok(())
}

fn unmap(place: &str, at: Bytes, entry: &EditEntry) -> Checked<EditPlan> {
    if entry.at.is_some() || entry.offset.is_some() || entry.access.is_some() {
        return invalid(place, "to unmap, an edit has `unmap` and `size` and nothing else");
    }
    match entry.size {
        Some(size) => Ok(EditPlan::Unmap { at, size: size.bytes() }),
        None => invalid(place, "to unmap, an edit needs a `size`"),
    }
}
