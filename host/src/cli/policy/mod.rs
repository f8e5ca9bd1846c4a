//! `tce policy …`, and the policies of a run.

mod args;
mod check;
mod load;
mod replay;

pub(super) use args::{Isolation, PolicyArgs};
pub(super) use check::{CheckArgs, check};
pub(super) use load::{ComponentArgs, runtime};
pub(super) use replay::{ReplayArgs, replay};
