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
    /// C, with bindings that `tce policy bindings` makes.
    C,
    /// Python, with componentize-py.
    Python,
}

/// What differs in the files that all projects have.
struct Particulars {
    /// The command that gets the tools.
    tools: &'static str,
    /// The command that tests the policy as ordinary code.
    unit_tests: &'static str,
    /// Fuel that a small decision may take. An interpreter burns some fifty times as much.
    fuel_max: &'static str,
    /// The option of `tce` for what needs more memory than usual.
    limits: &'static str,
}

impl Language {
    fn particulars(self) -> Particulars {
        let usual = Particulars {
            tools: "./tools.sh",
            unit_tests: ": # the scenarios test it",
            fuel_max: "200_000",
            limits: "",
        };
        match self {
            Self::Rust => Particulars {
                tools: "rustup target add wasm32-unknown-unknown",
                unit_tests: "cargo test",
                ..usual
            },
            Self::C => usual,
            Self::Python => Particulars {
                unit_tests: "python3 -m unittest",
                fuel_max: "5_000_000",
                limits: " --policy-limits large",
                ..usual
            },
        }
    }

    /// The template, and what else stands in a project.
    fn files(self) -> Vec<(PathBuf, &'static str)> {
        let sdk = Path::new("vendor/tce-policy-sdk");
        let mut all = copies(Path::new(""), files::COMMON);
        all.extend(copies(Path::new("wit"), files::WIT));
        match self {
            Self::Rust => {
                all.extend(copies(Path::new(""), files::RUST));
                all.extend(copies(&sdk.join("src"), files::SDK));
                all.extend(copies(&sdk.join("names/src"), files::SDK_NAMES));
            }
            Self::C => all.extend(copies(Path::new(""), files::C)),
            Self::Python => all.extend(copies(Path::new(""), files::PYTHON)),
        }
        all
    }
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
        let files = self.language.files().into_iter();
        files.map(|(path, content)| (path, self.filled_in(content))).collect()
    }

    fn filled_in(&self, content: &str) -> String {
        let Particulars { tools, unit_tests, fuel_max, limits } = self.language.particulars();
        content
            .replace("@TOOLS@", tools)
            .replace("@UNIT_TESTS@", unit_tests)
            .replace("@FUEL_MAX@", fuel_max)
            .replace("@LIMITS@", limits)
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

fn copies(folder: &Path, files: &[(&'static str, &'static str)]) -> Vec<(PathBuf, &'static str)> {
    // A manifest within this repository would be one of its packages.
    let within = |path: &str| folder.join(path.strip_suffix(".in").unwrap_or(path));
    files.iter().map(|(path, content)| (within(path), *content)).collect()
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
    fn a_project_has_all_its_files_once_and_nothing_of_a_template_is_left_open() {
        for (language, own) in [
            (Language::Rust, "src/lib.rs"),
            (Language::C, "policy.c"),
            (Language::Python, "policy.py"),
        ] {
            let files = Project::new(language, "my-policy").expect("a name").files();
            for (path, content) in &files {
                let mut words = content.split('@').skip(1);
                let open = words.any(|it| {
                    !it.is_empty() && it.bytes().all(|it| it.is_ascii_uppercase() || it == b'_')
                });
                assert!(!open, "{language:?}: {}", path.display());
                assert!(path.extension().is_none_or(|it| it != "in"), "{}", path.display());
                assert_eq!(files.iter().filter(|(it, _)| it == path).count(), 1);
            }
            for wanted in [
                own,
                "README.md",
                "build.sh",
                "ci.sh",
                ".gitignore",
                ".github/workflows/policy.yml",
                "scenarios/largest-page.toml",
                "wit/worlds.wit",
            ] {
                let found = files.iter().any(|(it, _)| it.as_os_str() == wanted);
                assert!(found, "{language:?}: {wanted}");
            }
        }
    }

    #[test]
    fn the_vendored_sdk_is_the_one_that_policies_here_use() {
        let files = Project::new(Language::Rust, "my-policy").expect("a name").files();
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
