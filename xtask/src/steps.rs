//! Runs named steps one after the other, times them, and ends with a table. It knows no step.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::say;

pub(crate) struct Steps {
    /// Words of which the name of a step has one, if there are any.
    words: Vec<String>,
    names: Vec<String>,
    done: Vec<(String, Duration, String)>,
}

impl Steps {
    /// Steps with one of these words in their name; without words, all.
    pub(crate) const fn with(words: Vec<String>) -> Self {
        Self { words, names: Vec::new(), done: Vec::new() }
    }

    /// Runs one step; `repeat` is the command that repeats it alone.
    pub(crate) fn run(
        &mut self,
        name: &str,
        repeat: &str,
        step: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.run_if_possible(name, repeat, || step().map(|()| None))
    }

    /// Runs one step that returns what of it this machine could not try, for the table.
    pub(crate) fn run_if_possible(
        &mut self,
        name: &str,
        repeat: &str,
        step: impl FnOnce() -> Result<Option<String>>,
    ) -> Result<()> {
        self.names.push(name.to_owned());
        if !self.words.is_empty() && !self.words.iter().any(|word| name.contains(word)) {
            return Ok(());
        }
        say::heading(name);
        let started = Instant::now();
        let result = step();
        let outcome = match &result {
            Ok(None) => "ok".to_owned(),
            Ok(Some(untried)) => format!("ok, but {untried}"),
            Err(_) => "FAILED".to_owned(),
        };
        self.done.push((name.to_owned(), started.elapsed(), outcome));
        result
            .map(|_| ())
            .with_context(|| format!("step \"{name}\" failed; to repeat it: {repeat}"))
    }

    pub(crate) fn print(&self) {
        println!("\n{}", table(&self.done));
    }

    /// That a word for no step is a mistake.
    pub(crate) fn ensure_some_were_wanted(&self) -> Result<()> {
        let (words, names) = (self.words.join(", "), self.names.join(", "));
        ensure!(!self.done.is_empty(), "no step has {words} in its name; there are: {names}");
        Ok(())
    }
}

fn table(steps: &[(String, Duration, String)]) -> String {
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
    fn only_the_steps_that_are_asked_for_are_taken() {
        let played = |words: &[&str]| {
            let mut steps = Steps::with(words.iter().map(|word| (*word).to_owned()).collect());
            let mut played = Vec::new();
            for name in ["lints", "lab one", "lab two"] {
                let step = || {
                    played.push(name);
                    Ok(())
                };
                steps.run(name, "", step).expect("it does nothing");
            }
            (played, steps.ensure_some_were_wanted().map_err(|error| error.to_string()))
        };
        assert_eq!(played(&[]), (vec!["lints", "lab one", "lab two"], Ok(())));
        assert_eq!(played(&["lab", "two"]), (vec!["lab one", "lab two"], Ok(())));
        let none = "no step has three in its name; there are: lints, lab one, lab two";
        assert_eq!(played(&["three"]), (vec![], Err(none.to_owned())));
    }

    #[test]
    fn what_a_step_could_not_try_is_in_the_table() {
        let mut steps = Steps::with(Vec::new());
        steps.run_if_possible("tools", "", || Ok(Some("not all".to_owned()))).expect("it works");
        steps.run("lints", "", || Ok(())).expect("it works");
        let table = table(&steps.done);
        let outcomes: Vec<&str> =
            table.lines().filter_map(|line| line.split("  ").last()).collect();
        assert_eq!(outcomes.first(), Some(&"ok, but not all"));
        assert_eq!(outcomes.get(1), Some(&"ok"));
    }

    #[test]
    fn the_table_shows_each_step_and_the_whole() {
        let steps = [
            ("lints".to_owned(), Duration::from_secs(2), "ok".to_owned()),
            ("tests".to_owned(), Duration::from_secs(63), "FAILED".to_owned()),
        ];
        let lines =
            "  lints         2.0 s  ok\n  tests    1 min 03 s  FAILED\n  all      1 min 05 s";
        assert_eq!(table(&steps), lines);
    }
}
