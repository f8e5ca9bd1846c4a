//! What a program did: its calls, typed, with their answers.

mod call;
mod device;

use serde::{Deserialize, Serialize};
use tce_engine::{
    addr::Bytes,
    errno::Errno,
    kernel::{Fd, Raw},
};

use crate::hex;

pub use call::Call;
pub use device::{DeviceOperation, DeviceOperationName};

/// One call of one thread, with its answer.
///
/// Events stand in the order in which their calls ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When the call began, in microseconds since the recording did.
    pub time_us: u64,
    /// How long it took, in microseconds; absent if that was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// The process that made it (`tgid`). Descriptors and memory are those of this process.
    pub process: u32,
    /// The thread that made it (`tid`).
    pub thread: u32,
    /// The call.
    #[serde(flatten)]
    pub call: Call,
    /// What it returned.
    #[serde(flatten)]
    pub answer: Answer,
    /// The locked memory of the process (`VmLck`) after the call; absent if it was not read.
    #[serde(default, with = "hex::option", skip_serializing_if = "Option::is_none")]
    pub locked: Option<Bytes>,
    /// For [`Call::Register`]: the smallest page that backs the range; absent if that was not looked up.
    #[serde(default, with = "hex::option", skip_serializing_if = "Option::is_none")]
    pub backing: Option<Bytes>,
}

/// What a call returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A value that was not -1; for an open, the new descriptor.
    Returned(i64),
    /// -1, with this errno. In a trace its name, or its number where this project knows no name.
    Failed(#[serde(with = "errno")] Errno),
}

impl Answer {
    /// Plain success of a call that returns no value.
    pub const OK: Self = Self::Returned(0);

    /// Whether the call did what it was asked: it returned 0, the only success of the backend's operations.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::OK
    }

    /// The descriptor that an open returned.
    #[must_use]
    pub fn descriptor(self) -> Option<Fd> {
        match self {
            Self::Returned(value) => i32::try_from(value).ok().filter(|fd| *fd >= 0).map(Fd::new),
            Self::Failed(_) => None,
        }
    }
}

impl From<Raw> for Answer {
    fn from(raw: Raw) -> Self {
        match raw {
            Raw::Returned(value) => Self::Returned(value.into()),
            Raw::Failed(errno) => Self::Failed(errno),
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Returned(value) => value.fmt(f),
            Self::Failed(errno) => match errno.name() {
                Some(name) => f.write_str(name),
                None => errno.fmt(f),
            },
        }
    }
}

/// An errno by name, or by number.
mod errno {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use tce_engine::errno::Errno;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Name(String),
        Number(i32),
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(errno: &Errno, to: S) -> Result<S::Ok, S::Error> {
        match errno.name() {
            Some(name) => to.serialize_str(name),
            None => to.serialize_i32(errno.0),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Errno, D::Error> {
        match Written::deserialize(from)? {
            Written::Name(name) => Errno::from_name(&name).ok_or_else(|| {
                D::Error::custom(format_args!("{name:?} is no errno known here: write its number"))
            }),
            Written::Number(number) => Ok(Errno(number)),
        }
    }
}
