//! `tce policy fuzz`.

use std::path::PathBuf;

use clap::Args;
use tce_sim::Profile;

use crate::{
    author::{
        diff,
        fuzz::{Fault, Finding, run},
        generate::{Generator, Kind},
        machine::Machine,
    },
    cli::{policy, print_text},
    exit::{Exit, Failure},
    policy::wit::Setting,
};

use super::{ComponentArgs, write};

#[derive(Debug, Args)]
pub(in crate::cli) struct FuzzArgs {
    #[command(flatten)]
    policy: ComponentArgs,
    /// What the random questions are made from: the same seed, the same questions.
    #[arg(long, default_value = "0")]
    seed: u64,
    /// How many questions.
    #[arg(long, default_value = "1000")]
    runs: u32,
    /// Only questions of this kind. [default: both]
    #[arg(long)]
    kind: Option<Kind>,
    /// A setting of each question. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<Setting>,
    /// Where a question that the policy does badly at is saved, as a scenario.
    #[arg(long, value_name = "FILE.json", default_value = "found.json")]
    save: PathBuf,
}

fn setting(text: &str) -> Result<Setting, String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok(Setting { key: key.to_owned(), value: value.to_owned() })
}

pub(super) fn fuzz(args: &FuzzArgs) -> Result<Exit, Failure> {
    let policy = args.policy.load(&policy::runtime(None)?)?;
    let machines = Profile::NAMES.iter().map(|name| Machine::named(name));
    let machines: Vec<Machine> = machines
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::new(Exit::Unexpected, error))?;
    let mut generator = Generator::new(args.seed, machines, args.settings.clone());
    let kinds = args.kind.map_or_else(|| vec![Kind::Ordinary, Kind::Absurd], |kind| vec![kind]);
    let outcome = run(&policy, &mut generator, &kinds, args.runs);
    let Some(finding) = outcome.finding else {
        print_text(&format!(
            "{} questions, {} refused, {} fuel at most: every answer would be accepted\n",
            outcome.asked, outcome.refused, outcome.fuel_max
        ))?;
        return Ok(Exit::Done);
    };
    write(&args.save, scenario(&finding, args.seed).as_bytes())?;
    let what = match &finding.fault {
        Fault::Broken(what) => format!("the policy broke: {what}"),
        Fault::Rejected(what) => format!("its answer would not be accepted: {what}"),
    };
    print_text(&format!(
        "{} after {} good answers: {what}\nthe question, as small as it could be made, is in {}\n",
        finding.question.function(),
        finding.after,
        args.save.display()
    ))?;
    Ok(Exit::ScenariosFailed)
}

/// The question as a scenario, which fails until the policy is mended.
fn scenario(finding: &Finding, seed: u64) -> String {
    let mut scenario = serde_json::to_value(&finding.question).unwrap_or_default();
    if let Some(scenario) = scenario.as_object_mut() {
        let name = format!("found by fuzz, seed {seed}, question {}", finding.after);
        scenario.insert("name".to_owned(), name.into());
    }
    diff::shown(&scenario) + "\n"
}
