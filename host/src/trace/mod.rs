//! Traces for people: hazards as text, and a recorded program beside this engine.

pub mod compare;
pub mod compare_text;
mod job;
pub mod lint_text;
mod paragraph;
