//! Groups and devices: found, attached, opened.

use std::collections::BTreeSet;

use tce_engine::{
    kernel::GroupNumber,
    machine::{GroupDevice, Machine, MachineError},
};

use crate::exit::{Exit, Failure};

use super::session::Session;

impl<M: Machine> Session<'_, M> {
    /// Attaches the job's groups and opens its devices.
    pub(super) fn attach(&mut self) -> Result<Vec<GroupNumber>, Failure> {
        let mut groups: Vec<GroupNumber> = Vec::new();
        let mut devices = Vec::new();
        for address in &self.job.devices {
            let group = self.machine.group_of(address).map_err(|error| self.unknown(error))?;
            devices.push((group, address));
            groups.push(group);
        }
        groups.extend(&self.job.groups);
        let mut seen = BTreeSet::new();
        groups.retain(|group| seen.insert(*group));
        for group in &groups {
            self.check_there(*group)?;
            self.engine.attach(*group).map_err(|error| self.explain_group(*group, error))?;
            let named = devices.iter().filter(|(of, _)| of == group).map(|(_, it)| it.to_string());
            let mut open: Vec<String> = named.collect();
            if open.is_empty() {
                open.extend(self.any_device(*group));
            }
            for address in open {
                let opened = self.engine.open_device(*group, &address);
                opened.map_err(|error| Failure::from(error).at(format!("device {address}")))?;
            }
        }
        Ok(groups)
    }

    /// A device that is ours, of a group of which the job names none: open, it keeps the group from vanishing.
    fn any_device(&self, group: GroupNumber) -> Option<String> {
        let devices = self.machine.devices_of(group).into_iter();
        devices.filter(GroupDevice::is_bound).map(|device| device.address).next()
    }

    /// Says which devices there are, where the one that the job names is not.
    fn unknown(&self, error: MachineError) -> Failure {
        let groups = self.machine.groups().into_iter();
        let devices: Vec<String> =
            groups.flat_map(|it| self.machine.devices_of(it)).map(|it| it.address).collect();
        let failure = Failure::from(error);
        if devices.is_empty() {
            return failure;
        }
        failure.with(format!("devices with a group are {}", some(&devices)))
    }

    fn check_there(&self, group: GroupNumber) -> Result<(), Failure> {
        let groups = self.machine.groups();
        if groups.contains(&group) {
            return Ok(());
        }
        let failure = Failure::new(Exit::Machine, format!("there is no IOMMU group {group}"));
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        Err(match groups.as_slice() {
            [] => failure.with("this machine has none at all; `tce doctor` says why"),
            some_are => failure.with(format!("groups are {}", some(some_are))),
        })
    }

    /// Adds who blocks a group, where that is why it cannot be attached.
    fn explain_group(&self, group: GroupNumber, error: tce_engine::Error) -> Failure {
        let blockers = self.machine.devices_of(group).into_iter().filter(|it| it.blocks_group);
        let blockers: Vec<String> = blockers.map(described).collect();
        let failure = Failure::from(error);
        if blockers.is_empty() {
            return failure;
        }
        let what = format!("{failure}; in the way: {}", blockers.join(", "));
        Failure { what, ..failure }
    }
}

fn described(device: GroupDevice) -> String {
    match device.driver {
        Some(driver) => format!("{} (driver {driver})", device.address),
        None => device.address,
    }
}

/// A list, cut where it gets long.
fn some(names: &[String]) -> String {
    const SHOWN_MAX: usize = 12;
    let shown = names.get(..SHOWN_MAX).unwrap_or(names).join(", ");
    match names.len().checked_sub(SHOWN_MAX) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}
