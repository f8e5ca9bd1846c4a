//! A machine with names for its descriptors and its memory, on which steps are taken.

use std::{collections::BTreeMap, time::Duration};

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    errno::Errno,
    kernel::{
        ContainerFd, CreateCall, DeviceFd, Extension, Fd, GroupFd, GroupNumber, GuestTableCall,
        GuestTableFd, Kernel, KvmVfioFd, MapCall, MemoryRange, Reply, UnmapCall, VmFd,
    },
    machine::{Machine, MachineError, MemoryRequest},
};

use crate::{
    edu::{EDU_ID, Edu, EduError},
    outcome::{Answer, Outcome},
    step::{Backing, File, Place, Step},
};

/// Each piece of memory of this size starts with a mark of its own, up to so many in a block.
const MARKED: u64 = 4096;
const MARKS_MAX: u64 = 1024;
/// Blocks are aligned to this, whatever backs them.
const ALIGN: PageShift = PageShift::M2;
/// Where no memory is, on any machine.
const NOWHERE: u64 = 1 << 40;
/// The driver under which a device is VFIO's.
const VFIO_DRIVER: &str = "vfio-pci";
/// How long to wait for memory that is about to come back, each time.
const PAUSE: Duration = Duration::from_millis(20);
/// Memory of a sequence, at most.
const MEMORY_MAX: u64 = 2 << 30;

/// Why a step could not be taken at all.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The device behaves like no `edu`.
    #[error(transparent)]
    Device(#[from] EduError),
    /// The memory of a block cannot be used.
    #[error(transparent)]
    Memory(#[from] MachineError),
    /// What is charged cannot be read.
    #[error("the locked memory cannot be read: {0}")]
    Locked(Errno),
    /// Another process could not do its part.
    #[error("a step in another process: {0}")]
    Elsewhere(String),
}

/// A machine on which another process can take a step.
pub trait Scene: Machine {
    /// Lets another process, which has this one's descriptors and an address space of its own, do something.
    ///
    /// # Errors
    /// [`StageError::Elsewhere`].
    fn elsewhere(
        &self,
        operation: impl FnOnce(&mut Self::Kernel) -> Answer,
    ) -> Result<Answer, StageError>;

    /// How often it is worth while to wait for memory that is about to come back.
    fn pauses(&self) -> u32 {
        0
    }
}

/// A machine with names.
pub struct Stage<M: Machine> {
    machine: M,
    kernel: M::Kernel,
    files: Files,
    blocks: Vec<MemoryRange>,
    seats: Vec<Seat>,
}

/// A group that may be used, and a device of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The group.
    pub group: GroupNumber,
    /// The device.
    pub address: String,
    /// Whether the device is an `edu`, which does DMA as it is told.
    pub is_edu: bool,
}

/// Why a machine has no use for a sequence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeatError {
    /// A device that was named is not there, or in no group.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A device is not VFIO's.
    #[error("device {address} is not bound to vfio-pci; bind it, or name another with --device")]
    NotBound {
        /// Its address.
        address: String,
    },
    /// A neighbour of it is the host's.
    #[error(
        "group {group} of device {address} is not free: device {blocker} is driven by the host; bind it to vfio-pci too"
    )]
    Blocked {
        /// Its address.
        address: String,
        /// Its group.
        group: GroupNumber,
        /// The neighbour.
        blocker: String,
    },
    /// Two devices of one group were named.
    #[error("group {group} is named twice; name one device of each group")]
    Twice {
        /// The group.
        group: GroupNumber,
    },
    /// None was named, and none found.
    #[error(
        "no edu device is bound to vfio-pci here; name a device that may be used with --device"
    )]
    None,
}

/// The groups of these devices, in this order; without any, every group with an `edu` that VFIO can have.
///
/// # Errors
/// [`SeatError`].
pub fn seats<M: Machine>(machine: &M, addresses: &[String]) -> Result<Vec<Seat>, SeatError> {
    if !addresses.is_empty() {
        let seats: Vec<_> =
            addresses.iter().map(|address| seat(machine, address)).collect::<Result<_, _>>()?;
        let twice =
            |(at, seat): (usize, &Seat)| seats[..at].iter().any(|it| it.group == seat.group);
        return match seats.iter().enumerate().find(|it| twice(*it)) {
            Some((_, seat)) => Err(SeatError::Twice { group: seat.group }),
            None => Ok(seats),
        };
    }
    let edus = machine.groups().into_iter().filter_map(|group| {
        let devices = machine.devices_of(group);
        let edu = devices.iter().find(|device| device.id == EDU_ID)?;
        seat(machine, &edu.address).ok()
    });
    let edus: Vec<_> = edus.collect();
    if edus.is_empty() { Err(SeatError::None) } else { Ok(edus) }
}

fn seat<M: Machine>(machine: &M, address: &str) -> Result<Seat, SeatError> {
    let group = machine.group_of(address)?;
    let devices = machine.devices_of(group);
    let named = devices.iter().find(|device| device.address == address);
    let Some(device) = named.filter(|device| device.driver.as_deref() == Some(VFIO_DRIVER)) else {
        return Err(SeatError::NotBound { address: address.to_owned() });
    };
    if let Some(blocker) = devices.iter().find(|device| device.blocks_group) {
        let (address, blocker) = (address.to_owned(), blocker.address.clone());
        return Err(SeatError::Blocked { address, group, blocker });
    }
    Ok(Seat { group, address: address.to_owned(), is_edu: device.id == EDU_ID })
}

impl<M: Scene> Stage<M> {
    /// A stage without open files or memory.
    pub fn new(machine: M, seats: Vec<Seat>) -> Self {
        let kernel = machine.kernel();
        Self { machine, kernel, files: Files::default(), blocks: Vec::new(), seats }
    }

    /// The machine.
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// Groups that can be opened.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// The blocks of memory.
    pub fn blocks(&self) -> &[MemoryRange] {
        &self.blocks
    }

    /// The descriptor of a name, if it is open.
    pub fn fd(&self, file: File) -> Option<Fd> {
        self.files.open.get(&file).copied()
    }

    /// Takes a step.
    ///
    /// # Errors
    /// [`StageError`], if it cannot be taken at all. What the kernel refuses is an outcome.
    pub fn take(&mut self, step: &Step) -> Result<Outcome, StageError> {
        let answer = match step {
            Step::Allocate { backing, size } => self.allocate(*backing, *size)?,
            Step::Transfer { device, from, to, bytes, watch } => {
                self.transfer(*device, (*from, *to), usize::from(*bytes), *watch)?
            }
            Step::Elsewhere { step } => self.take_elsewhere(step)?,
            step => {
                let names = Names { blocks: &self.blocks, seats: &self.seats };
                call(&mut self.kernel, &mut self.files, &names, step)
            }
        };
        let locked = self.kernel.locked_memory().map_err(StageError::Locked)?.locked.raw();
        Ok(Outcome { answer, locked })
    }

    fn take_elsewhere(&self, step: &Step) -> Result<Answer, StageError> {
        let names = Names { blocks: &self.blocks, seats: &self.seats };
        // What the other process opens or closes is its own affair.
        let mut files = self.files.clone();
        self.machine.elsewhere(|kernel| call(kernel, &mut files, &names, step))
    }

    fn allocate(&mut self, backing: Backing, size: u64) -> Result<Answer, StageError> {
        let held: u64 = self.blocks.iter().map(|block| block.size.raw()).sum();
        if held.saturating_add(size) > MEMORY_MAX {
            return Ok(Answer::Failed { errno: Errno::ENOMEM });
        }
        let align = if backing == Backing::Huge1G { PageShift::G1 } else { ALIGN };
        let request = MemoryRequest { size: Bytes::new(size), backing: backing.into(), align };
        let block = match self.allocate_patiently(&request) {
            Ok(block) => block,
            Err(MachineError::NoMemory { errno, .. }) => return Ok(Answer::Failed { errno }),
            Err(error) => return Err(error.into()),
        };
        self.blocks.push(block);
        let number = u64::try_from(self.blocks.len()).unwrap_or(u64::MAX);
        for page in 0..(size / MARKED).min(MARKS_MAX) {
            let mark = 0x7ce << 52 | number << 40 | page;
            let address = HostAddr::new(block.address.raw() + page * MARKED);
            self.machine.write_memory(address, &mark.to_le_bytes())?;
        }
        Ok(Answer::Returned { value: 0 })
    }

    /// Huge pages of the sequence before come back a little after its process has ended: the kernel lets go of
    /// registered memory behind an RCU grace period (`mm_iommu_release`).
    fn allocate_patiently(&mut self, request: &MemoryRequest) -> Result<MemoryRange, MachineError> {
        let mut pauses = self.machine.pauses();
        loop {
            let result = self.machine.allocate(request);
            let may_come_back = matches!(
                result,
                Err(MachineError::NoMemory { errno: Errno::ENOMEM, .. })
                    if matches!(request.backing, tce_engine::machine::Backing::Hugetlb(_))
            );
            if !may_come_back || pauses == 0 {
                return result;
            }
            pauses -= 1;
            std::thread::sleep(PAUSE);
        }
    }

    fn transfer(
        &mut self,
        device: u8,
        (from, to): (u64, u64),
        length: usize,
        watch: Place,
    ) -> Result<Answer, StageError> {
        let device = DeviceFd::new(self.files.of(File::Device(device)));
        let watch = Names { blocks: &self.blocks, seats: &self.seats }.address(watch);
        let (mut before, mut after) = (vec![0; length], vec![0; length]);
        if self.machine.read_memory(watch, &mut before).is_err() {
            return Ok(Answer::Failed { errno: Errno::EFAULT });
        }
        match copy(&mut self.kernel, device, (from, to), length) {
            Err(EduError::Register { errno, .. }) => return Ok(Answer::Failed { errno }),
            other => other?,
        }
        self.machine.read_memory(watch, &mut after)?;
        self.machine.write_memory(watch, &before)?;
        let first = after.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        Ok(Answer::Seen { first, checksum: checksum(&after) })
    }
}

fn copy<K: Kernel>(
    kernel: &mut K,
    device: DeviceFd,
    (from, to): (u64, u64),
    length: usize,
) -> Result<(), EduError> {
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    Edu::switch_on(kernel, device)?;
    let mut edu = Edu::new(kernel, device)?;
    edu.read_memory(Iova::new(from), length)?;
    edu.write_memory(Iova::new(to), length)
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The open descriptors.
#[derive(Clone, Debug, Default)]
struct Files {
    open: BTreeMap<File, Fd>,
}

impl Files {
    /// A descriptor, or a number that is none.
    fn of(&self, file: File) -> Fd {
        self.open.get(&file).copied().unwrap_or(Fd::new(-1))
    }

    fn opened(&mut self, file: File, fd: Result<Fd, Errno>) -> Answer {
        match fd {
            Ok(fd) => {
                self.open.insert(file, fd);
                Answer::Opened
            }
            Err(errno) => Answer::Failed { errno },
        }
    }

    fn container(&self, file: File) -> ContainerFd {
        ContainerFd::new(self.of(file))
    }

    fn group(&self, file: File) -> GroupFd {
        GroupFd::new(self.of(file))
    }

    fn link(&self) -> KvmVfioFd {
        KvmVfioFd::new(self.of(File::Link))
    }
}

/// What names of memory and of groups stand for.
struct Names<'a> {
    blocks: &'a [MemoryRange],
    seats: &'a [Seat],
}

impl Names<'_> {
    fn address(&self, place: Place) -> HostAddr {
        let block = place.block.and_then(|block| self.blocks.get(usize::from(block)));
        let start = block.map_or(NOWHERE, |block| block.address.raw());
        HostAddr::new(start.wrapping_add(place.offset))
    }

    fn range(&self, place: Place, size: u64) -> MemoryRange {
        MemoryRange { address: self.address(place), size: Bytes::new(size) }
    }

    fn seat(&self, number: u8) -> Result<&Seat, Errno> {
        self.seats.get(usize::from(number)).ok_or(Errno::ENOENT)
    }
}

/// One system call.
fn call<K: Kernel>(kernel: &mut K, files: &mut Files, names: &Names<'_>, step: &Step) -> Answer {
    match *step {
        Step::OpenContainer { container } => {
            let opened = kernel.open_container().map(ContainerFd::fd);
            files.opened(File::Container(container), opened)
        }
        Step::OpenGroup { group } => {
            let opened = names.seat(group).and_then(|seat| kernel.open_group(seat.group));
            files.opened(File::Group(group), opened.map(GroupFd::fd))
        }
        Step::OpenDevice { device } => {
            let group = files.group(File::Group(device));
            let opened =
                names.seat(device).and_then(|seat| kernel.open_device(group, &seat.address));
            files.opened(File::Device(device), opened.map(DeviceFd::fd))
        }
        Step::Close { file } => {
            let fd = files.open.remove(&file).unwrap_or(Fd::new(-1));
            done(kernel.close(fd))
        }
        Step::CheckExtension { file, extension } => {
            let extension = Extension::from_number(extension);
            kernel.check_extension(files.container(file), extension).into()
        }
        Step::SetIommu { file, backend } => {
            kernel.set_iommu(files.container(file), Extension::from_number(backend)).into()
        }
        Step::GroupStatus { file } => told(kernel.group_status(files.group(file)), |status| {
            Answer::Status { viable: status.viable, in_container: status.in_container }
        }),
        Step::SetContainer { file, container } => {
            kernel.set_container(files.group(file), files.container(container)).into()
        }
        Step::UnsetContainer { file } => kernel.unset_container(files.group(file)).into(),
        Step::AddGroup { .. }
        | Step::DeleteGroup { .. }
        | Step::AttachTable { .. }
        | Step::CreateVm
        | Step::CreateLink
        | Step::CreateTable { .. } => call_kvm(kernel, files, step),
        _ => call_backend(kernel, files, names, step),
    }
}

/// A call that the container passes to its backend.
fn call_backend<K: Kernel>(
    kernel: &mut K,
    files: &Files,
    names: &Names<'_>,
    step: &Step,
) -> Answer {
    match *step {
        Step::Info { file } => told(kernel.info(files.container(file)), Answer::from),
        Step::Register { file, memory, size } => {
            kernel.register(files.container(file), names.range(memory, size)).into()
        }
        Step::Unregister { file, memory, size } => {
            kernel.unregister(files.container(file), names.range(memory, size)).into()
        }
        Step::Create { file, page_shift, size, levels } => {
            let call = CreateCall { page_shift, size: Bytes::new(size), levels };
            let made = kernel.create(files.container(file), call);
            told(made, |start| Answer::Start { iova: start.raw() })
        }
        Step::Remove { file, start } => {
            kernel.remove(files.container(file), Iova::new(start)).into()
        }
        Step::Map { file, flags, memory, iova, size } => {
            let address = names.address(memory);
            let (iova, size) = (Iova::new(iova), Bytes::new(size));
            kernel.map(files.container(file), MapCall { flags, address, iova, size }).into()
        }
        Step::Unmap { file, iova, size } => {
            let call = UnmapCall { iova: Iova::new(iova), size: Bytes::new(size) };
            kernel.unmap(files.container(file), call).into()
        }
        Step::Eeh { file, operation } => kernel.eeh(files.container(file), operation.into()).into(),
        // Not a call of one process alone: memory, DMA, and what is taken elsewhere.
        _ => Answer::Failed { errno: Errno::EINVAL },
    }
}

fn call_kvm<K: Kernel>(kernel: &mut K, files: &mut Files, step: &Step) -> Answer {
    let vm = VmFd::new(files.of(File::Vm));
    match *step {
        Step::CreateVm => {
            let made = kernel.create_vm().map(VmFd::fd);
            files.opened(File::Vm, made)
        }
        Step::CreateLink => {
            let made = kernel.create_kvm_vfio(vm).map(KvmVfioFd::fd);
            files.opened(File::Link, made)
        }
        Step::CreateTable { table, liobn, page_shift, offset, size } => {
            let call = GuestTableCall { liobn, page_shift, offset, size };
            let made = kernel.create_guest_table(vm, call).map(GuestTableFd::fd);
            files.opened(File::Table(table), made)
        }
        Step::AddGroup { group } => kernel.add_group(files.link(), files.group(group)).into(),
        Step::DeleteGroup { group } => kernel.delete_group(files.link(), files.group(group)).into(),
        Step::AttachTable { group, table } => {
            let table = GuestTableFd::new(files.of(table));
            kernel.attach_guest_table(files.link(), files.group(group), table).into()
        }
        _ => Answer::Failed { errno: Errno::EINVAL },
    }
}

fn done(result: Result<(), Errno>) -> Answer {
    match result {
        Ok(()) => Answer::Returned { value: 0 },
        Err(errno) => Answer::Failed { errno },
    }
}

fn told<T>(reply: Reply<T>, tell: impl FnOnce(T) -> Answer) -> Answer {
    match Answer::from(reply.raw) {
        Answer::Returned { value: 0 } => tell(reply.out),
        other => other,
    }
}
