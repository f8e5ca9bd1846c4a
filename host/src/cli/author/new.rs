//! `tce policy new`.

use std::path::Path;

use crate::{
    author::project::{Language, Project, ProjectError},
    cli::print_text,
    exit::{Exit, Failure},
};

pub(super) fn new(language: Language, name: &str) -> Result<Exit, Failure> {
    let made = Project::new(language, name).and_then(|project| project.write(Path::new("")));
    let folder = made.map_err(|error| match error {
        ProjectError::Name { .. } => {
            Failure::new(Exit::Usage, error).with("call it my-policy, for instance")
        }
        ProjectError::Exists { .. } => {
            Failure::new(Exit::Usage, error).with("choose another name; nothing is overwritten")
        }
        ProjectError::Unwritable { .. } => Failure::new(Exit::Unexpected, error),
    })?;
    let folder = folder.display();
    print_text(&format!(
        "{folder} is made: its README.md says how to build it, ci.sh does all of it\n"
    ))?;
    Ok(Exit::Done)
}
