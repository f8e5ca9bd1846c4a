//! The lab suite: what must hold on a real kernel. Runs inside the POWER lab, as root, on vfio.
//!
//! `tce-lab` plays every scene and compares jobs with reports that another machine made (`/lab/reference`).
//! `tce-lab NAME…` plays those whose name contains one of the words.
//! `tce-lab bench` measures the engine beside other ways to do the same work, on this kernel.
//! `tce-lab kills COUNT [SEED]` kills a busy process and `tce run` at random instants, and looks for what remains.
//! `tce-lab busy SEED BOARD` is the busy process.

#![forbid(unsafe_code)]

use std::{
    cell::RefCell,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use tce_engine::{
    addr::Bytes,
    kernel::{Kernel as _, LockedMemory, Platform},
    machine::{GroupDevice, Machine as _},
};
use tce_example_vmm::vmm::{Passed, Seen, Way};
use tce_host::{decide::Policies, policy::Compiler, report::Report};
use tce_tests::{
    answers,
    bench::{self, Scale},
    crash::{self, BUSY},
    jobs::{COMPARED_JOBS, Places, comparable, read},
    rig::seat,
    scenes,
    stage::Stage,
    unbinding,
};
use tce_vfio::VfioMachine;

/// Where the lab puts reports of the same jobs on the simulated machine of this kind, made on the building machine.
const REFERENCE: &str = "/lab/reference";
/// Where the released policies are, each with a record of what it answered elsewhere.
const FIXTURES: &str = "/lab/fixtures";
/// The released policy among them.
const FIXTURE: &str = "tight-0.2.0";
/// Where a recorded run goes.
const TRACE: &str = "recorded.jsonl";
/// Where reports are left for whoever runs the lab.
const OUT: &str = "/lab/out";
/// The word for measuring.
const BENCH: &str = "bench";
/// The word for killing.
const KILLS: &str = "kills";
/// An emulated machine takes microseconds for each TCE.
const BENCH_SCALE: Scale = Scale { tces: 1 << 14, rounds: 7 };

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words_str: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words_str[..] {
        [BENCH] => measure(),
        [KILLS, count] => crash::kill(count, None),
        [KILLS, count, seed] => crash::kill(count, Some(seed)),
        [BUSY, seed, board] => crash::be_busy(seed, board),
        _ => play_suite(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play_suite(words: &[String]) -> Result<()> {
    match suite(words)? {
        (0, 0) => bail!("no check has one of these words in its name: {words:?}"),
        (_, 0) => Ok(()),
        (_, failed) => bail!("{failed} checks failed"),
    }
}

/// Measures the engine beside other ways to do the same work.
fn measure() -> Result<()> {
    let mut machine = VfioMachine::open()?;
    let name = format!("on the kernel of this machine ({})", kind(&machine));
    bench::run(&mut machine, &name, BENCH_SCALE)
}

type Check = (String, Box<dyn Fn(&mut VfioMachine) -> Result<()>>);

/// What was played, and how it went.
struct Tally<'w> {
    /// Words of which a name has one, if there are any.
    words: &'w [String],
    passed: u32,
    failed: u32,
}

impl Tally<'_> {
    fn is_wanted(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word))
    }

    fn play(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        let begun = Instant::now();
        match check() {
            Ok(()) => {
                self.passed += 1;
                println!("ok      {name} ({})", seconds(begun));
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED  {name}: {error:#}");
            }
        }
    }
}

fn suite(words: &[String]) -> Result<(u32, u32)> {
    let mut machine = VfioMachine::open()?;
    let mut tally = Tally { words, passed: 0, failed: 0 };
    for (name, check) in checks(&mut machine)? {
        if tally.is_wanted(&name) {
            tally.play(&name, || leaves_no_trace(&mut machine, check));
        }
    }
    play_stories(&mut machine, &mut tally);
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok((tally.passed, tally.failed))
}

/// How long ago, in seconds. In whole numbers, since the emulated machine's floating point is not to be trusted after a
/// guest has run.
fn seconds(begun: Instant) -> String {
    let tenths = begun.elapsed().as_millis() / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// Plays the stories on one stage.
fn play_stories(machine: &mut VfioMachine, tally: &mut Tally<'_>) {
    let stories = scenes::stories();
    let wanted: Vec<_> = stories.iter().filter(|(name, _)| tally.is_wanted(name)).collect();
    if wanted.is_empty() {
        return;
    }
    let begun = Instant::now();
    let played = leaves_no_trace(machine, |machine| {
        let mut stage = Stage::new(machine)?;
        for (name, story) in wanted {
            tally.play(name, || {
                let told = story(&mut stage);
                // Also after a failure, for those that come.
                told.and(stage.clear())
            });
        }
        stage.close()
    });
    let took = seconds(begun);
    tally.play(&format!("the stories leave nothing, {took} in all"), || played);
}

fn checks(machine: &mut VfioMachine) -> Result<Vec<Check>> {
    let mut checks: Vec<Check> = Vec::new();
    for shape in scenes::shapes(machine)? {
        let name = format!(
            "bytes travel exactly where they are mapped: slot {}, {} pages, {:?}, {}",
            shape.slot.number(),
            shape.page,
            shape.origin,
            shape.backing
        );
        let scene = move |machine: &mut VfioMachine| {
            scenes::bytes_travel_exactly_where_they_are_mapped(machine, shape)
        };
        checks.push((name, Box::new(scene)));
    }
    checks.push((
        "the 2016 review: a lease does not outlive the last group".into(),
        Box::new(scenes::a_lease_does_not_outlive_the_last_group),
    ));
    checks.push((
        "the 2016 review: a container without groups has no backend".into(),
        Box::new(scenes::a_container_without_groups_has_no_backend),
    ));
    checks.push((
        "the 2016 review: a descriptor of another kind is refused".into(),
        Box::new(scenes::a_descriptor_of_another_kind_is_refused),
    ));
    checks.push((
        "a group leaves another one, and nothing is lost".into(),
        Box::new(scenes::a_group_leaves_and_nothing_is_lost),
    ));
    checks.push((
        "a driver is unbound under load".into(),
        Box::new(unbinding::a_driver_is_unbound_under_load),
    ));
    checks.push(("the example VMM gives a guest a device".into(), Box::new(example_works)));
    checks.push((
        "a guest sets TCEs without its process".into(),
        Box::new(scenes::a_guest_sets_tces_without_its_process),
    ));
    checks.push((
        "every loan that is refused has its reason".into(),
        Box::new(scenes::every_loan_that_is_refused_has_its_reason),
    ));
    checks.push((
        "every group that is refused has its reason".into(),
        Box::new(scenes::every_group_that_is_refused_has_its_reason),
    ));
    checks.push((
        "a device is quiet when its interrupts are off".into(),
        Box::new(scenes::a_device_is_quiet_when_its_interrupts_are_off),
    ));
    checks.push(("tce doctor finds nothing missing".into(), Box::new(doctor_is_content)));
    checks.push(("tce run on vfio, decided by a component".into(), Box::new(command_runs_a_job)));
    checks.push((
        "tce run on vfio, recorded: nothing to lint".into(),
        Box::new(recorded_run_lints_clean),
    ));
    checks.push((
        "released policies answer as recorded, with the same fuel".into(),
        Box::new(|_| answers::hold(Path::new(FIXTURES), Path::new(FIXTURES), &[FIXTURE]).map(drop)),
    ));
    checks.push((
        "policies answer as on the building machine, with the same fuel".into(),
        Box::new(|_| {
            answers::hold(&Places::lab().plugins, Path::new(REFERENCE), &answers::BUILT).map(drop)
        }),
    ));
    for job in COMPARED_JOBS {
        let name = format!("job {job}: the same report as on the simulated machine");
        checks.push((name, Box::new(move |machine| same_report(machine, job))));
    }
    Ok(checks)
}

/// What must be as it was, whatever a check does.
fn leaves_no_trace(
    machine: &mut VfioMachine,
    check: impl FnOnce(&mut VfioMachine) -> Result<()>,
) -> Result<()> {
    let before = state(machine)?;
    check(machine)?;
    let after = state(machine)?;
    ensure!(before == after, "the machine was {before:?} and is {after:?}");
    Ok(())
}

/// What is the same before and after a check.
#[derive(Debug, PartialEq, Eq)]
struct State {
    locked: LockedMemory,
    /// Who drives which device.
    devices: Vec<GroupDevice>,
    /// What this process has open, but for the map of its own pages, which the policies' runtime opens once and keeps.
    open: Vec<PathBuf>,
}

fn state(machine: &VfioMachine) -> Result<State> {
    let locked = machine.kernel().locked_memory().map_err(|errno| anyhow::anyhow!("{errno}"))?;
    let groups = machine.groups().into_iter();
    let devices = groups.flat_map(|group| machine.devices_of(group)).collect();
    let descriptors =
        fs::read_dir("/proc/self/fd")?.filter_map(|it| fs::read_link(it.ok()?.path()).ok());
    let mut open: Vec<PathBuf> = descriptors.filter(|it| !it.ends_with("pagemap")).collect();
    open.sort_unstable();
    Ok(State { locked, devices, open })
}

fn doctor_is_content(_machine: &mut VfioMachine) -> Result<()> {
    tce(&["doctor"]).map(|_| ())
}

/// The example, with KVM where there is any, and without.
fn example_works(machine: &mut VfioMachine) -> Result<()> {
    let seat = seat(machine)?;
    let device = Passed { group: seat.group, address: seat.address };
    let policies = Policies::new(Vec::new())?;
    let ways = match machine.kernel().system().platform {
        Platform::Powernv => [(Way::Kvm, 1), (Way::FrontEnd, 3)].to_vec(),
        Platform::Pseries => [(Way::FrontEnd, 3)].to_vec(),
    };
    for (way, exits) in ways {
        let own = RefCell::new(VfioMachine::open()?);
        let seen = tce_example_vmm::vmm::run(&own, &device, &policies, way, |_, _| {})?;
        ensure!(seen == Seen { exits, left: Bytes::ZERO }, "{way:?}: {seen:?}");
    }
    Ok(())
}

/// The command itself, as a user would call it.
fn command_runs_a_job(machine: &mut VfioMachine) -> Result<()> {
    let address = seat(machine)?.address;
    let places = Places::lab();
    let job = places.jobs.join("smoke.toml").display().to_string();
    let policy = places.plugins.join("tight.wasm").display().to_string();
    let options = ["--backend", "vfio", "--device", &address, "--policy", &policy, "--json"];
    let printed = tce(&[&["run", &job], &options[..]].concat())?;
    let report: Report = serde_json::from_str(&printed).context("the report")?;
    ensure!(report.is_clean(), "something was left behind: {:?}", report.locked);
    ensure!(report.decisions.iter().all(|it| it.decided_by == "tight"), "tight did not decide");
    Ok(())
}

/// What the recorder sees of a run of ours has no hazard in it, and is what the simulated kernel would answer.
fn recorded_run_lints_clean(machine: &mut VfioMachine) -> Result<()> {
    let address = seat(machine)?.address;
    let job = Places::lab().jobs.join("smoke.toml").display().to_string();
    let run = ["/bin/tce", "run", &job, "--backend", "vfio", "--device", &address];
    let trace = env::temp_dir().join(TRACE).display().to_string();
    let record = ["trace", "record", "--force", "--output", &trace, "--"];
    tce(&[&record[..], &run[..]].concat())?;
    let linted = tce(&["trace", "lint", &trace, "--fail-on", "note", "--json"])?;
    let report: serde_json::Value = serde_json::from_str(&linted).context("the lint report")?;
    ensure!(report["disagreed"] == 0, "the simulated kernel answers otherwise: {linted}");
    let maps = report["calls"]["map"]["made"].as_u64().unwrap_or(0);
    ensure!(maps > 0, "the recorder saw no map: {linted}");
    Ok(())
}

/// Runs the command; what it prints.
fn tce(arguments: &[&str]) -> Result<String> {
    let output = Command::new("/bin/tce").args(arguments).output().context("running tce")?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tce {arguments:?}: {}\n{shown}{errors}", output.status);
    Ok(shown)
}

/// Decisions, fuel, windows, kernel calls and charges are what the simulated machine gave, where policies were compiled
/// to machine code; here they are interpreted.
fn same_report(machine: &mut VfioMachine, job: &str) -> Result<()> {
    let report = Places::lab().run(job, machine, "vfio", Compiler::default())?;
    ensure!(report.is_clean(), "something was left behind: {:?}", report.locked);
    ensure!(report.decisions.iter().all(|decision| decision.fuel.is_some()), "no fuel was counted");
    keep(job, &report)?;
    let reference = Path::new(REFERENCE).join(format!("{job}.{}.json", kind(machine)));
    let reference = read(&reference).context("the reference report")?;
    let (here, there) = (comparable(report), comparable(reference));
    if here != there {
        bail!("the reports differ.\nhere:  {}\nthere: {}", json(&here)?, json(&there)?);
    }
    Ok(())
}

/// The simulated machine of the same kind.
fn kind(machine: &VfioMachine) -> String {
    let system = machine.kernel().system();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = match system.platform {
        Platform::Pseries => "pseries",
        Platform::Powernv if cpu.contains("POWER10") => "powernv10",
        Platform::Powernv => "powernv9",
    };
    match system.page_shift.raw() {
        12 => name.to_owned(),
        _ => format!("{name}-64k"),
    }
}

fn keep(job: &str, report: &Report) -> Result<()> {
    fs::create_dir_all(OUT)?;
    Ok(fs::write(Path::new(OUT).join(format!("{job}.json")), json(report)?)?)
}

fn json(report: &Report) -> Result<String> {
    Ok(serde_json::to_string_pretty(report)?)
}
