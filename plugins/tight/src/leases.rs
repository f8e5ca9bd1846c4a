//! Leases: what was asked for, while there is room, as long as was asked.

use tce_policy_sdk::{
    Size, expiry,
    lease_policy::AdmitQuestion,
    page_bytes,
    types::{Refusal, RefusalReason, Terms},
};

/// Answers `admit`.
///
/// # Errors
///
/// Refuses a lease of nothing, and one that is larger than what is left of the window.
pub fn admit(question: &AdmitQuestion) -> Result<Terms, Refusal> {
    let (request, window) = (&question.request, &question.window);
    if request.size == 0 {
        return Err(Refusal::new(RefusalReason::Other, "a lease of 0 bytes allows nothing"));
    }
    if request.size > window.unleased {
        return Err(Refusal::new(
            RefusalReason::Window,
            format!(
                "{} were asked for, and {} of the window in slot {} are not leased yet",
                Size(request.size),
                Size(window.unleased),
                window.slot
            ),
        ));
    }
    let pages = request.size.div_ceil(page_bytes(window.page).max(1));
    Ok(Terms {
        access: request.access,
        tces_max: request.tces.clamp(1, pages),
        pinned_max: None,
        edits_per_second: None,
        expires: expiry(question.now, request.duration, None),
    })
}
