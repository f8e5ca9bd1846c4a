//! `tce policy bindings`.

use std::{fs, path::Path};

use crate::{
    author::bindings::{BindingsError, c},
    cli::print_text,
    exit::{Exit, Failure},
};

use super::write;

pub(super) fn bindings(wit: &Path, world: &str, output: &Path) -> Result<Exit, Failure> {
    let files = c(wit, world).map_err(|error| {
        let failure = Failure::new(Exit::PolicyFile, format!("WIT {}: {error}", wit.display()));
        failure.with(match error {
            BindingsError::Wit { .. } => "name the folder with the .wit files, `wit` in a project",
            BindingsError::World { .. } => "name a world that one of its files has",
            BindingsError::Generator { .. } => "use only what the package tce:policy has",
        })
    })?;
    fs::create_dir_all(output).map_err(|error| {
        Failure::new(Exit::Unexpected, format!("{} cannot be made: {error}", output.display()))
    })?;
    for (name, content) in &files {
        write(&output.join(name), content)?;
        print_text(&format!("{}\n", output.join(name).display()))?;
    }
    Ok(Exit::Done)
}
