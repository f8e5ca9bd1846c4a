//! What the tests share: the components, and questions.

pub(crate) mod generate;
pub(crate) mod questions;

use std::{env, fs, path::PathBuf};

use proptest::test_runner::{Config, RngSeed, TestRunner};
use tce_host::policy::{Compiler, Evaluation, Limits, LoadedPolicy, Runtime};

/// Both ways to execute; this machine may have one only.
pub(crate) fn compilers() -> impl Iterator<Item = Compiler> {
    [Compiler::Cranelift, Compiler::Pulley].into_iter().filter(|compiler| compiler.is_available())
}

/// The file of a component.
pub(crate) fn plugin_file(name: &str) -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
    let folder = env::var_os("TCE_PLUGINS").map_or_else(built, PathBuf::from);
    let file = folder.join(name).with_extension("wasm");
    assert!(
        file.is_file(),
        "{} is not there: build it with `cargo xtask plugins`, or name its folder in TCE_PLUGINS",
        file.display()
    );
    file
}

/// A component of ours, loaded with the usual limits.
pub(crate) fn plugin(compiler: Compiler, name: &str) -> LoadedPolicy {
    let runtime = Runtime::new(compiler).expect("an available compiler");
    LoadedPolicy::from_file(&runtime, &plugin_file(name), Limits::default())
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The bytes of `tight` with another name for what it exports, of the same length.
pub(crate) fn tight_renamed(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "lengths stand before names");
    let mut bytes = fs::read(plugin_file("tight")).expect("the file");
    let places: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|at| &bytes[*at..at + from.len()] == from.as_bytes())
        .collect();
    assert!(!places.is_empty(), "{from} is in it");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// Runs a property on so many cases, the same ones each time.
pub(crate) fn seeded(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(0x7ce),
        failure_persistence: None,
        ..Config::default()
    })
}

/// The answer and the fuel of a decision that has both.
pub(crate) fn answered<A>(evaluation: Evaluation<A>) -> (A, u64) {
    let fuel = evaluation.fuel.expect("a component is metered");
    (evaluation.result.unwrap_or_else(|broken| panic!("no answer: {broken}")), fuel)
}
