use super::*;
use crate::abi;

/// Memory that holds these bytes, and nothing else.
struct Holding {
    address: u64,
    bytes: Vec<u8>,
}

impl Memory for Holding {
    fn read(&self, address: u64, bytes: &mut [u8]) -> usize {
        let skipped = address.checked_sub(self.address).and_then(|at| usize::try_from(at).ok());
        let there = skipped.and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        let count = there.len().min(bytes.len());
        bytes[..count].copy_from_slice(&there[..count]);
        count
    }
}

const AT: u64 = 0x10_0000;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Two words that are one number.
fn long(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

fn on(kind: &DescriptorKind, request: u64, bytes: Vec<u8>) -> Option<Ioctl> {
    Ioctl::read(kind, low(request), AT, &Holding { address: AT, bytes })
}

fn container<A>(call: &abi::Call<A>, bytes: Vec<u8>) -> Option<Ioctl> {
    on(&DescriptorKind::Container, call.request(), bytes)
}

#[test]
fn a_map_is_read_field_by_field() {
    let (address, iova, size) = (long(0x3fff_1234_0000), long(1 << 59), long(0x20_0000));
    let bytes = words(&[&[32, 3][..], &address, &iova, &size].concat());
    let map = Ioctl::Map {
        flags: 3,
        address: HostAddr::new(0x3fff_1234_0000),
        iova: Iova::new(1 << 59),
        size: Bytes::mib(2),
    };
    assert_eq!(container(&abi::IOMMU_MAP_DMA, bytes.clone()), Some(map.clone()));
    // As the kernel does: a structure too small is still read, and refused afterwards.
    let small = [words(&[24]), bytes[4..].to_vec()].concat();
    assert_eq!(container(&abi::IOMMU_MAP_DMA, small), Some(map));
}

#[test]
fn an_unmap_is_shorter_than_a_map() {
    let bytes = words(&[&[24, 0][..], &long(0), &long(0x1160_0000)].concat());
    let unmap = Ioctl::Unmap { flags: 0, iova: Iova::new(0), size: Bytes::new(0x1160_0000) };
    assert_eq!(container(&abi::IOMMU_UNMAP_DMA, bytes), Some(unmap));
}

#[test]
fn a_window_has_its_start_behind_its_padding() {
    let fields = [&[40, 0, 16, 0][..], &long(1 << 36), &[2, 0], &long(1 << 59)];
    let window = Ioctl::Create {
        flags: 0,
        page_shift: 16,
        size: Bytes::gib(64),
        levels: 2,
        start: Iova::new(1 << 59),
    };
    let created = container(&abi::IOMMU_SPAPR_TCE_CREATE, words(&fields.concat())).unwrap();
    assert!(created.is_answered_in_memory());
    assert_eq!(created, window);
}

#[test]
fn an_info_of_the_first_version_has_no_windows() {
    let fields = [0, 1, 0, 0x8000_0000, 0x4021_1000, 0, 2, 5];
    let info = |argsz, page_sizes, windows_max, levels_max| Ioctl::Info {
        flags: 1,
        window_start: Iova::new(0),
        window_size: Bytes::gib(2),
        page_sizes,
        windows_max: if argsz < 32 { 0 } else { windows_max },
        levels_max,
    };
    let read = |argsz: u32| {
        let mut fields = fields;
        fields[0] = argsz;
        container(&abi::IOMMU_SPAPR_TCE_GET_INFO, words(&fields))
    };
    let page_sizes = if cfg!(target_endian = "little") { 0x4021_1000 } else { 0x4021_1000 << 32 };
    assert_eq!(read(32), Some(info(32, page_sizes, 2, 5)));
    assert_eq!(read(16), Some(info(16, 0, 0, 0)));
}

#[test]
fn memory_that_ends_too_early_is_an_unreadable_argument() {
    let bytes = words(&[24, 0, 0, 0, 0]);
    assert_eq!(container(&abi::IOMMU_SPAPR_REGISTER_MEMORY, bytes), Some(Ioctl::Other));
}

#[test]
fn the_same_number_means_another_thing_on_a_device() {
    let request = abi::IOMMU_MAP_DMA.request();
    let bytes = words(&[12, 0, 0]);
    assert_eq!(on(&DescriptorKind::Device, request, bytes), Some(Ioctl::Device { number: 113 }));
}

#[test]
fn numbers_of_others_are_none_of_vfios() {
    for kind in [DescriptorKind::Container, DescriptorKind::Device, DescriptorKind::KvmVfio] {
        assert_eq!(on(&kind, 0x5401, Vec::new()), None);
    }
    let map = abi::IOMMU_MAP_DMA.request();
    assert_eq!(on(&DescriptorKind::Other("/dev/null".into()), map, Vec::new()), None);
}

#[test]
fn a_device_is_opened_by_its_name() {
    let open = |bytes: &[u8]| {
        let request = abi::GROUP_GET_DEVICE_FD.request();
        on(&DescriptorKind::Group, request, bytes.to_vec())
    };
    let address = "0000:01:00.0".to_owned();
    assert_eq!(open(b"0000:01:00.0\0rest"), Some(Ioctl::OpenDevice { address }));
    assert_eq!(open(&[b'x'; 200]), Some(Ioctl::Other), "a name without an end");
}

#[test]
fn attributes_of_the_link_point_to_their_value() {
    let set = |attribute: u64, value: &[u32]| {
        let address = long(AT + 24);
        let fields = [&[0, kvm::DEV_VFIO_GROUP][..], &long(attribute), &address, value];
        let request = kvm::SET_DEVICE_ATTR.request();
        on(&DescriptorKind::KvmVfio, request, words(&fields.concat()))
    };
    let (group, table) = (Fd::new(9), Fd::new(11));
    assert_eq!(set(1, &[9]), Some(Ioctl::AddGroup { group }));
    assert_eq!(set(2, &[9]), Some(Ioctl::DeleteGroup { group }));
    assert_eq!(set(3, &[9, 11]), Some(Ioctl::AttachGuestTable { group, table }));
    assert_eq!(set(3, &[9]), Some(Ioctl::Other));
}

#[test]
fn only_a_link_to_vfio_matters_among_kvms_devices() {
    let request = kvm::CREATE_DEVICE.request();
    let create = |kind| on(&DescriptorKind::VirtualMachine, request, words(&[kind, 15, 0]));
    assert_eq!(create(kvm::DEV_TYPE_VFIO), Some(Ioctl::CreateKvmVfio { link: Fd::new(15) }));
    assert_eq!(create(1), None);
}
