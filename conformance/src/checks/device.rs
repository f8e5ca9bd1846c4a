//! Devices and the groups they keep.

use tce_engine::{
    errno::Errno,
    kernel::{InterruptKind, Platform},
};

use super::{
    Applies, Check, Need, Script, Topic,
    script::{OK, OPENED, fails},
    steps::{C0, D0, G0, close, join, leave, open},
};

use crate::step::Step;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "open-device-keeps-its-group",
        topic: Topic::Attach,
        title: "A group with an open device does not leave its container",
        asserts: "UNSET_CONTAINER is EBUSY while a device of the group is open, and 0 after it \
                  was closed.",
        function: "vfio_group_ioctl_unset_container, vfio_device_fops_release",
        trap: "An unbind of the device then waits for the descriptor instead of racing with calls.",
        engine: "`Engine::open_device` keeps a descriptor, and `Engine::detach` closes it before \
                  it detaches.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |_| {
            Script::ready()
                .expect(open(D0), OPENED)
                .expect(leave(G0), fails(Errno::EBUSY))
                .expect(close(D0), OK)
                .expect(leave(G0), OK)
        },
    },
    Check {
        name: "device-needs-a-backend",
        topic: Topic::Attach,
        title: "A device is opened only when its group's container has a backend",
        asserts: "GROUP_GET_DEVICE_FD is EINVAL for a group in no container, and in one without \
                  a backend.",
        function: "vfio_group_ioctl_get_device_fd, vfio_group_use_container",
        trap: "The order is group, container, backend, device.",
        engine: "`Engine::open_device` refuses a group that is not attached.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |_| {
            Script::new()
                .prepare(open(C0))
                .prepare(open(G0))
                .expect(open(D0), fails(Errno::EINVAL))
                .prepare(join(G0, C0))
                .expect(open(D0), fails(Errno::EINVAL))
        },
    },
    Check {
        name: "interrupts-are-of-one-kind",
        topic: Topic::Devices,
        title: "A device has interrupts of one kind switched on, and only those can be switched off",
        asserts: "SET_IRQS without data is EINVAL for a kind that is not on; with an event it is \
                  EINVAL while another kind is on, and 0 for the same kind again.",
        function: "vfio_pci_set_intx_trigger, vfio_pci_set_msi_trigger",
        trap: "EINVAL is how a kind says that it was off already. MSI's enable bit in \
               configuration space, as vfio-pci shows it, stays 0.",
        engine: "Who quiets a device takes a second EINVAL for the proof.",
        applies: Applies::ANYWHERE.with(&[Need::Edus(1)]),
        leaves: None,
        script: |_| {
            let on = |kind| Step::EnableInterrupts { device: 0, kind };
            let off = |kind| Step::DisableInterrupts { device: 0, kind };
            let (line, msi, msix) = (InterruptKind::Intx, InterruptKind::Msi, InterruptKind::Msix);
            Script::ready()
                .prepare(open(D0))
                .expect(off(line), fails(Errno::EINVAL))
                .expect(on(msix), fails(Errno::EINVAL))
                .expect(on(msi), OK)
                .expect(on(line), fails(Errno::EINVAL))
                .expect(off(line), fails(Errno::EINVAL))
                .expect(on(msi), OK)
                .expect(off(msi), OK)
                .expect(off(msi), fails(Errno::EINVAL))
                .expect(on(line), OK)
                .expect(off(line), OK)
        },
    },
    Check {
        name: "reset-needs-a-way",
        topic: Topic::Devices,
        title: "A function is reset by a reset of its own, or by that of the bus behind a bridge",
        asserts: "DEVICE_RESET of an edu is 0 behind a bridge's port, and EINVAL on a partition's \
                  bus; interrupts stay on.",
        function: "vfio_pci_ioctl_reset, pci_try_reset_function",
        trap: "The kernel restores configuration space: bus mastering stays as it was.",
        engine: "A reset comes after interrupts and bus mastering, and replaces neither.",
        applies: Applies::ANYWHERE.with(&[Need::Edus(1)]),
        leaves: None,
        script: |facts| {
            let kind = InterruptKind::Msi;
            let reset = match facts.platform {
                Platform::Powernv => OK,
                Platform::Pseries => fails(Errno::EINVAL),
            };
            Script::ready()
                .prepare(open(D0))
                .expect(Step::EnableInterrupts { device: 0, kind }, OK)
                .expect(Step::ResetDevice { device: 0 }, reset)
                .expect(Step::DisableInterrupts { device: 0, kind }, OK)
        },
    },
];
