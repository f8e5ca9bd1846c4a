//! Components that are too much of something, made here because their size is what matters.

use std::{env, fs, process};

use tce_host::policy::{Evaluator, Limits, LoadError, LoadedPolicy, Question, Runtime};

use crate::{
    questions::page_question,
    support::{Neighbour, assembled, framed, honest_with, push_size, runtimes, text},
};

/// How deep components lie in each other, in less than half of what a file may have.
const LEVELS: usize = 1_000_000;

/// A component that decides nothing, with this inside.
fn around(inside: &str) -> Vec<u8> {
    assembled("a generated component", &format!("(component {inside})"))
}

/// The honest policy with so many bytes behind it that mean nothing.
fn honest_and_padding(bytes: usize) -> Vec<u8> {
    let mut component = honest_with("");
    // A custom section: its number, its size, its name; each size in 7 bits a byte.
    component.push(0);
    push_size(&mut component, bytes + 2);
    component.extend([1, b'x']);
    component.resize(component.len() + bytes, 0x5a);
    component
}

fn load_within(runtime: &Runtime, bytes: &[u8], limits: Limits) -> Result<LoadedPolicy, LoadError> {
    LoadedPolicy::from_bytes(runtime, "large", bytes, limits)
}

fn error(runtime: &Runtime, bytes: &[u8]) -> LoadError {
    let error = load_within(runtime, bytes, Limits::default()).expect_err("no policy");
    assert!(error.to_string().len() < 12_000, "a message of {}", error.to_string().len());
    Neighbour::beside(runtime).is_right("a large component");
    error
}

fn answers(policy: &LoadedPolicy) -> bool {
    policy.evaluate(&Question::SelectPages(page_question(vec![]))).result.is_ok()
}

#[test]
fn a_component_of_50_mb_is_not_looked_at() {
    let component = honest_and_padding(50 << 20);
    let file = env::temp_dir().join(format!("tce-hostile-{}.wasm", process::id()));
    fs::write(&file, &component).expect("a file");
    for runtime in runtimes() {
        assert!(matches!(error(&runtime, &component), LoadError::TooLarge { .. }));
        let from_file = LoadedPolicy::from_file(&runtime, &file, Limits::default());
        assert!(matches!(from_file, Err(LoadError::TooLarge { .. })));
        // It is the size alone that stands against it.
        let limits = Limits { file_bytes: 64 << 20, ..Limits::default() };
        assert!(answers(&load_within(&runtime, &component, limits).expect("a policy")));
    }
    fs::remove_file(&file).expect("its file");
}

#[test]
fn thousands_of_exports_are_not_all_told() {
    let exports = |of: &str| -> String {
        (0..20_000).map(|index| format!("(export \"{of}{index}\" (instance $i))")).collect()
    };
    let component = around(&format!("(instance $i) {}", exports("tce:other/export-")));
    for runtime in runtimes() {
        let error = error(&runtime, &component);
        assert!(matches!(error, LoadError::NoInterface { .. }), "{error}");
        assert!(error.to_string().contains("tce:other/export-15, and 19984 more"), "{error}");
    }
}

#[test]
fn thousands_of_exports_beside_ours_change_nothing() {
    let beside = (0..20_000).map(|index| format!("(export \"other-{index}\" (type $any))"));
    let beside: String = beside.collect();
    let component = honest_with(&format!("(type $any u32) {beside}"));
    let core: String =
        (0..20_000).map(|index| format!("(func (export \"other-{index}\"))")).collect();
    let inside = text("framed", "honest");
    let open = inside.trim_end().strip_suffix(')').expect("the end of the module");
    let core = framed("honest", &format!("{open} {core})"));
    for runtime in runtimes() {
        for component in [&component, &core] {
            let policy = load_within(&runtime, component, Limits::default());
            assert!(answers(&policy.expect("a policy")));
        }
    }
}

#[test]
fn thousands_of_imports_are_not_all_told() {
    let imports: String =
        (0..20_000).map(|index| format!("(import \"import-{index}\" (func))")).collect();
    for runtime in runtimes() {
        let error = error(&runtime, &around(&imports));
        assert!(matches!(error, LoadError::Imports { .. }), "{error}");
        assert!(error.to_string().contains("import-15, and 19984 more"), "{error}");
    }
}

#[test]
fn a_name_of_a_megabyte_is_not_all_told() {
    for runtime in runtimes() {
        for named in ["import", "export"] {
            let name = "x".repeat(1 << 20);
            let what = if named == "import" { "(func)" } else { "(instance $i)" };
            let error =
                error(&runtime, &around(&format!("(instance $i) ({named} \"{name}\" {what})")));
            assert!(
                matches!(
                    error,
                    LoadError::Imports { .. }
                        | LoadError::NoInterface { .. }
                        | LoadError::Damaged { .. }
                ),
                "{error}"
            );
        }
    }
}

#[test]
fn components_in_components_in_components_end_somewhere() {
    // In binary: each level is a section with a component in it.
    let header = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
    // From the innermost outwards, and so from the last byte to the first.
    let mut backwards: Vec<u8> = header.into_iter().rev().collect();
    for _ in 0..LEVELS {
        let mut size = Vec::new();
        push_size(&mut size, backwards.len());
        backwards.extend(size.into_iter().rev());
        backwards.push(4);
        backwards.extend(header.into_iter().rev());
    }
    let mut component: Vec<u8> = backwards.into_iter().rev().collect();
    // With an interface, so that it is not turned away at the door.
    let door = around(r#"(instance $i) (export "tce:policy/page-selection@0.2.0" (instance $i))"#);
    component.extend_from_slice(&door[8..]);
    for runtime in runtimes() {
        let error = error(&runtime, &component);
        assert!(error.to_string().contains("in each other more than 16 deep"), "{error}");
    }
}

#[test]
fn components_and_core_modules_are_counted_before_they_are_compiled() {
    // The honest policy is one component with two core modules in it.
    for part in ["(core module)", "(component)"] {
        let with = |parts: usize| honest_with(&part.repeat(parts));
        for runtime in runtimes() {
            let policy = load_within(&runtime, &with(253), Limits::default());
            assert!(answers(&policy.expect("256 parts")));
            for many in [254, 100_000] {
                let error = error(&runtime, &with(many));
                assert!(error.to_string().contains("more than 256 components and core"), "{error}");
            }
        }
    }
}

#[test]
fn core_instances_are_counted_before_they_come_to_life() {
    let module = "(core module $m) ".to_owned();
    let instances = module + &"(core instance (instantiate $m))".repeat(900);
    for runtime in runtimes() {
        let error = error(&runtime, &honest_with(&instances));
        assert!(matches!(error, LoadError::Demands { .. }), "{error}");
    }
}

#[test]
fn functions_larger_than_any_need_are_refused_or_compiled_in_time() {
    let locals = format!("(core module (func (local {})))", "i64 ".repeat(50_001));
    let nested = format!("(core module (func {} {}))", "(block ".repeat(3_000), ")".repeat(3_000));
    let table = format!(
        "(core module (func (param i32) (block (br_table {} (local.get 0)))))",
        "0 ".repeat(50_000)
    );
    for runtime in runtimes() {
        for inside in [&locals, &nested, &table] {
            match load_within(&runtime, &honest_with(inside), Limits::default()) {
                Ok(policy) => assert!(answers(&policy)),
                Err(error) => assert!(matches!(error, LoadError::Compile { .. }), "{error}"),
            }
        }
    }
}
