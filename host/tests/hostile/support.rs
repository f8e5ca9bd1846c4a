//! What these tests share: where the components are, and the good policy that is asked after each of them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use tce_host::policy::{BuiltIn, Compiler, Evaluator, Limits, LoadedPolicy, Question, Runtime};

use crate::questions;

/// Both ways to execute; this machine may have one only.
pub(crate) fn runtimes() -> Vec<Runtime> {
    let available =
        [Compiler::Cranelift, Compiler::Pulley].into_iter().filter(|it| it.is_available());
    available.map(|compiler| Runtime::new(compiler).expect("an available compiler")).collect()
}

/// A folder of the corpus.
pub(crate) fn corpus(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/hostile/corpus").join(folder)
}

/// A text of the corpus.
pub(crate) fn text(folder: &str, name: &str) -> String {
    let file = corpus(folder).join(name).with_extension("wat");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// A component of text.
pub(crate) fn assembled(name: &str, text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The component around a core module, which exports page selection; and its settings, if it has functions for them.
pub(crate) fn framed(name: &str, inside: &str) -> Vec<u8> {
    let [types, log, pages, settings] =
        ["types", "log", "pages", "settings"].map(|part| text("frame", part));
    let settings = if inside.contains("describe-settings") { settings } else { String::new() };
    assembled(name, &format!("(component\n{types}{log}{inside}{pages}{settings})"))
}

/// The honest policy with this beside its core module.
pub(crate) fn honest_with(beside: &str) -> Vec<u8> {
    framed("honest", &format!("{beside}{}", text("framed", "honest")))
}

/// A size as WebAssembly writes it: 7 bits a byte, the lowest first.
pub(crate) fn push_size(component: &mut Vec<u8>, mut size: usize) {
    while size >= 0x80 {
        component.push(u8::try_from(size & 0x7f).expect("7 bits") | 0x80);
        size >>= 7;
    }
    component.push(u8::try_from(size).expect("7 bits"));
}

/// The file of a component that was built.
pub(crate) fn plugin_file(name: &str) -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
    let folder = env::var_os("TCE_PLUGINS").map_or_else(built, PathBuf::from);
    let file = folder.join(name).with_extension("wasm");
    assert!(file.is_file(), "{} is not there: build it with `cargo xtask plugins`", file.display());
    file
}

/// A good policy beside the bad ones, in the same runtime.
pub(crate) struct Neighbour(LoadedPolicy);

impl Neighbour {
    pub(crate) fn beside(runtime: &Runtime) -> Self {
        let policy = LoadedPolicy::from_file(runtime, &plugin_file("tight"), Limits::default());
        Self(policy.expect("a policy"))
    }

    /// It goes on deciding as it does as native code.
    pub(crate) fn is_right(&self, after: &str) {
        let question = Question::SelectPages(questions::page_question(vec![]));
        let expected = BuiltIn::default().evaluate(&question).result;
        assert_eq!(self.0.evaluate(&question).result, expected, "after {after}");
    }
}
