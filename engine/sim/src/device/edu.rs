//! QEMU's `edu`: a factorial, and a DMA engine with 4096 bytes of its own.
//!
//! Its registers have the byte order of the machine QEMU was built for, which is big-endian for ppc64. A
//! little-endian host sees them swapped.

/// BAR 0.
pub(super) const BAR_BYTES: u64 = 1 << 20;

const ID: u32 = 0x0100_00ed;
const REG_ID: u64 = 0x00;
const REG_LIVENESS: u64 = 0x04;
const REG_FACTORIAL: u64 = 0x08;
const REG_STATUS: u64 = 0x20;
/// Bits that say why the device interrupts. Those written to RAISE are set, to ACKNOWLEDGE cleared.
const REG_INTERRUPT_STATUS: u64 = 0x24;
const REG_INTERRUPT_RAISE: u64 = 0x60;
const REG_INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
const REG_DMA_SOURCE: u64 = 0x80;
const REG_DMA_DESTINATION: u64 = 0x88;
const REG_DMA_COUNT: u64 = 0x90;
const REG_DMA_COMMAND: u64 = 0x98;
/// From here on, 8-byte accesses are valid, too.
const DMA_REGISTERS: u64 = 0x80;

const COMMAND_RUN: u64 = 1;
const COMMAND_TO_MEMORY: u64 = 2;

/// The device's buffer, in its own address space; it is no part of the BAR.
const BUFFER_START: u64 = 0x40000;
const BUFFER_BYTES: usize = 4096;

/// The registers and the buffer.
#[derive(Debug)]
pub(super) struct Edu {
    liveness: u32,
    factorial: u32,
    interrupt_status: u32,
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
    buffer: [u8; BUFFER_BYTES],
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From memory into the device.
    FromMemory,
    /// From the device into memory.
    ToMemory,
}

/// What a write to a register starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A DMA.
    Transfer(Transfer),
    /// An interrupt.
    Interrupt,
}

/// A DMA the device wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// Which way.
    pub(crate) direction: Direction,
    /// The bus address.
    pub(crate) iova: u64,
    /// The first byte in the device's buffer.
    at: usize,
    /// How many.
    len: usize,
}

impl Default for Edu {
    fn default() -> Self {
        Self {
            liveness: 0,
            factorial: 0,
            interrupt_status: 0,
            source: 0,
            destination: 0,
            count: 0,
            command: 0,
            buffer: [0; BUFFER_BYTES],
        }
    }
}

impl Edu {
    /// One access (`edu_mmio_read`). What the device does not know reads as ones.
    pub(super) fn read(&self, offset: u64, access: &mut [u8]) {
        let value = match access.len() {
            4 => self.read_small(offset).or_else(|| self.dma_register(offset)),
            8 if offset >= DMA_REGISTERS => self.dma_register(offset),
            _ => None,
        };
        let bytes = value.unwrap_or(u64::MAX).to_be_bytes();
        access.copy_from_slice(&bytes[bytes.len() - access.len()..]);
    }

    /// One access (`edu_mmio_write`). Returns what it starts; that is over before the next access.
    pub(super) fn write(&mut self, offset: u64, access: &[u8]) -> Option<Effect> {
        let value = match *access {
            [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] if offset >= DMA_REGISTERS => {
                u64::from_be_bytes([a, b, c, d, e, f, g, h])
            }
            _ => return None,
        };
        match offset {
            REG_LIVENESS => self.liveness = !low_word(value),
            REG_FACTORIAL => self.factorial = factorial(low_word(value)),
            REG_DMA_SOURCE => self.source = value,
            REG_DMA_DESTINATION => self.destination = value,
            REG_DMA_COUNT => self.count = value,
            REG_DMA_COMMAND if value & COMMAND_RUN != 0 => {
                self.command = value & !COMMAND_RUN;
                return self.transfer().map(Effect::Transfer);
            }
            REG_INTERRUPT_RAISE => {
                self.interrupt_status |= low_word(value);
                return (self.interrupt_status != 0).then_some(Effect::Interrupt);
            }
            REG_INTERRUPT_ACKNOWLEDGE => self.interrupt_status &= !low_word(value),
            _ => {}
        }
        None
    }

    /// The bytes of the buffer that a transfer names.
    pub(super) fn buffer(&mut self, transfer: &Transfer) -> Option<&mut [u8]> {
        self.buffer.get_mut(transfer.at..transfer.at + transfer.len)
    }

    /// `edu_dma_timer`. Out of the buffer's bounds QEMU aborts or warns, depending on its version; nothing moves.
    fn transfer(&self) -> Option<Transfer> {
        let (direction, iova, device) = if self.command & COMMAND_TO_MEMORY == 0 {
            (Direction::FromMemory, self.source, self.destination)
        } else {
            (Direction::ToMemory, self.destination, self.source)
        };
        let at = usize::try_from(device.checked_sub(BUFFER_START)?).ok()?;
        let len = usize::try_from(self.count).ok()?;
        let end = at.checked_add(len)?;
        (end <= BUFFER_BYTES).then_some(Transfer { direction, iova, at, len })
    }

    fn read_small(&self, offset: u64) -> Option<u64> {
        match offset {
            REG_ID => Some(u64::from(ID)),
            REG_LIVENESS => Some(u64::from(self.liveness)),
            REG_FACTORIAL => Some(u64::from(self.factorial)),
            REG_INTERRUPT_STATUS => Some(u64::from(self.interrupt_status)),
            // Never computing.
            REG_STATUS => Some(0),
            _ => None,
        }
    }

    fn dma_register(&self, offset: u64) -> Option<u64> {
        match offset {
            REG_DMA_SOURCE => Some(self.source),
            REG_DMA_DESTINATION => Some(self.destination),
            REG_DMA_COUNT => Some(self.count),
            REG_DMA_COMMAND => Some(self.command),
            _ => None,
        }
    }
}

fn low_word(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The factorial modulo 2^32. From 34 on it is 0.
fn factorial(of: u32) -> u32 {
    (1..=of.min(34)).fold(1, u32::wrapping_mul)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read4(edu: &Edu, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        edu.read(offset, &mut bytes);
        u32::from_be_bytes(bytes)
    }

    #[test]
    fn the_identity_reads_swapped_on_a_little_endian_host() {
        let mut bytes = [0; 4];
        Edu::default().read(REG_ID, &mut bytes);
        assert_eq!(u32::from_le_bytes(bytes), 0xed00_0001);
        let mut eight = [0; 8];
        Edu::default().read(REG_ID, &mut eight);
        assert_eq!(eight, [0xff; 8], "the low registers take 4 bytes only");
    }

    #[test]
    fn registers_hold_what_was_written() {
        let mut edu = Edu::default();
        edu.write(REG_LIVENESS, &0x1234_5678_u32.to_be_bytes());
        assert_eq!(read4(&edu, REG_LIVENESS), !0x1234_5678);
        edu.write(REG_FACTORIAL, &5_u32.to_be_bytes());
        assert_eq!(read4(&edu, REG_FACTORIAL), 120);
        edu.write(REG_DMA_SOURCE, &(1_u64 << 59).to_be_bytes());
        let mut bytes = [0; 8];
        edu.read(REG_DMA_SOURCE, &mut bytes);
        assert_eq!(u64::from_be_bytes(bytes), 1 << 59);
        assert_eq!(read4(&edu, BUFFER_START), u32::MAX, "the buffer is no part of the BAR");
    }

    #[test]
    fn a_command_names_its_transfer_and_is_over_at_once() {
        let mut edu = Edu::default();
        edu.write(REG_DMA_SOURCE, &0x8000_u32.to_be_bytes());
        edu.write(REG_DMA_DESTINATION, &0x40010_u32.to_be_bytes());
        edu.write(REG_DMA_COUNT, &64_u32.to_be_bytes());
        assert_eq!(edu.write(REG_DMA_COMMAND, &2_u32.to_be_bytes()), None, "not started");
        let transfer = edu.write(REG_DMA_COMMAND, &1_u32.to_be_bytes());
        let expected =
            Transfer { direction: Direction::FromMemory, iova: 0x8000, at: 0x10, len: 64 };
        assert_eq!(transfer, Some(Effect::Transfer(expected)));
        assert_eq!(read4(&edu, REG_DMA_COMMAND), 0);
    }

    #[test]
    fn a_transfer_outside_the_buffer_does_not_happen() {
        let mut edu = Edu::default();
        edu.write(REG_DMA_DESTINATION, &0x40001_u32.to_be_bytes());
        edu.write(REG_DMA_COUNT, &4096_u32.to_be_bytes());
        assert_eq!(edu.write(REG_DMA_COMMAND, &1_u32.to_be_bytes()), None);
    }
}
