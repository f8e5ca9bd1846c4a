//! The named checks on simulated machines: every check passes where it applies, harms nothing, and can fail.

use tce_conformance::{
    checks::{
        Charge, Check, Facts, Leaves, Leaving, Script, SuiteReport, Verdict, checks, judge, named,
        run,
    },
    outcome::{Answer, Outcome},
    seat::{Seat, seats},
    sequence::Sequence,
    stage::Stage,
    subject::{Simulated, Subject, SubjectError},
};
use tce_engine::{errno::Errno, kernel::GroupNumber, machine::Machine};
use tce_sim::{
    Profile, SimMachine,
    profile::{DeviceProfile, Eeh, KernelVersion, Kvm},
};

/// Machines on which checks are played: all named ones, and some that differ in what checks ask for.
fn profiles() -> Vec<Profile> {
    let named = |name| Profile::named(name).expect("it is a name");
    let mut profiles: Vec<Profile> = Profile::NAMES.into_iter().map(named).collect();
    let device = DeviceProfile::edu("0000:00:01.0");
    profiles.push(named("pseries").with_device(GroupNumber(7), device));
    profiles.push(Profile { windows_max: u32::MAX, ..named("pseries-64k") });
    profiles.push(Profile { kvm: Kvm::Absent, eeh: Eeh::Absent, ..named("powernv9") });
    profiles.push(named("powernv9").with_hugetlb(Vec::new()));
    profiles.push(named("powernv10").with_kernel(KernelVersion::new(6, 12, 107)));
    profiles.push(named("powernv9-64k").with_kernel(KernelVersion::new(6, 8, 0)));
    profiles
}

fn seats_of(profile: &Profile) -> Vec<Seat> {
    seats(&SimMachine::new(profile.clone()), &[]).expect("each profile has an edu")
}

fn facts_of(profile: &Profile) -> Facts {
    Facts::of(profile, &seats_of(profile))
}

fn suite(profile: &Profile, leaving: Leaving) -> SuiteReport {
    let facts = facts_of(profile);
    let mut subject = Simulated::new(profile.clone(), seats_of(profile));
    run(&checks(), &facts, leaving, &mut subject, |_| {})
}

/// Each check with each machine that it applies to.
fn applicable() -> impl Iterator<Item = (&'static Check, Profile, Script)> {
    profiles().into_iter().flat_map(|profile| {
        let facts = facts_of(&profile);
        let of = checks().into_iter().filter(move |check| check.applies.to(&facts).is_ok());
        let facts = facts_of(&profile);
        of.map(move |check| (check, profile.clone(), (check.script)(&facts)))
    })
}

fn stage_of(profile: &Profile, script: &Script) -> Stage<SimMachine> {
    Simulated::new(profile.clone(), seats_of(profile)).stage(script.locked_limit)
}

fn outcomes(check: &Check, profile: &Profile, script: &Script) -> Vec<Outcome> {
    let mut subject = Simulated::new(profile.clone(), seats_of(profile));
    subject.play(&script.sequence(check)).expect("the sim plays everything")
}

#[test]
fn every_check_passes_on_every_machine_it_applies_to() {
    for profile in profiles() {
        let report = suite(&profile, Leaving::Played);
        assert!(!report.is_bad(), "{}:\n{report}", profile.name);
    }
}

#[test]
fn every_check_is_played_on_some_machine() {
    for check in checks() {
        let played = profiles().iter().any(|it| check.applies.to(&facts_of(it)).is_ok());
        assert!(played, "{}", check.name);
    }
}

#[test]
fn names_are_unique_and_in_kebab_case() {
    let mut names: Vec<_> = checks().iter().map(|check| check.name).collect();
    for name in &names {
        let words = name.split('-');
        let is_word = |word: &str| {
            !word.is_empty()
                && word.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
        };
        assert!(words.into_iter().all(is_word), "{name}");
        assert_eq!(named(name).map(|check| check.name), Some(*name));
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn no_check_breaks_a_machine() {
    for (check, profile, script) in applicable() {
        let mut stage = stage_of(&profile, &script);
        for act in &script.acts {
            stage.take(&act.step).expect("the sim plays everything");
        }
        assert_eq!(stage.machine().host_corruption(), None, "{} on {}", check.name, profile.name);
    }
}

#[test]
fn what_a_check_leaves_behind_is_what_it_says() {
    for (check, profile, script) in applicable() {
        let mut stage = stage_of(&profile, &script);
        for act in &script.acts {
            stage.take(&act.step).expect("the sim plays everything");
        }
        // The process ends: what is open closes, KVM's files first, as its leases need the groups.
        let machine = stage.machine();
        let mut kernel = machine.kernel();
        for (fd, _) in machine.descriptors() {
            let _ = tce_engine::kernel::Kernel::close(&mut kernel, fd);
        }
        let leaks = machine.regions().iter().any(|region| region.users > 0);
        let leaves = match (leaks, machine.partition_spoiled()) {
            (true, _) => Some(Leaves::PinnedPage),
            (false, true) => Some(Leaves::SpoiledPe),
            (false, false) => None,
        };
        assert_eq!(leaves, check.leaves, "{} on {}", check.name, profile.name);
        let warnings = machine.host_warnings();
        assert!(warnings.is_empty() || leaks, "{}: {warnings:?}", check.name);
    }
}

#[test]
fn checks_that_leave_something_are_played_last_and_only_on_request() {
    let leaves: Vec<_> = checks().iter().map(|check| check.leaves).collect();
    assert!(leaves.is_sorted());
    let profile = Profile::powernv9();
    let verdict = |leaving| {
        let results = suite(&profile, leaving).results;
        let found = results.into_iter().find(|it| it.name == "unregister-of-mapped-memory-leaks");
        found.expect("it is a check").verdict
    };
    assert!(matches!(verdict(Leaving::Skipped), Verdict::Skipped { .. }));
    assert_eq!(verdict(Leaving::Played), Verdict::Passed);
}

#[test]
fn every_asserted_answer_matters() {
    // No call gives this errno.
    let wrong = Answer::Failed { errno: Errno(133) };
    for (check, profile, script) in applicable() {
        let right = outcomes(check, &profile, &script);
        assert_eq!(judge(&script, &right), Verdict::Passed, "{} on {}", check.name, profile.name);
        for index in 0..script.acts.len() {
            let mut changed = right.clone();
            changed[index].answer = wrong.clone();
            let Verdict::Failed { step, .. } = judge(&script, &changed) else {
                panic!("{}: step {} may give anything", check.name, index + 1);
            };
            assert_eq!(step, index + 1, "{}", check.name);
        }
    }
}

#[test]
fn every_asserted_charge_matters() {
    for (check, profile, script) in applicable() {
        let right = outcomes(check, &profile, &script);
        let asserted = |index: &usize| script.acts[*index].expected.charge != Charge::Any;
        for index in (1..script.acts.len()).filter(asserted) {
            let mut changed = right.clone();
            for outcome in &mut changed[index..] {
                outcome.locked += 1 << 16;
            }
            let Verdict::Failed { step, .. } = judge(&script, &changed) else {
                panic!("{}: step {} may cost anything", check.name, index + 1);
            };
            assert_eq!(step, index + 1, "{}", check.name);
        }
    }
}

#[test]
fn every_check_asserts_something() {
    for (check, profile, script) in applicable() {
        let asserted = script.acts.iter().filter(|act| act.expected.charge != Charge::Any);
        assert!(asserted.count() > 0, "{} on {}", check.name, profile.name);
    }
}

/// A machine whose processes die after some steps.
struct Mortal {
    simulated: Simulated,
    steps: usize,
}

impl Subject for Mortal {
    fn play(&mut self, sequence: &Sequence) -> Result<Vec<Outcome>, SubjectError> {
        let mut outcomes = self.simulated.play(sequence)?;
        outcomes.truncate(self.steps);
        Ok(outcomes)
    }
}

#[test]
fn a_process_that_dies_is_a_failure() {
    let profile = Profile::powernv9();
    let simulated = Simulated::new(profile.clone(), seats_of(&profile));
    let mut subject = Mortal { simulated, steps: 3 };
    let report = run(&checks(), &facts_of(&profile), Leaving::Skipped, &mut subject, |_| {});
    assert!(report.is_bad());
    let text = report.to_string();
    assert!(text.contains("got:      nothing: the process ended"), "{text}");
}

#[test]
fn the_report_tells_what_failed_where_and_why_not() {
    let profile = Profile::named("pseries").expect("it is a name");
    let text = suite(&profile, Leaving::Skipped).to_string();
    assert!(
        text.starts_with("sPAPR TCE v2 backend on pseries, Linux 6.12.117, 4K pages, 1 group\n")
    );
    assert!(text.contains("\nPartitions\n  ok      firmware-places-dynamic-windows"), "{text}");
    assert!(text.contains("needs two groups"), "{text}");
    assert!(text.contains("only on powernv"), "{text}");
    assert!(text.contains(" passed, 0 failed, "), "{text}");
    let old = Profile::powernv9().with_kernel(KernelVersion::new(6, 12, 107));
    let text = suite(&old, Leaving::Skipped).to_string();
    let reason = "needs Linux 6.1.189, 6.12.112, 7.2.8, or a later branch: without the fix";
    assert!(text.contains(reason), "{text}");
}

#[test]
fn a_wrong_kernel_is_told_with_step_expectation_and_answer() {
    // A partition is no powernv host: its default window is smaller.
    let facts = facts_of(&Profile::powernv9());
    let partition = Profile::named("pseries").expect("it is a name");
    let mut subject = Simulated::new(partition.clone(), seats_of(&partition));
    let report = run(&checks(), &facts, Leaving::Skipped, &mut subject, |_| {});
    let text = report.to_string();
    let lines = [
        "  FAILED  default-window-comes-with-the-first-map",
        "          step 7:   MAP_DMA c0 flags 3 m0+0x0 at 0x0 size 0x1000",
        "          expected: 0, locked memory +8192 KiB",
        "          got:      0, locked memory +2048 KiB",
        "          kernel:   tce_iommu_create_default_window",
    ];
    for line in lines {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
}

#[test]
fn the_report_is_json_as_well() {
    let report = suite(&Profile::powernv9(), Leaving::Skipped);
    let value = serde_json::to_value(&report).expect("it is plain data");
    let first = &value["results"][0];
    assert_eq!(first["name"], "calls-need-a-backend");
    assert_eq!(first["topic"], "attach");
    assert_eq!(first["verdict"], "passed");
}
