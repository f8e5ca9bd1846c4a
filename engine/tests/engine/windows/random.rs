//! Windows come and go at random, some calls fail, some partitions have little: engine and machine stay agreed, and no
//! partition is spoiled.
//!
//! `TCE_SEED` replays one seed.

use tce_engine::{
    ChargeSubject, Error,
    addr::{Bytes, PageShift},
    errno::Errno,
    facts::Slot,
    layout::{UnusedDefault, WindowChoice},
    window::{Origin, WindowId},
};
use tce_sim::{Fault, Operation, Profile};

use crate::{
    bench::{Bench, K4, K64, PROFILES, choice},
    dice::Dice,
    truth::assert_agreement,
};

const STEPS: u32 = 200;
const SEEDS: u64 = 3;

struct Run {
    dice: Dice,
    bench: Bench,
    windows: Vec<WindowId>,
}

impl Run {
    fn step(&mut self) {
        if self.dice.one_in(6) {
            self.order_fault();
        }
        // What is refused is as good as what is done: the two must agree afterwards.
        let _ = match self.dice.roll(12) {
            0..5 => self.create(),
            5..8 => self.remove_window(),
            8 => self.bench.engine.remove_default_window(),
            9 => self.lease(),
            10 => self.revoke(),
            _ => self.reattach(),
        };
        self.check();
    }

    fn order_fault(&mut self) {
        let operation = self.dice.pick(&[Operation::Create, Operation::Remove]);
        let errno = self.dice.pick(&[Errno::EIO, Errno::ENOMEM, Errno::EINVAL]);
        let (operation, errno) = operation.zip(errno).expect("there are some");
        // It ends all windows of a partition, so it is rare.
        let errno = if self.dice.one_in(60) { Errno::ENODEV } else { errno };
        let nth = 1 + self.dice.roll(3);
        self.bench.machine.fail_nth(operation, nth, Fault::Errno(errno));
    }

    fn choice(&mut self, slot: Slot) -> WindowChoice {
        let default = self.bench.engine.facts().map_or(Bytes::gib(2), |facts| facts.default_window);
        if slot == Slot::Zero && self.dice.one_in(3) {
            return choice(slot, K4, default);
        }
        let page = self.dice.pick(&[K4, K64, PageShift::M2]).expect("there are some");
        let pages = self.dice.roll(14);
        let size = Bytes::new(page.bytes().raw() << pages);
        let smaller = Bytes::new(page.bytes().raw() << self.dice.roll(pages.max(1)));
        let fallback = self.dice.one_in(2).then_some(smaller);
        WindowChoice { fallback, ..choice(slot, page, size) }
    }

    fn create(&mut self) -> Result<(), Error> {
        let slots: &[Slot] = match self.dice.roll(3) {
            0 => &[Slot::Zero],
            1 => &[Slot::One],
            _ => &[Slot::One, Slot::Zero],
        };
        let choices: Vec<WindowChoice> = slots.iter().map(|slot| self.choice(*slot)).collect();
        let unused = if self.dice.one_in(3) { UnusedDefault::Remove } else { UnusedDefault::Keep };
        let creations = self.bench.machine.calls(Operation::Create);
        let grant = self.bench.engine.grant_layout(&choices)?.with_unused_default(unused);
        let made = self.bench.engine.create_windows(grant);
        let retries = choices.iter().filter(|choice| choice.fallback.is_some()).count();
        let most = u64::try_from(choices.len() + retries).expect("it fits");
        assert!(self.bench.machine.calls(Operation::Create) <= creations + most);
        self.windows.extend(made?);
        Ok(())
    }

    fn remove_window(&mut self) -> Result<(), Error> {
        let old = self.dice.pick(&self.windows);
        let there: Vec<_> = self.bench.engine.windows().map(|it| it.window().id).collect();
        let live = self.dice.pick(&there).filter(|_| !self.dice.one_in(10));
        let Some(window) = live.or(old) else { return Ok(()) };
        let is_there = there.contains(&window);
        let calls = self.bench.calls();
        let removed = self.bench.engine.remove_window(window);
        assert!(is_there || (removed.is_err() && self.bench.calls() == calls));
        removed
    }

    fn lease(&mut self) -> Result<(), Error> {
        let Some(window) = self.dice.pick(&self.windows) else { return Ok(()) };
        self.bench.try_lease(crate::bench::request(window, PageShift::M2.bytes())).map(|_| ())
    }

    fn revoke(&mut self) -> Result<(), Error> {
        let live: Vec<_> = self.bench.engine.leases().live().map(|(id, _)| id).collect();
        live.into_iter().try_for_each(|lease| self.bench.engine.revoke(lease))?;
        let _ = self.bench.engine.take_events();
        Ok(())
    }

    fn reattach(&mut self) -> Result<(), Error> {
        let group = self.bench.group;
        if self.bench.engine.facts().is_none() {
            return self.bench.engine.attach(group);
        }
        if self.dice.one_in(4) { self.bench.engine.detach(group) } else { Ok(()) }
    }

    /// Beside what is always true: the windows are where the engine believes them, and all that leaked is accounted.
    fn check(&self) {
        let Bench { machine, engine, .. } = &self.bench;
        assert_agreement(machine, engine);
        assert!(!machine.partition_spoiled());
        let there = machine.windows(self.bench.container());
        let created = engine.windows().map(|state| *state.window());
        let created: Vec<_> = created.filter(|it| it.origin == Origin::Created).collect();
        for window in &created {
            assert!(there.iter().any(|it| it.start == window.start && it.size >= window.size));
        }
        assert!(there.len() <= created.len() + 1, "at most the default one besides");
        let leaks = engine.charges().iter().filter(|it| it.subject == ChargeSubject::Leaked);
        let leaked: u64 = leaks.map(|charge| charge.charged.raw()).sum();
        assert_eq!(engine.leaked(), Bytes::new(leaked));
    }
}

/// Plays a run and tells how many windows it has made.
fn play(profile: &Profile, seed: u64) -> usize {
    let dice = Dice::new(seed);
    let bench = Bench::new(profile.clone());
    let mut run = Run { dice, bench, windows: Vec::new() };
    for step in 0..STEPS {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.step()));
        if let Err(panic) = told {
            eprintln!("{}, step {step}: replay with TCE_SEED={seed}", profile.name);
            std::panic::resume_unwind(panic);
        }
    }
    run.windows.len()
}

#[test]
fn random_windows_under_random_faults_never_part_engine_and_machine() {
    let named = PROFILES.map(|name| Profile::named(name).expect("it is a known name"));
    let tight = named.iter().cloned().map(|it| Profile { largest_window_tces: 1 << 6, ..it });
    let profiles: Vec<Profile> = named.iter().cloned().chain(tight).collect();
    let only = std::env::var("TCE_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = only.map_or(1..SEEDS + 1, |seed| seed..seed + 1);
    for profile in &profiles {
        let made: usize = seeds.clone().map(|seed| play(profile, seed)).sum();
        assert!(only.is_some() || made > 20, "{}: {made} windows", profile.name);
    }
}
