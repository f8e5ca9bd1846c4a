//! What a file is, told from its outside: nothing is compiled here, and nothing is believed.

use wasmparser::{Encoding, Parser, Payload};

use super::{
    interface::{Export, Exported, Import, Interface, spoken_version},
    limits::{NESTING_MAX, PARTS_MAX},
    load::LoadError,
    shown,
};

/// How every WebAssembly file starts.
const MAGIC: &[u8] = b"\0asm";

/// The interfaces of a component that may be compiled, each in a version this host speaks, in the order of asking.
pub(super) fn inspect(file: &[u8]) -> Result<Vec<Exported>, LoadError> {
    let outside = Outside::read(file)?;
    let ours: Vec<Exported> =
        outside.exports.iter().filter_map(|name| Exported::parse(name)).collect();
    // First: what was built for another version imports the types of that one, too.
    let spoken = spoken(&ours)?;
    if !outside.imports.is_empty() {
        return Err(LoadError::Imports { names: shown::names(&outside.imports) });
    }
    if !ours.iter().any(|each| matches!(each.interface, Export::Point(_))) {
        return Err(LoadError::NoInterface { exports: shown::names(&outside.exports) });
    }
    Ok(spoken)
}

/// Of each interface the export that this host speaks.
fn spoken(ours: &[Exported]) -> Result<Vec<Exported>, LoadError> {
    let of = |interface| ours.iter().filter(move |each| each.interface == interface);
    let host = spoken_version();
    let mut spoken = Vec::new();
    for interface in Interface::ALL.map(Export::Point).into_iter().chain([Export::Settings]) {
        match (of(interface).find(|each| each.is_spoken_by(&host)), of(interface).next()) {
            (Some(exported), _) => spoken.push(exported.clone()),
            (None, Some(stranger)) => {
                return Err(LoadError::UnknownVersion { exported: stranger.clone() });
            }
            (None, None) => {}
        }
    }
    Ok(spoken)
}

/// The names of a component's own imports and exports.
#[derive(Default)]
struct Outside {
    /// Without those that a policy may have.
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Outside {
    fn read(file: &[u8]) -> Result<Self, LoadError> {
        if !file.starts_with(MAGIC) {
            return Err(LoadError::NotAComponent { found: kind_of_non_wasm(file) });
        }
        let mut outside = Self::default();
        let host = spoken_version();
        // Components and modules lie inside each other; only the outermost one's names count.
        let mut depth = 0usize;
        let mut parts = 0usize;
        for payload in Parser::new(0).parse_all(file) {
            let payload = payload.map_err(|error| damaged(&error))?;
            match payload {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    return Err(LoadError::NotAComponent {
                        found: "a core WebAssembly module: make a component of it, \
                                with `wasm-tools component new` for instance",
                    });
                }
                Payload::Version { .. } => {
                    depth += 1;
                    parts += 1;
                    check_parts(depth, parts)?;
                }
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        let name = import.map_err(|error| damaged(&error))?.name.name;
                        if Import::parse(name, &host).is_none() {
                            outside.imports.push(name.to_owned());
                        }
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        let name = export.map_err(|error| damaged(&error))?.name.name;
                        outside.exports.push(name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(outside)
    }
}

/// What lies in a component costs its compiler far more memory than it has bytes.
fn check_parts(depth: usize, parts: usize) -> Result<(), LoadError> {
    let what = if depth > NESTING_MAX {
        format!("components lie in each other more than {NESTING_MAX} deep")
    } else if parts > PARTS_MAX {
        format!("it has more than {PARTS_MAX} components and core modules in it")
    } else {
        return Ok(());
    };
    Err(LoadError::Compile { what })
}

fn kind_of_non_wasm(file: &[u8]) -> &'static str {
    let text = file.iter().find(|byte| !byte.is_ascii_whitespace());
    match text {
        None => "an empty file",
        Some(b'(' | b';') => {
            "WebAssembly text: make a binary of it, with `wasm-tools parse` for instance"
        }
        Some(_) => "no WebAssembly at all",
    }
}

fn damaged(error: &wasmparser::BinaryReaderError) -> LoadError {
    LoadError::Damaged { what: shown::ascii(&error.to_string()) }
}
