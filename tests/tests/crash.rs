//! The work of the processes that the lab kills, on the simulated machines: undisturbed it leaves nothing, and is what it
//! is said to be.

use std::{env, fs, process};

use fastrand::Rng;
use tce_engine::machine::Machine as _;
use tce_host::{
    decide::Policies,
    job::Job,
    report::Report,
    run::{self, Options, Silent},
};
use tce_sim::{Operation, Profile, SimMachine};
use tce_tests::{
    crash::{
        busy,
        long_job::{Means, ROUNDS, long_job},
        phase::Phase,
    },
    rig::{NOW, seats_in_one_container},
};

const PROFILES: [&str; 5] = ["powernv9", "powernv9-64k", "powernv10", "pseries", "pseries-64k"];

/// Phases that were told, each with the kernel calls made in it.
fn play(machine: &mut SimMachine, seed: u64) -> Vec<(Phase, u64)> {
    let witness = machine.clone();
    let mut told: Vec<(Phase, u64)> = Vec::new();
    let mut before = witness.all_calls();
    let mut count = |told: &mut Vec<(Phase, u64)>| {
        if let Some((_, calls)) = told.last_mut() {
            *calls = witness.all_calls() - before;
        }
        before = witness.all_calls();
    };
    let mut dice = Rng::with_seed(seed);
    let played = busy::round(machine, &mut dice, &mut |phase| {
        count(&mut told);
        told.push((phase, 0));
        Ok(())
    });
    played.expect("nothing fails");
    count(&mut told);
    told
}

#[test]
fn a_round_of_the_busy_process_goes_through_every_phase_and_leaves_nothing() {
    for name in PROFILES {
        let mut machine = SimMachine::new(Profile::named(name).expect("a known profile"));
        let mut lives = 0;
        for seed in 0..8 {
            let told = play(&mut machine, seed);
            let phases: Vec<Phase> = told.iter().map(|(phase, _)| *phase).collect();
            let cycle: Vec<Phase> = Phase::ALL.into_iter().cycle().take(phases.len()).collect();
            assert_eq!(phases, cycle, "{name} {seed}");
            for (phase, calls) in told.iter().filter(|(phase, _)| *phase != Phase::Revoke) {
                assert!(*calls > 0, "{name} {seed}: no kernel call was made while {phase}");
            }
            lives += phases.len() / Phase::ALL.len();
            let left = machine.left_behind();
            assert!(left.is_nothing(), "{name} {seed}: {left:?}");
            assert_eq!(machine.host_corruption(), None, "{name} {seed}");
        }
        assert!(lives > 8, "{name}: no group ever came back");
        let mapped = machine.calls(Operation::Map);
        assert!(mapped > 100, "{name}: {mapped} maps are no work");
        let groups = machine.groups().len();
        assert!(groups == 1 || machine.calls(Operation::OpenGroup) > 8, "{name}: {groups} groups");
    }
}

/// Runs a long job as `tce run` does, decided by the built-in policy.
fn run_long_job(machine: &mut SimMachine, has_huge_pages: bool, seed: u64) -> Report {
    let seats = seats_in_one_container(machine);
    let devices = seats.into_iter().map(|seat| seat.address).collect();
    let text = long_job(&Means { devices, has_huge_pages }, &mut Rng::with_seed(seed));
    let name = format!("tce-long-{}-{seed}-{has_huge_pages}.toml", process::id());
    let path = env::temp_dir().join(name);
    fs::write(&path, text).expect("a file");
    let job = Job::read(&path).expect("a job");
    fs::remove_file(path).expect("it is there");
    let policies = Policies::new(Vec::new()).expect("the built-in policy");
    let (backend, policy_compiler) = ("sim".to_owned(), "none".to_owned());
    let options = Options { policies: &policies, backend, policy_compiler, clock: &NOW };
    run::run(&job, machine, &options, &Silent).expect("it comes to its end")
}

#[test]
fn a_long_job_comes_to_its_end_and_leaves_nothing() {
    for name in PROFILES {
        for (seed, has_huge_pages) in [(1, false), (2, true)] {
            let mut machine = SimMachine::new(Profile::named(name).expect("a known profile"));
            let report = run_long_job(&mut machine, has_huge_pages, seed);
            assert!(report.is_clean(), "{name}: {:?}", report.locked);
            let left = machine.left_behind();
            assert!(left.is_nothing(), "{name}: {left:?}");
            let calls = machine.calls(Operation::Map) + machine.calls(Operation::Unmap);
            assert!(calls > u64::from(ROUNDS) * 8, "{name}: {calls} calls are no long work");
        }
    }
}
