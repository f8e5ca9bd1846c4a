//! Among the policies of a host: who decides, who only watches, who is asked no more, and who takes whose place.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tce_engine::lease::Timestamp;
use tce_host::{
    decide::{
        Decided, EjectionRule, Member, Policies, PoliciesError, ReloadError, SettingsError,
        TRIAL_DECISIONS, Verdict, metrics,
    },
    policy::{
        Answer, Broken, Compiler, Evaluation, Evaluator, Function, Identity, Interface, Log,
        Question,
        wit::{PageChoice, Setting},
    },
};

use crate::support::{
    plugin,
    questions::{misbehave, page_question},
};

/// Answers pages of one size, or breaks.
struct Fixed {
    identity: Identity,
    page: Mutex<Option<u8>>,
}

impl Fixed {
    fn new(name: &str, page: Option<u8>) -> Arc<Self> {
        let identity = Identity { name: name.to_owned(), sha256: None };
        Arc::new(Self { identity, page: Mutex::new(page) })
    }

    fn set(&self, page: Option<u8>) {
        *self.page.lock().expect("nobody panics") = page;
    }
}

impl Evaluator for Fixed {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn answers(&self, function: Function) -> bool {
        function == Function::SelectPages
    }

    fn evaluate(&self, question: &Question) -> Evaluation {
        let Question::SelectPages(question) = question else { panic!("it was asked {question:?}") };
        let regions = question.demand.regions.iter().map(|region| region.id).collect();
        let result = match *self.page.lock().expect("nobody panics") {
            Some(page) => Ok(Answer::Pages(vec![PageChoice { page, regions }])),
            None => Err(Broken::Trap { what: "as it was told".to_owned() }),
        };
        Evaluation { result, fuel: Some(7), log: Log::default() }
    }
}

fn member(evaluator: &Arc<Fixed>) -> Member {
    let evaluator: Arc<dyn Evaluator> = evaluator.clone();
    Member::new(evaluator).expect("it has no settings to tell")
}

fn policies(members: Vec<Member>) -> Policies {
    Policies::of(members).expect("they go together")
}

/// The page that was decided, and by whom.
fn decide(policies: &Policies, at: u64) -> (u8, Decided<u8>) {
    let decided = policies.decide(
        "pages",
        Timestamp(at),
        page_question(vec![]),
        |question, answer| {
            tce_host::grant::pages(question, answer)?;
            Ok(answer[0].page)
        },
        |answer| format!("{answer:?}"),
    );
    let Ok(Verdict::Granted(page)) = decided.verdict else { panic!("no page") };
    (page, decided)
}

#[test]
fn a_shadow_is_asked_and_decides_nothing() {
    let (active, shadow) = (Fixed::new("active", Some(16)), Fixed::new("shadow", Some(12)));
    let policies = policies(vec![member(&active), member(&shadow).as_shadow()]);
    for (says, differs) in [(Some(12), true), (Some(16), false), (None, true), (Some(30), true)] {
        shadow.set(says);
        let (page, decided) = decide(&policies, 0);
        assert_eq!((page, decided.entry.decided_by.as_str()), (16, "active"));
        assert_eq!(decided.entry.shadows.len(), 1);
        assert_eq!(decided.entry.shadows[0].differs, differs, "{says:?}");
        assert_eq!(decided.entry.shadows[0].broken.is_some(), matches!(says, None | Some(30)));
    }
    let tally = &policies.tallies()[1];
    assert_eq!((tally.0.as_str(), tally.1.differed, tally.1.asked()), ("shadow", 3, 4));
}

#[test]
fn two_may_watch_the_same_and_only_one_may_decide_it() {
    let one = || member(&Fixed::new("one", Some(16)));
    let two = || member(&Fixed::new("two", Some(16)));
    assert!(
        Policies::of(vec![one(), two().as_shadow(), one().named("three".to_owned()).as_shadow()])
            .is_ok()
    );
    assert!(matches!(Policies::of(vec![one(), two()]), Err(PoliciesError::TwoForOne { .. })));
    assert!(matches!(
        Policies::of(vec![one(), one().as_shadow()]),
        Err(PoliciesError::TwoOfOneName(name)) if name == "one"
    ));
    let windows = one().deciding(vec![Interface::WindowSizing]);
    assert!(matches!(Policies::of(vec![windows]), Err(PoliciesError::NotImplemented { .. })));
}

#[test]
fn failures_that_come_together_eject_a_policy_and_others_do_not() {
    let policy = Fixed::new("frail", None);
    let rule = EjectionRule { failures: 3, within: 100 };
    let policies = policies(vec![member(&policy)]).with_ejection(rule);
    for at in [0, 50, 200, 250] {
        assert_eq!(decide(&policies, at).0, 16, "the built-in policy answers");
        assert!(policies.ejected("frail").is_none());
    }
    decide(&policies, 260);
    let ejected = policies.ejected("frail").expect("three within 100 ms");
    assert_eq!(ejected.at, 260);
    assert!(ejected.why.contains("3 times within 100 ms"), "{}", ejected.why);
    assert_eq!(ejected.question.map(|it| it.function()), Some(Function::SelectPages));
    // It works again, and is asked no more.
    policy.set(Some(12));
    let (page, decided) = decide(&policies, 1_000_000);
    assert_eq!((page, decided.entry.asked.as_str()), (16, "built-in"));
    assert_eq!(policies.entries()[0].ejected.as_deref(), Some(ejected.why.as_str()));
}

#[test]
fn a_refusal_is_no_failure_and_an_answer_that_cannot_be_is_one() {
    let rule = EjectionRule { failures: 2, within: u64::MAX };
    let hostile =
        || Member::new(Arc::new(plugin(Compiler::default(), "hostile"))).expect("a policy");
    for (how, fails) in [("refuse", false), ("region-twice", true), ("trap", true)] {
        let hostile = hostile().with_settings(misbehave(how));
        let policies = policies(vec![hostile]).with_ejection(rule);
        for at in 0..3 {
            let _ = policies.decide(
                "pages",
                Timestamp(at),
                page_question(vec![]),
                |question, answer| tce_host::grant::pages(question, answer).map(drop),
                |_| String::new(),
            );
        }
        assert_eq!(policies.ejected("hostile").is_some(), fails, "{how}");
    }
}

#[test]
fn an_operator_ejects_by_name() {
    let policies = policies(vec![member(&Fixed::new("mine", Some(12)))]);
    assert_eq!(decide(&policies, 0).0, 12);
    policies.eject("mine", "it is too slow", Timestamp(1)).expect("there is one");
    assert_eq!(decide(&policies, 2).0, 16);
    assert_eq!(policies.ejected("mine").map(|it| it.why), Some("it is too slow".to_owned()));
    assert!(matches!(policies.eject("yours", "", Timestamp(3)), Err(ReloadError::Unknown(_))));
}

#[test]
fn a_new_version_is_tried_with_what_the_old_one_answered() {
    let old = Fixed::new("mine", Some(12));
    let policies = policies(vec![member(&old)]);
    let reload = |version: &Arc<Fixed>| policies.reload("mine", version.clone(), &[], Timestamp(1));
    decide(&policies, 0);
    let broken = Fixed::new("mine", None);
    assert!(matches!(
        reload(&broken),
        Err(ReloadError::Broken { function: Function::SelectPages, .. })
    ));
    assert_eq!(decide(&policies, 2).0, 12, "everything is as it was");
    reload(&Fixed::new("mine", Some(16))).expect("it answers");
    assert_eq!(decide(&policies, 3).0, 16);
}

#[test]
fn a_version_that_fails_on_trial_gives_its_seat_back() {
    for good in [0, TRIAL_DECISIONS - 1] {
        let (old, new) = (Fixed::new("mine", Some(12)), Fixed::new("mine", Some(16)));
        let policies = policies(vec![member(&old)]);
        policies.reload("mine", new.clone(), &[], Timestamp(0)).expect("it answers");
        (0..good).for_each(|at| drop(decide(&policies, at.into())));
        new.set(None);
        assert_eq!(decide(&policies, 1_000).1.entry.decided_by, "built-in");
        assert_eq!(decide(&policies, 1_001).0, 12, "the one before answers again");
        assert_eq!(policies.tallies()[0].1.returned, 1);
        assert!(policies.ejected("mine").is_none());
    }
    let (old, new) = (Fixed::new("mine", Some(12)), Fixed::new("mine", Some(16)));
    let policies = policies(vec![member(&old)]);
    policies.reload("mine", new.clone(), &[], Timestamp(0)).expect("it answers");
    (0..TRIAL_DECISIONS).for_each(|at| drop(decide(&policies, at.into())));
    new.set(None);
    decide(&policies, 1_000);
    assert_eq!(decide(&policies, 1_001).1.entry.asked, "mine", "its trial is over");
    assert_eq!(policies.tallies()[0].1.returned, 0);
}

#[test]
fn what_was_ejected_comes_back_as_a_new_version() {
    let old = Fixed::new("mine", None);
    let rule = EjectionRule { failures: 1, within: 1 };
    let policies = policies(vec![member(&old)]).with_ejection(rule);
    decide(&policies, 0);
    assert!(policies.ejected("mine").is_some());
    policies.reload("mine", Fixed::new("mine", Some(12)), &[], Timestamp(1)).expect("it answers");
    assert_eq!(decide(&policies, 2).0, 12);
}

#[test]
fn ten_thousand_decisions_meet_whole_policies_while_they_are_replaced() {
    const DECISIONS: u64 = 10_000;
    const THREADS: u64 = 4;
    let policies = policies(vec![member(&Fixed::new("mine", Some(12)))]);
    let (over, counts) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    let mut reloads = 0;
    std::thread::scope(|scope| {
        let deciding: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for at in 0..DECISIONS / THREADS {
                        let (page, decided) = decide(&policies, at);
                        assert_eq!(decided.entry.decided_by, "mine");
                        assert_eq!(decided.entry.fuel, Some(7));
                        counts[usize::from(page == 16)].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            deciding.into_iter().for_each(|thread| thread.join().expect("no decision is lost"));
            over.store(true, Ordering::Relaxed);
        });
        while reloads < 100 || !over.load(Ordering::Relaxed) {
            let page = if reloads % 2 == 0 { 16 } else { 12 };
            let version = Fixed::new("mine", Some(page));
            policies.reload("mine", version, &[], Timestamp(reloads)).expect("it answers");
            reloads += 1;
        }
    });
    let [small, large] = counts.map(AtomicU64::into_inner);
    assert_eq!(small + large, DECISIONS);
    assert_eq!(policies.tallies()[0].1.granted, DECISIONS);
    println!("{reloads} reloads, {small} answers of one version and {large} of the other");
}

fn setting(key: &str, value: &str) -> Setting {
    Setting { key: key.to_owned(), value: value.to_owned() }
}

#[test]
fn settings_that_nobody_knows_or_likes_are_found_before_the_first_decision() {
    let tight = || Member::new(Arc::new(plugin(Compiler::default(), "tight"))).expect("a policy");
    let alone = policies(vec![]);
    let with_tight = policies(vec![tight()]);
    for policies in [&alone, &with_tight] {
        assert!(policies.check_settings(&[setting("page-max", "64K")]).is_ok());
        let unknown = policies.check_settings(&[setting("page-maks", "64K")]);
        let error = unknown.expect_err("it is misspelt").to_string();
        assert_eq!(error, "there is no setting page-maks: there are page-max");
        let bad = policies.check_settings(&[setting("page-max", "large")]);
        assert!(matches!(bad, Err(SettingsError::Problem { .. })));
    }
    let own = policies(vec![tight().with_settings(vec![setting("page-max", "large")])]);
    assert!(matches!(own.check_settings(&[]), Err(SettingsError::Problem { .. })));
    // One that does not tell what it takes may take anything.
    let hostile = Member::new(Arc::new(plugin(Compiler::default(), "hostile"))).expect("a policy");
    assert!(policies(vec![hostile]).check_settings(&[setting("any", "thing")]).is_ok());
}

#[test]
fn a_policy_with_settings_of_its_own_has_no_others() {
    let tight = Member::new(Arc::new(plugin(Compiler::default(), "tight"))).expect("a policy");
    let own = policies(vec![tight.with_settings(vec![setting("page-max", "4K")])]);
    let decided = own.decide(
        "pages",
        Timestamp(0),
        page_question(vec![setting("page-max", "64K")]),
        |_, answer| Ok(answer[0].page),
        |_| String::new(),
    );
    assert!(matches!(decided.verdict, Ok(Verdict::Granted(12))));
}

#[test]
fn metrics_tell_what_became_of_each_policy() {
    let policies = policies(vec![member(&Fixed::new("mine", Some(12)))]);
    decide(&policies, 0);
    let tallies = policies.tallies();
    let text =
        metrics(tallies.iter().map(|(name, tally, out)| (name.as_str(), tally.clone(), *out)));
    assert!(
        text.contains("tce_policy_decisions_total{policy=\"mine\",outcome=\"granted\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("tce_policy_fuel_total{policy=\"mine\"} 7\n"), "{text}");
}
