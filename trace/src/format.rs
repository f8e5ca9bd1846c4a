//! JSON Lines: a header, then one event a line. `docs/trace.md` describes it.

mod lines;
mod read;
mod write;

use serde::{Deserialize, Serialize};
use tce_engine::{
    addr::{Bytes, PageShift},
    kernel::Platform,
};

use crate::hex;

pub(crate) use lines::Lines;
pub use lines::{LINE_BYTES_MAX, Place, ReadError};
pub use read::{EVENTS_MAX, Reader};
pub use write::Writer;

/// The header's `format`.
pub const FORMAT: &str = "tce-trace";
/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// What is known of the program and the machine. All but format and version may be unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The program and its arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// The kernel's release, as `uname -r` says it.
    #[serde(default)]
    pub kernel: Option<String>,
    /// The machine, as `uname -m` says it.
    #[serde(default)]
    pub machine: Option<String>,
    /// The platform.
    #[serde(default, with = "platform")]
    pub platform: Option<Platform>,
    /// The kernel's page, in bytes.
    #[serde(default)]
    pub page_size: Option<u64>,
    /// The locked-memory limit when the recording began; absent or null if there was none.
    #[serde(default, with = "hex::option")]
    pub locked_limit: Option<Bytes>,
}

impl Header {
    /// A header that knows only the command.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            command,
            kernel: None,
            machine: None,
            platform: None,
            page_size: None,
            locked_limit: None,
        }
    }

    /// The kernel's page, if the header names a size that is one.
    #[must_use]
    pub fn page_shift(&self) -> Option<PageShift> {
        self.page_size.and_then(|size| PageShift::of_size(Bytes::new(size)))
    }
}

/// A platform by its name.
mod platform {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use tce_engine::kernel::Platform;

    #[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(
        platform: &Option<Platform>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match platform {
            Some(platform) => to.collect_str(platform),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Platform>, D::Error> {
        match Option::<String>::deserialize(from)?.as_deref() {
            None => Ok(None),
            Some("powernv") => Ok(Some(Platform::Powernv)),
            Some("pseries") => Ok(Some(Platform::Pseries)),
            Some(other) => Err(D::Error::custom(format_args!(
                "{other:?} is no platform: it is \"powernv\" or \"pseries\""
            ))),
        }
    }
}
