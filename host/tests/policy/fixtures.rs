//! Components that were released: never built again, and held to what they answered then, on every compiler and every
//! machine. The lab holds them to the same record on ppc64le.

use std::{fs, path::PathBuf};

use proptest::strategy::{Strategy, ValueTree};
use tce_host::policy::{
    Compiler, Digest, Limits, LoadedPolicy, Question, Runtime,
    golden::{Difference, Golden},
};

use crate::support::{compilers, generate, questions, seeded};

/// `tight`, built for version 0.2.0 of the package.
pub(crate) const FIXTURE: &str = "tight-0.2.0";
/// Generated questions of each kind in a record.
const GENERATED: usize = 5;

fn file(extension: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../plugins/fixtures");
    folder.join(format!("{FIXTURE}.{extension}"))
}

/// The bytes of the fixture.
pub(crate) fn fixture() -> Vec<u8> {
    fs::read(file("wasm")).expect("the fixture")
}

fn record() -> String {
    fs::read_to_string(file("golden.jsonl")).expect("the record")
}

/// The fixture as this host loads it.
pub(crate) fn loaded(compiler: Compiler) -> LoadedPolicy {
    let runtime = Runtime::new(compiler).expect("an available compiler");
    LoadedPolicy::from_bytes(&runtime, FIXTURE, &fixture(), Limits::default())
        .unwrap_or_else(|error| panic!("{FIXTURE}: {error}"))
}

#[test]
fn the_fixture_is_the_file_that_was_released() {
    let line = fs::read_to_string(file("wasm.sha256")).expect("the sum");
    assert_eq!(line, format!("{}  {FIXTURE}.wasm\n", Digest::of(&fixture())));
}

#[test]
fn the_fixture_answers_as_recorded_and_burns_the_same_fuel_on_every_compiler() {
    for compiler in compilers() {
        let held = Golden::hold(&loaded(compiler), &record());
        assert_eq!(
            held.unwrap_or_else(|difference| panic!("{compiler}: {difference}")),
            7 + 7 * GENERATED
        );
    }
}

#[test]
fn a_difference_from_the_record_is_told_with_its_line() {
    let policy = loaded(Compiler::default());
    let record = record();
    let mut lines: Vec<Golden> =
        record.lines().map(|line| serde_json::from_str(line).expect("a decision")).collect();
    let hold = |lines: &[Golden]| {
        let lines: Vec<String> =
            lines.iter().map(|line| serde_json::to_string(line).expect("JSON")).collect();
        Golden::hold(&policy, &lines.join("\n"))
    };
    lines[1].fuel += 1;
    assert!(matches!(hold(&lines), Err(Difference::Fuel { line: 2, .. })));
    lines[0].answer = lines[3].answer.clone();
    assert!(matches!(hold(&lines), Err(Difference::Answer { line: 1, .. })));
    assert!(matches!(Golden::hold(&policy, "{}"), Err(Difference::Unreadable { line: 1, .. })));
}

/// Ordinary questions and generated ones.
fn asked() -> Vec<Question> {
    let mut all = questions::ordinary().to_vec();
    all.extend(generated(generate::page_question().prop_map(Question::SelectPages)));
    all.extend(generated(generate::window_question().prop_map(Question::SizeWindows)));
    all.extend(generated(generate::growth_question().prop_map(Question::Grow)));
    all.extend(generated(generate::admit_question().prop_map(Question::Admit)));
    all.extend(generated(generate::renew_question().prop_map(Question::Renew)));
    all.extend(generated(generate::reclaim_question().prop_map(Question::Reclaim)));
    all.extend(generated(generate::group_loss_question().prop_map(Question::GroupLeaves)));
    all
}

fn generated(questions: impl Strategy<Value = Question>) -> Vec<Question> {
    let mut runner = seeded(1);
    (0..GENERATED).map(|_| questions.new_tree(&mut runner).expect("a question").current()).collect()
}

/// For a new fixture, once: `cargo test -p tce-host --test policy write_the_record -- --ignored`.
#[test]
#[ignore = "writes the record and the sum of a new fixture"]
fn write_the_record_of_a_new_fixture() {
    let policy = loaded(Compiler::Pulley);
    let lines = asked().into_iter().map(|question| {
        let golden = Golden::record(&policy, question).expect("an answer");
        serde_json::to_string(&golden).expect("JSON") + "\n"
    });
    fs::write(file("golden.jsonl"), lines.collect::<String>()).expect("written");
    let sum = format!("{}  {FIXTURE}.wasm\n", Digest::of(&fixture()));
    fs::write(file("wasm.sha256"), sum).expect("written");
}
