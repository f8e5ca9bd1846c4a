//! Files that are scenarios, and files that are none.

use std::{env, fs, path::PathBuf, process};

use tce_sim::Profile;

use super::{Expectation, Scenario, ScenarioError, files};
use crate::{
    author::{
        generate::{Generator, Kind},
        judge::judge,
        machine::Machine,
    },
    policy::{
        Answer, BuiltIn, Evaluator as _, Function, Question,
        wit::{Origin, SlotUse, WindowChoice},
    },
};

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("tce-scenario-{}-{name}", process::id()));
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    fn read(&self, name: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a writable folder");
        Scenario::read(&path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const WINDOWS: &str = r#"
[size-windows]
facts = "powernv9-64k"
[[size-windows.demand.regions]]
size = "1G"
"#;

fn machines() -> Vec<Machine> {
    Profile::NAMES.iter().map(|name| Machine::named(name).expect(name)).collect()
}

#[test]
fn what_is_left_out_gets_its_ordinary_value_and_the_machine_lists_the_candidates() {
    let folder = Folder::new("defaults");
    let scenario = folder.read("big.toml", WINDOWS).expect("a scenario");
    assert_eq!(scenario.name, "big");
    let Question::SizeWindows(question) = &scenario.question else { panic!("{scenario:?}") };
    let region = &question.demand.regions[0];
    assert_eq!((region.id, region.size, region.backing), (0, 1 << 30, 16));
    assert_eq!(question.pages[0].page, 16);
    let default = &question.candidates[0];
    assert_eq!((default.slot, default.origin), (0, Origin::DefaultWindow));
    assert!(question.candidates.iter().any(|it| it.slot == 1 && it.page == 16));
    let evaluation = BuiltIn::default().evaluate(&scenario.question);
    assert_eq!(scenario.problems(&evaluation), []);
}

#[test]
fn a_fact_of_the_file_comes_before_the_machine_s() {
    let folder = Folder::new("facts");
    let text = r#"
[select-pages.facts]
machine = "powernv9"
locked-memory = { limit = "1M", charged = 0 }
hints = { rack = "7" }
[[select-pages.demand.regions]]
size = "64K"
"#;
    let scenario = folder.read("facts.toml", text).expect("a scenario");
    let Question::SelectPages(question) = scenario.question else { panic!("another question") };
    assert_eq!(question.facts.locked_memory.limit, Some(1 << 20));
    assert_eq!(question.facts.hints[0].key, "rack");
    assert_eq!(question.facts.system_page, 12);
}

#[test]
fn a_window_takes_its_slot() {
    let folder = Folder::new("slots");
    let text = r#"
[grow]
facts = "powernv9-64k"
size = "2G"
windows = [{ slot = 0, page = "64K", size = "1G" }]
lease = { size = "1G" }
"#;
    let scenario = folder.read("grow.toml", text).expect("a scenario");
    let Question::Grow(question) = scenario.question else { panic!("another question") };
    assert_eq!(question.facts.slots[0].holds, SlotUse::Taken);
    assert!(!question.candidates.is_empty());
    assert!(question.candidates.iter().all(|it| it.slot == 1 && it.size >= 2 << 30));
    assert_eq!(question.lease.terms.tces_max, 1 << 14);
    assert_eq!(question.leases, [question.lease]);
}

#[test]
fn every_question_that_a_host_writes_is_read_as_it_was() {
    let folder = Folder::new("written");
    let mut generator = Generator::new(1, machines(), Vec::new());
    for function in Function::ALL {
        for kind in [Kind::Ordinary, Kind::Absurd] {
            for number in 0..10 {
                let question = generator.question(function, kind);
                let text = serde_json::to_string(&question).expect("JSON");
                let read = folder.read("question.json", &text);
                let read = read.unwrap_or_else(|error| panic!("{number}: {error}\n{text}"));
                assert_eq!(read.question, question, "{number}");
            }
        }
    }
}

#[test]
fn a_mistake_is_told_with_its_file_its_line_and_its_key() {
    let folder = Folder::new("mistakes");
    let wrong = |text: &str, words: &[&str]| {
        let error = folder.read("wrong.toml", text).expect_err("a mistake").to_string();
        for words in words.iter().chain(&["wrong.toml"]) {
            assert!(error.contains(words), "{words:?} in {error}");
        }
    };
    wrong(&WINDOWS.replace("size =", "sice ="), &["line 5", "sice"]);
    wrong(&WINDOWS.replace("1G", "1Q"), &["line 5", "`1Q` is no size"]);
    wrong(&WINDOWS.replace("powernv9-64k", "powernv7"), &["facts", "powernv7", "powernv10"]);
    wrong("", &["one of select-pages, size-windows"]);
    wrong(&format!("{WINDOWS}[expect]\naccess = \"read\""), &["expect.access", "size-windows"]);
    wrong(&format!("{WINDOWS}[expect]\nrefused = \"size\""), &["line 7", "page-size"]);
    let both = "[expect]\nrefused = \"window\"\npage = \"4K\"";
    wrong(&format!("{WINDOWS}{both}"), &["stand alone"]);
    wrong(&format!("{WINDOWS}[expect]\ndetail = \"much\""), &["expect.detail", "`refused`"]);
    let json = folder.read("wrong.json", "{\n\"admit\": {}}").expect_err("no question").to_string();
    assert!(json.contains("line 2"), "{json}");
    let other = folder.read("wrong.yaml", "").expect_err("another kind").to_string();
    assert!(other.contains(".toml"), "{other}");
    assert!(matches!(files(&folder.0.join("none")), Err(ScenarioError::Unreadable { .. })));
}

#[test]
fn each_expectation_tells_what_differs() {
    let folder = Folder::new("expect");
    let problem = |expect: &str| {
        let text = format!("{WINDOWS}[expect]\n{expect}\n");
        let scenario = folder.read("expect.toml", &text).expect("a scenario");
        let evaluation = BuiltIn::default().evaluate(&scenario.question);
        scenario
            .problems(&evaluation)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(problem("page = \"64K\"\ncount = 1\nlevels-max = 1\nsize-max = \"16G\""), "");
    for (expect, words) in [
        ("page = \"4K\"", "pages of 64 KiB, not 4 KiB"),
        ("count = 2", "1 windows, not 2"),
        ("slots = [0, 1]", "windows in the slots"),
        ("size-max = \"1M\"", "and 1 MiB is the most"),
        ("size-min = \"1P\"", "and 1 PiB is the least"),
        ("levels-max = 0", "levels"),
        ("table-max = 1", "tables: "),
        ("charge-max = 1", "charge: "),
        ("refused = \"window\"", "it should refuse (window), and answers"),
        ("bad-settings = [\"x\"]", "nothing is said against"),
        ("answer = { windows = [] }", "- expected, + answered"),
    ] {
        let problem = problem(expect);
        assert!(problem.contains(words), "{words:?} for {expect:?} in {problem:?}");
    }
}

#[test]
fn an_answer_that_the_engine_would_not_take_is_no_answer_whatever_is_expected() {
    let folder = Folder::new("rejected");
    let scenario = folder.read("windows.toml", WINDOWS).expect("a scenario");
    assert!(matches!(scenario.expect, Expectation::Properties(ref all) if all.is_empty()));
    let Question::SizeWindows(question) = &scenario.question else { panic!("another question") };
    let too_small = question.candidates.iter().find(|it| it.size < 1 << 30 && it.page == 16);
    let choose = |it: &crate::policy::wit::Candidate| WindowChoice {
        slot: it.slot,
        page: it.page,
        size: it.size,
        levels: it.levels,
        origin: it.origin,
        regions: vec![0],
    };
    assert!(too_small.is_none(), "candidates start at the smallest region");
    let evaluation = |answer| crate::policy::Evaluation::unmetered(Ok(Answer::Windows(answer)));
    let first = question.candidates.iter().find(|it| it.page == 16).expect("one");
    assert_eq!(scenario.problems(&evaluation(vec![choose(first)])), []);
    let twice = vec![choose(first), choose(first)];
    let problems = scenario.problems(&evaluation(twice));
    assert!(problems[0].0.contains("does not accept"), "{problems:?}");
}

/// What is said here of a layout is what the engine says of it.
#[test]
fn a_layout_is_judged_as_the_engine_judges_it() {
    let mut verdicts = [0u32; 2];
    for (seed, machine) in
        (0..60u64).flat_map(|seed| machines().into_iter().map(move |it| (seed, it)))
    {
        let mut generator = Generator::new(seed, vec![machine.clone()], Vec::new());
        let Question::SizeWindows(question) =
            generator.question(Function::SizeWindows, Kind::Ordinary)
        else {
            panic!("another question")
        };
        let regions: Vec<u32> = question.demand.regions.iter().map(|it| it.id).collect();
        let page = question.pages[0].page;
        for candidate in question.candidates.iter().filter(|it| it.page == page) {
            let choice = WindowChoice {
                slot: candidate.slot,
                page,
                size: candidate.size,
                levels: candidate.levels,
                origin: candidate.origin,
                regions: regions.clone(),
            };
            let answer = vec![choice];
            let wanted = crate::grant::layout(&question, &answer).expect("a candidate");
            let engine = machine.layouts().check(&wanted.choices).map(drop);
            let asked = Question::SizeWindows(question.clone());
            let here = judge(&asked, &Answer::Windows(answer));
            assert_eq!(here.is_ok(), engine.is_ok(), "{here:?} {engine:?} {candidate:?}");
            verdicts[usize::from(here.is_ok())] += 1;
        }
    }
    assert!(verdicts.iter().all(|count| *count > 20), "both verdicts: {verdicts:?}");
}

#[test]
fn leases_are_taken_back_for_the_first_window_unless_another_is_named() {
    let folder = Folder::new("reclaim");
    let slot_of = |window: &str| {
        let text = format!(
            r#"
reclaim.facts = "powernv9"
reclaim.shortage = "window-space"
reclaim.wanted = "1M"
reclaim.leases = []
reclaim.request = {{ size = "1M" }}
reclaim.windows = [{{ slot = 0, size = "1G", page = "4K" }}, {{ slot = 1, size = "2M", page = "4K" }}]
{window}"#
        );
        let scenario = folder.read("reclaim.toml", &text).expect("a scenario");
        let Question::Reclaim(question) = scenario.question else { panic!("{scenario:?}") };
        question.window.slot
    };
    assert_eq!(slot_of(""), 0);
    assert_eq!(slot_of(r#"reclaim.window = { slot = 1, size = "2M", page = "4K" }"#), 1);
}
