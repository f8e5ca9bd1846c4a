"""A policy in Python: nobody gets more than a fair part of a window.

With the setting `holders`, the number of holders to expect (4 by default), a holder may have that part of a window: a
quarter. It gets what it asks for within that, and keeps it: nothing is taken back, and a lease is renewed as it is.

The class has the name of the interface, each function the name it has in the WIT. A refusal is raised.
"""

from dataclasses import replace
from typing import List, NoReturn, Optional

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.lease_policy import (
    AdmitQuestion,
    GroupLossQuestion,
    ReclaimQuestion,
    RenewQuestion,
)
from wit_world.imports.types import Refusal, RefusalReason, Setting, Terms

HOLDERS = "holders"
HOLDERS_DEFAULT = 4
U64_MAX = 2**64 - 1


class LeasePolicy(exports.LeasePolicy):
    def admit(self, question: AdmitQuestion) -> Terms:
        request, window = question.request, question.window
        pages = request.size >> window.page
        if pages == 0:
            refuse(RefusalReason.OTHER, "less than one page of the window was asked for")
        part = window.size // holders(question.settings)
        has = sum(
            lease.size
            for lease in question.leases
            if lease.holder == request.holder and lease.slot == window.slot
        )
        if has + request.size > part:
            refuse(
                RefusalReason.QUOTA,
                f"{request.holder} has {has} bytes and asks for {request.size}, and its part of the window is {part}",
            )
        if request.size > window.unleased:
            refuse(RefusalReason.WINDOW, f"{window.unleased} bytes of the window are not leased yet")
        return Terms(
            access=request.access,
            tces_max=min(max(request.tces, 1), pages),
            pinned_max=request.memory,
            edits_per_second=None,
            expires=expiry(question.now, request.duration),
        )

    def renew(self, question: RenewQuestion) -> Terms:
        return replace(question.lease.terms, expires=expiry(question.now, question.duration))

    def reclaim(self, question: ReclaimQuestion) -> List[int]:
        return []

    def group_leaves(self, question: GroupLossQuestion) -> List[int]:
        return []


def holders(settings: List[Setting]) -> int:
    """What the operator set: how many holders to expect."""
    text = next((each.value for each in settings if each.key == HOLDERS), str(HOLDERS_DEFAULT))
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        refuse(RefusalReason.SETTINGS, f"the setting {HOLDERS} is a number from 1, not `{text}`")
    return int(text[:9])


def expiry(now: int, duration: Optional[int]) -> Optional[int]:
    """When a lease ends; the end of time is as good as never."""
    return None if duration is None else min(now + max(duration, 1), U64_MAX)


def refuse(reason: RefusalReason, detail: str) -> NoReturn:
    raise Err(Refusal(reason, detail))
