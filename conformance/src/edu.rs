//! A driver for QEMU's `edu` device, whose DMA engine copies between memory and a buffer of its own.
//!
//! Register layout: QEMU's `docs/specs/edu.rst`. The device's registers have the machine's byte order as QEMU sees it,
//! which is big-endian for POWER whatever the kernel runs in; so the driver finds out.

use std::{thread::sleep, time::Duration};

use tce_engine::{
    addr::Iova,
    errno::Errno,
    kernel::{DeviceFd, DeviceSpace, Kernel},
};

/// PCI vendor and device number.
pub const EDU_ID: (u16, u16) = (0x1234, 0x11e8);
/// The largest transfer: the size of the device's buffer.
pub const BUFFER_BYTES: u64 = 4096;

const REGISTERS: DeviceSpace = DeviceSpace::Bar(0);
const IDENTIFICATION: u64 = 0x00;
const IDENTIFICATION_VALUE: u32 = 0x0100_00ed;
const INTERRUPT_RAISE: u64 = 0x60;
const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
/// The interrupt's reason: any bit does.
const REASON: u32 = 1;
const DMA_SOURCE: u64 = 0x80;
const DMA_DESTINATION: u64 = 0x88;
const DMA_COUNT: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;
const DMA_START: u64 = 1;
const DMA_TO_MEMORY: u64 = 2;
/// Where the device's buffer lies in its own address space.
const DEVICE_BUFFER: u64 = 0x40000;

/// The device takes 100 ms of emulated time for a transfer; an emulator on a busy machine is slower.
const POLLS_MAX: u32 = 2000;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// PCI configuration space: the command register, 16 bits.
const COMMAND_REGISTER: u64 = 4;
/// Command register: the device answers accesses to its registers, and may start DMA.
const MEMORY_AND_MASTER: u16 = 6;

/// Why the device did not do what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EduError {
    /// Its registers cannot be used.
    #[error("register {register:#x} of the edu device: {errno}")]
    Register {
        /// Which register.
        register: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// It is something else.
    #[error("this is no edu device: it identifies itself as {0:x?}")]
    NotAnEdu([u8; 4]),
    /// More than its buffer holds was asked for.
    #[error("{0} bytes do not fit the edu device's buffer of {BUFFER_BYTES}")]
    TooLarge(u64),
    /// A transfer did not end.
    #[error("the edu device did not end its transfer")]
    Stuck,
}

/// The device.
pub struct Edu<'a, K> {
    kernel: &'a mut K,
    device: DeviceFd,
    is_big_endian: bool,
}

impl<'a, K: Kernel> Edu<'a, K> {
    /// Takes an open device.
    ///
    /// # Errors
    /// If it is no `edu`.
    pub fn new(kernel: &'a mut K, device: DeviceFd) -> Result<Self, EduError> {
        let mut bytes = [0; 4];
        kernel
            .read_device(device, REGISTERS, IDENTIFICATION, &mut bytes)
            .map_err(|errno| EduError::Register { register: IDENTIFICATION, errno })?;
        let is_big_endian = u32::from_be_bytes(bytes) == IDENTIFICATION_VALUE;
        let is_edu = is_big_endian || u32::from_le_bytes(bytes) == IDENTIFICATION_VALUE;
        if !is_edu {
            return Err(EduError::NotAnEdu(bytes));
        }
        Ok(Self { kernel, device, is_big_endian })
    }

    /// Switches the device's registers and its DMA on, as a driver does first.
    ///
    /// # Errors
    /// If its configuration cannot be used.
    pub fn switch_on(kernel: &mut K, device: DeviceFd) -> Result<(), EduError> {
        let failed = |errno| EduError::Register { register: COMMAND_REGISTER, errno };
        let mut bytes = [0; 2];
        kernel
            .read_device(device, DeviceSpace::Config, COMMAND_REGISTER, &mut bytes)
            .map_err(failed)?;
        let command = u16::from_le_bytes(bytes) | MEMORY_AND_MASTER;
        kernel
            .write_device(device, DeviceSpace::Config, COMMAND_REGISTER, &command.to_le_bytes())
            .map_err(failed)
    }

    /// Lets the device read memory into its buffer.
    ///
    /// # Errors
    /// If its registers cannot be used, or it never ends.
    pub fn read_memory(&mut self, iova: Iova, bytes: u64) -> Result<(), EduError> {
        self.start_reading(iova, bytes)?;
        self.wait()
    }

    /// Lets the device write its buffer into memory.
    ///
    /// # Errors
    /// If its registers cannot be used, or it never ends.
    pub fn write_memory(&mut self, iova: Iova, bytes: u64) -> Result<(), EduError> {
        self.start_writing(iova, bytes)?;
        self.wait()
    }

    /// The same as [`Edu::read_memory`] without waiting for its end: [`Edu::wait`] does that.
    ///
    /// # Errors
    /// If its registers cannot be used.
    pub fn start_reading(&mut self, iova: Iova, bytes: u64) -> Result<(), EduError> {
        self.start(iova.raw(), DEVICE_BUFFER, bytes, DMA_START)
    }

    /// The same as [`Edu::write_memory`] without waiting for its end: [`Edu::wait`] does that.
    ///
    /// # Errors
    /// If its registers cannot be used.
    pub fn start_writing(&mut self, iova: Iova, bytes: u64) -> Result<(), EduError> {
        self.start(DEVICE_BUFFER, iova.raw(), bytes, DMA_START | DMA_TO_MEMORY)
    }

    /// Whether a transfer is under way.
    ///
    /// # Errors
    /// If its registers cannot be used.
    pub fn is_busy(&mut self) -> Result<bool, EduError> {
        Ok(self.read(DMA_COMMAND)? & DMA_START != 0)
    }

    /// Waits for the end of the transfer that is under way, if one is.
    ///
    /// # Errors
    /// If its registers cannot be used, or it never ends.
    pub fn wait(&mut self) -> Result<(), EduError> {
        for _ in 0..POLLS_MAX {
            if !self.is_busy()? {
                return Ok(());
            }
            sleep(POLL_INTERVAL);
        }
        Err(EduError::Stuck)
    }

    /// Lets the device raise its interrupt.
    ///
    /// # Errors
    /// If its registers cannot be used.
    pub fn raise_interrupt(&mut self) -> Result<(), EduError> {
        self.write_small(INTERRUPT_RAISE, REASON)
    }

    /// Lets it lower its interrupt again.
    ///
    /// # Errors
    /// If its registers cannot be used.
    pub fn acknowledge_interrupt(&mut self) -> Result<(), EduError> {
        self.write_small(INTERRUPT_ACKNOWLEDGE, REASON)
    }

    fn start(
        &mut self,
        source: u64,
        target: u64,
        bytes: u64,
        command: u64,
    ) -> Result<(), EduError> {
        if bytes > BUFFER_BYTES {
            return Err(EduError::TooLarge(bytes));
        }
        self.write(DMA_SOURCE, source)?;
        self.write(DMA_DESTINATION, target)?;
        self.write(DMA_COUNT, bytes)?;
        self.write(DMA_COMMAND, command)
    }

    /// The registers below those of the DMA engine take 4 bytes.
    fn write_small(&mut self, register: u64, value: u32) -> Result<(), EduError> {
        let bytes = if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.write_bytes(register, &bytes)
    }

    fn write(&mut self, register: u64, value: u64) -> Result<(), EduError> {
        let bytes = if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.write_bytes(register, &bytes)
    }

    fn write_bytes(&mut self, register: u64, bytes: &[u8]) -> Result<(), EduError> {
        self.kernel
            .write_device(self.device, REGISTERS, register, bytes)
            .map_err(|errno| EduError::Register { register, errno })
    }

    fn read(&mut self, register: u64) -> Result<u64, EduError> {
        let mut bytes = [0; 8];
        self.kernel
            .read_device(self.device, REGISTERS, register, &mut bytes)
            .map_err(|errno| EduError::Register { register, errno })?;
        Ok(if self.is_big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }
}
