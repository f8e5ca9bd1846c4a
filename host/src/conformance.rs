//! What conformance found, as text.

pub(crate) mod checks_text;
pub(crate) mod random_text;
