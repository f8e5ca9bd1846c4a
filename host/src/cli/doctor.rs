//! `tce doctor`.

use tce_engine::machine::Machine;
use tce_vfio::{
    Root, VfioMachine,
    survey::{Survey, probe, survey},
};

use crate::{
    doctor::{Diagnosis, Probed, render},
    exit::{Exit, Failure},
};

use super::{print_json, print_text};

pub(super) fn doctor(json: bool) -> Result<Exit, Failure> {
    let survey = survey(&Root::default());
    let diagnosis = Diagnosis::of(&survey, &probes(&survey));
    if json {
        print_json(&diagnosis)?;
    } else {
        print_text(&render(&diagnosis))?;
    }
    Ok(diagnosis.exit())
}

/// Asks each group that can be asked what windows it can have. Nothing is left behind.
fn probes(survey: &Survey) -> Vec<Probed> {
    let Ok(machine) = VfioMachine::open() else { return Vec::new() };
    let ready = survey.groups.iter().filter(|group| group.is_viable() && group.has_node);
    let probe = |group| Probed { group, result: probe(&mut machine.kernel(), group) };
    ready.map(|group| probe(group.number)).collect()
}
