//! Jobs, commands and machines.

mod command;
mod library;
mod tree;

use std::path::PathBuf;

pub(crate) use self::{
    command::{Folder, tce},
    library::{Ran, run_at, run_on},
    tree::Tree,
};

/// The smallest job that makes sense; what else a case needs is appended.
pub(crate) const SMALL: &str = r#"
name = "small"
[[device]]
address = "0000:01:00.0"
[[lease]]
name = "all"
holder = "test"
regions = ["memory"]
[[region]]
name = "memory"
size = "1M"
"#;

/// The smallest job with a step.
pub(crate) fn with_step(step: &str) -> String {
    format!("{SMALL}\n[[step]]\nlease = \"all\"\n{step}\n")
}

/// A job of the examples.
pub(crate) fn example(name: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The file of a component.
pub(crate) fn plugin(name: &str) -> String {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
    let folder = std::env::var_os("TCE_PLUGINS").map_or_else(built, PathBuf::from);
    let file = folder.join(name).with_extension("wasm");
    assert!(
        file.is_file(),
        "{} is not there: build it with `cargo xtask plugins`, or name its folder in TCE_PLUGINS",
        file.display()
    );
    file.display().to_string()
}
