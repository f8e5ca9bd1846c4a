//! `tce policy replay`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::{print_json, print_text},
    exit::{Exit, Failure},
    policy::LimitsClass,
    replay::{self, ReplayError},
};

use super::load::{load, runtime};

#[derive(Debug, Args)]
pub(in crate::cli) struct ReplayArgs {
    /// The journal that `tce run --journal` wrote.
    journal: PathBuf,
    /// The component.
    #[arg(long, value_name = "FILE.wasm")]
    policy: PathBuf,
    /// What it may use.
    #[arg(long, value_name = "CLASS", default_value = "usual")]
    policy_limits: LimitsClass,
    /// Report as one JSON document (docs/journal.md describes it).
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn replay(args: &ReplayArgs) -> Result<Exit, Failure> {
    let policy = load(&runtime(None)?, &args.policy, args.policy_limits.into())?;
    let replay = replay::replay(&args.journal, &policy)?;
    if args.json {
        print_json(&replay)?;
    } else {
        print_text(&replay::render(&replay))?;
    }
    Ok(Exit::Done)
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Journal(error) => error.into(),
        }
    }
}
