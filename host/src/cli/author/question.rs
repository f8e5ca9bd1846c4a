//! `tce policy run`.

use std::path::Path;

use serde::Serialize;

use crate::{
    author::{diff, judge, scenario::Scenario},
    cli::{policy, print_json, print_text},
    exit::{Exit, Failure},
    policy::{Answer, Evaluation, Evaluator, Function, Identity},
};

use super::ComponentArgs;

/// The version of the document.
const FORMAT: &str = "tce-policy-run/1";

/// What came of one question. `docs/policy-authors.md` describes its JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Ran<'a> {
    format: &'static str,
    policy: &'a Identity,
    function: Function,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
    fuel_budget: u64,
    /// Why the answer would not be accepted.
    rejected: Option<String>,
}

pub(super) fn run(policy: &ComponentArgs, question: &Path, json: bool) -> Result<Exit, Failure> {
    let scenario = Scenario::read(question)?;
    let policy = policy.load(&policy::runtime(None)?)?;
    let evaluation = policy.evaluate(&scenario.question);
    let judged = evaluation.result.as_ref().ok().map(|it| judge::judge(&scenario.question, it));
    let rejected = judged.and_then(Result::err).map(|rejection| rejection.to_string());
    let exit = match &evaluation.result {
        Err(broken) => broken.fault().into(),
        Ok(_) if rejected.is_some() => Exit::PolicyBadAnswer,
        Ok(Answer::Refused(_)) => Exit::Denied,
        Ok(_) => Exit::Done,
    };
    let ran = Ran {
        format: FORMAT,
        policy: policy.identity(),
        function: scenario.question.function(),
        evaluation: &evaluation,
        fuel_budget: policy.limits().fuel,
        rejected,
    };
    if json {
        print_json(&ran)?
    } else {
        print_text(&text(&ran))?
    }
    Ok(exit)
}

fn text(ran: &Ran<'_>) -> String {
    let mut lines = vec![format!("{} was asked: {}", ran.policy.name, ran.function)];
    match &ran.evaluation.result {
        Err(broken) => lines.push(format!("  it broke:  {broken}")),
        Ok(Answer::Refused(refusal)) => {
            lines.push(format!("  refused:   {} ({})", refusal.detail, diff::word(&refusal.reason)))
        }
        Ok(answer) => {
            let shown = diff::shown(answer).replace('\n', "\n             ");
            lines.push(format!("  answer:    {shown}"));
            lines.push(match &ran.rejected {
                None => "  accepted:  yes".to_owned(),
                Some(why) => format!("  accepted:  no, {why}"),
            });
        }
    }
    if let Some(fuel) = ran.evaluation.fuel {
        lines.push(format!("  fuel:      {fuel} of {}", ran.fuel_budget));
    }
    for line in &ran.evaluation.log.lines {
        lines.push(format!("  {:<10} {}", format!("{}:", diff::word(&line.level)), line.text));
    }
    if ran.evaluation.log.dropped > 0 {
        lines.push(format!("  and {} lines more that are not kept", ran.evaluation.log.dropped));
    }
    lines.push(String::new());
    lines.join("\n")
}
