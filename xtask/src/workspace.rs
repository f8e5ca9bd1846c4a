//! What cargo says about this workspace: where it is, and which packages build what.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::run;

pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    packages: Vec<Value>,
}

impl Workspace {
    pub(crate) fn read() -> Result<Self> {
        // cargo says which checkout it runs xtask for; an xtask that is called directly works for the one
        // it was built from. They differ where checkouts share a target folder.
        let xtask = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let manifest = xtask.join("../Cargo.toml");
        let mut cargo = run::cargo();
        cargo.args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"]);
        let text = run::output(cargo.arg(manifest))?;
        let metadata: Value = serde_json::from_str(&text)?;
        let path = |name: &str| -> Result<PathBuf> {
            let value = metadata[name].as_str();
            Ok(value.with_context(|| format!("cargo metadata without {name}"))?.into())
        };
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
            packages: metadata["packages"].as_array().cloned().unwrap_or_default(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where the finished components are.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.target.join("plugins")
    }

    /// Packages that say `[package.metadata.tce] component = true`: name, and name of the library.
    pub(crate) fn components(&self) -> Result<Vec<(String, String)>> {
        let marked = |package: &&Value| package["metadata"]["tce"]["component"] == true;
        self.packages.iter().filter(marked).map(component).collect()
    }
}

fn component(package: &Value) -> Result<(String, String)> {
    let name = package["name"].as_str().unwrap_or_default().to_owned();
    let library = targets(package).find(|(_, kinds)| kinds.contains(&"cdylib"));
    ensure!(
        library.is_some(),
        "{name} is marked as a component but has no library of type cdylib ([lib] crate-type)"
    );
    let library = library.map(|(name, _)| name.replace('-', "_"));
    Ok((name, library.unwrap_or_default()))
}

/// Each target's name and what kinds of library or program it is.
fn targets(package: &Value) -> impl Iterator<Item = (&str, Vec<&str>)> {
    package["targets"].as_array().into_iter().flatten().map(|target| {
        let kinds = target["crate_types"].as_array().into_iter().flatten();
        let name = target["name"].as_str().unwrap_or_default();
        (name, kinds.filter_map(Value::as_str).collect())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workspace(packages: Value) -> Workspace {
        let packages = packages.as_array().cloned().unwrap_or_default();
        Workspace { root: "/root".into(), target: "/target".into(), packages }
    }

    #[test]
    fn only_marked_packages_are_components() {
        let library = json!([{ "name": "a_b", "crate_types": ["cdylib"] }]);
        let marked = json!({ "tce": { "component": true } });
        let workspace = workspace(json!([
            { "name": "a-b", "metadata": marked, "targets": library },
            { "name": "other", "metadata": null, "targets": library },
        ]));
        assert_eq!(workspace.components().unwrap(), [("a-b".to_owned(), "a_b".to_owned())]);
    }
}
