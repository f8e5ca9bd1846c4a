//! The policies of these runs: one that lies, and one that says again what it is told to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tce_host::policy::{
    Answer, Broken, BuiltIn, Evaluation, Evaluator, Function, Identity, Question,
};

use crate::{Shared, lies};

/// What the policies of these runs are called.
pub(crate) const NAME: &str = "liar";

fn identity() -> Identity {
    Identity { name: NAME.to_owned(), sha256: None }
}

/// What is known of an answer before it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// What the built-in policy answers, or a plain no: it must pass.
    True,
    /// It breaks a rule: it must not pass.
    Lie,
    /// Another one that may be valid.
    Perhaps,
}

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) function: Function,
    pub(crate) truth: Truth,
    /// What kind of answer it is, in a word.
    pub(crate) what: &'static str,
    pub(crate) result: Result<Answer, Broken>,
}

impl Told {
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.result, Ok(Answer::Refused(_)))
    }

    /// The same, or a breakage in its place.
    pub(crate) fn unless(&self, rejected: bool) -> Result<Answer, Broken> {
        if rejected { Err(trap()) } else { self.result.clone() }
    }
}

pub(crate) fn trap() -> Broken {
    Broken::Trap { what: "as it was told to".to_owned() }
}

/// Answers with what is valid, almost valid and absurd.
pub(crate) struct Liar {
    identity: Identity,
    built_in: BuiltIn,
    /// `None`: it does not lie.
    random: Option<Mutex<fastrand::Rng>>,
    told: Shared<Vec<Told>>,
}

impl Liar {
    pub(crate) fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed ^ 0x11e5);
        Self { random: Some(Mutex::new(random)), ..Self::honest() }
    }

    pub(crate) fn honest() -> Self {
        Self {
            identity: identity(),
            built_in: BuiltIn::default(),
            random: None,
            told: Arc::new(Mutex::new(Vec::new())),
        }
    }

    /// What it will have told.
    pub(crate) fn told(&self) -> Shared<Vec<Told>> {
        Arc::clone(&self.told)
    }
}

impl Evaluator for Liar {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn answers(&self, _function: Function) -> bool {
        true
    }

    fn evaluate(&self, question: &Question) -> Evaluation {
        let honest = self.built_in.evaluate(question).result.expect("the built-in policy answers");
        let told = match &self.random {
            None => lies::truth(question, honest),
            Some(random) => {
                lies::tell(question, honest, &mut random.lock().expect("nobody panicked"))
            }
        };
        let result = told.result.clone();
        self.told.lock().expect("nobody panicked").push(told);
        Evaluation::unmetered(result)
    }
}

/// Says what it was told to say; without that, what the built-in policy says.
pub(crate) struct Parrot {
    identity: Identity,
    lines: Option<Mutex<VecDeque<Result<Answer, Broken>>>>,
}

impl Parrot {
    /// No lines at all: the built-in policy's.
    pub(crate) fn new(lines: Vec<Result<Answer, Broken>>) -> Self {
        let lines = (!lines.is_empty()).then(|| Mutex::new(lines.into()));
        Self { identity: identity(), lines }
    }
}

impl Evaluator for Parrot {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn answers(&self, _function: Function) -> bool {
        true
    }

    fn evaluate(&self, question: &Question) -> Evaluation {
        let Some(lines) = &self.lines else { return BuiltIn::default().evaluate(question) };
        let line = lines.lock().expect("nobody panicked").pop_front();
        Evaluation::unmetered(line.expect("as many questions as before"))
    }
}
