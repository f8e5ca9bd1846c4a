//! Eventfds, and the host's wish to have a device back.

use tce_engine::{
    errno::Errno,
    kernel::{DescriptorKind, DeviceFd, EventFd, Fd, Kernel},
    machine::Machine,
};
use tce_sim::Unbind;

use crate::bench::{Bench, OK, failed};

#[test]
fn an_event_does_not_block_and_counts() {
    let mut bench = Bench::named("powernv9");
    let event = bench.kernel.open_event().expect("there is room");
    assert_eq!(bench.kernel.read_event(event), Err(Errno::EAGAIN));
    assert_eq!(bench.kernel.kind(event.fd()), DescriptorKind::Event);
    let group = EventFd::new(bench.group.fd());
    assert_eq!(bench.kernel.read_event(group), Err(Errno::EINVAL));
    bench.kernel.close(event.fd()).expect("it is open");
    assert_eq!(bench.kernel.read_event(event), Err(Errno::EBADF));
}

#[test]
fn an_unbind_asks_for_the_device_and_waits_for_it() {
    let mut bench = Bench::named("powernv9");
    let number = bench.machine.groups()[0];
    let device = bench.kernel.open_device(bench.group, "0000:01:00.0").expect("it is there");
    let event = bench.kernel.open_event().expect("there is room");
    assert_eq!(bench.kernel.watch_requests(device, event), OK);
    assert_eq!(bench.kernel.read_event(event), Err(Errno::EAGAIN), "nobody wants it");
    assert_eq!(bench.machine.unbind(number), Unbind::Waiting);
    assert_eq!(bench.kernel.read_event(event), Ok(1));
    assert_eq!(bench.machine.unbind(number), Unbind::Waiting, "it asks again and again");
    assert_eq!(bench.machine.unbind(number), Unbind::Waiting);
    assert_eq!(bench.kernel.read_event(event), Ok(2));
    bench.kernel.close(device.fd()).expect("it is open");
    assert_eq!(bench.kernel.group_status(bench.group).raw, failed(Errno::ENODEV));
    assert_eq!(bench.kernel.read_event(event), Err(Errno::EAGAIN));
}

#[test]
fn a_device_has_one_watcher_until_its_last_close() {
    let mut bench = Bench::named("powernv9");
    let number = bench.machine.groups()[0];
    let open = |bench: &mut Bench| {
        bench.kernel.open_device(bench.group, "0000:01:00.0").expect("it is there")
    };
    let (device, again) = (open(&mut bench), open(&mut bench));
    let events = [(); 2].map(|()| bench.kernel.open_event().expect("there is room"));
    assert_eq!(bench.kernel.watch_requests(device, events[0]), OK);
    assert_eq!(bench.kernel.watch_requests(again, events[1]), OK, "it takes the first's place");
    bench.kernel.close(again.fd()).expect("it is open");
    assert_eq!(bench.machine.unbind(number), Unbind::Waiting);
    let counts = events.map(|event| bench.kernel.read_event(event));
    assert_eq!(counts, [Err(Errno::EAGAIN), Ok(1)]);
    bench.kernel.close(device.fd()).expect("it is open");
    bench.machine.rebind(number);
    let group = bench.kernel.open_group(number).expect("it is another object");
    assert_eq!(bench.kernel.set_container(group, bench.container), OK);
    let v2 = tce_engine::kernel::Extension::SpaprTceV2;
    assert_eq!(bench.kernel.set_iommu(bench.container, v2), OK);
    bench.kernel.open_device(group, "0000:01:00.0").expect("it is there");
    assert_eq!(bench.machine.unbind(number), Unbind::Waiting);
    assert_eq!(bench.kernel.read_event(events[1]), Err(Errno::EAGAIN), "it was forgotten");
}

#[test]
fn watching_needs_a_device_and_an_event() {
    let mut bench = Bench::named("powernv9");
    let device = bench.kernel.open_device(bench.group, "0000:01:00.0").expect("it is there");
    let event = bench.kernel.open_event().expect("there is room");
    let closed = Fd::new(99);
    let mut watch = |device: Fd, event: Fd| {
        bench.kernel.watch_requests(DeviceFd::new(device), EventFd::new(event))
    };
    assert_eq!(watch(closed, event.fd()), failed(Errno::EBADF));
    assert_eq!(watch(bench.group.fd(), event.fd()), failed(Errno::ENOTTY));
    assert_eq!(watch(device.fd(), closed), failed(Errno::EBADF));
    assert_eq!(watch(device.fd(), device.fd()), failed(Errno::EINVAL));
    assert_eq!(watch(device.fd(), event.fd()), OK);
}
