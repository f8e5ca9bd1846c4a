//! `tce policy …`, as far as it is for authors.

mod bench;
mod bindings;
mod component;
mod fuzz;
mod inspect;
mod new;
mod question;
mod test;

use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use clap::Subcommand;

use crate::{
    author::{project::Language, scenario::ScenarioError},
    cli::policy::ComponentArgs,
    exit::{Exit, Failure},
};

/// What an author does with a policy.
#[derive(Debug, Subcommand)]
pub(super) enum AuthorCommand {
    /// Make a project for a new policy: sources, scenarios, a recipe for CI.
    New {
        /// The language to write it in.
        #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
        lang: Language,
        /// Its name, which is the folder to be made: lower-case letters, digits and hyphens.
        name: String,
    },
    /// Make a component of the core module that a compiler has built.
    Component {
        /// The core module.
        module: PathBuf,
        /// Where to write the component.
        #[arg(short, long, value_name = "FILE.wasm")]
        output: PathBuf,
    },
    /// Make the C bindings of a world, which a policy in C is compiled with.
    Bindings {
        /// The folder of .wit files.
        wit: PathBuf,
        /// The world.
        #[arg(long)]
        world: String,
        /// The folder to write them into; it is made if it is not there.
        #[arg(short, long, value_name = "FOLDER")]
        output: PathBuf,
    },
    /// Ask a policy one question from a file, and tell whether its answer would be accepted.
    Run {
        #[command(flatten)]
        policy: ComponentArgs,
        /// The question, or a scenario: a .toml or .json file (docs/policy-authors.md describes it).
        question: PathBuf,
        /// Report as one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Try all scenarios of a folder.
    Test {
        #[command(flatten)]
        policy: ComponentArgs,
        /// The folder of .toml and .json files (docs/policy-authors.md describes them).
        folder: PathBuf,
        /// Write the results to a file as JUnit's XML.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// Print the results as TAP.
        #[arg(long)]
        tap: bool,
    },
    /// Measure what a decision costs: fuel and time, beside the built-in policy.
    Bench {
        #[command(flatten)]
        policy: ComponentArgs,
        /// A question, or a folder of them.
        question: PathBuf,
        /// How often each question is asked.
        #[arg(short = 'n', long, value_name = "COUNT", default_value = "1000")]
        decisions: NonZeroU32,
    },
    /// Tell what is in a policy: interfaces, settings, features, sizes.
    Inspect {
        #[command(flatten)]
        policy: ComponentArgs,
        /// Report as one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Ask random questions, and report answers that would not be accepted.
    Fuzz(fuzz::FuzzArgs),
}

pub(super) fn author(command: &AuthorCommand) -> Result<Exit, Failure> {
    match command {
        AuthorCommand::New { lang, name } => new::new(*lang, name),
        AuthorCommand::Component { module, output } => component::component(module, output),
        AuthorCommand::Bindings { wit, world, output } => bindings::bindings(wit, world, output),
        AuthorCommand::Run { policy, question, json } => question::run(policy, question, *json),
        AuthorCommand::Test { policy, folder, junit, tap } => {
            test::test(policy, folder, junit.as_deref(), *tap)
        }
        AuthorCommand::Bench { policy, question, decisions } => {
            bench::bench(policy, question, *decisions)
        }
        AuthorCommand::Inspect { policy, json } => inspect::inspect(policy, *json),
        AuthorCommand::Fuzz(args) => fuzz::fuzz(args),
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self::new(Exit::Scenario, error)
            .with("docs/policy-authors.md describes scenarios, key by key")
    }
}

/// Writes a file, or says why not.
fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    fs::write(path, content).map_err(|error| {
        Failure::new(Exit::Unexpected, format!("{} cannot be written: {error}", path.display()))
    })
}
