//! Modules, the container's node, and the backend behind it.

use tce_engine::{errno::Errno, machine::GroupDevice};
use tce_vfio::survey::{ContainerNode, Module, ModuleState, Survey};

use super::check::{Check, Mark, Remedy};

pub(super) fn checks(survey: &Survey) -> Vec<Check> {
    let mut checks = vec![modules(survey), container(survey.container)];
    if let ContainerNode::Open { spapr_v2, eeh } = survey.container {
        checks.push(backend(spapr_v2));
        checks.push(error_handling(eeh));
    }
    checks
}

fn modules(survey: &Survey) -> Check {
    const NAME: &str = "modules";
    let states: Vec<(&'static str, ModuleState)> =
        survey.modules.iter().map(|module| (module.name, state(survey, module))).collect();
    let named: Vec<String> =
        states.iter().map(|(name, state)| format!("{name} {}", word(*state))).collect();
    let finding = named.join(", ");
    let in_state = |wanted| states.iter().filter(move |(_, state)| *state == wanted);
    let lost: Vec<String> = in_state(ModuleState::Missing)
        .map(|(name, _)| format!("CONFIG_{}", name.to_uppercase()))
        .collect();
    if !lost.is_empty() {
        let remedy = format!(
            "install the modules of kernel {}, or build it with {}",
            survey.kernel,
            lost.join(", ")
        );
        return Check::missing(NAME, finding, Remedy::new(remedy));
    }
    let idle: Vec<&str> = in_state(ModuleState::Loadable).map(|(name, _)| *name).collect();
    if idle.is_empty() {
        return Check::ok(NAME, finding);
    }
    let load = format!("modprobe -a {}", idle.join(" "));
    Check::missing(NAME, finding, Remedy::new("load what is not loaded:").by([load]))
}

/// A module's state. What is seen to work is there, even where neither sysfs nor `/lib/modules` tells.
fn state(survey: &Survey, module: &Module) -> ModuleState {
    let works = match module.name {
        "vfio" => matches!(survey.container, ContainerNode::Open { .. }),
        "vfio_iommu_spapr_tce" => {
            matches!(survey.container, ContainerNode::Open { spapr_v2: true, .. })
        }
        _ => {
            let mut devices = survey.groups.iter().flat_map(|group| &group.devices);
            devices.any(GroupDevice::is_bound)
        }
    };
    match module.state {
        ModuleState::Missing | ModuleState::Loadable if works => ModuleState::BuiltIn,
        state => state,
    }
}

const fn word(state: ModuleState) -> &'static str {
    match state {
        ModuleState::Loaded => "loaded",
        ModuleState::BuiltIn => "there",
        ModuleState::Loadable => "not loaded",
        ModuleState::Missing => "not there",
    }
}

fn container(node: ContainerNode) -> Check {
    const NAME: &str = "/dev/vfio/vfio";
    let missing = |finding: String, remedy| Check::missing(NAME, finding, remedy);
    match node {
        ContainerNode::Open { .. } => Check::ok(NAME, "can be opened"),
        ContainerNode::Missing => missing(
            "is not there".to_owned(),
            Remedy::new("load the modules; in a container, pass the node into it:")
                .by(["modprobe -a vfio vfio_pci"]),
        ),
        ContainerNode::Unopened(errno @ (Errno::EACCES | Errno::EPERM)) => missing(
            format!("this user may not open it: {errno}"),
            Remedy::new("run as root, or give the nodes to the users of a group, such as vfio:")
                .by([
                    r#"echo 'SUBSYSTEM=="vfio", GROUP="vfio", MODE="0660"' > /etc/udev/rules.d/70-vfio.rules"#,
                    "groupadd -f vfio; chgrp vfio /dev/vfio/*; chmod 660 /dev/vfio/*",
                ]),
        ),
        ContainerNode::Unopened(errno @ (Errno::ENODEV | Errno::ENXIO)) => missing(
            format!("has no driver behind it: {errno}"),
            Remedy::new("load the driver:").by(["modprobe vfio"]),
        ),
        ContainerNode::Unopened(Errno::ENOTTY) => missing(
            "is something else than VFIO's node".to_owned(),
            Remedy::new("see what is in its place:").by(["ls -l /dev/vfio/vfio"]),
        ),
        ContainerNode::Unopened(errno) => missing(
            format!("cannot be opened: {errno}"),
            Remedy::new("the kernel's log may say why:").by(["dmesg | grep -i vfio"]),
        ),
    }
}

fn backend(spapr_v2: bool) -> Check {
    const NAME: &str = "backend";
    if spapr_v2 {
        return Check::ok(NAME, "sPAPR TCE v2");
    }
    let remedy = Remedy::new("load it:").by(["modprobe vfio_iommu_spapr_tce"]);
    Check::missing(NAME, "VFIO has no sPAPR TCE v2 backend", remedy)
}

fn error_handling(eeh: bool) -> Check {
    let check = Check::ok("EEH", "errors of a device are contained and can be recovered from");
    if eeh {
        return check;
    }
    let remedy = Remedy::new(
        "boot without eeh=off; under a hypervisor, it has to offer EEH. Without it, a device that \
         errs stays dead until it is reset",
    );
    let finding = "no enhanced error handling".to_owned();
    Check { mark: Mark::Warning, finding, remedy: Some(remedy), ..check }
}
