//! What a policy may use, each with its reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The largest component file that is read. A Rust policy has some tens of KiB, one with an interpreter inside
/// (JavaScript, Python) 12 to 19 MiB; compile time grows with it.
pub const FILE_BYTES_MAX: u64 = 32 << 20;

/// The code that a component is compiled to. One with an interpreter inside has some 60 MiB of it.
pub const CODE_BYTES_MAX: u64 = 256 << 20;

/// How deep components and core modules may lie in each other. What is built from a program has two or three levels.
pub const NESTING_MAX: usize = 16;

/// The components and core modules in a file, all together. A program and what `wit-component` puts around it have fewer
/// than ten, an interpreter with its libraries some tens.
pub const PARTS_MAX: usize = 256;

/// Fuel of one decision, about one unit an instruction. The reference policy burns less than a hundredth of it on
/// ordinary questions, an interpreted one a tenth; burning all of it takes some 20 ms in Pulley on x86_64.
pub const FUEL_MAX: u64 = 10_000_000;

/// All linear memories of a policy together. A Rust guest starts with little more than 1 MiB, most of it stack.
pub const MEMORY_BYTES_MAX: usize = 16 << 20;

/// All linear memories of a policy that brings an interpreter with it.
pub const MEMORY_BYTES_LARGE: usize = 64 << 20;

/// Linear memories. A program has one, however many modules it is made of.
pub const MEMORIES_MAX: u32 = 4;

/// Elements of one table. Tables hold function pointers; a guest has as many as functions whose address it takes.
pub const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Tables and core instances of one component. One core module and what `wit-component` puts around it need fewer than
/// half.
pub const ITEMS_MAX: u32 = 16;

/// Tables and core instances of one that brings an interpreter with it.
pub const ITEMS_LARGE: u32 = 64;

/// Bytes that an answer may make the host allocate: room for 60,000 regions or 30,000 leases.
pub const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Resource handles. The interfaces have no resources, so that there is nothing to hold.
pub const HANDLES_MAX: usize = 16;

/// Bytes of a refusal's detail that are kept, as the WIT promises.
pub const DETAIL_BYTES_MAX: usize = 1_000;

/// Lines that are kept of what a policy notes in one decision, as the WIT promises.
pub const LOG_LINES_MAX: usize = 32;

/// Bytes that are kept of one such line, as the WIT promises.
pub const LOG_LINE_BYTES_MAX: usize = 1_000;

/// Fuel that a line costs which a policy notes, beside one for each of its bytes: what the host does with it.
pub const LOG_LINE_FUEL: u64 = 100;

/// Settings that are kept of those a policy describes, as the WIT promises.
pub const SETTINGS_MAX: usize = 64;

/// Bytes that are kept of each text in which a policy tells of a setting.
pub const SETTING_BYTES_MAX: usize = 1_000;

/// The stack of WebAssembly code. A property of the engine, not of a policy; on Pulley it is allocated for each store.
pub const WASM_STACK_BYTES_MAX: usize = 256 << 10;

/// How long a decision may take by the clock. Fuel ends a decision long before, on an emulated POWER machine too; this
/// is for what fuel does not see, such as one instruction that moves much memory on a machine that is out of it.
pub const DECISION_TIME_MAX: Duration = Duration::from_secs(10);

/// How long compiling a component, or getting it ready, may take by the clock. One with an interpreter inside takes 16 s.
pub const COMPILE_TIME_MAX: Duration = Duration::from_secs(60);

/// What a policy may use, in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LimitsClass {
    /// 16 MiB, and 16 modules: what one in Rust or C needs, many times over.
    #[default]
    Usual,
    /// 64 MiB, and 64 modules, for one that brings an interpreter with it, as in Python.
    Large,
}

impl From<LimitsClass> for Limits {
    fn from(class: LimitsClass) -> Self {
        match class {
            LimitsClass::Usual => Self::default(),
            LimitsClass::Large => Self::large(),
        }
    }
}

/// The limits of one policy. [`Limits::default`] is what the constants of this file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest file that is loaded.
    pub file_bytes: u64,
    /// Fuel of one decision.
    pub fuel: u64,
    /// All linear memories together; more than [`MEMORY_BYTES_LARGE`] counts as that.
    pub memory_bytes: usize,
    /// Elements of one table; more than [`TABLE_ELEMENTS_MAX`] counts as that.
    pub table_elements: usize,
    /// Tables and core instances, each; more than [`ITEMS_LARGE`] counts as that.
    pub items: u32,
    /// Bytes of one answer.
    pub answer_bytes: usize,
    /// Resource handles.
    pub handles: usize,
    /// Time of one decision, by the clock.
    pub decision_time: Duration,
    /// Time of compiling it in another process, by the clock.
    pub compile_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: FILE_BYTES_MAX,
            fuel: FUEL_MAX,
            memory_bytes: MEMORY_BYTES_MAX,
            table_elements: TABLE_ELEMENTS_MAX,
            items: ITEMS_MAX,
            answer_bytes: ANSWER_BYTES_MAX,
            handles: HANDLES_MAX,
            decision_time: DECISION_TIME_MAX,
            compile_time: COMPILE_TIME_MAX,
        }
    }
}

impl Limits {
    /// Limits for a policy that brings an interpreter with it, as one in Python: 40 core instances, and 40 MiB of memory.
    /// Its fuel is that of the others.
    #[must_use]
    pub fn large() -> Self {
        let usual = Self::default();
        Self { memory_bytes: MEMORY_BYTES_LARGE, items: ITEMS_LARGE, ..usual }
    }

    /// The same, none beyond what there is room for.
    pub(super) fn with_room(self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(MEMORY_BYTES_LARGE),
            table_elements: self.table_elements.min(TABLE_ELEMENTS_MAX),
            items: self.items.min(ITEMS_LARGE),
            ..self
        }
    }

    /// The time of one decision in milliseconds, as failures tell it.
    pub(super) fn decision_millis(&self) -> u64 {
        u64::try_from(self.decision_time.as_millis()).unwrap_or(u64::MAX)
    }
}
