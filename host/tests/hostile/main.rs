//! Components that mean harm: each is contained within its budget and named for what it did, and the next decision is
//! right.

mod corpus;
mod places;
#[allow(dead_code, reason = "the tests of policies use all of them")]
#[path = "../policy/support/questions.rs"]
mod questions;
mod sizes;
mod smith;
mod support;
