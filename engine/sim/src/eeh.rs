//! The state of a PE under enhanced error handling (`arch/powerpc/kernel/eeh.c`).

use tce_engine::kernel::EehOperation;

/// What a PE lets through. The numbers are those of `eeh_pe_get_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeState {
    /// Registers and DMA (0).
    #[default]
    Normal,
    /// Neither (2).
    Stopped,
    /// Registers, no DMA (4).
    StoppedDma,
    /// DMA, no registers; the kernel has no name for it (5).
    Unavailable,
}

impl PeState {
    /// `VFIO_EEH_PE_GET_STATE`'s answer.
    #[must_use]
    pub const fn value(self) -> i32 {
        match self {
            Self::Normal => 0,
            Self::Stopped => 2,
            Self::StoppedDma => 4,
            Self::Unavailable => 5,
        }
    }

    /// Whether registers answer.
    pub(crate) const fn registers_answer(self) -> bool {
        matches!(self, Self::Normal | Self::StoppedDma)
    }

    /// Whether DMA goes through.
    pub(crate) const fn dma_passes(self) -> bool {
        matches!(self, Self::Normal | Self::Unavailable)
    }

    /// The state after an operation that succeeded. A PE in a hot reset shows as normal, as in the emulation.
    pub(crate) const fn after(self, operation: EehOperation) -> Self {
        match operation {
            EehOperation::UnfreezeIo => match self {
                Self::Stopped => Self::StoppedDma,
                Self::Unavailable => Self::Normal,
                open => open,
            },
            EehOperation::UnfreezeDma => match self {
                Self::Stopped => Self::Unavailable,
                Self::StoppedDma => Self::Normal,
                open => open,
            },
            EehOperation::ResetHot
            | EehOperation::ResetFundamental
            | EehOperation::ResetDeactivate => Self::Normal,
            EehOperation::Disable
            | EehOperation::Enable
            | EehOperation::GetState
            | EehOperation::Configure => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_pe_thaws_in_two_steps_of_either_order() {
        let [io, dma] = [EehOperation::UnfreezeIo, EehOperation::UnfreezeDma];
        let frozen = PeState::Stopped;
        assert_eq!(frozen.after(io), PeState::StoppedDma);
        assert_eq!(frozen.after(io).after(dma), PeState::Normal);
        assert_eq!(frozen.after(dma).after(io), PeState::Normal);
        assert_eq!(PeState::Normal.after(dma).after(io), PeState::Normal);
    }

    #[test]
    fn a_reset_thaws() {
        assert_eq!(PeState::Stopped.value(), 2);
        assert_eq!(PeState::Stopped.after(EehOperation::ResetHot).value(), 0);
        assert_eq!(PeState::StoppedDma.after(EehOperation::ResetDeactivate).value(), 0);
    }
}
