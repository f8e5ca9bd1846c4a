//! The documents say what the checks do: `docs/conformance.md` describes each, `docs/kernel.md` says which trap it is for.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
};

use tce_conformance::checks::{checks, named, reference};

/// With this in the environment the document is written instead of only read.
const REWRITE: &str = "TCE_REWRITE_DOCS";
/// Around the description of the checks.
const BEGIN: &str = "<!-- checks:";
const END: &str = "<!-- end of checks -->";
/// What a row of the traps' table has: id, what, where, how it shows, check, engine.
const COLUMNS: usize = 6;
/// How the fifth column starts if there is no check.
const NO_CHECK: &str = "None: ";
/// A reason has at least so many letters.
const REASON_LETTERS_MIN: usize = 20;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

/// `docs/conformance.md` with the checks described as they are.
fn described() -> String {
    let text = text("conformance.md");
    let begin = text.find(BEGIN).expect("the mark is there");
    let line_end = begin + text[begin..].find('\n').expect("it is a line of its own");
    let end = text.find(END).expect("the mark is there");
    format!("{}\n\n{}{}", &text[..line_end], reference(), &text[end..])
}

#[test]
fn the_document_describes_each_check_as_it_is() {
    if env::var_os(REWRITE).is_some() {
        // Other tests read it meanwhile: it is replaced as a whole.
        let new = path("conformance.md.new");
        fs::write(&new, described()).expect("docs can be written");
        fs::rename(new, path("conformance.md")).expect("docs can be written");
    }
    let is_up_to_date = text("conformance.md") == described();
    assert!(
        is_up_to_date,
        "docs/conformance.md is old: test once with {REWRITE}=1 to write it anew"
    );
    for check in checks() {
        for part in [check.name, check.title, check.asserts, check.trap, check.engine] {
            assert!(text("conformance.md").contains(part), "{part}");
        }
        for function in check.function.split(", ") {
            assert!(text("conformance.md").contains(&format!("`{function}`")), "{function}");
        }
    }
}

/// A trap.
#[derive(Debug)]
struct Row {
    cells: Vec<String>,
}

impl Row {
    fn id(&self) -> &str {
        &self.cells[0]
    }

    fn check(&self) -> &str {
        &self.cells[4]
    }

    /// Names of checks: what is in backticks, unless there is no check.
    fn checks(&self) -> impl Iterator<Item = &str> {
        let named = if self.check().starts_with(NO_CHECK) { "" } else { self.check() };
        named.split('`').skip(1).step_by(2)
    }
}

/// The rows of all tables of traps.
fn rows() -> Vec<Row> {
    let text = text("kernel.md");
    let lines = text.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    let rows = lines.map(|line| Row { cells: cells(line) });
    rows.filter(|row| row.id() != "id" && !row.id().starts_with("---")).collect()
}

#[test]
fn every_trap_has_a_check_or_a_reason() {
    assert!(rows().len() > 100, "the tables are there");
    for row in rows() {
        assert_eq!(row.cells.len(), COLUMNS, "{row:?}");
        assert!(row.cells.iter().all(|cell| !cell.is_empty()), "{row:?}");
        match row.check().strip_prefix(NO_CHECK) {
            Some(reason) => {
                let letters = reason.chars().filter(|it| it.is_alphabetic()).count();
                assert!(letters >= REASON_LETTERS_MIN, "no reason: {row:?}");
            }
            None => assert!(row.checks().next().is_some(), "neither check nor reason: {row:?}"),
        }
    }
}

#[test]
fn ids_of_traps_are_unique() {
    let mut seen = BTreeSet::new();
    for row in rows() {
        let mut letters = row.id().chars();
        let is_id = letters.next().is_some_and(|it| it.is_ascii_uppercase())
            && !letters.as_str().is_empty()
            && letters.all(|it| it.is_ascii_digit());
        assert!(is_id, "{row:?}");
        assert!(seen.insert(row.id().to_owned()), "{} is there twice", row.id());
    }
}

#[test]
fn each_check_is_for_a_trap_and_each_that_is_named_exists() {
    let mut traps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows() {
        for name in row.checks() {
            assert!(named(name).is_some(), "{}: there is no check `{name}`", row.id());
            traps.entry(name.to_owned()).or_default().push(row.id().to_owned());
        }
    }
    for check in checks() {
        assert!(traps.contains_key(check.name), "no trap names {}", check.name);
    }
}

#[test]
fn ids_that_the_documents_mention_exist() {
    let ids: BTreeSet<String> = rows().iter().map(|row| row.id().to_owned()).collect();
    let text = text("conformance.md");
    let begin = text.find("## What is kept off").expect("the section is there");
    let end = text.find("## The checks").expect("the section is there");
    let words = text[begin..end].split(|it: char| !it.is_ascii_alphanumeric());
    let is_id = |word: &&str| {
        let mut letters = word.chars();
        letters.next().is_some_and(|it| it.is_ascii_uppercase())
            && letters.as_str().parse::<u32>().is_ok()
    };
    let mentioned: Vec<_> = words.filter(is_id).collect();
    assert!(mentioned.len() > 10, "{mentioned:?}");
    for id in mentioned {
        assert!(ids.contains(id), "docs/kernel.md has no {id}");
    }
}
