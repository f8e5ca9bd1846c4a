//! DMA windows, TCEs and leases on POWER: the pure domain.
//!
//! An [`Engine`] drives one VFIO container through the raw operations of a [`kernel::Kernel`], the real one or a
//! simulated one. It checks every request in full before it makes a call, keeps its own table of what is mapped, and
//! makes as few calls as it can. It does no I/O of its own, has no clock and knows nothing of policies.
//!
//! The way through it: [`Engine::attach`] groups, [`Engine::register`] memory, check a layout and make its windows
//! ([`Engine::grant_layout`], [`Engine::create_windows`]), grant leases ([`Engine::grant_lease`], [`Engine::lease`]),
//! [`Engine::apply`] batches of edits, [`Engine::revoke`] leases, [`Engine::close`].
#![forbid(unsafe_code)]

pub mod access;
pub mod addr;
mod bits;
mod calls;
pub mod edit;
mod engine;
pub mod errno;
pub mod error;
pub mod facts;
pub mod fault;
pub mod freeze;
pub mod geometry;
pub mod growth;
pub mod guest;
pub mod iova;
pub mod kernel;
pub mod layout;
pub mod lease;
pub mod lingering;
pub mod machine;
pub mod papr;
pub mod plan;
pub mod region;
mod room;
mod slots;
pub mod table;
#[cfg(test)]
mod testing;
pub mod window;

pub use crate::{
    engine::{
        Applied, CHARGES_MAX, Charge, ChargeSubject, Closed, Engine, LayoutGrant, LeaseGrant,
        LeaseRequest, Restored, WindowPlan, WindowState,
    },
    error::Error,
    slots::Handle,
};
