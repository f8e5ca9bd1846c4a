//! A device's interrupts, as vfio-pci forwards them (`vfio_pci_intrs.c`): those of one kind at most.

use tce_engine::{errno::Errno, kernel::InterruptKind};

use crate::event::EventId;

/// What is on (`vfio_pci_core_device::irq_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Interrupts {
    /// Nothing.
    #[default]
    Off,
    /// The line: it counts once, then it is masked, and no call of the seam unmasks it.
    Line { event: EventId, mask: Mask },
    /// Messages. The kind is MSI or MSI-X.
    Messages { kind: InterruptKind, event: EventId },
}

/// Whether the kernel ignores the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mask {
    Open,
    Masked,
}

impl Interrupts {
    const fn kind(self) -> Option<InterruptKind> {
        match self {
            Self::Off => None,
            Self::Line { .. } => Some(InterruptKind::Intx),
            Self::Messages { kind, .. } => Some(kind),
        }
    }

    /// Switches a kind on, or gives it another event if it is.
    pub(super) fn enable(&mut self, kind: InterruptKind, event: EventId) -> Result<(), Errno> {
        if self.kind().is_some_and(|on| on != kind) {
            return Err(Errno::EINVAL);
        }
        *self = match (*self, kind) {
            (Self::Line { mask, .. }, _) => Self::Line { event, mask },
            (_, InterruptKind::Intx) => Self::Line { event, mask: Mask::Open },
            (_, InterruptKind::Msi | InterruptKind::Msix) => Self::Messages { kind, event },
        };
        Ok(())
    }

    /// Switches a kind off. One that is not on is not known.
    pub(super) fn disable(&mut self, kind: InterruptKind) -> Result<(), Errno> {
        if self.kind() != Some(kind) {
            return Err(Errno::EINVAL);
        }
        *self = Self::Off;
        Ok(())
    }

    /// The line has become high: the event that counts it (`vfio_intx_handler`).
    pub(super) fn line(&mut self) -> Option<EventId> {
        let Self::Line { event, mask: mask @ Mask::Open } = self else { return None };
        *mask = Mask::Masked;
        Some(*event)
    }

    /// A message was sent: the event that counts it (`vfio_msihandler`).
    pub(super) const fn message(&self) -> Option<EventId> {
        match self {
            Self::Messages { event, .. } => Some(*event),
            Self::Off | Self::Line { .. } => None,
        }
    }
}
