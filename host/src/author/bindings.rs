//! From a WIT package to what a policy in C is compiled with.

use std::path::Path;

use thiserror::Error;
use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;
use wit_parser::Resolve;

/// Why there are no bindings.
#[derive(Debug, Error)]
pub enum BindingsError {
    /// No WIT package.
    #[error("it is no package: {what}")]
    Wit {
        /// What stands against it.
        what: String,
    },
    /// The package has no such world.
    #[error("there is no world `{world}`: {what}")]
    World {
        /// Its name.
        world: String,
        /// What stands against it.
        what: String,
    },
    /// The generator cannot bind it.
    #[error("no bindings can be made of it: {what}")]
    Generator {
        /// What stands against it.
        what: String,
    },
}

/// The files that bind a world of a package to C, by name: a header, a source, and an object that says which world the
/// module is for.
///
/// # Errors
/// [`BindingsError`].
pub fn c(wit: &Path, world: &str) -> Result<Vec<(String, Vec<u8>)>, BindingsError> {
    let mut resolve = Resolve::default();
    let (package, _) =
        resolve.push_dir(wit).map_err(|error| BindingsError::Wit { what: format!("{error:#}") })?;
    let world = resolve.select_world(&[package], Some(world)).map_err(|error| {
        BindingsError::World { world: world.to_owned(), what: format!("{error:#}") }
    })?;
    let mut files = Files::default();
    Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)
        .map_err(|error| BindingsError::Generator { what: format!("{error:#}") })?;
    Ok(files.iter().map(|(name, content)| (name.to_owned(), content.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::{BindingsError, c};
    use std::path::Path;

    #[test]
    fn a_world_has_a_header_a_source_and_the_object_that_names_it() {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        let files = c(&wit, "page-selector").expect("bindings");
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let expected = ["page_selector.c", "page_selector.h", "page_selector_component_type.o"];
        assert_eq!(names, expected);
        assert!(matches!(c(&wit, "nothing"), Err(BindingsError::World { .. })));
        assert!(matches!(c(Path::new("/dev/null"), "policy"), Err(BindingsError::Wit { .. })));
    }
}
