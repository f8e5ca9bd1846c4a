//! A recorded program beside this engine: the same demand, done by both.

use serde::Serialize;
use tce_engine::lease::Timestamp;
use tce_sim::SimMachine;
use tce_trace::{
    demand::{Demand, Effort},
    replay::ReplayError,
    survey::Survey,
    trace::Trace,
};

use crate::{
    decide::Policies,
    exit::{Exit, Failure},
    report::Report,
    run::{self, Options, Silent, Stopped},
};

use super::job::job;

/// The version of the document.
pub const FORMAT: &str = "tce-trace-replay/1";

/// What a trace's program wanted, on which machine.
pub struct Wanted {
    survey: Survey,
    demand: Demand,
}

/// Both sides.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// [`FORMAT`].
    pub format: &'static str,
    /// The recorded program, if it is known.
    pub command: Vec<String>,
    /// What the recorded program did.
    pub theirs: Effort,
    /// What this engine did.
    pub ours: Effort,
    /// What was left out or assumed.
    pub notes: Vec<String>,
    /// The whole run of this engine, as `tce run` reports it.
    pub run: Report,
}

impl Comparison {
    /// How the command ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.run.exit()
    }
}

/// What the program of a trace wanted.
///
/// # Errors
/// [`ReplayError`].
pub fn wanted(trace: &Trace) -> Result<Wanted, ReplayError> {
    let survey = Survey::of(trace)?;
    let demand = Demand::of(trace, &survey)?;
    Ok(Wanted { survey, demand })
}

/// Does through the engine what the program wanted, and compares.
///
/// # Errors
/// What stopped the run.
pub fn compare(
    trace: &Trace,
    wanted: &Wanted,
    policies: &Policies,
    policy_compiler: String,
) -> Result<Comparison, Failure> {
    let Wanted { survey, demand } = wanted;
    let command = trace.header().command.clone();
    let name = command.first().map_or("trace", String::as_str);
    if demand.regions.is_empty() {
        return Err(Failure::new(Exit::Trace, "the traced program registered no memory")
            .with("record the program from its start, with all its children"));
    }
    let job = job(name, survey, demand)?;
    let profile = survey.profile();
    let options = Options {
        policies,
        backend: format!("sim:{}", profile.name),
        policy_compiler,
        clock: &Timestamp(0),
    };
    let mut machine = SimMachine::new(profile);
    let run = run::run(&job, &mut machine, &options, &Silent).map_err(|stopped| {
        let Stopped { failure, .. } = *stopped;
        failure
    })?;
    Ok(Comparison {
        format: FORMAT,
        command,
        theirs: demand.theirs,
        ours: ours(&run),
        notes: demand.notes.clone(),
        run,
    })
}

fn ours(run: &Report) -> Effort {
    let calls = &run.calls;
    let charges = run.windows.iter().filter_map(|window| window.charge);
    Effort {
        register: calls.register,
        unregister: calls.unregister,
        create: calls.create,
        remove: calls.remove,
        map: calls.map,
        unmap: calls.unmap,
        calls: calls.register
            + calls.unregister
            + calls.create
            + calls.remove
            + calls.map
            + calls.unmap,
        window_bytes: run.windows.iter().map(|window| window.size).sum(),
        page_bytes: run.windows.iter().max_by_key(|it| it.size).map_or(0, |it| it.page),
        table_charge_bytes: charges.map(|charge| charge.charged).sum(),
        locked_peak_bytes: run.locked.during,
        tces_peak: run.leases.iter().map(|lease| lease.tces_peak).sum(),
        left_behind_bytes: run.locked.left_behind.saturating_add(run.locked.pinned_left_behind),
    }
}
