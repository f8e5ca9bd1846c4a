//! What is in a policy's file, beyond what [`LoadedPolicy`] needs of it.

use std::collections::BTreeSet;

use serde::Serialize;
use wasmparser::{Operator, Parser, Payload};

use crate::policy::{
    Broken, Digest, Evaluator as _, Exported, LoadedPolicy, wit::SettingDescription,
};

/// The sections of a custom kind that are listed, at most.
const SECTIONS_MAX: usize = 64;

/// What there is to know of a policy's file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// Its name.
    pub name: String,
    /// The bytes of its file.
    pub bytes: u64,
    /// The hash of its file.
    pub sha256: Digest,
    /// What it implements, and in which version.
    pub interfaces: Vec<Exported>,
    /// What it imports.
    pub imports: Vec<String>,
    /// The WebAssembly features it uses beyond the first version.
    pub features: BTreeSet<Feature>,
    /// Bytes of code of its core modules.
    pub code_bytes: u64,
    /// Bytes of memory that it starts with.
    pub memory_bytes: u64,
    /// Custom sections, such as names and debug information, with their bytes.
    pub custom_sections: Vec<(String, u64)>,
    /// Its settings; `None` if it does not tell.
    pub settings: Option<Vec<SettingDescription>>,
}

/// A WebAssembly feature that came after the first version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Copying and filling memory in one instruction.
    BulkMemory,
    /// Floating-point numbers, which are of the first version; a policy rarely needs them.
    Floats,
    /// Functions with several results.
    MultiValue,
    /// References to functions as values.
    ReferenceTypes,
    /// Conversions that do not trap.
    SaturatingFloatToInt,
    /// Sign extension in one instruction.
    SignExtension,
}

/// Looks into a policy that was loaded from these bytes.
///
/// # Errors
/// The policy broke when it was asked for its settings.
pub fn inspect(policy: &LoadedPolicy, file: &[u8]) -> Result<Inspection, Broken> {
    let mut inspection = Inspection {
        name: policy.name().to_owned(),
        bytes: policy.size(),
        sha256: policy.digest(),
        interfaces: policy.interfaces().to_vec(),
        imports: Vec::new(),
        features: BTreeSet::new(),
        code_bytes: 0,
        memory_bytes: 0,
        custom_sections: Vec::new(),
        settings: policy.describe_settings()?,
    };
    // It was loaded, so that it is well-formed; what cannot be read is left out.
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(file).map_while(Result::ok) {
        match &payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                let imports = section.clone().into_iter().map_while(Result::ok);
                // A component that only names types imports an instance of them, too.
                inspection.imports.extend(imports.map(|import| import.name.name.to_owned()));
            }
            other => inspection.look_at(other),
        }
    }
    Ok(inspection)
}

impl Inspection {
    fn look_at(&mut self, payload: &Payload<'_>) {
        const PAGE: u64 = 64 << 10;
        match payload {
            Payload::CodeSectionStart { size, .. } => {
                self.code_bytes = self.code_bytes.saturating_add(u64::from(*size));
            }
            Payload::MemorySection(section) => {
                let memories = section.clone().into_iter().map_while(Result::ok);
                let pages = memories.map(|memory| memory.initial).fold(0, u64::saturating_add);
                self.memory_bytes = self.memory_bytes.saturating_add(pages.saturating_mul(PAGE));
            }
            Payload::CustomSection(section) if self.custom_sections.len() < SECTIONS_MAX => {
                let bytes = u64::try_from(section.data().len()).unwrap_or(u64::MAX);
                self.custom_sections.push((section.name().to_owned(), bytes));
            }
            Payload::TypeSection(section) => {
                let types = section.clone().into_iter_err_on_gc_types().map_while(Result::ok);
                let mut types = types.into_iter();
                if types.any(|it| it.results().len() > 1) {
                    self.features.insert(Feature::MultiValue);
                }
            }
            Payload::CodeSectionEntry(body) => {
                let Ok(operators) = body.get_operators_reader() else { return };
                let used = operators.into_iter().map_while(Result::ok);
                self.features.extend(used.filter_map(|operator| feature(&operator)));
            }
            _ => {}
        }
    }
}

/// The feature that an instruction is of, told by the name of its kind.
fn feature(operator: &Operator<'_>) -> Option<Feature> {
    use Operator as O;
    Some(match operator {
        O::MemoryCopy { .. } | O::MemoryFill { .. } | O::MemoryInit { .. } | O::DataDrop { .. } => {
            Feature::BulkMemory
        }
        O::I32Extend8S | O::I32Extend16S | O::I64Extend8S | O::I64Extend16S | O::I64Extend32S => {
            Feature::SignExtension
        }
        O::I32TruncSatF32S
        | O::I32TruncSatF32U
        | O::I32TruncSatF64S
        | O::I32TruncSatF64U
        | O::I64TruncSatF32S
        | O::I64TruncSatF32U
        | O::I64TruncSatF64S
        | O::I64TruncSatF64U => Feature::SaturatingFloatToInt,
        O::RefNull { .. } | O::RefFunc { .. } | O::RefIsNull | O::TableGrow { .. } => {
            Feature::ReferenceTypes
        }
        O::F32Const { .. } | O::F64Const { .. } | O::F64Load { .. } | O::F32Load { .. } => {
            Feature::Floats
        }
        _ => return None,
    })
}
