//! Groups: which can be used, which devices block the others, and how to change that.

use serde::Serialize;
use tce_engine::{
    addr::{Bytes, PageShift},
    kernel::{GroupNumber, SpaprInfo},
    machine::GroupDevice,
};
use tce_vfio::survey::{Group, ProbeError, Survey};

use super::{
    Probed,
    check::{Check, Remedy},
    counted,
};

/// An IOMMU group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupEntry {
    /// Its number.
    pub number: u32,
    /// Whether it can be used as it is.
    pub usable: bool,
    /// Whether no device blocks it.
    pub viable: bool,
    /// Whether `/dev/vfio/N` is there.
    pub node: bool,
    /// Its devices.
    pub devices: Vec<DeviceEntry>,
    /// What a probe of it told; absent if it was not or could not be probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<WindowsEntry>,
}

/// A device of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceEntry {
    /// Its PCI address.
    pub address: String,
    /// PCI vendor and device number, such as `1234:11e8`.
    pub id: String,
    /// The driver that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Whether it keeps the group from being viable.
    pub blocks: bool,
}

/// The windows that a group's container can have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WindowsEntry {
    /// Whether there are dynamic ones (DDW).
    pub dynamic: bool,
    /// How many; absent if the firmware does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows_max: Option<u32>,
    /// Table levels that the platform reports.
    pub levels_max: u32,
    /// Page sizes in bytes, ascending.
    pub page_sizes: Vec<u64>,
}

/// What can be done with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It can be given to a container.
    Usable,
    /// Nothing: there are only bridges in it.
    Bridges,
    /// Devices block it.
    Blocked,
    /// Nothing blocks it, but no device of it is with VFIO.
    Unbound,
    /// A device of it is with VFIO, and yet it has no node.
    NoNode,
    /// It looks well, and a probe of it failed.
    Unprobed(ProbeError),
    /// Its container can have no windows of its own.
    NoWindows,
}

impl Use {
    fn of(group: &Group, probes: &[Probed]) -> Self {
        let is_vfio = |device: &GroupDevice| {
            device.driver.as_deref().is_some_and(|driver| driver.ends_with("vfio-pci"))
        };
        if !group.is_viable() {
            Self::Blocked
        } else if group.devices.iter().all(is_bridge) {
            Self::Bridges
        } else if !group.devices.iter().any(is_vfio) {
            Self::Unbound
        } else if !group.has_node {
            Self::NoNode
        } else {
            match probed(group.number, probes) {
                Some(Err(error)) => Self::Unprobed(error),
                Some(Ok(info)) if !info.has_dynamic_windows() => Self::NoWindows,
                Some(Ok(_)) | None => Self::Usable,
            }
        }
    }

    /// A group that another program has is no less usable.
    const fn is_usable(self) -> bool {
        matches!(self, Self::Usable | Self::Unprobed(ProbeError::InUse))
    }
}

fn is_bridge(device: &GroupDevice) -> bool {
    device.driver.as_deref() == Some("pcieport")
}

fn probed(group: GroupNumber, probes: &[Probed]) -> Option<Result<SpaprInfo, ProbeError>> {
    probes.iter().find(|probe| probe.group == group).map(|probe| probe.result)
}

pub(super) fn entries(survey: &Survey, probes: &[Probed]) -> Vec<GroupEntry> {
    let entry = |group: &Group| GroupEntry {
        number: group.number.0,
        usable: Use::of(group, probes).is_usable(),
        viable: group.is_viable(),
        node: group.has_node,
        devices: group.devices.iter().map(device_entry).collect(),
        windows: probed(group.number, probes).and_then(Result::ok).as_ref().map(windows_entry),
    };
    survey.groups.iter().map(entry).collect()
}

fn device_entry(device: &GroupDevice) -> DeviceEntry {
    DeviceEntry {
        address: device.address.clone(),
        id: id(device),
        driver: device.driver.clone(),
        blocks: device.blocks_group,
    }
}

fn windows_entry(info: &SpaprInfo) -> WindowsEntry {
    WindowsEntry {
        dynamic: info.has_dynamic_windows(),
        windows_max: (info.windows_max != u32::MAX).then_some(info.windows_max),
        levels_max: info.levels_max,
        page_sizes: pages(info).map(|page| page.bytes().raw()).collect(),
    }
}

fn pages(info: &SpaprInfo) -> impl Iterator<Item = PageShift> {
    let shifts = (0..64).filter(|shift| info.page_sizes >> shift & 1 == 1);
    shifts.filter_map(PageShift::new)
}

pub(super) fn checks(survey: &Survey, probes: &[Probed]) -> Vec<Check> {
    let uses: Vec<(&Group, Use)> =
        survey.groups.iter().map(|group| (group, Use::of(group, probes))).collect();
    let mut checks = vec![summary(&uses)];
    for (group, of) in uses {
        checks.push(check(group, of));
        if let Some(Ok(info)) = probed(group.number, probes) {
            checks.push(windows(group.number, &info));
        }
    }
    checks
}

fn summary(uses: &[(&Group, Use)]) -> Check {
    const NAME: &str = "groups";
    let is_device = |it: &&(&Group, Use)| it.1 != Use::Bridges;
    let total = uses.iter().filter(is_device).count();
    let usable: Vec<String> = uses
        .iter()
        .filter(|(_, of)| of.is_usable())
        .map(|(group, _)| group.number.to_string())
        .collect();
    if !usable.is_empty() {
        let finding = format!("{} of {total} can be used: {}", usable.len(), usable.join(", "));
        return Check::ok(NAME, finding);
    }
    if total == 0 {
        let remedy = Remedy::new(
            "put a PCI device into the machine, or pass one into the partition; the kernel needs \
             CONFIG_SPAPR_TCE_IOMMU",
        );
        return Check::missing(NAME, "there is no IOMMU group with a device", remedy);
    }
    let remedy = Remedy::new("choose a device that the host can spare; what to do stands below it");
    Check::missing(NAME, format!("none of {} can be used", counted(total, "group")), remedy)
}

fn check(group: &Group, of: Use) -> Check {
    let number = group.number;
    let name = format!("group {number}");
    let devices = |state: &str| {
        let devices: Vec<String> = group.devices.iter().map(described).collect();
        format!("{state}: {}", devices.join(", "))
    };
    match of {
        Use::Usable => Check::ok(name, devices("viable")),
        Use::Bridges => Check::ok(name, devices("bridges, which stay with the host")),
        Use::Blocked => Check::warning(name, blocked(group), bind(group)),
        Use::Unbound => Check::warning(name, devices("viable, but not with VFIO"), bind(group)),
        Use::NoNode => Check::warning(
            name,
            devices(&format!("viable, but there is no /dev/vfio/{number}")),
            Remedy::new(
                "in a container, pass the node into it; else see what the kernel's log says:",
            )
            .by(["dmesg | grep -i -e vfio -e iommu"]),
        ),
        Use::Unprobed(ProbeError::InUse) => {
            Check::ok(name, devices("viable, and in use by another program"))
        }
        Use::Unprobed(error) => {
            let (what, remedy) = halves(error);
            Check::warning(name, devices(&what), Remedy::new(remedy))
        }
        Use::NoWindows => Check::warning(
            name,
            devices("without dynamic windows"),
            Remedy::new("the firmware or the hypervisor has to offer DDW for this slot"),
        ),
    }
}

/// What happened, and what to do.
fn halves(error: ProbeError) -> (String, String) {
    let text = error.to_string();
    match text.split_once(": ") {
        Some((what, remedy)) if !matches!(error, ProbeError::Failed { .. }) => {
            (what.to_owned(), remedy.to_owned())
        }
        _ => (text, "see what the kernel's log says: dmesg".to_owned()),
    }
}

fn blocked(group: &Group) -> String {
    let (blockers, others): (Vec<&GroupDevice>, Vec<&GroupDevice>) =
        group.devices.iter().partition(|device| device.blocks_group);
    let list = |devices: &[&GroupDevice]| {
        devices.iter().map(|device| described(device)).collect::<Vec<_>>().join(", ")
    };
    if others.is_empty() {
        return format!("not viable, blocked by {}", list(&blockers));
    }
    format!("not viable, blocked by {}; not by {}", list(&blockers), list(&others))
}

fn described(device: &GroupDevice) -> String {
    let driver = device.driver.as_deref().unwrap_or("no driver");
    format!("{} ({}, {driver})", device.address, id(device))
}

fn id(device: &GroupDevice) -> String {
    let (vendor, number) = device.id;
    format!("{vendor:04x}:{number:04x}")
}

/// How to bind what blocks a group, or what is with no driver, to `vfio-pci`.
fn bind(group: &Group) -> Remedy {
    let is_wanted = |device: &&GroupDevice| device.blocks_group || device.driver.is_none();
    let devices: Vec<&str> =
        group.devices.iter().filter(is_wanted).map(|device| device.address.as_str()).collect();
    let what = if devices.len() == 1 {
        "if the host can do without it, give it to vfio-pci:"
    } else {
        "if the host can do without them, give them to vfio-pci:"
    };
    let unbind = "  echo $d > /sys/bus/pci/devices/$d/driver/unbind";
    let unbind = group.blockers().next().map(|_| unbind);
    let start = [
        format!("for d in {}; do", devices.join(" ")),
        "  echo vfio-pci > /sys/bus/pci/devices/$d/driver_override".to_owned(),
    ];
    let end = ["  echo $d > /sys/bus/pci/drivers_probe", "done"];
    let lines = start.into_iter().chain(unbind.into_iter().chain(end).map(str::to_owned));
    Remedy::new(what).by(lines)
}

fn windows(group: GroupNumber, info: &SpaprInfo) -> Check {
    let name = format!("DDW {group}");
    let default = Bytes::new(u64::from(info.dma32_window_size));
    if !info.has_dynamic_windows() {
        let remedy = Remedy::new("the firmware or the hypervisor has to offer DDW for this slot");
        let finding = format!("no dynamic windows, only the default one of {default}");
        return Check::warning(name, finding, remedy);
    }
    let windows = match info.windows_max {
        u32::MAX => "windows (how many, the firmware does not tell)".to_owned(),
        1 => "1 window".to_owned(),
        count => format!("{count} windows"),
    };
    let levels = if info.levels_max == 1 { "level" } else { "levels" };
    let pages: Vec<String> = pages(info).map(|page| page.to_string()).collect();
    let finding = format!(
        "{windows}, pages of {}, {} table {levels}; default window of {default}",
        pages.join(", "),
        info.levels_max
    );
    Check::ok(name, finding)
}
