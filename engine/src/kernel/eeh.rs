//! Enhanced error handling.

use std::fmt;

/// `VFIO_EEH_PE_OP`'s operation, but for error injection, which is [`InjectedError`]'s.
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

impl fmt::Display for EehOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "VFIO_EEH_PE_DISABLE",
            Self::Enable => "VFIO_EEH_PE_ENABLE",
            Self::UnfreezeIo => "VFIO_EEH_PE_UNFREEZE_IO",
            Self::UnfreezeDma => "VFIO_EEH_PE_UNFREEZE_DMA",
            Self::GetState => "VFIO_EEH_PE_GET_STATE",
            Self::ResetDeactivate => "VFIO_EEH_PE_RESET_DEACTIVATE",
            Self::ResetHot => "VFIO_EEH_PE_RESET_HOT",
            Self::ResetFundamental => "VFIO_EEH_PE_RESET_FUNDAMENTAL",
            Self::Configure => "VFIO_EEH_PE_CONFIGURE",
        })
    }
}

/// `VFIO_EEH_PE_INJECT_ERR`'s arguments (`struct vfio_eeh_pe_err`), unchecked: an error that the host bridge makes of a
/// coming access, so that recovery from it can be tried. Firmware need not know how to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InjectedError {
    /// Of a 32-bit access (0, `EEH_ERR_TYPE_32`) or a 64-bit one (1, `EEH_ERR_TYPE_64`).
    pub width: u32,
    /// Of which access: 0 to 19, `EEH_ERR_FUNC_LD_MEM_ADDR` to `EEH_ERR_FUNC_DMA_WR_TARGET`.
    pub function: u32,
    /// The bus address that is meant.
    pub address: u64,
    /// The bits of the address that are compared.
    pub mask: u64,
}

impl InjectedError {
    /// `VFIO_EEH_PE_INJECT_ERR`.
    pub const OPERATION: u32 = 9;
}
