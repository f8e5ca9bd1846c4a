//! `tce conformance …`.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use tce_conformance::{
    checks::{self, Check, Facts, Leaving},
    machine::{Description, Look},
    real::{LookError, look},
    run::{Event, Order, Report, RunError, compare, replay, run},
    seat::seats,
    sequence::{self, Recording, Recordings},
    subject::{Real, Simulated},
};
use tce_sim::{Profile, SimMachine};

use crate::{
    conformance::{checks_text, random_text},
    exit::{Exit, Failure},
};

use super::{backend::Backend, print_json, print_text};

/// Play the named checks of the backend's traps, or one of the commands below.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ConformanceArgs {
    #[command(subcommand)]
    command: Option<ConformanceCommand>,
    #[command(flatten)]
    checks: ChecksArgs,
}

#[derive(Debug, Args)]
struct ChecksArgs {
    /// Only these checks. [default: all that apply to the machine]
    #[arg(value_name = "CHECK")]
    names: Vec<String>,
    /// Use this device's group; it must be bound to vfio-pci. Say it again for a second group. [default: each edu device]
    #[arg(long = "device", value_name = "ADDRESS")]
    devices: Vec<String>,
    /// The machine: vfio, this one; or a simulated one, sim:PROFILE.
    #[arg(long, default_value = "vfio")]
    backend: String,
    /// Also the checks that leave something behind until the machine boots anew.
    #[arg(long)]
    leaving: bool,
    /// Only tell what would be played, and why not the rest.
    #[arg(long)]
    list: bool,
    /// Report as one JSON document (docs/conformance.md describes it).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ConformanceCommand {
    /// Play random operations on this kernel and on the simulated one, and compare every result.
    Random(RandomArgs),
    /// Play the sequences of a file.
    Play(PlayArgs),
}

#[derive(Debug, Args)]
struct RandomArgs {
    /// Use this device's group; it must be bound to vfio-pci. Say it again for a second group. [default: each edu device]
    #[arg(long = "device", value_name = "ADDRESS")]
    devices: Vec<String>,
    /// The seed of all sequences. [default: taken from the clock, and shown]
    #[arg(long)]
    seed: Option<u64>,
    /// Operations in all.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Operations of one sequence, which is played in a process of its own.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u16).range(1..))]
    length: u16,
    /// One sequence in so many opens devices and lets an edu device do DMA. Resetting a device takes time.
    #[arg(long, value_name = "COUNT", default_value = "12")]
    devices_one_in: NonZeroU32,
    /// The number of the first sequence.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Write the sequences into this file, with what came of them here.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Report as one JSON document (docs/conformance.md describes it).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PlayArgs {
    /// The file: what --record wrote, or sequences by hand (docs/conformance.md); also compressed.
    file: PathBuf,
    /// Play them on this kernel, and compare with the simulated one. Without it what was recorded is compared.
    #[arg(long)]
    here: bool,
    /// With --here: use this device's group. Say it again for a second group. [default: each edu device]
    #[arg(long = "device", value_name = "ADDRESS", requires = "here")]
    devices: Vec<String>,
    /// Report as one JSON document (docs/conformance.md describes it).
    #[arg(long)]
    json: bool,
}

pub(super) fn conformance(args: ConformanceArgs) -> Result<Exit, Failure> {
    match args.command {
        Some(ConformanceCommand::Random(args)) => random(&args),
        Some(ConformanceCommand::Play(args)) => play(&args),
        None => play_checks(&args.checks),
    }
}

fn play_checks(args: &ChecksArgs) -> Result<Exit, Failure> {
    let wanted = wanted(&args.names)?;
    let backend: Backend = args.backend.parse()?;
    let look = match &backend {
        Backend::Vfio => look(&args.devices)?,
        Backend::Simulated(profile) => simulated(profile, &args.devices)?,
    };
    let facts = Facts::of(&look.profile, &look.seats);
    let leaving = if args.leaving { Leaving::Played } else { Leaving::Skipped };
    if args.list {
        return print_text(&checks_text::list(&wanted, &facts, leaving)).map(|()| Exit::Done);
    }
    let bar = ProgressBar::new(u64::try_from(wanted.len()).unwrap_or(u64::MAX));
    let (mut simulated, mut real) = subjects(&look);
    let report = match backend {
        Backend::Vfio => checks::run(&wanted, &facts, leaving, &mut real, |_| bar.inc(1)),
        Backend::Simulated(_) => {
            checks::run(&wanted, &facts, leaving, &mut simulated, |_| bar.inc(1))
        }
    };
    bar.finish_and_clear();
    if args.json {
        print_json(&report)?;
    } else {
        print_text(&checks_text::render(&report))?;
    }
    Ok(if report.is_bad() { Exit::Differs } else { Exit::Done })
}

fn wanted(names: &[String]) -> Result<Vec<&'static Check>, Failure> {
    if names.is_empty() {
        return Ok(checks::checks());
    }
    let find = |name: &String| {
        checks::named(name).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("there is no check `{name}`"))
                .with("`tce conformance --list` has their names")
        })
    };
    names.iter().map(find).collect()
}

fn simulated(profile: &Profile, devices: &[String]) -> Result<Look, Failure> {
    let profile = profile.clone();
    let seats = seats(&SimMachine::new(profile.clone()), devices)
        .map_err(|error| Failure::new(Exit::Machine, error))?;
    Ok(Look { kernel: "simulated".to_owned(), profile, seats })
}

fn random(args: &RandomArgs) -> Result<Exit, Failure> {
    let look = look(&args.devices)?;
    let order = Order {
        seed: args.seed.unwrap_or_else(seed_of_the_day),
        first: args.first,
        steps: args.steps,
        length: usize::from(args.length),
        devices_one_in: args.devices_one_in,
    };
    anstream::eprintln!("{}", random_text::intent(&look, &order));
    let mut record = args.record.as_deref().map(|path| Record::create(path, &look)).transpose()?;
    let bar = Bar::new(order.steps);
    let (mut simulated, mut real) = subjects(&look);
    let report = run(&order, &mut simulated, &mut real, |event| {
        bar.show(&event);
        if let (Event::Played(_, recording), Some(record)) = (event, &mut record) {
            record.add(recording);
        }
    })?;
    bar.end();
    record.map_or(Ok(()), Record::finish)?;
    show(&report, args.json)
}

fn play(args: &PlayArgs) -> Result<Exit, Failure> {
    let file = open(&args.file)?;
    let steps = file.recordings.iter().map(|it| it.sequence.steps.len()).sum::<usize>();
    let bar = Bar::new(u64::try_from(steps).unwrap_or(u64::MAX));
    let report = if args.here {
        play_here(&file, &look(&args.devices)?, &bar)?
    } else {
        play_recorded(&args.file, &file, &bar)?
    };
    bar.end();
    show(&report, args.json)
}

fn play_here(file: &Recordings, look: &Look, bar: &Bar) -> Result<Report, Failure> {
    let (mut simulated, mut real) = subjects(look);
    let mut report = Report::default();
    for recording in &file.recordings {
        let sequence = &recording.sequence;
        compare(&mut report, sequence, &mut simulated, &mut real, &mut |event| bar.show(&event))?;
        bar.show(&Event::Played(&report, recording));
    }
    Ok(report)
}

fn play_recorded(path: &Path, file: &Recordings, bar: &Bar) -> Result<Report, Failure> {
    let bad = |what: String| Failure::new(Exit::Trace, format!("{}: {what}", path.display()));
    let machine = file.machine.as_ref().ok_or_else(|| {
        bad("it does not say on which machine it was recorded".to_owned())
            .with("say --here to play it on this machine's kernel")
    })?;
    let look = machine.look().map_err(|error| bad(error.to_string()))?;
    let mut simulated = Simulated::new(look.profile, look.seats);
    Ok(replay(&file.recordings, &mut simulated, |event| bar.show(&event))?)
}

fn subjects(look: &Look) -> (Simulated, Real) {
    (Simulated::new(look.profile.clone(), look.seats.clone()), Real::new(look.seats.clone()))
}

fn show(report: &Report, json: bool) -> Result<Exit, Failure> {
    if json {
        print_json(report)?;
    } else {
        print_text(&random_text::render(report))?;
    }
    Ok(if report.found.is_empty() { Exit::Done } else { Exit::Differs })
}

fn open(path: &Path) -> Result<Recordings, Failure> {
    let bad = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Trace, format!("{}: {error}", path.display()))
            .with("docs/conformance.md describes files of sequences")
    };
    let file = File::open(path).map_err(|error| bad(&error))?;
    let reader: Box<dyn Read> = match path.extension() {
        Some(extension) if extension == "gz" => Box::new(MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    sequence::read(&mut BufReader::new(reader)).map_err(|error| bad(&error))
}

/// A file that is written while a run goes on.
struct Record {
    path: PathBuf,
    to: BufWriter<File>,
    result: std::io::Result<()>,
}

impl Record {
    fn create(path: &Path, look: &Look) -> Result<Self, Failure> {
        let file = File::create_new(path).map_err(|error| cannot_record(path, &error))?;
        let mut to = BufWriter::new(file);
        let result = sequence::write_header(&mut to, Some(&Description::of(look)));
        Ok(Self { path: path.to_owned(), to, result })
    }

    fn add(&mut self, recording: &Recording) {
        if self.result.is_ok() {
            self.result = sequence::write(&mut self.to, &recording.sequence, &recording.outcomes);
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        let written = self.result.and_then(|()| self.to.flush());
        written.map_err(|error| cannot_record(&self.path, &error))
    }
}

fn cannot_record(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("{} cannot be written: {error}", path.display()))
        .with("name another file with --record; one that is there is not overwritten")
}

/// How far a run is: on a terminal a bar, in a pipe nothing but differences.
struct Bar(ProgressBar);

impl Bar {
    fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        let style =
            ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} operations, {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    fn show(&self, event: &Event<'_>) {
        match event {
            Event::Played(report, _) => self.0.set_position(report.steps),
            Event::Differs(name, difference) => self.0.suspend(|| {
                anstream::eprintln!(
                    "{name} differs; looking for the shortest way to show it\n{difference}"
                );
            }),
        }
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

fn seed_of_the_day() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs()
}

impl From<LookError> for Failure {
    fn from(error: LookError) -> Self {
        match error {
            LookError::Open(error) => error.into(),
            other => Self::new(Exit::Machine, &other)
                .with("`tce doctor` shows what this machine has, and what is missing"),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Simulated(_) | RunError::Draft(_) => Self::new(Exit::Unexpected, error),
            RunError::Real { .. } => {
                Self::new(Exit::Kernel, error).with("the kernel's log may tell more: `dmesg`")
            }
        }
    }
}
