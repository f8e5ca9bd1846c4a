//! Components are compiled by a process that may do nothing else, and kept where nobody else can put anything.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tce_host::policy::{
    Cache, CacheError, Compilation, Compiler, Evaluator, Limits, LoadError, LoadedPolicy, Program,
    Question, Runtime,
};

use crate::{
    loading::component,
    support::{compilers, plugin, plugin_file, questions::page_question},
};

/// An empty folder of a test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("compiling-{name}"));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn cache(folder: &Path) -> Cache {
    Cache::open(folder.to_owned()).expect("a private folder")
}

fn this_program() -> Program {
    Program::at(PathBuf::from(env!("CARGO_BIN_EXE_tce")))
}

/// A runtime that takes what is in the cache, and can compile nothing.
fn without_compiler(compiler: Compiler, cache: Cache) -> Runtime {
    let nobody = Compilation::new(Program::at("/nowhere/tce".into()));
    Runtime::new(compiler).expect("available").compiling_by(nobody.with_cache(cache))
}

fn with_compiler(compiler: Compiler, cache: Cache) -> Runtime {
    let compilation = Compilation::new(this_program()).with_cache(cache);
    Runtime::new(compiler).expect("available").compiling_by(compilation)
}

fn tight(runtime: &Runtime) -> Result<LoadedPolicy, LoadError> {
    LoadedPolicy::from_file(runtime, &plugin_file("tight"), Limits::default())
}

/// The entries of a cache.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("one").path());
    files.filter(|path| path.file_name().is_some_and(|name| name != "key")).collect()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn what_another_process_has_compiled_answers_the_same_and_is_compiled_once() {
    let folder = folder("once");
    for (number, compiler) in compilers().enumerate() {
        let first = tight(&with_compiler(compiler, cache(&folder))).expect("a policy");
        assert_eq!(entries(&folder).len(), number + 1);
        let second = tight(&without_compiler(compiler, cache(&folder))).expect("from the cache");
        let question = Question::SelectPages(page_question(vec![]));
        let expected = plugin(compiler, "tight").evaluate(&question);
        assert_eq!(first.evaluate(&question), expected);
        assert_eq!(second.evaluate(&question), expected);
    }
    assert_eq!(mode(&folder), 0o700);
    assert!(fs::read_dir(&folder).expect("it").all(|it| mode(&it.expect("one").path()) == 0o600));
}

/// Whatever is wrong with an entry, it is not used; and the next one who can compile makes it anew.
#[test]
fn an_entry_that_is_damaged_cut_moved_or_under_another_key_is_made_anew() {
    type Spoil = fn(&Path, Vec<u8>);
    let change = |path: &Path, mut bytes: Vec<u8>, at: usize| {
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("written");
    };
    let spoils: [(&str, Spoil); 7] = [
        ("its start", |path, bytes| fs::write(path, [b"TCE", &bytes[3..]].concat()).expect("it")),
        ("its MAC", |path, mut bytes| {
            bytes[20] ^= 1;
            fs::write(path, bytes).expect("it");
        }),
        ("its last byte", |path, mut bytes| {
            *bytes.last_mut().expect("one") ^= 1;
            fs::write(path, bytes).expect("it");
        }),
        ("its end", |path, bytes| fs::write(path, &bytes[..bytes.len() - 1]).expect("it")),
        ("all of it", |path, _| fs::write(path, b"").expect("it")),
        ("its key", |path, _| fs::write(path.with_file_name("key"), [7; 32]).expect("it")),
        ("its key's length", |path, _| {
            fs::write(path.with_file_name("key"), [7; 31]).expect("it");
        }),
    ];
    let folder = folder("spoiled");
    let compiler = Compiler::default();
    tight(&with_compiler(compiler, cache(&folder))).expect("a policy");
    let [entry] = &entries(&folder)[..] else { panic!("one entry") };
    let size = fs::metadata(entry).expect("it").len();
    for (what, spoil) in spoils {
        spoil(entry, fs::read(entry).expect("it is there"));
        let unused = tight(&without_compiler(compiler, cache(&folder)));
        assert!(matches!(unused, Err(LoadError::Worker { .. })), "{what}: {unused:?}");
        assert!(!entry.exists(), "{what}");
        tight(&with_compiler(compiler, cache(&folder))).expect("made anew");
        assert_eq!(fs::metadata(entry).expect("it is back").len(), size);
        tight(&without_compiler(compiler, cache(&folder))).expect("and used");
    }
    // Every part of it counts.
    let bytes = fs::read(entry).expect("it is there");
    for at in (0..bytes.len()).step_by(bytes.len() / 20) {
        change(entry, bytes.clone(), at);
        let unused = tight(&without_compiler(compiler, cache(&folder)));
        assert!(matches!(unused, Err(LoadError::Worker { .. })), "byte {at}: {unused:?}");
    }
}

#[test]
fn code_of_one_component_is_not_taken_for_another_s() {
    let folder = folder("moved");
    let compiler = Compiler::default();
    tight(&with_compiler(compiler, cache(&folder))).expect("a policy");
    let [of_tight] = &entries(&folder)[..] else { panic!("one entry") };
    let of_tight = of_tight.clone();
    let runtime = with_compiler(compiler, cache(&folder));
    LoadedPolicy::from_file(&runtime, &plugin_file("headroom"), Limits::default()).expect("one");
    let other = entries(&folder).into_iter().find(|path| *path != of_tight).expect("another");
    fs::copy(other, of_tight).expect("copied");
    let unused = tight(&without_compiler(compiler, cache(&folder)));
    assert!(matches!(unused, Err(LoadError::Worker { .. })), "{unused:?}");
}

#[test]
fn a_folder_that_others_may_use_is_none() {
    let folder = folder("shared");
    drop(cache(&folder));
    for open in [0o701, 0o720, 0o704, 0o777] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(open)).expect("it is ours");
        let refused = Cache::open(folder.clone());
        assert!(matches!(refused, Err(CacheError::Shared(_))), "{open:o}: {refused:?}");
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let link = folder.with_file_name("compiling-link");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&folder, &link).expect("a link");
    assert!(matches!(Cache::open(link), Err(CacheError::Shared(_))));
    // A key that others may read is none: anybody may have made the entries.
    let key = folder.join("key");
    let before = fs::read(&key).expect("a key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("it is ours");
    drop(cache(&folder));
    assert_ne!(fs::read(&key).expect("another"), before);
    assert_eq!(mode(&key), 0o600);
}

#[test]
fn a_cache_does_not_grow_beyond_its_limit() {
    let folder = folder("many");
    drop(cache(&folder));
    for number in 0..100 {
        fs::write(folder.join(format!("{number}.code")), [0; 100]).expect("written");
    }
    fs::write(folder.join("half.code.1.new"), [0; 100]).expect("written");
    tight(&with_compiler(Compiler::default(), cache(&folder))).expect("a policy");
    assert_eq!(entries(&folder).len(), 64);
    tight(&without_compiler(Compiler::default(), cache(&folder))).expect("the youngest is kept");
}

/// A function of so many branches that its compilation takes seconds and much memory.
fn bomb() -> Vec<u8> {
    let branch = "local.get 0 (if (then local.get 0 i32.const 3 i32.mul local.set 0)) ";
    let body = branch.repeat(200_000);
    let module = format!("(core module (func (param i32) {body}))");
    wat::parse_str(component(&module)).expect("a component")
}

#[test]
fn a_component_that_takes_too_long_to_compile_is_given_up() {
    let limits = Limits { compile_time: Duration::from_millis(200), ..Limits::default() };
    let folder = folder("bomb");
    let bomb = bomb();
    for compiler in compilers() {
        let runtime = with_compiler(compiler, cache(&folder));
        let error = LoadedPolicy::from_bytes(&runtime, "bomb", &bomb, limits).expect_err("late");
        assert_eq!(error.to_string(), "its worker process had not compiled it after 200 ms");
        assert_eq!(entries(&folder), Vec::<PathBuf>::new());
        tight(&runtime).expect("the next one is compiled");
        fs::remove_file(&entries(&folder)[0]).expect("an entry");
    }
}

/// Its worker processes start with so much address space.
fn with_kib(compiler: Compiler, kib: u32) -> Runtime {
    let script = format!("ulimit -v {kib}; exec {} policy-worker", env!("CARGO_BIN_EXE_tce"));
    let arguments = ["-c".into(), script.into()].to_vec();
    let program = Program::with_arguments("/bin/sh".into(), arguments);
    Runtime::new(compiler).expect("available").compiling_by(Compilation::new(program))
}

#[test]
fn a_component_that_takes_too_much_memory_to_compile_ends_the_process_that_does() {
    let bomb = bomb();
    for compiler in compilers() {
        let runtime = with_kib(compiler, 400_000);
        let error = LoadedPolicy::from_bytes(&runtime, "bomb", &bomb, Limits::default());
        let error = error.expect_err("too much").to_string();
        assert!(error.contains("died when it compiled it: signal: 6"), "{error}");
        tight(&runtime).expect("the next one is compiled");
    }
}

#[test]
fn what_does_not_compile_is_told_as_without_another_process() {
    let folder = folder("wrong");
    let wrong = wat::parse_str(component("(core module (func (result i32) i64.const 1))"));
    let wrong = wrong.expect("text");
    let here = Runtime::new(Compiler::default()).expect("available");
    let there = with_compiler(Compiler::default(), cache(&folder));
    let [here, there] = [here, there].map(|runtime| {
        let error = LoadedPolicy::from_bytes(&runtime, "wrong", &wrong, Limits::default());
        error.expect_err("it does not compile").to_string()
    });
    assert_eq!(here, there);
    assert!(here.starts_with("it does not compile"), "{here}");
}
