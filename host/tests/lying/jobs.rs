//! Jobs and machines from seeds.

use std::fmt::Write;

use fastrand::Rng;
use tce_engine::{
    addr::Bytes,
    machine::{GroupDevice, Machine},
};
use tce_host::job::Job;
use tce_sim::{Profile, SimMachine};

/// Sizes of regions, as jobs write them.
const SIZES: [&str; 5] = ["64K", "192K", "1M", "2M", "6M"];

/// A job on a machine.
pub(crate) struct Case {
    pub(crate) job: Job,
    pub(crate) profile: Profile,
    /// By how much time goes on each time somebody looks.
    pub(crate) step_ms: u64,
}

impl Case {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let name = Profile::NAMES[random.usize(..Profile::NAMES.len())];
        let mut profile = Profile::named(name).expect("a name of a profile");
        let is_partition = name.starts_with("pseries");
        if random.u8(..5) == 0 {
            profile = profile.with_locked_limit(Bytes::mib(random.u32(1..48)));
        }
        let text = job(&mut random, &devices(&profile, if is_partition { 1 } else { 2 }));
        let file = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let job = Job::new(file).unwrap_or_else(|error| panic!("{text}: {error}"));
        Self { job, profile, step_ms: if random.bool() { 0 } else { random.u64(1..40) } }
    }
}

/// The addresses of devices that VFIO has, each in a group of its own.
fn devices(profile: &Profile, max: usize) -> Vec<String> {
    let machine = SimMachine::new(profile.clone());
    let bound = machine.groups().into_iter().filter_map(|group| {
        let mut devices = machine.devices_of(group).into_iter();
        devices.find(GroupDevice::is_bound).map(|device| device.address)
    });
    bound.take(max).collect()
}

/// The text of a job: some regions, a lease for each or two of them, and steps that use them.
fn job(random: &mut Rng, devices: &[String]) -> String {
    let mut text = String::from("name = \"generated\"\n");
    let devices = &devices[..random.usize(1..=devices.len())];
    for address in devices {
        line(&mut text, format_args!("[[device]]\naddress = \"{address}\""));
    }
    // Everybody wants twice what there is.
    let is_crowded = random.u8(..6) == 0;
    let growth = if is_crowded || random.bool() { "0" } else { SIZES[random.usize(..SIZES.len())] };
    line(&mut text, format_args!("[demand]\ngrowth = \"{growth}\""));
    let regions = random.usize(1..=4);
    let mut accesses = Vec::new();
    let mut sizes = Vec::new();
    for region in 0..regions {
        let size = if is_crowded { "2M" } else { SIZES[random.usize(..SIZES.len())] };
        let access = ["read", "write", "read-write"][random.usize(..3)];
        accesses.push(access);
        sizes.push(size);
        line(
            &mut text,
            format_args!(
                "[[region]]\nname = \"r{region}\"\nsize = \"{size}\"\naccess = \"{access}\""
            ),
        );
    }
    let mut steps = String::new();
    for lease in 0..regions {
        let later = lease > 0 && (is_crowded || random.bool());
        // Whoever comes later may want what the others have.
        let (region, size) = match random.u8(..4) {
            _ if later && is_crowded => (0, "4M"),
            0..3 if later => (0, ["1M", "6M", "8M", "12M"][random.usize(..4)]),
            _ => (lease, sizes[lease]),
        };
        let duration = if random.bool() { "duration = 60000" } else { "" };
        let access = if random.bool() { accesses[lease] } else { "read-write" };
        line(
            &mut text,
            format_args!(
                "[[lease]]\nname = \"l{lease}\"\nholder = \"h{}\"\nregions = [\"r{region}\"]\nsize = \"{size}\"\n\
                 access = \"{access}\"\nlater = {later}\n{duration}",
                lease % 2
            ),
        );
        if later {
            step(&mut steps, format_args!("do = \"lease\"\nlease = \"l{lease}\""));
        }
        for _ in 0..random.u8(..4) {
            work(&mut steps, random, lease, region);
        }
    }
    if let Some(leaves) = devices.get(1).filter(|_| random.bool()) {
        step(&mut steps, format_args!("do = \"leave\"\ndevice = \"{leaves}\""));
        step(&mut steps, format_args!("do = \"renew\"\nlease = \"l0\"\nduration = 1000"));
    }
    text + &steps
}

/// A step that does something with a lease.
fn work(steps: &mut String, random: &mut Rng, lease: usize, region: usize) {
    match random.u8(..10) {
        0 => step(steps, format_args!("do = \"unmap-all\"\nlease = \"l{lease}\"")),
        1..3 => step(
            steps,
            format_args!(
                "do = \"batch\"\nlease = \"l{lease}\"\nedits = [{{ map = \"r{region}\", size = \"64K\" }}]"
            ),
        ),
        3..6 => step(
            steps,
            format_args!(
                "do = \"renew\"\nlease = \"l{lease}\"\nduration = {}",
                random.u32(1..90_000)
            ),
        ),
        6 => step(
            steps,
            format_args!(
                "do = \"grow\"\nlease = \"l{lease}\"\nsize = \"{}M\"",
                32 + random.u8(..32)
            ),
        ),
        _ => step(steps, format_args!("do = \"map-all\"\nlease = \"l{lease}\"")),
    }
}

fn step(steps: &mut String, what: std::fmt::Arguments<'_>) {
    line(steps, format_args!("[[step]]\n{what}"));
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("a text takes all");
}
