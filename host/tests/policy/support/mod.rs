//! What the tests share: the components, and questions.

pub(crate) mod generate;
pub(crate) mod questions;

use std::{env, fs, path::PathBuf};

use proptest::test_runner::{Config, RngSeed, TestRunner};
use tce_host::policy::{Asked, Compiler, Limits, LoadedPolicy, Runtime, wit::Refusal};

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

/// The bytes of a component with something in them replaced, wherever it stands: names of exports, or data.
pub(crate) fn patched(name: &str, from: &str, to: &[u8]) -> Vec<u8> {
    let from = from.as_bytes();
    assert_eq!(from.len(), to.len(), "lengths stand before names");
    let mut bytes = fs::read(plugin_file(name)).expect("the file");
    let last = bytes.len() - from.len();
    let places: Vec<usize> = (0..=last).filter(|at| &bytes[*at..at + from.len()] == from).collect();
    assert!(!places.is_empty(), "it is in there");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
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
pub(crate) fn answered<A>(asked: Asked<A>) -> (Result<A, Refusal>, u64) {
    let fuel = asked.fuel.expect("a component is metered");
    (asked.result.unwrap_or_else(|broken| panic!("no answer: {broken}")), fuel)
}
