//! Random questions to a policy: is each answer one that would be accepted?
//!
//! Of an absurd question only this is asked: that the policy does not break. What it answers there is nobody's loss.

use crate::policy::{
    Answer, Broken, Evaluator, Function, Question,
    wit::{AdmitQuestion, GroupLossQuestion, GrowthQuestion, ReclaimQuestion, WindowQuestion},
};

use super::{
    generate::{Generator, Kind},
    judge,
};

/// The most questions of one run.
pub const RUNS_MAX: u32 = 10_000_000;

/// A question that a policy does badly at.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The question, as small as it could be made.
    pub question: Question,
    /// What is wrong.
    pub fault: Fault,
    /// How many questions went before.
    pub after: u32,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The policy broke.
    Broken(String),
    /// Its answer would not be accepted.
    Rejected(String),
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Questions asked.
    pub asked: u32,
    /// Answers that were refusals.
    pub refused: u32,
    /// The most fuel that an answer took.
    pub fuel_max: u64,
    /// The first question that the policy did badly at.
    pub finding: Option<Finding>,
}

/// Asks until something is found, or so many questions are asked: each function that the policy answers in turn.
pub fn run(
    policy: &dyn Evaluator,
    generator: &mut Generator,
    kinds: &[Kind],
    runs: u32,
) -> Outcome {
    let functions = Function::ALL.into_iter().filter(|it| policy.answers(*it));
    let turns: Vec<(Function, Kind)> =
        functions.flat_map(|function| kinds.iter().map(move |kind| (function, *kind))).collect();
    let mut outcome = Outcome::default();
    for (function, kind) in
        turns.iter().cycle().take(usize::try_from(runs.min(RUNS_MAX)).unwrap_or(0))
    {
        let question = generator.question(*function, *kind);
        let evaluation = policy.evaluate(&question);
        outcome.asked += 1;
        outcome.fuel_max = outcome.fuel_max.max(evaluation.fuel.unwrap_or(0));
        if matches!(evaluation.result, Ok(Answer::Refused(_))) {
            outcome.refused += 1;
        }
        if fault_of(&question, *kind, evaluation.result).is_some() {
            let question = shrink(policy, question, *kind);
            let fault = fault(policy, &question, *kind);
            let after = outcome.asked - 1;
            outcome.finding = fault.map(|fault| Finding { question, fault, after });
            return outcome;
        }
    }
    outcome
}

fn fault(policy: &dyn Evaluator, question: &Question, kind: Kind) -> Option<Fault> {
    fault_of(question, kind, policy.evaluate(question).result)
}

fn fault_of(question: &Question, kind: Kind, result: Result<Answer, Broken>) -> Option<Fault> {
    match result {
        Err(broken) => Some(Fault::Broken(broken.to_string())),
        Ok(answer) => match judge::judge(question, &answer) {
            Err(rejection) if kind == Kind::Ordinary => {
                Some(Fault::Rejected(rejection.to_string()))
            }
            _ => None,
        },
    }
}

/// Leaves out of the question's lists whatever the fault does not need: one entry at a time, until none can go.
fn shrink(policy: &dyn Evaluator, mut question: Question, kind: Kind) -> Question {
    const TRIES_MAX: u32 = 20_000;
    let mut tries = 0;
    'again: loop {
        for smaller in smaller(&question) {
            tries += 1;
            if tries > TRIES_MAX {
                return question;
            }
            if fault(policy, &smaller, kind).is_some() {
                question = smaller;
                continue 'again;
            }
        }
        return question;
    }
}

/// The question without one entry of one of its lists, for each such entry. What is left out is never a fact.
fn smaller(question: &Question) -> Vec<Question> {
    let mut all = Vec::new();
    match question {
        Question::SelectPages(it) => {
            without(&it.demand.regions, |regions| {
                let mut it = it.clone();
                it.demand.regions = regions;
                // A demand has a region.
                if !it.demand.regions.is_empty() {
                    all.push(Question::SelectPages(it));
                }
            });
        }
        Question::SizeWindows(it) => without(&it.candidates, |candidates| {
            let it = it.clone();
            all.push(Question::SizeWindows(WindowQuestion { candidates, ..it }));
        }),
        Question::Grow(it) => without(&it.candidates, |candidates| {
            let it = it.clone();
            if !candidates.is_empty() {
                all.push(Question::Grow(GrowthQuestion { candidates, ..it }));
            }
        }),
        Question::Admit(it) => without(&it.leases, |leases| {
            let it = it.clone();
            all.push(Question::Admit(AdmitQuestion { leases, ..it }));
        }),
        Question::Renew(_) => {}
        Question::Reclaim(it) => without(&it.leases, |leases| {
            let it = it.clone();
            all.push(Question::Reclaim(ReclaimQuestion { leases, ..it }));
        }),
        Question::GroupLeaves(it) => without(&it.leases, |leases| {
            let it = it.clone();
            all.push(Question::GroupLeaves(GroupLossQuestion { leases, ..it }));
        }),
    }
    all
}

fn without<T: Clone>(list: &[T], mut give: impl FnMut(Vec<T>)) {
    for index in 0..list.len() {
        let mut shorter = list.to_vec();
        shorter.remove(index);
        give(shorter);
    }
}
