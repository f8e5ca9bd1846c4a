//! Enhanced error handling.

/// `VFIO_EEH_PE_OP`'s operation, without error injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EehOperation {
    /// `VFIO_EEH_PE_DISABLE`.
    Disable,
    /// `VFIO_EEH_PE_ENABLE`.
    Enable,
    /// `VFIO_EEH_PE_UNFREEZE_IO`.
    UnfreezeIo,
    /// `VFIO_EEH_PE_UNFREEZE_DMA`.
    UnfreezeDma,
    /// `VFIO_EEH_PE_GET_STATE`: the state is the returned value.
    GetState,
    /// `VFIO_EEH_PE_RESET_DEACTIVATE`.
    ResetDeactivate,
    /// `VFIO_EEH_PE_RESET_HOT`.
    ResetHot,
    /// `VFIO_EEH_PE_RESET_FUNDAMENTAL`.
    ResetFundamental,
    /// `VFIO_EEH_PE_CONFIGURE`.
    Configure,
}

impl EehOperation {
    /// All of them, each in the place of its number in `linux/vfio.h`.
    pub const ALL: [Self; 9] = [
        Self::Disable,
        Self::Enable,
        Self::UnfreezeIo,
        Self::UnfreezeDma,
        Self::GetState,
        Self::ResetDeactivate,
        Self::ResetHot,
        Self::ResetFundamental,
        Self::Configure,
    ];

    /// Its number in `linux/vfio.h`.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Disable => 0,
            Self::Enable => 1,
            Self::UnfreezeIo => 2,
            Self::UnfreezeDma => 3,
            Self::GetState => 4,
            Self::ResetDeactivate => 5,
            Self::ResetHot => 6,
            Self::ResetFundamental => 7,
            Self::Configure => 8,
        }
    }

    /// The operation of this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.number() == number)
    }
}
