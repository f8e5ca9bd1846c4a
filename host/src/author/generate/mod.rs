//! Random questions, by a seed: of ordinary machines and demands, and of absurd ones.

mod parts;

use fastrand::Rng;

use crate::policy::{
    Function, Question,
    wit::{
        AdmitQuestion, GroupLossQuestion, GrowthQuestion, PageQuestion, ReclaimQuestion,
        RenewQuestion, Setting, Shortage, WindowQuestion,
    },
};

use super::machine::Machine;

/// How far from the ordinary questions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// What a host could ask: facts and candidates of simulated machines, demands that they can hold.
    Ordinary,
    /// What no host asks: any number anywhere.
    Absurd,
}

/// The most regions of a question, and the most leases.
const ITEMS_MAX: usize = 6;

/// The most candidates of an absurd question.
const CANDIDATES_MAX: usize = 60;

/// Makes questions.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    machines: Vec<Machine>,
    settings: Vec<Setting>,
}

impl Generator {
    /// The questions of this seed, on these machines, with these settings in each.
    #[must_use]
    pub fn new(seed: u64, machines: Vec<Machine>, settings: Vec<Setting>) -> Self {
        Self { rng: Rng::with_seed(seed), machines, settings }
    }

    /// The next question.
    pub fn question(&mut self, function: Function, kind: Kind) -> Question {
        let machine = match kind {
            Kind::Ordinary => self.rng.choice(&self.machines).cloned(),
            Kind::Absurd => None,
        };
        let mut maker = Maker { rng: &mut self.rng, machine, settings: self.settings.clone() };
        maker.question(function)
    }
}

/// Makes one question: of a machine, or absurd.
struct Maker<'a> {
    rng: &'a mut Rng,
    machine: Option<Machine>,
    settings: Vec<Setting>,
}

impl Maker<'_> {
    fn question(&mut self, function: Function) -> Question {
        let settings = self.settings.clone();
        let now = if self.is_absurd() { self.rng.u64(..) } else { 1_700_000_000_000 };
        match function {
            Function::SelectPages => {
                let (facts, demand) = self.facts_and_demand();
                Question::SelectPages(PageQuestion { facts, demand, settings })
            }
            Function::SizeWindows => {
                let (facts, demand) = self.facts_and_demand();
                let pages = self.pages(&facts, &demand);
                let candidates = self.candidates(&demand);
                Question::SizeWindows(WindowQuestion { facts, demand, pages, candidates, settings })
            }
            Function::Grow => {
                let window = self.window(0);
                let facts = self.facts(&[0], 0);
                let lease = self.lease(1, &window, now);
                let size = self.larger(lease.size);
                let candidates = match &self.machine {
                    Some(machine) => machine.clone().with_windows([0]).candidates_to_grow(size),
                    None => self.list(CANDIDATES_MAX, Self::candidate),
                };
                let (windows, leases) = (vec![window], vec![lease.clone()]);
                Question::Grow(GrowthQuestion {
                    facts,
                    windows,
                    lease,
                    size,
                    candidates,
                    leases,
                    now,
                    settings,
                })
            }
            Function::Admit => {
                let mut window = self.window(0);
                let leases = self.leases(&mut window, now);
                let request = self.request(&window);
                let facts = self.facts(&[0], 0);
                Question::Admit(AdmitQuestion { facts, window, request, leases, now, settings })
            }
            Function::Renew => {
                let window = self.window(0);
                let lease = self.lease(1, &window, now);
                let duration = self.maybe(|it| it.rng.u64(1..100_000_000));
                let (facts, leases) = (self.facts(&[0], 0), vec![lease.clone()]);
                Question::Renew(RenewQuestion {
                    facts,
                    window,
                    lease,
                    duration,
                    leases,
                    now,
                    settings,
                })
            }
            Function::Reclaim => {
                let mut window = self.window(0);
                let leases = self.leases(&mut window, now);
                let request = self.request(&window);
                let shortage =
                    if self.rng.bool() { Shortage::WindowSpace } else { Shortage::LockedMemory };
                Question::Reclaim(ReclaimQuestion {
                    facts: self.facts(&[0], 0),
                    windows: vec![window.clone()],
                    window,
                    shortage,
                    wanted: request.size,
                    request,
                    leases,
                    now,
                    settings,
                })
            }
            Function::GroupLeaves => {
                let mut window = self.window(0);
                let leases = self.leases(&mut window, now);
                let (facts, group) = (self.facts(&[0], 0), self.rng.u32(0..4));
                let windows = vec![window];
                Question::GroupLeaves(GroupLossQuestion {
                    facts,
                    group,
                    windows,
                    leases,
                    now,
                    settings,
                })
            }
        }
    }

    fn is_absurd(&self) -> bool {
        self.machine.is_none()
    }
}
