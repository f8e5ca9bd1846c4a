"""What the policy decides, as ordinary Python: the largest page that every region allows, but none beyond a limit.

Nothing here needs the component's bindings, so that `python3 -m unittest` tests it.
"""

from typing import Iterable, Optional

UNITS = {"": 0, "K": 10, "M": 20, "G": 30}


def page_of(text: str) -> Optional[int]:
    """A page size such as 64K as its base-2 logarithm; none if it is no page size."""
    digits = text.rstrip("KMG")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 7) or text[len(digits):] not in UNITS:
        return None
    number = int(digits)
    if number == 0 or number & (number - 1):
        return None
    return number.bit_length() - 1 + UNITS[text[len(digits):]]


def shown(page: int) -> str:
    """A page size for a person: 64 KiB."""
    unit = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"][page // 10]
    return f"{1 << page % 10} {unit}"


def allows(region, page: int) -> bool:
    """Whether a region can be mapped with pages of this size."""
    whole = (1 << page) - 1
    return page <= min(region.backing, region.granule) and not (region.size | (region.at or 0)) & whole


def largest(offered: Iterable[int], regions, limit: Optional[int]) -> Optional[int]:
    """The page for all regions, if there is one."""
    within = (page for page in offered if limit is None or page <= limit)
    return max((page for page in within if all(allows(each, page) for each in regions)), default=None)
