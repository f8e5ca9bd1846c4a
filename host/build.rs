//! Lists what `tce policy new` puts into a project: the WIT package, the SDK, and the templates, each file with its
//! content.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// What is listed: the name of the list, and the folder.
const LISTS: [(&str, &str); 7] = [
    ("WIT", "../wit"),
    ("SDK", "../plugins/sdk/src"),
    ("SDK_NAMES", "../plugins/sdk/names/src"),
    ("COMMON", "templates/common"),
    ("RUST", "templates/rust"),
    ("C", "templates/c"),
    ("PYTHON", "templates/python"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    for (name, folder) in LISTS {
        let folder = fs::canonicalize(folder)?;
        let mut files = Vec::new();
        find(&folder, &mut files)?;
        files.sort();
        writeln!(text, "/// The files of a folder, by their path within it.")?;
        writeln!(text, "pub(super) const {name}: &[(&str, &str)] = &[")?;
        for file in files {
            let inside = file.strip_prefix(&folder)?;
            writeln!(text, "    ({inside:?}, include_str!({file:?})),")?;
        }
        writeln!(text, "];")?;
    }
    let out = PathBuf::from(env::var("OUT_DIR")?).join("project_files.rs");
    fs::write(out, text)?;
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { find(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
