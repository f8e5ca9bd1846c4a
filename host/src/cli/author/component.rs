//! `tce policy component`.

use std::{fs, path::Path};

use crate::{
    author::component::{ComponentError, encode},
    cli::print_text,
    exit::{Exit, Failure},
};

use super::write;

pub(super) fn component(module: &Path, output: &Path) -> Result<Exit, Failure> {
    let failed = |what: String| {
        Failure::new(Exit::PolicyFile, format!("module {}: {what}", module.display()))
    };
    let bytes = fs::read(module).map_err(|error| {
        failed(format!("it cannot be read: {error}"))
            .with("name the core module that the compiler made, an own .wasm file")
    })?;
    let component = encode(&bytes).map_err(|error| {
        let failure = failed(error.to_string());
        match error {
            ComponentError::Already => failure.with("use it as it is"),
            ComponentError::NotEncodable { .. } => failure.with(
                "build a library (in Rust a cdylib) that exports the functions of the WIT package \
                 with bindings made from its files",
            ),
        }
    })?;
    write(output, &component)?;
    print_text(&format!("{}: {} bytes\n", output.display(), component.len()))?;
    Ok(Exit::Done)
}
