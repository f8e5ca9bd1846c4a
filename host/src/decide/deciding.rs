//! One decision: the policy of its point is asked, the built-in one where that breaks, and those that only watch.

use std::sync::{Arc, PoisonError};

use tce_engine::lease::Timestamp;

use crate::{
    grant::Rejection,
    journal::{Entry, Record, Voice},
    policy::{Ask, Evaluator, Question, wit::Setting},
};

use super::{
    Decided, Member, Policies, Role,
    verdict::{entry, hear},
};

impl Policies {
    /// Makes one decision.
    ///
    /// `check` turns an answer into what may be done, and does nothing itself: it is also asked about what shadows say.
    /// `words` says the answer in words. A policy that breaks, or whose answer does not pass, is replaced by the built-in
    /// one for this decision.
    ///
    /// The question has the operator's settings. They are meant for the components; the built-in policy sees them only
    /// where there is no component at all.
    pub fn decide<Q: Ask, G>(
        &self,
        about: &str,
        now: Timestamp,
        mut question: Q,
        mut check: impl FnMut(&Q, &Q::Given) -> Result<G, Rejection>,
        words: impl Fn(&Q::Given) -> String,
    ) -> Decided<G> {
        let given = question.settings().to_vec();
        let active = self.active(Q::FUNCTION);
        match &active {
            Some((member, _)) => question.set_settings(member.settings(&given)),
            None if self.members.is_empty() => {}
            None => question.set_settings(Vec::new()),
        }
        let evaluator: &dyn Evaluator = active.as_ref().map_or(&self.built_in, |it| &*it.1);
        let put = question.clone().into_question();
        let first = hear(evaluator, &question, &mut check, &words);
        let (mut heard, mut instead) = (first.judged, None);
        if let (Some((member, evaluator)), Some(_)) = (&active, first.voice.failure()) {
            self.note(member, evaluator, &put, &first.voice, now);
            question.set_settings(Vec::new());
            let second = hear(&self.built_in, &question, &mut check, &words);
            self.count_built_in(&second.voice);
            (heard, instead) = (second.judged, Some(second.voice));
        } else if let Some((member, evaluator)) = &active {
            self.note(member, evaluator, &put, &first.voice, now);
        } else {
            self.count_built_in(&first.voice);
        }
        let mut record = Record {
            at: now.0,
            about: about.to_owned(),
            question: put,
            asked: first.voice,
            instead,
            outcome: heard.outcome(),
            shadows: Vec::new(),
        };
        record.shadows = self.ask_shadows(&mut question, &given, &record, &mut check, &words, now);
        let entry = entry(&record, active.map(|(member, _)| member.name()), &heard);
        self.write(&Entry::Decision(Box::new(record)), now);
        Decided { verdict: heard.into_verdict(), entry }
    }

    /// What those say that only watch.
    fn ask_shadows<Q: Ask, G>(
        &self,
        question: &mut Q,
        given: &[Setting],
        record: &Record,
        check: &mut impl FnMut(&Q, &Q::Given) -> Result<G, Rejection>,
        words: &impl Fn(&Q::Given) -> String,
        now: Timestamp,
    ) -> Vec<Voice> {
        let point = Q::FUNCTION.interface();
        let shadows = self.members.iter().filter(|it| it.role == Role::Shadow);
        let shadows = shadows.filter(|it| it.points.contains(&point) && it.ejected().is_none());
        let mut voices = Vec::new();
        for member in shadows {
            let evaluator = member.current();
            if !evaluator.answers(Q::FUNCTION) {
                continue;
            }
            question.set_settings(member.settings(given));
            let voice = hear(&*evaluator, question, check, words).voice;
            self.note(member, &evaluator, &question.clone().into_question(), &voice, now);
            if voice.evaluation.result != record.decisive().evaluation.result {
                member.standing().tally.differed += 1;
            }
            voices.push(voice);
        }
        voices
    }

    fn note(
        &self,
        member: &Member,
        evaluator: &Arc<dyn Evaluator>,
        question: &Question,
        voice: &Voice,
        now: Timestamp,
    ) {
        if let Some(ejected) = member.note(evaluator, question, voice, self.rule, now) {
            let (policy, ejected) = (member.name.clone(), Box::new(ejected));
            self.write(&Entry::Ejection { policy, ejected }, now);
        }
    }

    fn count_built_in(&self, voice: &Voice) {
        self.built_in_tally.lock().unwrap_or_else(PoisonError::into_inner).count(voice);
    }

    pub(super) fn write(&self, entry: &Entry, now: Timestamp) {
        let Some(journal) = &self.journal else { return };
        let written = journal.lock().unwrap_or_else(PoisonError::into_inner).write(entry, now);
        if let Err(error) = written {
            let mut trouble = self.journal_trouble.lock().unwrap_or_else(PoisonError::into_inner);
            trouble.get_or_insert_with(|| error.to_string());
        }
    }
}
