//! A job that keeps `tce run` busy: memory of every backing, three leases, and a long script.

use std::fmt::Write as _;

use fastrand::Rng;

/// What the job has to do with.
#[derive(Clone, Debug)]
pub struct Means {
    /// The devices' addresses; their groups can be in one container.
    pub devices: Vec<String>,
    /// Whether there are huge pages of 2 MiB.
    pub has_huge_pages: bool,
}

/// Rounds of the script. Each is a ring and some batches.
pub const ROUNDS: u32 = 24;
/// Batches of a round that the dice make, and edits of each.
const BATCHES: u32 = 4;
const EDITS_MAX: u32 = 12;
/// The script counts in pieces of 64 KiB, of which every page of a window here is a divisor.
const PIECE_KIB: u64 = 64;
/// Pieces of the lease that the dice edit, and of one edit at most.
const LEASED: u64 = 64;
const EDIT_PIECES_MAX: u64 = 12;

/// Memory for the dice: of a file, and in huge pages where there are any.
const FILE: &str = r#"
[[region]]
name = "file"
size = "4M"
memory = "memfd"
granule = "64K"
"#;
const HUGE: &str = r#"
[[region]]
name = "huge"
size = "8M"
memory = "hugetlb"
page = "2M"
granule = "64K"
"#;

/// What is the same in every such job but its devices: one lease whose unmaps are put off, and one that is mapped as a
/// whole.
const OTHERS: &str = r#"
[[region]]
name = "buffers"
size = "16M"
granule = "64K"

[[region]]
name = "whole"
size = "1M"
granule = "64K"

[[lease]]
name = "ring"
holder = "driver"
regions = ["buffers"]
size = "4M"
deferred = { tces = 256, delay = 20 }

[[lease]]
name = "whole"
holder = "guest"
regions = ["whole"]
"#;

/// The same of each round.
const ROUND: &str = r#"
[[step]]
do = "map-all"
lease = "whole"

[[step]]
do = "ring"
lease = "ring"
region = "buffers"
entries = 64
entry-size = "64K"
batch = 4
turns = 32

[[step]]
do = "unmap-all"
lease = "whole"
"#;

/// The script's end: the take-down finds a lease that has ended, one that is empty, and one that is not.
const END: &str = r#"
[[step]]
do = "revoke"
lease = "ring"
"#;

/// The text of the job.
#[must_use]
pub fn long_job(means: &Means, dice: &mut Rng) -> String {
    let mut job = "name = \"long\"\n".to_owned();
    for device in &means.devices {
        add(&mut job, format_args!("\n[[device]]\naddress = \"{device}\"\n"));
    }
    job.push_str(FILE);
    job.push_str(OTHERS);
    let mut regions = vec![("file", 64)];
    if means.has_huge_pages {
        job.push_str(HUGE);
        regions.push(("huge", 128));
    }
    let names: Vec<String> = regions.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let (names, size) = (names.join(", "), LEASED * PIECE_KIB);
    job.push_str("\n[[lease]]\nname = \"dice\"\nholder = \"driver\"\n");
    add(&mut job, format_args!("regions = [{names}]\nsize = \"{size}K\"\n"));
    for _ in 0..ROUNDS {
        job.push_str(ROUND);
        for _ in 0..BATCHES {
            add_batch(&mut job, &regions, dice);
        }
    }
    job.push_str(END);
    job
}

/// Maps and unmaps pieces of the lease for the dice.
fn add_batch(job: &mut String, regions: &[(&str, u64)], dice: &mut Rng) {
    job.push_str("\n[[step]]\ndo = \"batch\"\nlease = \"dice\"\nedits = [\n");
    for _ in 0..dice.u32(1..=EDITS_MAX) {
        let pieces = dice.u64(1..=EDIT_PIECES_MAX);
        let (at, size) = (dice.u64(0..=LEASED - pieces) * PIECE_KIB, pieces * PIECE_KIB);
        match dice.choice(regions).filter(|_| dice.u8(0..3) > 0) {
            None => add(job, format_args!("    {{ unmap = \"{at}K\", size = \"{size}K\" }},\n")),
            Some((region, whole)) => {
                let offset = dice.u64(0..=whole - pieces) * PIECE_KIB;
                add(job, format_args!("    {{ map = \"{region}\", at = \"{at}K\", "));
                add(job, format_args!("offset = \"{offset}K\", size = \"{size}K\" }},\n"));
            }
        }
    }
    job.push_str("]\n");
}

fn add(job: &mut String, text: std::fmt::Arguments<'_>) {
    job.write_fmt(text).expect("a text takes more text");
}
