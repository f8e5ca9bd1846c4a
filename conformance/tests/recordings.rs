//! What real kernels gave, recorded in the POWER lab: the simulated kernel must give the same, on any machine.
//!
//! `recordings/` holds 10,000 operations of each machine, made by `cargo xtask conformance --record`.

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use tce_conformance::{
    run::replay,
    sequence::{Recordings, read},
    step::Step,
    subject::Simulated,
};

/// Operations of one machine.
const STEPS: usize = 10_000;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    let entries = fs::read_dir(folder).expect("the folder is part of the crate");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == "gz"));
    files.sort();
    files
}

fn recordings(file: &Path) -> Recordings {
    let packed = File::open(file).expect("it was just listed");
    read(&mut BufReader::new(MultiGzDecoder::new(packed))).expect("it is a recording")
}

#[test]
fn the_simulated_kernel_gives_what_real_kernels_gave() {
    let files = files();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let recorded = recordings(&file);
        let machine = recorded.machine.expect("a recording says where it was made");
        let look = machine.look().expect("it can be simulated");
        let mut simulated = Simulated::new(look.profile, look.seats);
        let report =
            replay(&recorded.recordings, &mut simulated, |_| ()).expect("it can be played");
        let shown = report.found.iter().map(|it| format!("{}, {}", it.name, it.difference));
        let shown: Vec<_> = shown.collect();
        assert!(shown.is_empty(), "{}:\n{}", file.display(), shown.join("\n"));
        assert!(report.steps >= u64::try_from(STEPS).expect("it fits"), "{}", file.display());
    }
}

#[test]
fn recordings_meet_each_operation_in_both_ways() {
    for file in files() {
        let recorded = recordings(&file);
        let has_guest = recorded.machine.as_ref().is_some_and(|machine| machine.kvm);
        let has_eeh = recorded.machine.as_ref().is_some_and(|machine| machine.eeh);
        let met = |name: &str, success: bool| {
            recorded.recordings.iter().any(|recording| {
                let pairs = recording.sequence.steps.iter().zip(&recording.outcomes);
                pairs.into_iter().any(|(step, outcome)| {
                    step.name() == name && outcome.answer.is_success() == success
                })
            })
        };
        let group = tce_conformance::step::File::Group(0);
        let table = tce_conformance::step::File::Table(0);
        let mut both = vec![
            "GROUP_SET_CONTAINER",
            "GROUP_UNSET_CONTAINER",
            "SET_IOMMU",
            "TCE_GET_INFO",
            "REGISTER_MEMORY",
            "UNREGISTER_MEMORY",
            "TCE_CREATE",
            "TCE_REMOVE",
            "MAP_DMA",
            "UNMAP_DMA",
            "in another process",
            "open a group",
        ];
        if has_guest {
            both.push(Step::AddGroup { group }.name());
            both.push(Step::DeleteGroup { group }.name());
            both.push(Step::AttachTable { group, table }.name());
        }
        if has_eeh {
            both.push("EEH_PE_OP");
        }
        for name in both {
            assert!(met(name, true), "{}: no {name} was carried out", file.display());
            assert!(met(name, false), "{}: no {name} was refused", file.display());
        }
        assert!(met("DMA", true), "{}: no device moved anything", file.display());
    }
}
