//! `docs/kernel.md` says which trap each of these tests is for.

use std::{collections::BTreeSet, fs, path::Path};

/// The lines of the document that name them.
const HEADING: &str = "## Tests of these mistakes";

const SOURCES: [&str; 5] = [
    include_str!("authority.rs"),
    include_str!("counts.rs"),
    include_str!("lists.rs"),
    include_str!("ranges.rs"),
    include_str!("windows.rs"),
];

fn tests() -> BTreeSet<String> {
    let after_mark = SOURCES.iter().flat_map(|source| source.split("#[test]\nfn ").skip(1));
    after_mark.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())).collect()
}

#[test]
fn the_document_names_each_test_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kernel.md");
    let text = fs::read_to_string(path).expect("the document is there");
    let (table, section) = text.split_once(HEADING).expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut named = BTreeSet::new();
    for line in section.lines().filter(|line| line.starts_with("- ")) {
        let words: Vec<&str> = line.split('`').collect();
        let [ids, test, _] = words[..] else { panic!("no id, or no test: {line}") };
        for id in ids.trim_matches(['-', ' ', ':']).split(", ") {
            let row = format!("\n| {id} |");
            assert!(table.contains(&row), "there is no trap {id}: {line}");
        }
        assert!(named.insert(test.to_owned()), "{test} is there twice");
    }
    assert_eq!(named, tests());
    assert_eq!(named.len(), 17, "one for each defect");
}
