//! The policy runtime: loads policy components, asks them, survives them.
//!
//! A policy is asked through [`Evaluator`]. There are three: [`LoadedPolicy`], a component in a sandbox within this
//! process; [`WorkerPolicy`], the same in a process of its own, which may do nothing but compute; and [`BuiltIn`], the
//! reference policy as native code, which cannot break. An evaluator does not judge what
//! it is answered: that an answer suits the engine is checked elsewhere.
//!
//! What holds whatever a component does:
//!
//! - It is looked through before it is compiled: what imports anything, or speaks another version, is not compiled.
//! - Each decision runs in a fresh store, made for it and thrown away after it. Nothing passes from one to the next,
//!   though the memory that it is made in is used again.
//! - Each resource it can use has a limit ([`Limits`]), and reaching one is an error with a name ([`Broken`]).
//! - The same question has the same answer and burns the same fuel on every compiler: what could differ is switched
//!   off ([`engine_config`]).

mod builtin;
mod compile;
mod component;
mod engine;
mod evaluator;
pub mod golden;
mod inspect;
mod interface;
pub mod limits;
mod load;
mod pool;
mod question;
mod shown;
mod store;
mod ticker;
pub mod wit;
mod worker;

pub use builtin::BuiltIn;
pub use compile::{Cache, CacheError, Compilation};
pub use engine::{Compiler, Runtime, RuntimeError, engine_config};
pub use evaluator::{
    Asked, Broken, Evaluation, Evaluator, Fault, Identity, Line, LineLevel, Log, ask,
};
pub use interface::{Export, Exported, Interface, PACKAGE, spoken_version};
pub use limits::{Limits, LimitsClass};
pub use load::{Digest, LoadError, LoadedPolicy, read};
pub use question::{Answer, Ask, Function, Question};
pub use worker::{Attempt, Program, WorkerPolicy, examine, serve};
