//! The journal: whole after a crash, bounded, with one writer; and what a replay of it finds.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use tce_engine::lease::Timestamp;
use tce_host::{
    decide::{Member, Policies},
    journal::{self, Durability, Entry, Journal, JournalError, Limits, Record},
    policy::{Compiler, Evaluator, wit::Setting},
    replay::replay,
};

use crate::support::{
    plugin,
    questions::{admit_question, misbehave, page_question, window_question},
};

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("tce-journals-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("journal.jsonl")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is the system's to clear.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path, limits: Limits) -> Journal {
    Journal::open(path, Durability::Record, limits).expect("a journal")
}

fn entries(path: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    let take = |entry| {
        entries.push(entry);
        Ok::<_, JournalError>(())
    };
    journal::read(path, take).expect("a journal");
    entries
}

fn decisions(path: &Path) -> Vec<Record> {
    let entries = entries(path).into_iter();
    let decisions = entries.filter_map(|entry| match entry {
        Entry::Decision(record) => Some(*record),
        _ => None,
    });
    decisions.collect()
}

/// Makes decisions of three kinds by a component, and writes them down.
fn decide(policies: &Policies, times: u64, settings: &[Setting]) {
    for at in 0..times {
        let (now, settings) = (Timestamp(at), settings.to_vec());
        let pages = page_question(settings.clone());
        let check =
            |question: &_, answer: &Vec<_>| tce_host::grant::pages(question, answer).map(drop);
        let _ = policies.decide("pages", now, pages, check, |_| String::new());
        let windows = window_question(settings.clone());
        let check =
            |question: &_, answer: &Vec<_>| tce_host::grant::layout(question, answer).map(drop);
        let _ = policies.decide("windows", now, windows, check, |_| String::new());
        let check = |question: &_, answer: &_| tce_host::grant::terms(question, answer).map(drop);
        let _ = policies.decide("lease", now, admit_question(settings), check, |_| String::new());
    }
}

fn journaled(name: &str, path: &Path, limits: Limits) -> Policies {
    let member = Member::new(Arc::new(plugin(Compiler::default(), name))).expect("a policy");
    Policies::of(vec![member]).expect("one").with_journal(open(path, limits))
}

#[test]
fn every_decision_is_written_with_all_that_was_asked_and_said() {
    let folder = Folder::new("all");
    let policies = journaled("hostile", &folder.file(), Limits::default());
    decide(&policies, 1, &[]);
    decide(&policies, 1, &misbehave("trap"));
    drop(policies);
    let records = decisions(&folder.file());
    assert_eq!(records.len(), 6);
    let hostile = plugin(Compiler::default(), "hostile");
    for record in &records[..3] {
        assert_eq!(record.asked.policy, *hostile.identity());
        assert_eq!(record.asked.evaluation, hostile.evaluate(&record.question));
        assert_eq!(record.instead, None);
    }
    for record in &records[3..] {
        assert!(record.asked.evaluation.result.is_err());
        assert_eq!(record.question.settings(), misbehave("trap"));
        assert_eq!(record.decisive().policy.name, "built-in");
    }
}

#[test]
fn an_ejection_is_written_with_the_last_question() {
    let folder = Folder::new("ejection");
    let policies = journaled("hostile", &folder.file(), Limits::default());
    decide(&policies, 2, &misbehave("trap"));
    drop(policies);
    let entries = entries(&folder.file());
    let ejection = entries.iter().find_map(|entry| match entry {
        Entry::Ejection { policy, ejected } => Some((policy.as_str(), ejected)),
        _ => None,
    });
    let (policy, ejected) = ejection.expect("five failures in a row");
    assert_eq!(policy, "hostile");
    assert_eq!(ejected.question.as_ref().map(|it| it.settings().to_vec()), Some(misbehave("trap")));
}

#[test]
fn what_a_crash_has_cut_is_taken_off_and_the_rest_stays() {
    let folder = Folder::new("torn");
    let path = folder.file();
    let policies = journaled("tight", &path, Limits::default());
    decide(&policies, 2, &[]);
    drop(policies);
    let whole = fs::read(&path).expect("the file");
    let before = decisions(&path);
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("lines") + 1;
    for cut in [last + 1, last + 100, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).expect("written");
        assert_eq!(decisions(&path), before[..5], "a torn line does not count");
        let policies = journaled("tight", &path, Limits::default());
        assert_eq!(fs::metadata(&path).expect("the file").len(), u64::try_from(last).expect("few"));
        decide(&policies, 1, &[]);
        drop(policies);
        assert_eq!(decisions(&path).len(), 8, "and the next ones follow");
    }
    // The first line may be torn, too.
    fs::write(&path, &whole[..5]).expect("written");
    drop(open(&path, Limits::default()));
    assert_eq!(entries(&path), []);
}

#[test]
fn the_size_is_bounded_and_the_oldest_goes() {
    let folder = Folder::new("bounded");
    let limits = Limits { file_bytes: 20_000, files: 3 };
    let policies = journaled("tight", &folder.file(), limits);
    decide(&policies, 40, &[]);
    drop(policies);
    let files: Vec<u64> = fs::read_dir(&folder.0)
        .expect("the folder")
        .map(|file| file.expect("a file").metadata().expect("of a file").len())
        .collect();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|bytes| *bytes <= 20_000), "{files:?}");
    let records = decisions(&folder.file());
    assert!(records.is_sorted_by_key(|record| record.at), "the oldest first");
    assert_eq!(records.last().map(|record| record.at), Some(39));
    assert!(records.first().is_some_and(|record| record.at > 0), "the oldest are gone");
}

#[test]
fn a_journal_has_one_writer_and_other_files_stay_as_they_are() {
    let folder = Folder::new("one-writer");
    let path = folder.file();
    let first = open(&path, Limits::default());
    let again = |path: &Path| Journal::open(path, Durability::Record, Limits::default());
    assert!(matches!(again(&path), Err(JournalError::Busy(_))));
    drop(first);
    assert!(again(&path).is_ok());
    let letter = folder.0.join("letter.txt");
    fs::write(&letter, "Dear all").expect("written");
    assert!(matches!(again(&letter), Err(JournalError::NoJournal(_))));
    assert_eq!(fs::read(&letter).expect("the file"), b"Dear all");
    assert!(matches!(again(&folder.0.join("no/such/folder")), Err(JournalError::Io { .. })));
}

#[test]
fn a_damaged_line_is_named() {
    let folder = Folder::new("damaged");
    let path = folder.file();
    let policies = journaled("tight", &path, Limits::default());
    decide(&policies, 1, &[]);
    drop(policies);
    let text = fs::read_to_string(&path).expect("the file");
    let mut lines: Vec<&str> = text.lines().collect();
    lines[2] = "{\"decision\": 3}";
    fs::write(&path, lines.join("\n") + "\n").expect("written");
    let error = journal::read(&path, |_| Ok::<_, JournalError>(())).expect_err("it is damaged");
    assert!(error.to_string().contains("line 3: "), "{error}");
}

#[test]
fn the_same_policy_decides_the_same_with_the_same_fuel() {
    let folder = Folder::new("same");
    let policies = journaled("tight", &folder.file(), Limits::default());
    decide(&policies, 3, &[]);
    drop(policies);
    let found = replay(&folder.file(), &plugin(Compiler::default(), "tight")).expect("a replay");
    assert_eq!((found.decisions, found.same, found.different, found.skipped), (9, 9, 0, 0));
    assert_eq!(found.then, found.now);
    assert!(found.now.fuel > 0 && found.now.table_bytes > 0 && found.now.tces > 0);
}

#[test]
fn another_policy_is_shown_where_it_differs_and_what_that_costs() {
    let folder = Folder::new("other");
    let policies = journaled("hostile", &folder.file(), Limits::default());
    decide(&policies, 2, &misbehave("refuse"));
    drop(policies);
    let found = replay(&folder.file(), &plugin(Compiler::default(), "tight")).expect("a replay");
    assert_eq!((found.decisions, found.same, found.different), (6, 0, 6));
    assert_eq!((found.then.refused, found.now.refused), (6, 0));
    assert_eq!(found.then.table_bytes, 0);
    assert!(found.now.table_bytes > 0 && found.now.locked_bytes > 0 && found.now.creates == 2);
    let text = tce_host::replay::render(&found);
    for words in
        ["6 of the journal's 6 decisions", "6 differ", "no: the setting behaviour", "refusals"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }
    let back = replay(&folder.file(), &plugin(Compiler::default(), "hostile")).expect("a replay");
    assert_eq!(back.different, 0, "with the settings that it had");
}

/// What the test below starts: a process that writes until it is killed.
const WRITER: &str = "TCE_TEST_JOURNAL";

#[test]
#[ignore = "it is the process that `a_killed_writer_…` starts"]
fn writer() {
    let Some(path) = env::var_os(WRITER).map(PathBuf::from) else { return };
    let limits = Limits { file_bytes: 100_000, files: 1_000 };
    let mut journal = open(&path, limits);
    let member = Member::new(Arc::new(tce_host::policy::BuiltIn::default())).expect("it tells");
    let folder = Folder::new("sample");
    let sample = folder.file();
    let policies = Policies::of(vec![member]).expect("one").with_journal(open(&sample, limits));
    decide(&policies, 1, &[]);
    drop(policies);
    let mut records = decisions(&sample);
    drop(folder);
    for number in 0.. {
        for record in &mut records {
            record.at = number;
            let entry = Entry::Decision(Box::new(record.clone()));
            journal.write(&entry, Timestamp(number)).expect("written");
        }
        // What is said to be written must be there after the kill.
        println!("{number}");
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_was_written_and_its_journal_opens() {
    let folder = Folder::new("killed");
    let program = env::current_exe().expect("this program");
    for kill in 0..100u64 {
        let path = folder.0.join(format!("{kill}.jsonl"));
        let out = folder.0.join("out");
        let mut writer = Command::new(&program)
            .args(["--ignored", "--exact", "journals::writer", "--nocapture"])
            .env(WRITER, &path)
            .stdout(fs::File::create(&out).expect("a file"))
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        // Ever later, so that each moment of a write is met by some.
        thread::sleep(Duration::from_micros(20_000 + kill * 397));
        writer.kill().expect("it runs");
        writer.wait().expect("it ran");
        let said = fs::read_to_string(&out).expect("text");
        let last = said.lines().filter_map(|line| line.parse::<u64>().ok()).next_back();
        if path.exists() {
            drop(open(&path, Limits { file_bytes: 100_000, files: 1_000 }));
            let records = decisions(&path);
            let whole = u64::try_from(records.len()).expect("few") / 3;
            assert!(whole >= last.map_or(0, |last| last + 1), "kill {kill}: {whole} of {last:?}");
            assert!(records.is_sorted_by_key(|record| record.at));
        }
    }
}
