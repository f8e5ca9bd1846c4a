//! `tce policy bench`.

use std::{
    num::NonZeroU32,
    path::Path,
    time::{Duration, Instant},
};

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use crate::{
    author::{
        bench::{Cost, measure},
        scenario::{self, Scenario},
    },
    cli::{policy, print_text},
    exit::{Exit, Failure},
    policy::{Broken, BuiltIn, Evaluator as _},
};

use super::ComponentArgs;

pub(super) fn bench(
    policy: &ComponentArgs,
    question: &Path,
    decisions: NonZeroU32,
) -> Result<Exit, Failure> {
    let files =
        if question.is_dir() { scenario::files(question)? } else { vec![question.to_owned()] };
    let runtime = policy::runtime(None)?;
    let policy = policy.load(&runtime)?;
    let built_in = BuiltIn::default();
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "question",
        "fuel",
        "median ns",
        "p99 ns",
        "built-in median ns",
        "p99 ns",
    ]);
    table.column_iter_mut().skip(1).for_each(|it| {
        it.set_cell_alignment(CellAlignment::Right);
    });
    for file in files {
        let scenario = Scenario::read(&file)?;
        if !policy.answers(scenario.question.function()) {
            continue;
        }
        let broken = |broken: Broken| {
            let what = format!("{}: the policy broke: {broken}", scenario.name);
            Failure::new(broken.fault().into(), what)
        };
        let own = measure(&policy, &scenario.question, decisions, stopwatch).map_err(broken)?;
        let native =
            measure(&built_in, &scenario.question, decisions, stopwatch).map_err(broken)?;
        table.add_row(row(&scenario.name, &own, &native));
    }
    let head = format!("{decisions} decisions each, compiled by {}\n", runtime.compiler());
    print_text(&format!("{head}{}\n", table.trim_fmt()))?;
    Ok(Exit::Done)
}

fn stopwatch(work: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn row(name: &str, own: &Cost, native: &Cost) -> Vec<String> {
    let fuel = own.fuel.map_or_else(|| "-".to_owned(), |fuel| fuel.to_string());
    let times = [own.median, own.p99, native.median, native.p99];
    let times = times.into_iter().map(|it| it.as_nanos().to_string());
    [name.to_owned(), fuel].into_iter().chain(times).collect()
}
