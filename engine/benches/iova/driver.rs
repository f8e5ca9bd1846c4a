//! Runs a load on a design and keeps the time.

use std::time::{Duration, Instant};

use crate::{design::Design, report::Row};

/// Operations timed together: reading the clock for each would cost as much as the operation.
const BATCH: u32 = 64;

/// When a load ends, whichever is first.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) operations: u64,
    pub(crate) time: Duration,
}

/// A piece that a load has taken.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) first: u64,
    pub(crate) pages: u64,
}

/// What loads see of any design.
pub(crate) trait Allocator {
    /// How many pages there are.
    fn pages(&self) -> u64;
    /// How many of them are taken.
    fn taken(&self) -> u64;
    /// Takes pages; `None` is noted as a failure if as many are free.
    fn take(&mut self, pages: u64, alignment: u64) -> Option<Piece>;
    /// Gives a piece back.
    fn give_back(&mut self, piece: Piece);
    /// From now on the clock runs.
    fn begin(&mut self);
    /// Whether the load shall go on.
    fn goes_on(&self) -> bool;
}

/// A design under a load.
pub(crate) struct Driver<'d, D> {
    design: &'d mut D,
    effort: Effort,
    pages: u64,
    taken: u64,
    pieces: u64,
    takes: u64,
    failures: u64,
    /// Operations of the batch.
    operations: u32,
    batches: Vec<Duration>,
    begun: Option<Instant>,
    batch_begun: Instant,
}

impl<'d, D: Design> Driver<'d, D> {
    pub(crate) fn new(design: &'d mut D, pages: u64, effort: Effort) -> Self {
        Self {
            design,
            effort,
            pages,
            taken: 0,
            pieces: 0,
            takes: 0,
            failures: 0,
            operations: 0,
            batches: Vec::new(),
            begun: None,
            batch_begun: Instant::now(),
        }
    }

    /// The figures.
    pub(crate) fn finish(mut self, design: &'static str) -> Row {
        self.batches.sort_unstable();
        let share = |per_cent: usize| {
            let place = (self.batches.len() * per_cent / 100).min(self.batches.len() - 1);
            self.batches[place] / BATCH
        };
        Row {
            design,
            median: share(50),
            p99: share(99),
            worst: share(100),
            failures: self.failures,
            takes: self.takes,
            bytes: self.design.bytes(),
            pieces: self.pieces,
            operations: u64::try_from(self.batches.len()).unwrap() * u64::from(BATCH),
        }
    }

    fn count(&mut self) {
        if self.begun.is_none() {
            return;
        }
        self.operations += 1;
        if self.operations == BATCH {
            let now = Instant::now();
            self.batches.push(now - self.batch_begun);
            self.batch_begun = now;
            self.operations = 0;
        }
    }
}

impl<D: Design> Allocator for Driver<'_, D> {
    fn pages(&self) -> u64 {
        self.pages
    }

    fn taken(&self) -> u64 {
        self.taken
    }

    fn take(&mut self, pages: u64, alignment: u64) -> Option<Piece> {
        let first = self.design.take(pages, alignment);
        self.takes += 1;
        self.count();
        match first {
            Some(first) => {
                assert!(first.is_multiple_of(alignment) && first + pages <= self.pages);
                self.taken += pages;
                self.pieces += 1;
            }
            None if self.pages - self.taken >= pages => self.failures += 1,
            None => {}
        }
        first.map(|first| Piece { first, pages })
    }

    fn give_back(&mut self, piece: Piece) {
        self.design.give_back(piece.first, piece.pages);
        self.taken -= piece.pages;
        self.pieces -= 1;
        self.count();
    }

    fn begin(&mut self) {
        (self.takes, self.failures) = (0, 0);
        self.batch_begun = Instant::now();
        self.begun = Some(self.batch_begun);
    }

    fn goes_on(&self) -> bool {
        let done = u64::try_from(self.batches.len()).unwrap() * u64::from(BATCH);
        done < self.effort.operations
            && self.begun.is_some_and(|begun| begun.elapsed() < self.effort.time)
    }
}
