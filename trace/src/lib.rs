//! Recording, checking and replaying what programs ask of VFIO's sPAPR TCE backend.
//!
//! A *trace* is a [`format::Header`] and a row of [`event::Event`]s, one for each call that a program made. It is
//! written and read as JSON Lines ([`format`]); `docs/trace.md` describes the format for those who use other tools.
#![forbid(unsafe_code)]

pub mod demand;
mod descriptors;
pub mod event;
pub mod format;
mod hex;
pub mod intent;
pub mod kernel;
pub mod lint;
pub mod record;
pub mod replay;
pub mod survey;
pub mod trace;
