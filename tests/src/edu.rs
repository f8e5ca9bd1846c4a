//! A driver for QEMU's `edu` device, whose DMA engine copies between memory and a buffer of its own.
//!
//! Register layout: QEMU's `docs/specs/edu.rst`. The device's registers have the machine's byte order as QEMU sees it,
//! which is big-endian for POWER whatever the kernel runs in; so the driver finds out.

use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use tce_engine::{
    addr::Iova,
    kernel::{DeviceFd, DeviceSpace, Kernel},
};

/// PCI vendor and device number.
pub const EDU_ID: (u16, u16) = (0x1234, 0x11e8);
/// The largest transfer: the size of the device's buffer.
pub const BUFFER_BYTES: u64 = 4096;

const REGISTERS: DeviceSpace = DeviceSpace::Bar(0);
const IDENTIFICATION: u64 = 0x00;
const IDENTIFICATION_VALUE: u32 = 0x0100_00ed;
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
    pub fn new(kernel: &'a mut K, device: DeviceFd) -> Result<Self> {
        let mut bytes = [0; 4];
        kernel
            .read_device(device, REGISTERS, IDENTIFICATION, &mut bytes)
            .map_err(|errno| anyhow::anyhow!("reading the identification register: {errno}"))?;
        let is_big_endian = u32::from_be_bytes(bytes) == IDENTIFICATION_VALUE;
        let is_edu = is_big_endian || u32::from_le_bytes(bytes) == IDENTIFICATION_VALUE;
        ensure!(is_edu, "this is no edu device: it identifies itself as {bytes:x?}");
        Ok(Self { kernel, device, is_big_endian })
    }

    /// Lets the device read memory into its buffer.
    ///
    /// # Errors
    /// If its registers cannot be used, or it never ends.
    pub fn read_memory(&mut self, iova: Iova, bytes: u64) -> Result<()> {
        self.transfer(iova.raw(), DEVICE_BUFFER, bytes, DMA_START)
    }

    /// Lets the device write its buffer into memory.
    ///
    /// # Errors
    /// If its registers cannot be used, or it never ends.
    pub fn write_memory(&mut self, iova: Iova, bytes: u64) -> Result<()> {
        self.transfer(DEVICE_BUFFER, iova.raw(), bytes, DMA_START | DMA_TO_MEMORY)
    }

    fn transfer(&mut self, source: u64, target: u64, bytes: u64, command: u64) -> Result<()> {
        ensure!(bytes <= BUFFER_BYTES, "{bytes} bytes do not fit the device's buffer");
        self.write(DMA_SOURCE, source)?;
        self.write(DMA_DESTINATION, target)?;
        self.write(DMA_COUNT, bytes)?;
        self.write(DMA_COMMAND, command)?;
        for _ in 0..POLLS_MAX {
            if self.read(DMA_COMMAND)? & DMA_START == 0 {
                return Ok(());
            }
            sleep(POLL_INTERVAL);
        }
        anyhow::bail!("the device did not end its transfer")
    }

    fn write(&mut self, register: u64, value: u64) -> Result<()> {
        let bytes = if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.kernel
            .write_device(self.device, REGISTERS, register, &bytes)
            .map_err(|errno| anyhow::anyhow!("{errno}"))
            .with_context(|| format!("writing register {register:#x}"))
    }

    fn read(&mut self, register: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.kernel
            .read_device(self.device, REGISTERS, register, &mut bytes)
            .map_err(|errno| anyhow::anyhow!("{errno}"))
            .with_context(|| format!("reading register {register:#x}"))?;
        Ok(if self.is_big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }
}
