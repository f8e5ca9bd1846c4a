//! The PCI command register.

/// Where it lies in configuration space; 16 bits.
pub(super) const OFFSET: u64 = 4;
/// The device answers accesses to its memory regions.
const MEMORY_SPACE: u16 = 1 << 1;
/// The device may start transfers, and messages, which are transfers.
const BUS_MASTER: u16 = 1 << 2;
/// The device leaves its interrupt line alone.
const LINE_OFF: u16 = 1 << 10;
/// Bits that are zero in every device that answers.
const ALWAYS_ZERO: u16 = 0xf800;
/// What is held against what was written.
const CHECKED: u16 = BUS_MASTER | LINE_OFF;

/// Its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command(pub(super) u16);

/// Whether a device may pull its interrupt line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Open,
    Off,
}

impl Command {
    /// What a device reads as that does not answer.
    pub(super) const NO_ANSWER: Self = Self(u16::MAX);

    /// Whether a device has answered: a read of a frozen or absent one gives ones.
    pub(crate) const fn is_answer(self) -> bool {
        self.0 & ALWAYS_ZERO != ALWAYS_ZERO
    }

    /// Whether the device can neither start a transfer nor pull its line. One that does not answer can do neither.
    pub(crate) const fn is_quiet(self) -> bool {
        !self.is_answer() || self.0 & CHECKED == LINE_OFF
    }

    pub(crate) const fn line(self) -> Line {
        if self.0 & LINE_OFF == 0 { Line::Open } else { Line::Off }
    }

    pub(super) const fn quiet(self) -> Self {
        Self(self.0 & !BUS_MASTER | LINE_OFF)
    }

    pub(super) const fn running(self, line: Line) -> Self {
        let on = self.0 & !LINE_OFF | BUS_MASTER | MEMORY_SPACE;
        match line {
            Line::Open => Self(on),
            Line::Off => Self(on | LINE_OFF),
        }
    }

    /// Whether a device took this value, as far as it matters.
    pub(super) const fn was_taken(self, now: Self) -> bool {
        self.0 & CHECKED == now.0 & CHECKED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_quiet_if_it_masters_nothing_and_leaves_its_line_alone() {
        for (value, is_quiet) in
            [(0x0402, true), (0x0406, false), (0x0002, false), (0x0006, false), (0xffff, true)]
        {
            assert_eq!(Command(value).is_quiet(), is_quiet, "{value:#x}");
        }
        assert!(!Command(0xffff).is_answer() && Command(0x07ff).is_answer());
    }

    #[test]
    fn what_is_no_matter_of_quiet_stays_as_it_is() {
        assert_eq!(Command(0x0147).quiet(), Command(0x0543));
        assert_eq!(Command(0x0541).running(Line::Open), Command(0x0147));
        assert_eq!(Command(0x0541).running(Line::Off), Command(0x0547));
    }

    #[test]
    fn a_value_is_taken_if_mastering_and_the_line_are_as_written() {
        let written = Command(0x0402);
        for (now, is_taken) in [(0x0402, true), (0x0400, true), (0x0406, false), (0x0002, false)] {
            assert_eq!(written.was_taken(Command(now)), is_taken, "{now:#x}");
        }
    }
}
