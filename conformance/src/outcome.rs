//! What came of a step.

use std::fmt;

use serde::{Deserialize, Serialize};
use tce_engine::{
    errno::Errno,
    kernel::{Raw, SpaprInfo},
};

use crate::notation::{errno, hex};

/// What came of one step, in words that mean the same on every machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the call gave.
    #[serde(flatten)]
    pub answer: Answer,
    /// Locked memory of the process afterwards, in bytes.
    #[serde(with = "hex")]
    pub locked: u64,
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "gave", rename_all = "kebab-case")]
pub enum Answer {
    /// A value that was not -1.
    Returned {
        /// The value.
        value: i32,
    },
    /// An errno.
    Failed {
        /// The errno.
        #[serde(with = "errno")]
        errno: Errno,
    },
    /// A descriptor.
    Opened,
    /// `GROUP_GET_STATUS`'s flags.
    Status {
        /// Viable.
        viable: bool,
        /// In a container.
        in_container: bool,
    },
    /// `TCE_GET_INFO`'s structure.
    Info {
        /// Flags.
        flags: u32,
        /// Start and size of the default window.
        default_window: (u32, u32),
        /// Page sizes.
        #[serde(with = "hex")]
        page_sizes: u64,
        /// Windows and levels.
        limits: (u32, u32),
    },
    /// `TCE_CREATE`'s start.
    Start {
        /// The start.
        #[serde(with = "hex")]
        iova: u64,
    },
    /// What was seen in memory after a transfer.
    Seen {
        /// The first eight bytes.
        #[serde(with = "hex")]
        first: u64,
        /// A checksum of all.
        #[serde(with = "hex")]
        checksum: u64,
    },
}

impl From<Raw> for Answer {
    fn from(raw: Raw) -> Self {
        match raw {
            Raw::Returned(value) => Self::Returned { value },
            Raw::Failed(errno) => Self::Failed { errno },
        }
    }
}

impl From<SpaprInfo> for Answer {
    fn from(info: SpaprInfo) -> Self {
        Self::Info {
            flags: info.flags,
            default_window: (info.dma32_window_start, info.dma32_window_size),
            page_sizes: info.page_sizes,
            limits: (info.windows_max, info.levels_max),
        }
    }
}

impl Answer {
    /// Whether the call did what it says, as far as its result tells.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        !matches!(self, Self::Failed { .. } | Self::Returned { value: 1.. })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned { value } => write!(f, "{value}"),
            Self::Failed { errno } => match errno.name() {
                Some(name) => f.write_str(name),
                None => write!(f, "errno {}", errno.0),
            },
            Self::Opened => f.write_str("opened"),
            Self::Status { viable, in_container } => {
                write!(f, "viable: {viable}, in a container: {in_container}")
            }
            Self::Info { flags, default_window: (start, size), page_sizes, limits } => write!(
                f,
                "flags {flags}, default window {start:#x} size {size:#x}, pages {page_sizes:#x}, windows {}, levels {}",
                limits.0, limits.1
            ),
            Self::Start { iova } => write!(f, "start {iova:#x}"),
            Self::Seen { first, checksum } => write!(f, "seen {first:#018x}, sum {checksum:#x}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (locked {} KiB)", self.answer, self.locked / 1024)
    }
}
