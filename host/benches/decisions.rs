//! Time per decision, on each compiler: fresh (a store of its own for each decision, as the host does it), in this process
//! and in a worker, and warm (the same instance again and again). Beside them, in the same run: bare wasmtime with an
//! empty component, with the same one, and with the same one and memories that are set aside; a bare socket's round trip;
//! and the built-in native policy.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to report to")]

use std::{
    hint::black_box,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tce_host::policy::{
    BuiltIn, Compilation, Compiler, Evaluator as _, Limits, LoadedPolicy, Program, Question,
    Runtime, WorkerPolicy, ask, engine_config, wit::PageQuestion,
};
use wasmtime::{
    Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
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
    row("tight, bare wasmtime", tight_bare(&engine), empty_fresh);
    let bare = tight_bare(&pooling(compiler));
    row("the same, pooling", bare, empty_fresh);
    let fresh = tight_fresh(compiler);
    row("tight, fresh", fresh, empty_fresh);
    let worker = tight_in_a_worker(compiler);
    row("tight, in a worker", worker, empty_fresh);
    row("a socket's round trip", round_trip(Duration::ZERO), empty_fresh);
    let busy = round_trip(fresh);
    row("the same, as long busy", busy, empty_fresh);
    let over_bare = fresh.as_secs_f64() / bare.as_secs_f64();
    let over_busy = worker.as_secs_f64() / busy.as_secs_f64();
    println!(
        "{name:<12} fresh is {over_bare:.2} of bare wasmtime, pooling; a worker is {over_busy:.2} of a busy socket"
    );
}

/// An engine that sets memories and tables aside, as the host's does.
fn pooling(compiler: Compiler) -> Engine {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_memories(64)
        .total_tables(64)
        .max_memory_size(64 << 20)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(2 << 20)
        .pagemap_scan(Enabled::Auto);
    let mut config = engine_config(compiler).unwrap();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).unwrap()
}

fn empty(engine: &Engine) -> Component {
    Component::new(engine, wat::parse_str(EMPTY).unwrap()).unwrap()
}

fn empty_warm(engine: &Engine) -> Duration {
    let component = empty(engine);
    let pre = Linker::<()>::new(engine).instantiate_pre(&component).unwrap();
    let mut store = store(engine);
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
        let mut store = store(engine);
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

fn tight_in_a_worker(compiler: Compiler) -> Duration {
    let compilation = Compilation::new(Program::at(env!("CARGO_BIN_EXE_tce").into()));
    let runtime = Runtime::new(compiler).unwrap().compiling_by(compilation);
    let policy = WorkerPolicy::from_file(&runtime, &tight(), Limits::default());
    let (policy, question) = (policy.unwrap(), question());
    median(|| {
        ask(&policy, question.clone()).result.unwrap().unwrap();
    })
}

/// A question's bytes go to another thread, and an evaluation's come back. With a time for which that thread is busy in
/// between, and its asker's processor idle, this is the least that a worker can take.
fn round_trip(busy: Duration) -> Duration {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let question = serde_json::to_vec(&Question::SelectPages(question())).unwrap();
    let evaluation =
        serde_json::to_vec(&BuiltIn::default().evaluate(&Question::SelectPages(self::question())));
    let (asked, evaluation) = (question.len(), evaluation.unwrap());
    let answered = evaluation.len();
    let echo = thread::spawn(move || {
        let mut heard = vec![0; asked];
        while there.read_exact(&mut heard).is_ok() {
            let begun = Instant::now();
            while begun.elapsed() < busy {}
            there.write_all(&evaluation).unwrap();
        }
    });
    let mut heard = vec![0; answered];
    let time = median(|| {
        here.write_all(&question).unwrap();
        here.read_exact(&mut heard).unwrap();
    });
    drop(here);
    echo.join().unwrap();
    time
}

/// What the host does for a decision, without limits, checks and types of its own.
fn tight_bare(engine: &Engine) -> Duration {
    let component = Component::from_file(engine, tight()).unwrap();
    let pre = Linker::<()>::new(engine).instantiate_pre(&component).unwrap();
    let pre = bindings::PageSelectorPre::new(pre).unwrap();
    let question = warm::question();
    median(|| {
        let mut store = store(engine);
        let policy = pre.instantiate(&mut store).unwrap();
        let asked = policy.tce_policy_page_selection().call_select_pages(&mut store, &question);
        asked.unwrap().unwrap();
    })
}

fn store(engine: &Engine) -> Store<()> {
    let mut store = Store::new(engine, ());
    store.set_fuel(FUEL).unwrap();
    store.set_epoch_deadline(1);
    store
}

fn tight_warm(engine: &Engine) -> Duration {
    use bindings::exports::tce::policy::page_selection::PageQuestion;
    let component = Component::from_file(engine, tight()).unwrap();
    let mut store = store(engine);
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
