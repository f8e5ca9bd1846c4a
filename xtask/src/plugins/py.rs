//! Policies in Python: componentize-py puts them and an interpreter into a component.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::place;
use crate::setup::cache::Cache;
use crate::setup::python;
use crate::workspace::Workspace;
use crate::{run, say};

/// The folder of each policy in Python, below `plugins/`: `policy.py` in it is the policy for a world of that file's
/// `wit` folder, or of the project's.
const POLICIES: [(&str, &str); 1] = [("fair-share-py", "lease-keeper")];

pub(super) fn build(workspace: &Workspace, cache: &Cache) -> Result<()> {
    let tools = python::COMPONENTIZE.provide(cache)?;
    let target = workspace.target().join("guests/py");
    fs::create_dir_all(&target)?;
    for (name, world) in POLICIES {
        let folder = workspace.root().join("plugins").join(name);
        let built = target.join(format!("{name}.wasm"));
        // Not beside the others: what is there goes into the lab, and these are large.
        let component = workspace.plugins().join("python").join(format!("{name}.wasm"));
        fs::create_dir_all(workspace.plugins().join("python"))?;
        // It takes ten seconds, and the result differs in nothing but what is older than it.
        if is_newer(&built, &[folder.join("policy.py"), workspace.root().join("wit")])?
            && component.is_file()
        {
            continue;
        }
        let task = say::Task::start(format!("making a component of plugins/{name}"));
        let mut componentize = tools.command();
        componentize.current_dir(&folder).arg("-d").arg(workspace.root().join("wit"));
        componentize.args(["-w", world, "componentize", "--stub-wasi", "-p", ".", "policy", "-o"]);
        run::output(componentize.arg(&built).env("PYTHONDONTWRITEBYTECODE", "1"))
            .with_context(|| format!("making a component of plugins/{name}"))?;
        place(&fs::read(&built)?, &component)?;
        task.done("done");
    }
    Ok(())
}

fn is_newer(built: &Path, sources: &[PathBuf]) -> Result<bool> {
    let Ok(built) = fs::metadata(built) else { return Ok(false) };
    let built = built.modified()?;
    for source in sources {
        let mut all = vec![source.clone()];
        if source.is_dir() {
            for entry in fs::read_dir(source)? {
                all.push(entry?.path());
            }
        }
        for file in all {
            if fs::metadata(&file)?.modified()? > built {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
