//! Progress on a terminal; nothing in a pipe.

use indicatif::{ProgressBar, ProgressStyle};

use crate::run::Progress;

/// A bar on standard error. It hides itself where that is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} batches, {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }
}

impl Progress for Bar {
    fn begin(&self, batches: u64) {
        self.0.set_length(batches);
    }

    fn advance(&self) {
        self.0.inc(1);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}
