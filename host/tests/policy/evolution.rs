//! What was built for 0.2.0 goes on: on a host whose package has gained a function, and on one of the next minor
//! version.
//!
//! `host/tests/wit-next` is the package as 0.2.1 could be; its bindings are what a host built with it would have. The
//! component is the fixture, byte for byte.

use std::{fs, path::Path};

use tce_host::policy::{Compiler, engine_config, wit};
use wasmtime::{
    Engine, Store,
    component::{
        Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Linker, Lower,
    },
};

use crate::{
    fixtures::{FIXTURE, fixture},
    support::{compilers, questions},
};

/// A host of the future.
mod next {
    #![allow(missing_docs, reason = "generated")]
    wasmtime::component::bindgen!({
        path: "tests/wit-next",
        world: "policy",
        additional_derives: [PartialEq, tce_policy_names::WitNames],
    });
}

use next::exports::tce::policy::lease_policy as next_leases;

/// What 0.2.1 could gain, at the end of the interface `lease-policy`.
const GAINED: &str = "
    record idle-question {
        /// The lease that has set no TCE for a while.
        lease: lease,
        /// For how long.
        idle: duration,
        /// What the operator set for this policy.
        settings: list<setting>,
    }

    /// Shall a lease that is not used end?
    @since(version = 0.2.1)
    idle: func(question: idle-question) -> bool;
}
";

#[test]
fn the_next_package_is_this_one_with_a_function_more() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for entry in fs::read_dir(root.join("../wit")).expect("the folder") {
        let file = entry.expect("an entry").path();
        let name = file.file_name().expect("a name");
        let mut text = fs::read_to_string(&file).expect("a text");
        text = text.replace("package tce:policy@0.2.0;", "package tce:policy@0.2.1;");
        if name == "lease-policy.wit" {
            text = format!("{}{GAINED}", text.strip_suffix("}\n").expect("its last line"));
        }
        let next = fs::read_to_string(root.join("tests/wit-next").join(name)).unwrap_or_default();
        assert_eq!(next, text, "tests/wit-next/{} is another one", name.display());
        files += 1;
    }
    assert_eq!(fs::read_dir(root.join("tests/wit-next")).expect("the folder").count(), files);
}

/// The fixture in a host that provides the log in these versions.
struct Running {
    store: Store<()>,
    instance: Instance,
    component: Component,
}

impl Running {
    fn start(compiler: Compiler, log_versions: &[&str]) -> Result<Self, wasmtime::Error> {
        let engine = Engine::new(&engine_config(compiler).expect("an available compiler"))?;
        let component = Component::from_binary(&engine, &fixture())?;
        let mut linker = Linker::new(&engine);
        for version in log_versions {
            let mut log = linker.instance(&format!("tce:policy/log@{version}"))?;
            log.func_wrap("write", |_, (_, _): (wit::Level, String)| Ok(()))?;
        }
        let mut store = Store::new(&engine, ());
        store.set_fuel(1_000_000)?;
        // Nothing advances the epoch here.
        store.set_epoch_deadline(1);
        let instance = linker.instantiate(&mut store, &component)?;
        Ok(Self { store, instance, component })
    }

    /// A function, looked up by the interface's name in a version.
    fn find(&self, interface: &str, function: &str) -> Option<ComponentExportIndex> {
        let (_, at) = self.component.get_export(None, format!("tce:policy/{interface}"))?;
        self.component.get_export_index(Some(&at), function)
    }

    fn call<P, R>(&mut self, at: ComponentExportIndex, arguments: P) -> R
    where
        P: ComponentNamedList + Lower,
        R: Lift + 'static,
    {
        let function = self.instance.get_typed_func::<P, (R,)>(&mut self.store, at);
        let (answer,) = function.expect("its type").call(&mut self.store, arguments).expect("it");
        answer
    }
}

/// The same terms as this host has of it.
fn expected() -> wit::Terms {
    let asked = tce_host::policy::ask(
        &crate::fixtures::loaded(Compiler::default()),
        questions::admit_question(vec![]),
    );
    asked.result.expect("no failure").expect("terms")
}

#[test]
fn after_the_package_gained_a_function_the_fixture_loads_and_answers() {
    for compiler in compilers() {
        let mut running = Running::start(compiler, &["0.2.1"]).expect("it starts");
        let at = running.find("lease-policy@0.2.1", "admit").expect("the newest of 0.2 there is");
        let question = serde_json::to_value(questions::admit_question(vec![])).expect("JSON");
        let question: next_leases::AdmitQuestion = serde_json::from_value(question).expect("it");
        let answer: Result<next_leases::Terms, next_leases::Refusal> =
            running.call(at, (&question,));
        let terms = serde_json::to_value(answer.expect("terms")).expect("JSON");
        assert_eq!(serde_json::from_value::<wit::Terms>(terms).expect("terms"), expected());
        // The function that it was built without is not there, and nothing else is wrong with it.
        assert!(running.find("lease-policy@0.2.1", "idle").is_none(), "{FIXTURE}");
    }
}

#[test]
fn after_a_minor_bump_the_fixture_loads_and_answers_in_the_version_that_it_was_built_for() {
    for compiler in compilers() {
        let mut running = Running::start(compiler, &["0.3.0", "0.2.9"]).expect("it starts");
        assert!(running.find("lease-policy@0.3.0", "admit").is_none());
        let at = running.find("lease-policy@0.2.9", "admit").expect("0.2 is another track");
        let question = questions::admit_question(vec![]);
        let answer: Result<wit::Terms, wit::Refusal> = running.call(at, (&question,));
        assert_eq!(answer.expect("terms"), expected());
    }
}
