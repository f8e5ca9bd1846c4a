//! What can be asked, and what can come of it.

use serde::Serialize;
use tce_engine::addr::Bytes;
use thiserror::Error;

use super::{
    interface::Interface,
    limits::DETAIL_BYTES_MAX,
    wit::{
        AdmitQuestion, GroupLossQuestion, LeaseId, PageChoice, PageQuestion, ReclaimQuestion,
        Refusal, RenewQuestion, Terms, WindowChoice, WindowQuestion,
    },
};

/// What a policy says where it may say no. A refusal is an answer, not a failure.
pub type Answer<A> = Result<A, Refusal>;

/// A policy that can be asked. Each method is one question of the WIT.
pub trait Evaluator {
    /// The policy's name.
    fn name(&self) -> &str;

    /// Whether questions of this interface make sense.
    fn implements(&self, interface: Interface) -> bool;

    /// `page-selection`: which page size shall a window have?
    fn select_pages(&self, question: &PageQuestion) -> Evaluation<Answer<Vec<PageChoice>>>;

    /// `window-sizing`: which windows shall there be?
    fn size_windows(&self, question: &WindowQuestion) -> Evaluation<Answer<Vec<WindowChoice>>>;

    /// `lease-policy`: shall this lease be?
    fn admit(&self, question: &AdmitQuestion) -> Evaluation<Answer<Terms>>;

    /// `lease-policy`: shall this lease go on?
    fn renew(&self, question: &RenewQuestion) -> Evaluation<Answer<Terms>>;

    /// `lease-policy`: which leases shall be taken back?
    fn reclaim(&self, question: &ReclaimQuestion) -> Evaluation<Vec<LeaseId>>;

    /// `lease-policy`: which leases shall end with a group?
    fn group_leaves(&self, question: &GroupLossQuestion) -> Evaluation<Vec<LeaseId>>;
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Evaluation<A> {
    /// The answer, or why there is none.
    pub result: Result<A, Broken>,
    /// The fuel it took. Without an answer that is the whole budget, because what a trap leaves is not exact. `None`
    /// where nothing is metered.
    pub fuel: Option<u64>,
}

/// Why there is no answer: not the policy's no, but its failure.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Broken {
    /// It was asked what it does not answer.
    #[error("it does not implement {interface}")]
    NotImplemented {
        /// The interface of the question.
        interface: Interface,
    },
    /// It crashed, as a panic does.
    #[error("it trapped: {what}")]
    Trap {
        /// The kind of trap.
        what: String,
    },
    /// It did not come to an end within its budget.
    #[error("it burned its budget of {budget} fuel without an answer")]
    OutOfFuel {
        /// The budget.
        budget: u64,
    },
    /// It wanted more memory than it may have.
    #[error("it wanted more than {} of memory", size(*limit))]
    OutOfMemory {
        /// The limit.
        limit: usize,
    },
    /// Its calls went too deep.
    #[error("its calls went deeper than {} of stack", size(*limit))]
    OutOfStack {
        /// The limit.
        limit: usize,
    },
    /// Its answer is too large to be taken.
    #[error("its answer has more than {}", size(*limit))]
    TooMuchData {
        /// The limit.
        limit: usize,
    },
    /// Its answer is not of the answer's type.
    #[error("its answer cannot be read: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// It does not start.
    #[error("it cannot be instantiated: {what}")]
    Instantiation {
        /// What is in the way.
        what: String,
    },
}

impl<T> Evaluation<Answer<T>> {
    /// Cuts a refusal's detail to what is kept of it.
    pub(super) fn with_short_detail(mut self) -> Self {
        if let Ok(Err(refusal)) = &mut self.result {
            let end = refusal.detail.floor_char_boundary(DETAIL_BYTES_MAX);
            refusal.detail.truncate(end);
        }
        self
    }
}

/// A limit as people read it.
fn size(limit: usize) -> Bytes {
    Bytes::new(u64::try_from(limit).unwrap_or(u64::MAX))
}
