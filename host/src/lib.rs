//! The host of TCE policies, and the tce command.
//!
//! The way of a decision: [`question`] says what the engine knows in the words of the WIT, a policy of [`policy`]
//! answers, [`grant`] checks the answer, [`decide`] lets the built-in policy stand in where one breaks. [`run`] does
//! all of a [`job`] with it and ends in a [`report`].

#![deny(unsafe_code)]

pub mod author;
pub mod cli;
mod conformance;
pub mod decide;
pub mod doctor;
pub mod exit;
pub mod grant;
pub mod job;
pub mod journal;
pub mod policy;
pub mod question;
pub mod replay;
pub mod report;
pub mod run;
pub mod signature;
pub mod trace;
