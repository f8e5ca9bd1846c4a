"""A policy for page sizes: the largest page that every region allows, but none beyond a limit that the operator can
set.

Change it into what you want. A class has the name of the interface, each function the name it has in the WIT. A refusal
is raised. There is no state: each decision runs in a fresh instance.
"""

from typing import List

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.page_selection import PageQuestion
from wit_world.exports.settings import SettingDescription, SettingProblem
from wit_world.imports.types import PageChoice, Refusal, RefusalReason, Setting

from pages import largest, page_of, shown

PAGE_MAX = "page-max"


class PageSelection(exports.PageSelection):
    def select_pages(self, question: PageQuestion) -> List[PageChoice]:
        # The host has had the settings checked, so that what cannot be read is not there.
        limits = [page_of(each.value) for each in question.settings if each.key == PAGE_MAX]
        limit = limits[0] if limits else None
        regions = question.demand.regions
        page = largest(question.facts.page_shifts, regions, limit)
        if page is None:
            # A no is an answer, with a reason for the operator. Any other exception would be a broken policy.
            most = "" if limit is None else f"up to {shown(limit)} "
            raise Err(Refusal(RefusalReason.PAGE_SIZE, f"no page {most}suits every region"))
        return [PageChoice(page, [region.id for region in regions])]


class Settings(exports.Settings):
    def describe_settings(self) -> List[SettingDescription]:
        return [SettingDescription(PAGE_MAX, "a page size, such as 64K", "the largest page", None)]

    def validate_settings(self, settings: List[Setting]) -> List[SettingProblem]:
        problems = []
        for each in settings:
            if each.key != PAGE_MAX:
                problems.append(SettingProblem(each.key, f"there is no such setting; there is: {PAGE_MAX}"))
            elif page_of(each.value) is None:
                problems.append(SettingProblem(each.key, "it is no page size: write 4K, 64K, 2M or 1G"))
        return problems
