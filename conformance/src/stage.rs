//! A machine with names for its descriptors and its memory, on which steps are taken.

use std::time::Duration;

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    errno::Errno,
    kernel::{DeviceFd, Fd, Kernel, MemoryRange},
    machine::{Machine, MachineError, MemoryRequest},
};

use crate::{
    edu::{Edu, EduError},
    outcome::{Answer, Outcome},
    seat::Seat,
    step::{Backing, File, Place, Step},
};

mod calls;

use calls::{Files, Names, call};

/// Each piece of memory of this size starts with a mark of its own, up to so many in a block.
const MARKED: u64 = 4096;
const MARKS_MAX: u64 = 1024;
/// Blocks are aligned to this, whatever backs them.
const ALIGN: PageShift = PageShift::M2;
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

/// A block of memory that was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it is.
    pub range: MemoryRange,
    /// What backs it.
    pub backing: Backing,
}

/// A machine with names.
pub struct Stage<M: Machine> {
    machine: M,
    kernel: M::Kernel,
    files: Files,
    blocks: Vec<Block>,
    seats: Vec<Seat>,
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
    pub fn blocks(&self) -> &[Block] {
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
        let held: u64 = self.blocks.iter().map(|block| block.range.size.raw()).sum();
        if held.saturating_add(size) > MEMORY_MAX {
            return Ok(Answer::Failed { errno: Errno::ENOMEM });
        }
        let align = if backing == Backing::Huge1G { PageShift::G1 } else { ALIGN };
        let request = MemoryRequest { size: Bytes::new(size), backing: backing.into(), align };
        let range = match self.allocate_patiently(&request) {
            Ok(range) => range,
            Err(MachineError::NoMemory { errno, .. }) => return Ok(Answer::Failed { errno }),
            Err(error) => return Err(error.into()),
        };
        self.blocks.push(Block { range, backing });
        let number = u64::try_from(self.blocks.len()).unwrap_or(u64::MAX);
        for page in 0..(size / MARKED).min(MARKS_MAX) {
            let mark = 0x7ce << 52 | number << 40 | page;
            let address = HostAddr::new(range.address.raw() + page * MARKED);
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
