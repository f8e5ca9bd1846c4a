//! A process that compiles one component.

use std::time::Duration;

use crate::policy::{engine::Compiler, load::LoadError};

use super::{
    process::{Lost, Process, Program},
    protocol::{self, Compiled, Task},
};

/// The code of a component.
pub(in crate::policy) fn compile(
    program: &Program,
    compiler: Compiler,
    component: &[u8],
    within: Duration,
) -> Result<Vec<u8>, LoadError> {
    let lost = |lost: Lost| lost.before("compiled", within);
    let mut process = Process::to_load(program)?;
    let compiled: Compiled = process
        .exchange(within, |stream| {
            protocol::send(stream, &Task::Compile(compiler))?;
            protocol::send_bytes(stream, component)
        })
        .map_err(lost)?;
    compiled?;
    process.hear_code(within).map_err(lost)
}
