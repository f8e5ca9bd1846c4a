//! How components are forged.

use std::{fs, iter};

use arbitrary::Unstructured;
use wasm_smith::{Component, Config, Module};

use crate::support::{assembled, plugin_file, push_size, text};

/// Random bytes from which a component is made.
const BYTES: usize = 12 << 10;

/// The number of the section that has a core module, and the bytes in front of the first section.
const CORE_MODULE: u8 = 1;
const HEADER: usize = 8;

/// Made of what is good.
pub(crate) struct Forge {
    /// A policy that exports every interface, and its core module.
    policy: Template,
    /// A component whose core module borrows memory that is in order, and need only answer.
    borrower: Template,
}

/// A component in which one core module can be exchanged.
struct Template {
    component: Vec<u8>,
    /// Where the section with it is.
    section: Section,
}

/// A section: where it begins, where its content does, and where it ends.
#[derive(Clone, Copy)]
struct Section {
    id: u8,
    start: usize,
    content: usize,
    end: usize,
}

impl Forge {
    pub(crate) fn new() -> Self {
        let tight = fs::read(plugin_file("tight")).expect("the file");
        Self {
            policy: Template::new(tight, 0),
            borrower: Template::new(assembled("a borrower", &borrower()), 1),
        }
    }

    /// The component of a seed.
    pub(crate) fn component(&self, seed: u64) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        let bytes: Vec<u8> = iter::repeat_with(|| random.u8(..)).take(BYTES).collect();
        let mut choices = Unstructured::new(&bytes);
        match seed % 4 {
            // As it is: it has none of our interfaces, and mostly what policies may not have.
            0 => Component::new(Config::default(), &mut choices).map(|it| it.to_bytes()),
            // From the outside a policy, from the inside anything.
            1 => module(self.policy.config(modest()), &mut choices)
                .map(|module| self.policy.with(&module)),
            // The same with everything that WebAssembly has.
            2 if seed % 8 == 2 => module(self.policy.config(Config::default()), &mut choices)
                .map(|module| self.policy.with(&module)),
            // Anything in memory where the question lies, too.
            _ => {
                let shape = self.borrower.module().to_vec();
                let config = Config {
                    available_imports: Some(shape),
                    max_imports: 1,
                    ..self.borrower.config(modest())
                };
                module(config, &mut choices).map(|module| self.borrower.with(&module))
            }
        }
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"))
    }
}

fn module(config: Config, choices: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    Module::new(config, choices).map(|module| module.to_bytes())
}

/// What policies may have, and so little memory and data that most of it starts.
fn modest() -> Config {
    Config {
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        // Without them, tables are of functions. Others need a garbage collector.
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        allow_start_export: false,
        max_data_segments: 0,
        max_element_segments: 4,
        max_memory32_bytes: 4 << 20,
        // Beside the one that it must have.
        max_memories: 0,
        max_table_elements: 1_000,
        max_imports: 0,
        max_funcs: 20,
        max_type_size: 10_000,
        ..Config::default()
    }
}

/// A component whose memory and place for the question are in order, and whose answer comes from somebody else.
fn borrower() -> String {
    let types = text("frame", "types");
    format!(
        r#"(component
{types}
        (core module $lender
            (memory (export "memory") 2)
            (global $free (mut i32) (i32.const 4096))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $free
                    (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                (global.get $free)
                (global.set $free (i32.add (global.get $free) (local.get 3)))))
        (core instance $lender (instantiate $lender))
        (core module $policy
            (import "lender" "memory" (memory 2))
            (func (export "select-pages") (param i32) (result i32) (i32.const 0)))
        (core instance $policy (instantiate $policy (with "lender" (instance $lender))))
        (func $select-pages
            (param "question" $page-question)
            (result (result (list $page-choice) (error $refusal)))
            (canon lift (core func $policy "select-pages")
                (memory (core memory $lender "memory")) (realloc (core func $lender "realloc"))))
        (instance $pages (export "select-pages" (func $select-pages)))
        (export "tce:policy/page-selection@0.2.0" (instance $pages)))"#
    )
}

impl Template {
    /// A component of which this core module, counted from 0, can be exchanged.
    fn new(component: Vec<u8>, place: usize) -> Self {
        let modules = sections(&component).filter(|section| section.id == CORE_MODULE);
        let section = modules.into_iter().nth(place).expect("a core module");
        Self { component, section }
    }

    fn module(&self) -> &[u8] {
        &self.component[self.section.content..self.section.end]
    }

    /// Such that what is made exports what the core module does.
    fn config(&self, config: Config) -> Config {
        Config { exports: Some(self.module().to_vec()), ..config }
    }

    fn with(&self, module: &[u8]) -> Vec<u8> {
        let (before, after) =
            (&self.component[..self.section.start], &self.component[self.section.end..]);
        let mut component = before.to_vec();
        component.push(CORE_MODULE);
        push_size(&mut component, module.len());
        component.extend_from_slice(module);
        component.extend_from_slice(after);
        component
    }
}

/// The sections of a component: a number, a size in 7 bits a byte, and the content.
fn sections(component: &[u8]) -> impl Iterator<Item = Section> {
    let mut at = HEADER;
    iter::from_fn(move || {
        let start = at;
        let id = *component.get(at)?;
        at += 1;
        let (mut size, mut shift) = (0usize, 0);
        loop {
            let byte = component[at];
            at += 1;
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let content = at;
        at += size;
        Some(Section { id, start, content, end: at })
    })
}
