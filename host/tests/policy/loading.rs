//! What is no policy is told apart before it is compiled, with what to do about it.

use std::{fs, path::Path};

use tce_host::policy::{
    Broken, Compiler, Digest, Evaluator, Function, Interface, Limits, LoadError, LoadedPolicy,
    Runtime, ask,
};

use crate::support::{compilers, patched, plugin, plugin_file, questions};

fn runtime() -> Runtime {
    Runtime::new(Compiler::default()).expect("the default compiler")
}

fn load(bytes: &[u8]) -> Result<LoadedPolicy, LoadError> {
    LoadedPolicy::from_bytes(&runtime(), "test", bytes, Limits::default())
}

fn load_text(text: &str) -> Result<LoadedPolicy, LoadError> {
    load(&wat::parse_str(text).expect("WebAssembly text"))
}

fn message(result: Result<LoadedPolicy, LoadError>) -> String {
    result.expect_err("no policy").to_string()
}

/// A component around this, whose `page-selection` has a function by the right name that asks and answers something
/// else: the last thing that is noticed.
pub(crate) fn component(inside: &str) -> String {
    format!(
        r#"(component
            {inside}
            (core module $pages (func (export "f") (result i32) i32.const 0))
            (core instance $pages (instantiate $pages))
            (func $f (result u32) (canon lift (core func $pages "f")))
            (instance $pages (export "select-pages" (func $f)))
            (export "tce:policy/page-selection@0.2.0" (instance $pages)))"#
    )
}

#[test]
fn a_policy_says_what_it_is() {
    for compiler in compilers() {
        let policy = plugin(compiler, "tight");
        let bytes = fs::read(plugin_file("tight")).expect("the file");
        assert_eq!(policy.name(), "tight");
        assert_eq!(usize::try_from(policy.size()), Ok(bytes.len()));
        assert_eq!(policy.digest(), Digest::of(&bytes));
        assert_eq!(policy.digest().to_string().len(), 64);
        let interfaces: Vec<String> = policy.interfaces().iter().map(ToString::to_string).collect();
        assert_eq!(
            interfaces,
            ["page-selection@0.2.0", "window-sizing@0.2.0", "lease-policy@0.2.0", "settings@0.2.0"]
        );
        assert!(Interface::ALL.into_iter().all(|interface| policy.implements(interface)));
    }
}

#[test]
fn the_hash_is_sha_256() {
    assert_eq!(
        Digest::of(b"abc").to_string(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn other_files_are_told_from_components() {
    let core = wat::parse_str("(module)").expect("WebAssembly text");
    assert!(message(load(&core)).contains("a core WebAssembly module"));
    assert!(message(load(b"  (component)")).contains("WebAssembly text"));
    assert!(message(load(b"\x7fELF and so on")).contains("no WebAssembly at all"));
    assert!(message(load(b"")).contains("an empty file"));
    assert!(matches!(load(b"\0asm"), Err(LoadError::Damaged { .. })));
    let mut half = fs::read(plugin_file("tight")).expect("the file");
    half.truncate(half.len() / 2);
    assert!(matches!(load(&half), Err(LoadError::Damaged { .. })));
}

#[test]
fn a_file_that_cannot_be_read_is_not_called_a_component() {
    let load = |path: &str| LoadedPolicy::from_file(&runtime(), Path::new(path), Limits::default());
    assert!(matches!(load("/no/such/file.wasm"), Err(LoadError::Unreadable(_))));
    assert!(matches!(load("/"), Err(LoadError::Unreadable(_))));
    // A file without an end is read up to the limit.
    assert!(matches!(load("/dev/zero"), Err(LoadError::TooLarge { .. })));
}

#[test]
fn a_file_beyond_the_limit_is_not_looked_at() {
    let limits = Limits { file_bytes: 100, ..Limits::default() };
    let file = plugin_file("tight");
    let result = LoadedPolicy::from_file(&runtime(), &file, limits);
    assert!(matches!(result, Err(LoadError::TooLarge { limit: 100 })));
}

#[test]
fn imports_are_named() {
    let clock = component(
        r#"(import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64)))))
           (import "log" (func (param "line" string)))"#,
    );
    match load_text(&clock) {
        Err(LoadError::Imports { names }) => {
            assert_eq!(names, ["wasi:clocks/wall-clock@0.2.0", "log"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_function_smuggled_into_the_types_has_no_provider() {
    let smuggled = component(
        r#"(import "tce:policy/types@0.2.0" (instance (export "now" (func (result u64)))))"#,
    );
    assert!(matches!(load_text(&smuggled), Err(LoadError::Imports { .. })));
}

#[test]
fn what_a_component_has_inside_is_its_own_business() {
    let nested = r#"(component $inner (import "log" (func)) (core module))"#;
    assert!(matches!(load_text(&component(nested)), Err(LoadError::OtherType { .. })));
}

#[test]
fn a_component_without_our_interfaces_is_told_what_it_exports() {
    assert!(message(load_text("(component)")).contains("it exports nothing"));
    let other = r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#;
    let message = message(load_text(other));
    assert!(message.contains("it exports wasi:cli/run@0.2.0"), "{message}");
    assert!(message.contains("tce:policy/window-sizing@0.2.0"), "{message}");
}

#[test]
fn an_unknown_version_is_named_beside_the_one_we_speak() {
    let version = |version: &str| {
        format!(
            r#"(component (instance $i) (export "tce:policy/lease-policy@{version}" (instance $i)))"#
        )
    };
    assert_eq!(
        message(load_text(&version("0.3.0"))),
        "it implements tce:policy/lease-policy@0.3.0, and this host speaks version 0.2.0: \
         update the host, or build the policy for this version"
    );
    for older in ["0.0.9", "0.1.0"] {
        assert!(message(load_text(&version(older))).ends_with("build the policy for this version"));
    }
}

#[test]
fn one_unknown_version_among_known_interfaces_is_not_overlooked() {
    let mixed = r#"(component (instance $i)
        (export "tce:policy/page-selection@0.2.0" (instance $i))
        (export "tce:policy/lease-policy@0.3.0" (instance $i)))"#;
    assert!(matches!(load_text(mixed), Err(LoadError::UnknownVersion { .. })));
    let both = r#"(component (instance $i)
        (export "tce:policy/page-selection@0.3.0" (instance $i))
        (export "tce:policy/page-selection@0.2.0" (instance $i)))"#;
    assert!(matches!(load_text(both), Err(LoadError::OtherType { .. })));
}

#[test]
fn a_function_that_is_missing_or_of_another_type_is_found_at_load() {
    let other_type = message(load_text(&component("")));
    let beginning = "its page-selection is not the one of tce:policy@0.2.0";
    assert!(other_type.starts_with(beginning), "{other_type}");
    let missing = r#"(component
        (instance $i) (export "tce:policy/page-selection@0.2.0" (instance $i)))"#;
    let missing = message(load_text(missing));
    assert!(missing.starts_with(beginning) && missing.contains("select-pages"), "{missing}");
}

#[test]
fn features_that_policies_do_not_get_do_not_compile() {
    for inside in [
        "(core module (memory i64 1))",
        "(core module (memory 1) (memory 1))",
        "(core module (memory 1 1 shared))",
        "(core module (func (result v128) (v128.const i64x2 0 0)))",
        "(core module (func $f (return_call $f)))",
        "(core module (tag))",
        "(core module (type (struct)))",
    ] {
        let result = load_text(&component(inside));
        assert!(matches!(result, Err(LoadError::Compile { .. })), "{inside}: {result:?}");
    }
}

#[test]
fn what_breaks_at_its_start_is_not_loaded() {
    let start = |inside: &str| {
        let inside = format!("(core module $m {inside}) (core instance (instantiate $m))");
        match load_text(&component(&inside)) {
            Err(LoadError::DoesNotStart(broken)) => broken,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(start("(func $s unreachable) (start $s)"), Broken::Trap { .. }));
    assert!(matches!(start("(func $s (loop br 0)) (start $s)"), Broken::OutOfFuel { .. }));
    assert!(matches!(start("(func $s call $s) (start $s)"), Broken::OutOfStack { .. }));
    assert!(matches!(start("(memory 1000)"), Broken::OutOfMemory { .. }));
}

#[test]
fn memories_count_together() {
    let two = "(core module $m (memory 200)) \
               (core instance (instantiate $m)) (core instance (instantiate $m))";
    let result = load_text(&component(two));
    assert!(matches!(result, Err(LoadError::DoesNotStart(Broken::OutOfMemory { .. }))));
}

#[test]
fn instances_are_counted() {
    let items = usize::try_from(Limits::default().items).expect("few");
    let many = format!("(core module $m) {}", "(core instance (instantiate $m))".repeat(items + 1));
    let result = load_text(&component(&many));
    assert!(matches!(result, Err(LoadError::DoesNotStart(Broken::Instantiation { .. }))));
}

#[test]
fn a_policy_built_for_another_patch_of_the_version_is_taken() {
    let newer = load(&patched("tight", "@0.2.0", b"@0.2.7")).expect("a policy");
    assert_eq!(newer.interfaces()[0].to_string(), "page-selection@0.2.7");
    let question = questions::page_question(vec![]);
    let expected = ask(&plugin(Compiler::default(), "tight"), question.clone());
    assert_eq!(ask(&newer, question.clone()), expected);
    let next = load(&patched("tight", "@0.2.0", b"@0.3.0"));
    assert!(message(next).starts_with("it implements tce:policy/page-selection@0.3.0"));
}

#[test]
fn a_question_that_a_policy_does_not_answer_is_not_put_to_it() {
    let policy = load(&patched("tight", "lease-policy@", b"lease-polity@")).expect("a policy");
    let implemented = Interface::ALL.map(|interface| policy.implements(interface));
    assert_eq!(implemented, [true, true, false]);
    assert!(ask(&policy, questions::page_question(vec![])).result.is_ok());
    let evaluation = ask(&policy, questions::admit_question(vec![]));
    assert_eq!(evaluation.result, Err(Broken::NotImplemented { function: Function::Admit }));
    assert_eq!(evaluation.fuel, Some(0));
}
