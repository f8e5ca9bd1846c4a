//! New projects: a policy that builds and passes its tests at once, outside this repository. All it needs comes with
//! this program.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// The longest name of a project.
pub const NAME_LEN_MAX: usize = 64;

mod files {
    include!(concat!(env!("OUT_DIR"), "/project_files.rs"));
}

/// What a policy is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Rust, with the SDK.
    Rust,
}

/// Why there is no project.
#[derive(Debug, Error)]
pub enum ProjectError {
    /// A name that not everything can be called.
    #[error(
        "`{name}` is no name for a project: 1 to {NAME_LEN_MAX} lower-case letters, digits and hyphens, a letter first"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// It is there already.
    #[error("{path} exists already")]
    Exists {
        /// The folder.
        path: String,
    },
    /// It cannot be written.
    #[error("{path} cannot be written: {error}")]
    Unwritable {
        /// The file or folder.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// A project to be.
#[derive(Clone, Debug)]
pub struct Project {
    name: String,
    language: Language,
}

impl Project {
    /// A project of this name.
    ///
    /// # Errors
    /// [`ProjectError::Name`].
    pub fn new(language: Language, name: &str) -> Result<Self, ProjectError> {
        let rest = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
        let is_name = name.len() <= NAME_LEN_MAX
            && name.starts_with(|it: char| it.is_ascii_lowercase())
            && name.bytes().all(rest);
        let name = name.to_owned();
        if is_name { Ok(Self { name, language }) } else { Err(ProjectError::Name { name }) }
    }

    /// Every file of it, by its path within the project, with its content.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, String)> {
        let template = match self.language {
            Language::Rust => files::RUST,
        };
        let template = template.iter().map(|(path, content)| {
            // A manifest within this repository would be one of its packages.
            let path = path.strip_suffix(".in").unwrap_or(path);
            (PathBuf::from(path), self.filled_in(content))
        });
        let sdk = Path::new("vendor/tce-policy-sdk");
        template
            .chain(copies(Path::new("wit"), files::WIT))
            .chain(copies(&sdk.join("src"), files::SDK))
            .chain(copies(&sdk.join("names/src"), files::SDK_NAMES))
            .collect()
    }

    fn filled_in(&self, content: &str) -> String {
        content
            .replace("@NAME@", &self.name)
            .replace("@MODULE@", &self.name.replace('-', "_"))
            .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
    }

    /// Writes it into a new folder of its name.
    ///
    /// # Errors
    /// The folder exists, or cannot be written.
    pub fn write(&self, beside: &Path) -> Result<PathBuf, ProjectError> {
        let folder = beside.join(&self.name);
        let unwritable = |path: &Path, error| ProjectError::Unwritable {
            path: path.display().to_string(),
            error,
        };
        fs::create_dir(&folder).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                ProjectError::Exists { path: folder.display().to_string() }
            }
            _ => unwritable(&folder, error),
        })?;
        for (path, content) in self.files() {
            let path = folder.join(path);
            let parent = path.parent().unwrap_or(&folder);
            fs::create_dir_all(parent).map_err(|error| unwritable(parent, error))?;
            fs::write(&path, content).map_err(|error| unwritable(&path, error))?;
            if path.extension().is_some_and(|it| it == "sh") {
                make_executable(&path).map_err(|error| unwritable(&path, error))?;
            }
        }
        Ok(folder)
    }
}

fn copies(
    folder: &Path,
    files: &'static [(&'static str, &'static str)],
) -> impl Iterator<Item = (PathBuf, String)> {
    files.iter().map(move |(path, content)| (folder.join(path), (*content).to_owned()))
}

fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_mode(permissions.mode() | 0o111);
    fs::set_permissions(path, permissions)
}

#[cfg(test)]
mod tests {
    use super::{Language, Project, ProjectError};

    #[test]
    fn a_name_is_one_that_a_package_can_have() {
        for name in ["a", "my-policy", "x2"] {
            assert!(Project::new(Language::Rust, name).is_ok(), "{name}");
        }
        for name in ["", "2x", "-x", "My", "a/b", "..", &"a".repeat(65)] {
            let project = Project::new(Language::Rust, name);
            assert!(matches!(project, Err(ProjectError::Name { .. })), "{name}");
        }
    }

    #[test]
    fn nothing_of_a_template_is_left_open_and_the_vendored_sdk_is_the_one_that_policies_here_use() {
        let files = Project::new(Language::Rust, "my-policy").expect("a name").files();
        for (path, content) in &files {
            let open = ["@NAME@", "@MODULE@", "@VERSION@"].iter().any(|it| content.contains(it));
            assert!(!open, "{}", path.display());
            assert!(path.extension().is_none_or(|it| it != "in"), "{}", path.display());
        }
        let workspace: toml::Table =
            toml::from_str(include_str!("../../../Cargo.toml")).expect("a manifest");
        let manifest = |path: &str| -> toml::Table {
            let found = files.iter().find(|(it, _)| it.as_os_str() == path);
            toml::from_str(&found.expect(path).1).expect("a manifest")
        };
        let vendored = manifest("vendor/tce-policy-sdk/Cargo.toml");
        assert_eq!(
            vendored["dependencies"]["wit-bindgen"],
            workspace["workspace"]["dependencies"]["wit-bindgen"]
        );
        let own: toml::Table =
            toml::from_str(include_str!("../../../plugins/sdk/names/Cargo.toml")).expect("one");
        let names = manifest("vendor/tce-policy-sdk/names/Cargo.toml");
        assert_eq!(names["dependencies"], own["dependencies"]);
    }
}
