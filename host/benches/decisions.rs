//! Time per decision, on each compiler: fresh (a store of its own for each decision, as the host does it) and warm (the
//! same instance again and again), beside a bare wasmtime call of an empty component in the same run, and beside the
//! built-in native policy.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to report to")]

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tce_host::policy::{
    BuiltIn, Compiler, Limits, LoadedPolicy, Runtime, ask, engine_config, wit::PageQuestion,
};
use wasmtime::{
    Engine, Store,
    component::{Component, Linker},
};

mod bindings {
    wasmtime::component::bindgen!({ path: "../wit", world: "page-selector" });
}

const RUNS: usize = 2_000;
const FUEL: u64 = 10_000_000;
/// A component with one function that does nothing.
const EMPTY: &str = r#"(component
    (core module $m (func (export "run")))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))"#;

fn main() {
    println!("ns per decision (page selection, {RUNS} runs, median)");
    println!("{:<12} {:<26} {:>12} {:>12}", "compiler", "what", "ns", "x empty");
    for compiler in [Compiler::Cranelift, Compiler::Pulley] {
        if compiler.is_available() {
            measure(compiler);
        }
    }
    let question = question();
    let native = BuiltIn::default();
    let built_in = median(|| {
        let _ = black_box(ask(&native, question.clone()));
    });
    println!("{:<12} {:<26} {:>12}", "native", "built-in", built_in.as_nanos());
}

fn measure(compiler: Compiler) {
    let engine = Engine::new(&engine_config(compiler).unwrap()).unwrap();
    let empty_warm = empty_warm(&engine);
    let empty_fresh = empty_fresh(&engine);
    let name = compiler.to_string();
    let row = |what: &str, time: Duration, empty: Duration| {
        let ratio = time.as_secs_f64() / empty.as_secs_f64();
        println!("{name:<12} {what:<26} {:>12} {ratio:>12.2}", time.as_nanos());
    };
    row("empty component, warm", empty_warm, empty_warm);
    row("tight, warm", tight_warm(&engine), empty_warm);
    row("empty component, fresh", empty_fresh, empty_fresh);
    row("tight, fresh", tight_fresh(compiler), empty_fresh);
}

fn empty(engine: &Engine) -> Component {
    Component::new(engine, wat::parse_str(EMPTY).unwrap()).unwrap()
}

fn empty_warm(engine: &Engine) -> Duration {
    let component = empty(engine);
    let pre = Linker::<()>::new(engine).instantiate_pre(&component).unwrap();
    let mut store = Store::new(engine, ());
    store.set_fuel(FUEL).unwrap();
    let instance = pre.instantiate(&mut store).unwrap();
    let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
    median(|| {
        store.set_fuel(FUEL).unwrap();
        run.call(&mut store, ()).unwrap();
    })
}

fn empty_fresh(engine: &Engine) -> Duration {
    let component = empty(engine);
    let pre = Linker::<()>::new(engine).instantiate_pre(&component).unwrap();
    median(|| {
        let mut store = Store::new(engine, ());
        store.set_fuel(FUEL).unwrap();
        let instance = pre.instantiate(&mut store).unwrap();
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        run.call(&mut store, ()).unwrap();
    })
}

fn tight_fresh(compiler: Compiler) -> Duration {
    let runtime = Runtime::new(compiler).unwrap();
    let policy = LoadedPolicy::from_file(&runtime, &tight(), Limits::default()).unwrap();
    let question = question();
    median(|| {
        ask(&policy, question.clone()).result.unwrap().unwrap();
    })
}

fn tight_warm(engine: &Engine) -> Duration {
    use bindings::exports::tce::policy::page_selection::PageQuestion;
    let component = Component::from_file(engine, tight()).unwrap();
    let mut store = Store::new(engine, ());
    store.set_fuel(FUEL).unwrap();
    let linker = Linker::new(engine);
    let policy = bindings::PageSelector::instantiate(&mut store, &component, &linker).unwrap();
    let question: PageQuestion = warm::question();
    median(|| {
        store.set_fuel(FUEL).unwrap();
        policy
            .tce_policy_page_selection()
            .call_select_pages(&mut store, &question)
            .unwrap()
            .unwrap();
    })
}

fn tight() -> PathBuf {
    let plugins = std::env::var_os("TCE_PLUGINS").map(PathBuf::from);
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
    plugins.unwrap_or_else(built).join("tight.wasm")
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2]
}

/// An ordinary question: a POWER9 and two regions. Written once for the host's types and once for the bench's own.
macro_rules! question {
    ($types:path, $question:path) => {{
        use $types as wit;
        $question {
            facts: wit::ContainerFacts {
                platform: wit::Platform::Powernv,
                system_page: 16,
                page_shifts: vec![12, 16, 21, 30],
                slots: vec![
                    wit::SlotFacts { slot: 0, start: 0, holds: wit::SlotUse::DefaultWindow },
                    wit::SlotFacts { slot: 1, start: 1 << 59, holds: wit::SlotUse::Free },
                ],
                levels_max: 5,
                reserved_ranges: vec![wit::ReservedRange {
                    start: 2 << 30,
                    size: 2 << 30,
                    what: "mmio-32bit".to_owned(),
                }],
                locked_memory: wit::LockedMemory { limit: None, charged: 0 },
                groups: vec![1],
                hints: Vec::new(),
            },
            demand: wit::Demand {
                regions: [(0, 1 << 20, 16), (1, 64 << 20, 21)]
                    .into_iter()
                    .map(|(id, size, backing)| wit::Region {
                        name: format!("region-{id}"),
                        hints: vec![],
                        id,
                        size,
                        backing,
                        granule: backing,
                        access: wit::Access::ReadWrite,
                        at: None,
                    })
                    .collect(),
                growth: 0,
                device_mask: u64::MAX,
                iova_choice: wit::IovaChoice::Engine,
                hints: Vec::new(),
            },
            settings: Vec::new(),
        }
    }};
}

fn question() -> PageQuestion {
    question!(tce_host::policy::wit, wit::PageQuestion)
}

mod warm {
    pub(super) use super::bindings::{
        exports::tce::policy::page_selection::PageQuestion, tce::policy::types,
    };

    pub(super) fn question() -> PageQuestion {
        question!(types, PageQuestion)
    }
}
