//! What xtask itself says, always on standard error, so that standard output stays with the
//! command that was asked for. It formats and prints; it decides nothing.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// The title of a larger part of the work.
pub(crate) fn heading(title: impl Display) {
    if stderr().is_terminal() {
        eprintln!("\n\x1b[1m== {title}\x1b[0m");
    } else {
        eprintln!("\n== {title}");
    }
}

/// One line the user should know.
pub(crate) fn note(text: impl Display) {
    eprintln!("xtask: {text}");
}

/// One step that takes a while: one tidy line on a terminal, two plain lines in a pipe.
pub(crate) struct Task {
    text: String,
    started: Instant,
    /// What is said at the end; a task that is dropped before its end failed.
    result: String,
}

impl Task {
    pub(crate) fn start(text: impl Display) -> Self {
        let text = text.to_string();
        if stderr().is_terminal() {
            eprint!("xtask: {text} …");
            // A line that cannot be shown is no reason to fail.
            let _ = stderr().flush();
        } else {
            eprintln!("xtask: {text} …");
        }
        Self { text, started: Instant::now(), result: "failed".to_owned() }
    }

    pub(crate) fn done(mut self, result: impl Display) {
        self.result = result.to_string();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Self { text, started, result } = self;
        let took = seconds(started.elapsed());
        let back = if stderr().is_terminal() { "\r\x1b[2K" } else { "" };
        eprintln!("{back}xtask: {text}: {result} ({took})");
    }
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole >= 60 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// A number of bytes as people read it.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_durations_are_shown_in_minutes() {
        assert_eq!(seconds(Duration::from_millis(1_240)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(61)), "1 min 01 s");
    }
}
