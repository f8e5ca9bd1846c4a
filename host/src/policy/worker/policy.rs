//! A policy that is asked through a worker process.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;

use crate::policy::{
    compile::Code,
    engine::Runtime,
    evaluator::{Broken, Evaluation, Evaluator, Identity, Log},
    interface::Exported,
    limits::{LOG_LINE_BYTES_MAX, LOG_LINES_MAX, Limits},
    load::{LoadError, Outline, read},
    question::{Function, Question},
    wit::{Setting, SettingDescription, SettingProblem},
};

use super::{
    process::{Lost, Process, Program},
    protocol::{self, Given, Load, Loaded, Request, Task},
};

/// Deaths in a row after which the next start has to wait.
const DEATHS_MAX: u32 = 3;

/// How long it waits then: this, and twice as long after each death more.
const REST_MIN: Duration = Duration::from_millis(100);

/// The longest that it waits.
const REST_MAX: Duration = Duration::from_secs(60);

/// A component in a process of its own. Its process is started again when it has died, at the next question; what was
/// asked of the one that died is [`Broken::WorkerDied`], or [`Broken::Timeout`] if it was killed for being late.
pub struct WorkerPolicy {
    answers: Vec<Function>,
    plan: Plan,
    seat: Mutex<Seat>,
    /// The number of the process, 0 for none: for whoever wants to know while it is busy.
    process_id: AtomicU32,
}

/// How to start it, again and again.
struct Plan {
    program: Program,
    load: Load,
    code: Code,
}

/// The process that answers, and how those before it have ended.
struct Seat {
    process: Option<Process>,
    /// Deaths since the last reply.
    deaths: u32,
    died: Option<Instant>,
}

impl WorkerPolicy {
    /// Loads a file. The policy is named after it. The runtime has to have a program for its processes
    /// ([`Runtime::compiling_by`]).
    ///
    /// # Errors
    ///
    /// The file is no policy for this host, or there is no worker; the error says why and what to do.
    pub fn from_file(runtime: &Runtime, path: &Path, limits: Limits) -> Result<Self, LoadError> {
        let (name, bytes) = read(path, &limits)?;
        Self::from_bytes(runtime, &name, &bytes, limits)
    }

    /// Loads what is in memory, under this name. Here it is only looked through; what is compiled, by one process, is
    /// executed by another. The runtime is as for a file.
    ///
    /// # Errors
    ///
    /// The bytes are no policy for this host, or there is no worker; the error says why and what to do.
    pub fn from_bytes(
        runtime: &Runtime,
        name: &str,
        bytes: &[u8],
        limits: Limits,
    ) -> Result<Self, LoadError> {
        let outline = Outline::of(name, bytes, &limits)?;
        let (program, code) = runtime.code(bytes, outline.digest, &limits)?;
        let load = Load { outline, compiler: runtime.compiler(), limits };
        let plan = Plan { program: program.clone(), load, code };
        let (process, answers) = plan.start()?;
        let process_id = AtomicU32::new(process.id());
        let seat = Mutex::new(Seat { process: Some(process), deaths: 0, died: None });
        Ok(Self { answers, plan, seat, process_id })
    }

    /// What it implements.
    #[must_use]
    pub fn interfaces(&self) -> &[Exported] {
        &self.plan.load.outline.interfaces
    }

    /// The number of its process; `None` between a death and the next question.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        Some(self.process_id.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// Asks the process, a new one if there is none that lives.
    fn ask<R: DeserializeOwned>(&self, request: &Request<'_>) -> Result<R, Broken> {
        let mut seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = self.ask_in(&mut seat, request);
        let id = seat.process.as_ref().map_or(0, Process::id);
        self.process_id.store(id, Ordering::Relaxed);
        reply
    }

    fn ask_in<R: DeserializeOwned>(
        &self,
        seat: &mut Seat,
        request: &Request<'_>,
    ) -> Result<R, Broken> {
        let limits = &self.plan.load.limits;
        let process = seat.occupy(&self.plan)?;
        let reply = process
            .exchange(limits.decision_time, |stream| protocol::send(stream, request))
            .map_err(|lost| match lost {
                Lost::Late => Broken::Timeout { millis: limits.decision_millis() },
                Lost::Dead(what) => Broken::WorkerDied { what },
            });
        match &reply {
            Ok(_) => seat.deaths = 0,
            Err(_) => seat.bury(),
        }
        reply
    }
}

impl Plan {
    /// A process that has taken the code, and what that answers.
    fn start(&self) -> Result<(Process, Vec<Function>), LoadError> {
        let within = self.load.limits.compile_time;
        let mut process = Process::to_load(&self.program)?;
        let loaded: Loaded = process
            .exchange(within, |stream| {
                protocol::send(stream, &Task::Serve(Given::Borrowed(&self.load)))?;
                protocol::send_bytes(stream, self.code.as_bytes())
            })
            .map_err(|lost| lost.before("loaded", within))?;
        Ok((process, loaded?))
    }
}

impl Seat {
    /// The process that lives, or a new one.
    fn occupy(&mut self, plan: &Plan) -> Result<&mut Process, Broken> {
        if self.process.as_mut().is_some_and(|it| !it.lives()) {
            self.bury();
        }
        let process = match self.process.take() {
            Some(process) => process,
            None => self.start(plan)?,
        };
        Ok(self.process.insert(process))
    }

    fn start(&mut self, plan: &Plan) -> Result<Process, Broken> {
        if let Some(left) = self.rest().filter(|left| !left.is_zero()) {
            let deaths = self.deaths;
            let what = format!(
                "{deaths} have died in a row, and the next is started in {} ms",
                left.as_millis()
            );
            return Err(Broken::WorkerDied { what });
        }
        plan.start().map(|(process, _)| process).map_err(|error| {
            self.bury();
            Broken::WorkerDied { what: format!("the next one: {error}") }
        })
    }

    /// What is left of the time that the next start has to wait.
    fn rest(&self) -> Option<Duration> {
        let doublings = self.deaths.checked_sub(DEATHS_MAX)?.min(16);
        let rest = REST_MIN.saturating_mul(1 << doublings).min(REST_MAX);
        Some(rest.saturating_sub(self.died?.elapsed()))
    }

    fn bury(&mut self) {
        self.process = None;
        self.deaths = self.deaths.saturating_add(1);
        self.died = Some(Instant::now());
    }
}

impl Evaluator for WorkerPolicy {
    fn identity(&self) -> &Identity {
        &self.plan.load.outline.identity
    }

    fn answers(&self, function: Function) -> bool {
        self.answers.contains(&function)
    }

    fn evaluate(&self, question: &Question) -> Evaluation {
        let function = question.function();
        if !self.answers(function) {
            let result = Err(Broken::NotImplemented { function });
            return Evaluation { result, fuel: Some(0), log: Log::default() };
        }
        let budget = self.plan.load.limits.fuel;
        match self.ask::<Evaluation>(&Request::Evaluate(Given::Borrowed(question))) {
            Ok(evaluation) => bounded(evaluation, budget),
            Err(broken) => {
                Evaluation { result: Err(broken), fuel: Some(budget), log: Log::default() }
            }
        }
    }

    fn describe_settings(&self) -> Result<Option<Vec<SettingDescription>>, Broken> {
        self.ask::<Result<_, Broken>>(&Request::DescribeSettings)?
    }

    fn validate_settings(&self, settings: &[Setting]) -> Result<Vec<SettingProblem>, Broken> {
        let request = Request::ValidateSettings(Given::Borrowed(settings));
        self.ask::<Result<_, Broken>>(&request)?
    }
}

/// Holds what a worker says to the limits that it holds itself, unless something broke out in it.
fn bounded(mut evaluation: Evaluation, budget: u64) -> Evaluation {
    evaluation.fuel = Some(evaluation.fuel.unwrap_or(budget).min(budget));
    evaluation.log.lines.truncate(LOG_LINES_MAX);
    for line in &mut evaluation.log.lines {
        line.text.truncate(line.text.floor_char_boundary(LOG_LINE_BYTES_MAX));
    }
    evaluation.with_short_detail()
}

impl std::fmt::Debug for WorkerPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerPolicy")
            .field("identity", self.identity())
            .field("interfaces", &self.interfaces())
            .finish_non_exhaustive()
    }
}
