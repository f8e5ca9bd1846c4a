//! How the command ends: exit codes, and failures that carry one.

use std::fmt;

use tce_engine::{
    Error,
    addr::Bytes,
    errno::Errno,
    fault::Call,
    layout::LayoutRefusal,
    machine::{Backing, MachineError},
    region::RegionRefusal,
};
use tce_vfio::OpenError;

use crate::{
    decide::{PoliciesError, SettingsError, file::PoliciesFileError},
    grant::Rejection,
    job::JobError,
    journal::JournalError,
    policy::Fault,
};

mod remedy;

/// How the command ends. The numbers are part of its interface and documented in `docs/cli.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Done = 0,
    /// Something that should not happen; please report it.
    Unexpected = 1,
    /// The command line is wrong. The argument parser's own number.
    Usage = 2,
    /// The job cannot be read, or asks for something that cannot be.
    Job = 3,
    /// A policy said no.
    Denied = 4,
    /// The machine cannot do it: no VFIO, no permission, too old a kernel, no such device, a group not viable.
    Machine = 5,
    /// Locked memory: the limit is too low.
    LockedMemory = 6,
    /// The policy file is none that can be used.
    PolicyFile = 7,
    /// The kernel failed a call.
    Kernel = 8,
    /// Something was left behind: the kernel did not give all memory back.
    LeftBehind = 9,
    /// The job is done, but a policy crashed and the built-in one had to answer in its place. Of several failures the
    /// first counts, here and in the next four.
    PolicyCrashed = 10,
    /// `tce trace lint` found hazards at least as bad as it was told to fail on.
    Findings = 11,
    /// The trace, or the file of sequences, cannot be read.
    Trace = 12,
    /// The simulated kernel and the real one differ, or a conformance check failed.
    Differs = 13,
    /// The journal cannot be read or written.
    Journal = 14,
    /// As 10, but the policy ran out of fuel.
    PolicyOutOfFuel = 15,
    /// As 10, but the policy took too long by the clock.
    PolicyTimeout = 16,
    /// As 10, but the policy's worker process died.
    PolicyWorkerDied = 17,
    /// As 10, but the policy's answer could not be read, or not be carried out.
    PolicyBadAnswer = 18,
    /// A question or a scenario for a policy cannot be read.
    Scenario = 20,
    /// A scenario of `tce policy test` failed, or `tce policy fuzz` found an answer that would not be accepted.
    ScenariosFailed = 21,
}

impl Exit {
    /// The number.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the numbers stand in the enum")]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Fault> for Exit {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Crashed => Self::PolicyCrashed,
            Fault::OutOfFuel => Self::PolicyOutOfFuel,
            Fault::Timeout => Self::PolicyTimeout,
            Fault::WorkerDied => Self::PolicyWorkerDied,
            Fault::BadAnswer => Self::PolicyBadAnswer,
        }
    }
}

/// A failure, with what to do about it and how the command ends.
#[derive(Debug)]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// What happened and why.
    pub what: String,
    /// What the user can do.
    pub remedy: Option<String>,
}

impl Failure {
    /// A failure without a remedy.
    pub fn new(exit: Exit, what: impl fmt::Display) -> Self {
        Self { exit, what: what.to_string(), remedy: None }
    }

    /// The same failure with a remedy.
    #[must_use]
    pub fn with(self, remedy: impl fmt::Display) -> Self {
        Self { remedy: Some(remedy.to_string()), ..self }
    }

    /// The same failure with the place where it happened.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self { what: format!("{place}: {}", self.what), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Self::new(exit_of(&error), &error);
        match remedy::of(&error) {
            Some(remedy) => failure.with(remedy),
            None => failure,
        }
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        let failure = Self::new(Exit::Job, error.to_string().trim_end());
        match error {
            JobError::Unreadable { .. } => {
                failure.with("name a job file, such as examples/demo.toml")
            }
            JobError::TooLong { .. } | JobError::IllTyped { .. } | JobError::Invalid { .. } => {
                failure.with("docs/job.md describes every key")
            }
        }
    }
}

impl From<PoliciesError> for Failure {
    fn from(error: PoliciesError) -> Self {
        Self::new(Exit::Usage, error).with("`tce policy check FILE` tells what a policy decides")
    }
}

impl From<PoliciesFileError> for Failure {
    fn from(error: PoliciesFileError) -> Self {
        Self::new(Exit::Usage, error.to_string().trim_end())
            .with("docs/policies.md describes every key")
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(Exit::Job, error).with("`tce policy inspect FILE` lists what can be set, and how")
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let remedy = match error {
            JournalError::Busy(_) => "name another file: a journal has one writer",
            JournalError::NoJournal(_) | JournalError::Line { .. } => {
                "name a journal that this version of tce wrote, or a file that is not there yet"
            }
            JournalError::Io { .. } => "name a file that can be read and written",
        };
        Self::new(Exit::Journal, error).with(remedy)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let doctor = "`tce doctor` shows all that is missing";
        let text = error.to_string();
        // Each of these says first what is wrong and then, behind a semicolon, what to do.
        let (what, remedy) = match text.split_once("; ") {
            Some((what, remedy)) => (what, format!("{remedy}; {doctor}")),
            None => (text.as_str(), doctor.to_owned()),
        };
        let failure = Self::new(Exit::Machine, what);
        match error {
            OpenError::NotPower(_) => failure.with(
                "on this machine use --backend sim, a simulated POWER machine; `cargo xtask lab` \
                 boots a real kernel on an emulated one",
            ),
            _ => failure.with(remedy),
        }
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Refused(error) => error.into(),
            Rejection::Nonsense(what) => {
                Self::new(Exit::Unexpected, format!("the built-in policy broke: {what}"))
            }
        }
    }
}

impl From<MachineError> for Failure {
    fn from(error: MachineError) -> Self {
        let failure = Self::new(Exit::Machine, &error);
        match error {
            MachineError::NoDevice(_) => failure.with("`lspci -D` lists the devices of a machine"),
            MachineError::NoGroup(_) => failure.with("`tce doctor` shows the groups there are"),
            MachineError::NoMemory { request, .. } => match request.backing {
                Backing::Hugetlb(page) => failure.with(format!(
                    "reserve {} huge pages of {page}, for instance in \
                     /sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages",
                    request.size.pages_up(page),
                    page.bytes().raw() >> 10
                )),
                Backing::Anonymous | Backing::Memfd => failure.with("free some memory"),
            },
            MachineError::NotOurMemory(_)
            | MachineError::Guest { .. }
            | MachineError::GuestAstray { .. } => failure,
        }
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Group(_) | Error::Device(_) | Error::Freeze(_) => Exit::Machine,
        Error::Region(RegionRefusal::LockedMemory { .. })
        | Error::Layout(LayoutRefusal::LockedMemory { .. }) => Exit::LockedMemory,
        Error::Fault(fault) => match (&fault.call, fault.errno()) {
            (Call::Register(_) | Call::Create(_), Some(Errno::ENOMEM)) => Exit::LockedMemory,
            (
                Call::OpenContainer
                | Call::OpenGroup(_)
                | Call::OpenDevice(_)
                | Call::SetContainer(_)
                | Call::SetIommu,
                Some(_),
            ) => Exit::Machine,
            _ => Exit::Kernel,
        },
        Error::Batch(_) | Error::Registration(_) | Error::Parting(_) => Exit::Kernel,
        Error::NoBackend
        | Error::Layout(_)
        | Error::Region(_)
        | Error::Lease(_)
        | Error::Growth(_)
        | Error::Loan(_)
        | Error::Addresses(_)
        | Error::Edit(_) => Exit::Job,
    }
}

/// How to raise the locked-memory limit to at least this.
#[must_use]
pub fn raise_limit(needed: Bytes) -> String {
    format!(
        "raise the locked-memory limit to at least {needed}: `ulimit -l {}`, LimitMEMLOCK= in a systemd unit, \
         or a line in /etc/security/limits.d",
        needed.raw().div_ceil(1024)
    )
}

#[cfg(test)]
mod tests {
    use super::Exit;
    use crate::policy::Broken;

    #[test]
    fn each_way_to_fail_ends_the_command_in_its_own_way() {
        let what = String::new;
        let codes = [
            Broken::Trap { what: what() },
            Broken::OutOfFuel { budget: 1 },
            Broken::Timeout { millis: 1 },
            Broken::WorkerDied { what: what() },
            Broken::Malformed { what: what() },
        ]
        .map(|broken| Exit::from(broken.fault()).code());
        assert_eq!(codes, [10, 15, 16, 17, 18]);
    }
}
