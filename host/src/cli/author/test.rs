//! `tce policy test`.

use std::path::Path;

use crate::{
    author::{report, suite::Suite},
    cli::{policy, print_text},
    exit::{Exit, Failure},
};

use super::{ComponentArgs, write};

pub(super) fn test(
    policy: &ComponentArgs,
    folder: &Path,
    junit: Option<&Path>,
    tap: bool,
) -> Result<Exit, Failure> {
    let policy = policy.load(&policy::runtime(None)?)?;
    let suite = Suite::run(&policy, folder)?;
    if let Some(path) = junit {
        write(path, report::junit(&suite).as_bytes())?;
    }
    print_text(&if tap { report::tap(&suite) } else { report::text(&suite) })?;
    Ok(if suite.failed() == 0 { Exit::Done } else { Exit::ScenariosFailed })
}
