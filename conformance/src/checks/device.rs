//! Devices and the groups they keep.

use tce_engine::errno::Errno;

use super::{
    Applies, Check, Script, Topic,
    script::{OK, OPENED, fails},
    steps::{C0, D0, G0, close, join, leave, open},
};

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
];
