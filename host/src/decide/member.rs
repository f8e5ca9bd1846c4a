//! One policy among those of a host: what it decides, how it has done, and what answers for it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use tce_engine::lease::Timestamp;

use crate::{
    journal::Voice,
    policy::{Answer, Broken, Evaluator, Function, Interface, Question, wit::Setting},
};

use super::{
    ejection::{Ejected, EjectionRule, Failures},
    settings::Known,
    tally::Tally,
};

/// Decisions for which a new version is on trial: one failure among them, and the version before answers again.
pub const TRIAL_DECISIONS: u32 = 100;

/// Whether a policy's answers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// They do.
    Active,
    /// It is asked too, and what it says is only recorded.
    Shadow,
}

/// A policy with its place among others.
pub struct Member {
    pub(super) name: String,
    pub(super) points: Vec<Interface>,
    pub(super) role: Role,
    /// Its own settings; `None`: those that come with the questions.
    own: Option<Vec<Setting>>,
    known: Known,
    seat: RwLock<Seat>,
    standing: Mutex<Standing>,
}

/// What answers.
struct Seat {
    current: Arc<dyn Evaluator>,
    before: Option<Arc<dyn Evaluator>>,
    trial: u32,
}

/// How it has done.
#[derive(Default)]
pub(super) struct Standing {
    pub(super) tally: Tally,
    failures: Failures,
    ejected: Option<Ejected>,
    /// The last question of each kind that it answered, to try a new version with.
    answered: BTreeMap<Function, Question>,
}

impl Member {
    /// A policy that decides all that it implements, by the settings that come with the questions.
    ///
    /// # Errors
    /// It breaks when it is asked for its settings.
    pub fn new(evaluator: Arc<dyn Evaluator>) -> Result<Self, Broken> {
        let known = Known::of(&*evaluator)?;
        let points = Interface::ALL.into_iter().filter(|point| evaluator.implements(*point));
        Ok(Self {
            name: evaluator.identity().name.clone(),
            points: points.collect(),
            role: Role::Active,
            own: None,
            known,
            seat: RwLock::new(Seat { current: evaluator, before: None, trial: 0 }),
            standing: Mutex::default(),
        })
    }

    /// The same for these decision points only.
    #[must_use]
    pub fn deciding(self, points: Vec<Interface>) -> Self {
        Self { points, ..self }
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The same with settings of its own.
    #[must_use]
    pub fn with_settings(self, settings: Vec<Setting>) -> Self {
        Self { own: Some(settings), ..self }
    }

    /// The same, only to be watched.
    #[must_use]
    pub fn as_shadow(self) -> Self {
        Self { role: Role::Shadow, ..self }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn own_settings(&self) -> Option<&[Setting]> {
        self.own.as_deref()
    }

    /// The settings that it is asked with, of those that came with a question.
    pub(super) fn settings(&self, given: &[Setting]) -> Vec<Setting> {
        match &self.own {
            Some(own) => own.clone(),
            None => given.iter().filter(|it| self.known.takes(&it.key)).cloned().collect(),
        }
    }

    /// What answers now, whatever becomes of the seat meanwhile.
    pub(super) fn current(&self) -> Arc<dyn Evaluator> {
        let seat = self.seat.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&seat.current)
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it is asked no more, if so.
    #[must_use]
    pub fn ejected(&self) -> Option<Ejected> {
        self.standing().ejected.clone()
    }

    /// Asks it no more. One that is ejected already stays so for its first reason.
    pub(super) fn eject(&self, ejected: Ejected) {
        self.standing().ejected.get_or_insert(ejected);
    }

    /// Notes what came of a question that `evaluator` was asked. If that was one failure too many, it is ejected, and
    /// that is told.
    pub(super) fn note(
        &self,
        evaluator: &Arc<dyn Evaluator>,
        question: &Question,
        voice: &Voice,
        rule: EjectionRule,
        now: Timestamp,
    ) -> Option<Ejected> {
        let failed = voice.failure();
        let taken_back = self.settle_trial(evaluator, failed.is_some());
        let mut standing = self.standing();
        standing.tally.count(voice);
        if taken_back {
            standing.tally.returned += 1;
            standing.failures.forget();
            return None;
        }
        let Some(why) = failed else {
            standing.answered.insert(question.function(), question.clone());
            return None;
        };
        if standing.ejected.is_some() || !standing.failures.add(rule, now) {
            return None;
        }
        let why =
            format!("it failed {} times within {} ms; at last {why}", rule.failures, rule.within);
        let ejected = Ejected { at: now.0, why, question: Some(question.clone()) };
        standing.ejected = Some(ejected.clone());
        Some(ejected)
    }

    /// Whether a version on trial is taken back.
    fn settle_trial(&self, evaluator: &Arc<dyn Evaluator>, failed: bool) -> bool {
        let mut seat = self.seat.write().unwrap_or_else(PoisonError::into_inner);
        if seat.trial == 0 || !Arc::ptr_eq(&seat.current, evaluator) {
            return false;
        }
        if failed {
            seat.trial = 0;
            let before = seat.before.take();
            seat.current = before.expect("there was a version before the one on trial");
            return true;
        }
        seat.trial -= 1;
        if seat.trial == 0 {
            seat.before = None;
        }
        false
    }

    /// What a new version is tried with: what this one has answered.
    pub(super) fn answered(&self) -> Vec<Question> {
        self.standing().answered.values().cloned().collect()
    }

    /// Puts a new version in the seat, between two decisions. One that was ejected is asked again.
    pub(super) fn replace(&self, evaluator: Arc<dyn Evaluator>) {
        let mut seat = self.seat.write().unwrap_or_else(PoisonError::into_inner);
        // A version that has not passed its trial is none to go back to.
        let old = std::mem::replace(&mut seat.current, evaluator);
        let before = seat.before.take().unwrap_or(old);
        let was_ejected = {
            let mut standing = self.standing();
            standing.failures.forget();
            standing.ejected.take().is_some()
        };
        (seat.before, seat.trial) =
            if was_ejected { (None, 0) } else { (Some(before), TRIAL_DECISIONS) };
    }
}

impl Tally {
    pub(super) fn count(&mut self, voice: &Voice) {
        let evaluation = &voice.evaluation;
        match &evaluation.result {
            Err(broken) => {
                let count = self.broken.entry(broken.kind().to_owned()).or_default();
                *count = count.saturating_add(1);
            }
            Ok(_) if voice.rejected.is_some() => self.rejected += 1,
            Ok(Answer::Refused(_)) => self.refused += 1,
            Ok(_) => self.granted += 1,
        }
        self.fuel = self.fuel.saturating_add(evaluation.fuel.unwrap_or(0));
        self.lines_dropped = self.lines_dropped.saturating_add(evaluation.log.dropped);
    }
}
