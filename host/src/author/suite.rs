//! A folder of scenarios, tried one by one.

use std::path::Path;

use crate::policy::{Evaluator, LoadedPolicy, wit::Setting};

use super::scenario::{self, Expectation, Problem, Scenario, ScenarioError};

/// What came of a folder of scenarios.
#[derive(Clone, Debug)]
pub struct Suite {
    /// What the folder is called.
    pub name: String,
    /// Each scenario, in the order of its files' names.
    pub cases: Vec<Case>,
}

/// What came of one scenario.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called; its file's name if it cannot be read.
    pub name: String,
    /// Its file.
    pub file: String,
    /// The fuel that the answer took.
    pub fuel: Option<u64>,
    /// Why it failed; empty if it passed.
    pub problems: Vec<Problem>,
}

impl Case {
    /// Whether all was as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Suite {
    /// Tries each scenario of a folder. One that cannot be read fails, and the others go on.
    ///
    /// # Errors
    /// The folder cannot be read, or has no scenario.
    pub fn run(policy: &LoadedPolicy, folder: &Path) -> Result<Self, ScenarioError> {
        let files = scenario::files(folder)?;
        let cases = files.iter().map(|file| try_file(policy, file)).collect();
        Ok(Self { name: folder.display().to_string(), cases })
    }

    /// How many scenarios failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.passed()).count()
    }
}

fn try_file(policy: &LoadedPolicy, path: &Path) -> Case {
    let file = path.display().to_string();
    match Scenario::read(path) {
        Ok(scenario) => {
            let (problems, fuel) = try_scenario(policy, &scenario);
            Case { name: scenario.name, file, fuel, problems }
        }
        Err(error) => {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            Case { name, file, fuel: None, problems: vec![Problem(error.to_string())] }
        }
    }
}

/// Asks the policy what a scenario asks, after it has seen the settings, as a host does when it loads it.
pub fn try_scenario(policy: &LoadedPolicy, scenario: &Scenario) -> (Vec<Problem>, Option<u64>) {
    let problems = settings_problems(policy, scenario.question.settings(), &scenario.expect);
    if !problems.is_empty() || matches!(scenario.expect, Expectation::BadSettings(_)) {
        return (problems, None);
    }
    let function = scenario.question.function();
    if !policy.answers(function) {
        let what = format!("the policy does not answer {function}; the built-in policy would");
        return (vec![Problem(what)], None);
    }
    let evaluation = policy.evaluate(&scenario.question);
    (scenario.problems(&evaluation), evaluation.fuel)
}

fn settings_problems(
    policy: &LoadedPolicy,
    settings: &[Setting],
    expect: &Expectation,
) -> Vec<Problem> {
    let found = match policy.validate_settings(settings) {
        Ok(found) => found,
        Err(broken) => {
            return vec![Problem(format!("the policy broke over its settings: {broken}"))];
        }
    };
    let Expectation::BadSettings(keys) = expect else {
        let list = found.iter();
        return list
            .map(|it| Problem(format!("the policy refuses the setting {}: {}", it.key, it.detail)))
            .collect();
    };
    let missing = keys.iter().filter(|key| !found.iter().any(|it| it.key == **key));
    let missing =
        missing.map(|key| Problem(format!("the policy says nothing against the setting {key}")));
    let more = found.iter().filter(|it| !keys.contains(&it.key));
    let more = more.map(|it| {
        Problem(format!("the policy refuses the setting {}, too: {}", it.key, it.detail))
    });
    missing.chain(more).collect()
}
