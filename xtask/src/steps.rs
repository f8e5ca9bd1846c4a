//! Runs named steps one after the other, times them, and ends with a table. It knows no step.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::say;

#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration, &'static str)>,
}

impl Steps {
    /// Runs one step; `repeat` is the command that repeats it alone.
    pub(crate) fn run(
        &mut self,
        name: &str,
        repeat: &str,
        step: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        say::heading(name);
        let started = Instant::now();
        let result = step();
        let outcome = if result.is_ok() { "ok" } else { "FAILED" };
        self.done.push((name.to_owned(), started.elapsed(), outcome));
        result.with_context(|| format!("step \"{name}\" failed; to repeat it: {repeat}"))
    }

    pub(crate) fn print(&self) {
        println!("\n{}", table(&self.done));
    }
}

fn table(steps: &[(String, Duration, &'static str)]) -> String {
    let width = steps.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or_default();
    let line = |name: &str, duration: Duration, outcome: &str| {
        format!("  {name:width$}  {:>12}  {outcome}", say::seconds(duration))
    };
    let whole = steps.iter().map(|(_, duration, _)| *duration).sum();
    let mut lines: Vec<String> =
        steps.iter().map(|(name, duration, outcome)| line(name, *duration, outcome)).collect();
    lines.push(line("all", whole, ""));
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_each_step_and_the_whole() {
        let steps = [
            ("lints".to_owned(), Duration::from_secs(2), "ok"),
            ("tests".to_owned(), Duration::from_secs(63), "FAILED"),
        ];
        let lines =
            "  lints         2.0 s  ok\n  tests    1 min 03 s  FAILED\n  all      1 min 05 s";
        assert_eq!(table(&steps), lines);
    }
}
