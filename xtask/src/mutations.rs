//! Whether a wrong simulated kernel is found: each mutation of a list is made in a copy of the checkout, and the
//! recordings of real kernels must contradict it there.

mod list;
mod trial;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::Workspace;
use crate::{run, say};
use list::{List, Mutation};
use trial::{Difference, Played, Trial};

/// Lines of the recordings' own words that an error repeats.
const WORDS_LINES_MAX: usize = 15;

/// What came of one mutation.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// A real kernel's outcome contradicts it.
    Caught(Difference),
    /// The recordings agree with it as well.
    Survived,
    /// It shows nothing, because it gives no wrong simulated kernel. The list is to blame.
    Faulty(String),
}

/// One mutation that was tried.
struct Row<'a> {
    mutation: &'a Mutation,
    verdict: Verdict,
    took: Duration,
}

/// Tries the mutations of these names, or all, and fails unless each is caught.
pub(crate) fn run(workspace: &Workspace, names: &[String]) -> Result<()> {
    let list = List::read(workspace.root())?;
    let chosen = list.choose(names)?;
    for mutation in &chosen {
        mutation.changed(workspace.root())?;
    }
    let trial = Trial::prepare(workspace)?;
    try_unchanged(&trial)?;
    let rows: Vec<_> =
        chosen.into_iter().map(|mutation| try_one(&trial, mutation)).collect::<Result<_>>()?;
    println!("\n{}", table(&rows));
    judge(&rows)
}

/// Before anything else: the recordings agree with the simulated kernel as it is.
fn try_unchanged(trial: &Trial) -> Result<()> {
    let task = say::Task::start("the unchanged simulated kernel");
    let program = trial.build().context("the copy of the checkout cannot be built")?;
    match trial.play(&program, "unchanged")? {
        Played::Agreed => task.done("agrees with the recordings"),
        Played::Failed(words) => bail!(
            "the unchanged simulated kernel fails already, so mutations would show nothing; \
             what to do: cargo test -p tce-conformance --test recordings\n{}",
            run::last_lines(&words, WORDS_LINES_MAX)
        ),
        Played::Endless(limit) => bail!(
            "the recordings were not played to their end in {} on the unchanged simulated kernel",
            say::seconds(limit)
        ),
    }
    Ok(())
}

/// Makes the mutation in the copy, plays, and takes it back.
fn try_one<'a>(trial: &Trial, mutation: &'a Mutation) -> Result<Row<'a>> {
    let task = say::Task::start(&mutation.name);
    let started = Instant::now();
    let changed = mutation.changed(trial.root())?;
    let original = trial.replace(&mutation.path(), &changed)?;
    let verdict = verdict(trial, &mutation.name);
    trial.replace(&mutation.path(), &original)?;
    let verdict = verdict?;
    task.done(verdict.word());
    Ok(Row { mutation, verdict, took: started.elapsed() })
}

fn verdict(trial: &Trial, name: &str) -> Result<Verdict> {
    match trial.build() {
        Err(error) => Ok(Verdict::Faulty(format!("it does not compile: {error:#}"))),
        Ok(program) => Ok(Verdict::of(trial.play(&program, name)?)),
    }
}

impl Verdict {
    fn of(played: Played) -> Self {
        match played {
            Played::Agreed => Self::Survived,
            Played::Failed(words) => match Difference::first(&words) {
                Some(difference) => Self::Caught(difference),
                None => Self::Faulty(format!(
                    "the test failed, but not because an outcome differs:\n{}",
                    run::last_lines(&words, WORDS_LINES_MAX)
                )),
            },
            Played::Endless(limit) => Self::Faulty(format!(
                "the recordings were not played to their end in {}",
                say::seconds(limit)
            )),
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Caught(_) => "caught",
            Self::Survived => "SURVIVED",
            Self::Faulty(_) => "FAULTY",
        }
    }
}

fn table(rows: &[Row<'_>]) -> String {
    let width = rows.iter().map(|row| row.mutation.name.len()).max().unwrap_or_default();
    let line = |row: &Row<'_>| {
        let by = match &row.verdict {
            Verdict::Caught(difference) => difference.to_string(),
            other => other.word().to_owned(),
        };
        format!("  {:width$}  {:>8}  {by}", row.mutation.name, say::seconds(row.took))
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    let caught = rows.iter().filter(|row| matches!(row.verdict, Verdict::Caught(_))).count();
    let whole = rows.iter().map(|row| row.took).sum();
    lines.push(format!("  {caught} of {} caught in {}", rows.len(), say::seconds(whole)));
    lines.join("\n")
}

fn judge(rows: &[Row<'_>]) -> Result<()> {
    let complaint = |row: &Row<'_>| {
        let mutation = row.mutation;
        match &row.verdict {
            Verdict::Caught(_) => None,
            Verdict::Survived => Some(format!(
                "{mutation} survived: no recorded outcome shows it. It breaks this: {}",
                mutation.breaks
            )),
            Verdict::Faulty(why) => Some(format!("{mutation} is no test of anything: {why}")),
        }
    };
    let complaints: Vec<_> = rows.iter().filter_map(complaint).collect();
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

/// A text of a file that must be there, or why it cannot be read.
fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "thread 'x' panicked at recordings.rs:48:9:\n\
        /a/recordings/pseries-4k-6.12.jsonl.gz:\n\
        seed 1, sequence 1, step 65: MAP_DMA c0\n  simulated: 2 (locked 8 KiB)\n  real:      1 (locked 8 KiB)\n";

    fn rows(list: &List, verdicts: [Verdict; 2]) -> Vec<Row<'_>> {
        let mutations = list.choose(&[]).unwrap();
        let took = Duration::from_secs(2);
        let row = |(mutation, verdict)| Row { mutation, verdict, took };
        mutations.into_iter().zip(verdicts).map(row).collect()
    }

    fn two() -> List {
        let entry = |name: &str| {
            format!(
                "[[mutation]]\nname = \"{name}\"\nfile = \"a.rs\"\nfind = \"1\"\nreplace = \"2\"\nbreaks = \"f adds.\"\n"
            )
        };
        List::parse(&(entry("one") + &entry("the-other"))).unwrap()
    }

    #[test]
    fn a_mutation_is_caught_only_by_an_outcome_that_differs() {
        let caught = Verdict::of(Played::Failed(WORDS.to_owned()));
        assert!(matches!(caught, Verdict::Caught(_)), "{caught:?}");
        let crashed = Verdict::of(Played::Failed("panicked: overflow".to_owned()));
        assert!(
            matches!(&crashed, Verdict::Faulty(why) if why.contains("overflow")),
            "{crashed:?}"
        );
        assert_eq!(Verdict::of(Played::Agreed), Verdict::Survived);
        let endless = Verdict::of(Played::Endless(Duration::from_secs(9)));
        assert!(matches!(&endless, Verdict::Faulty(why) if why.contains("9.0 s")), "{endless:?}");
    }

    #[test]
    fn the_table_says_what_caught_each() {
        let list = two();
        let caught = Verdict::of(Played::Failed(WORDS.to_owned()));
        let shown = table(&rows(&list, [caught, Verdict::Survived]));
        let expected = "  one           2.0 s  pseries-4k-6.12, seed 1, sequence 1, step 65: MAP_DMA c0; \
                        simulated 2 (locked 8 KiB), real 1 (locked 8 KiB)\n  the-other     2.0 s  SURVIVED\n  \
                        1 of 2 caught in 4.0 s";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_survivor_fails_the_run_and_says_what_it_breaks() {
        let list = two();
        let caught = || Verdict::of(Played::Failed(WORDS.to_owned()));
        judge(&rows(&list, [caught(), caught()])).unwrap();
        let error = judge(&rows(&list, [caught(), Verdict::Survived])).unwrap_err().to_string();
        assert!(error.contains("`the-other` survived") && error.contains("f adds."), "{error}");
        let faulty = Verdict::Faulty("it does not compile".to_owned());
        let error = judge(&rows(&list, [faulty, caught()])).unwrap_err().to_string();
        assert!(error.contains("`one`") && error.contains("does not compile"), "{error}");
    }
}
