"""Every view of the operators' page in both themes and three widths: pictures, axe-core, nothing cut off sideways."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.axe import faults
from tests.browser.conftest import Site, Visitor
from tests.browser.looks import fits, in_both_lights
from tests.browser.operators import Operator

Visit = Callable[..., Visitor]


def test_every_view_is_whole_in_both_themes_and_all_widths(visit: Visit, site: Site) -> None:
    olga = Operator(visit)
    page = olga.page
    user = f"ann-{olga.name}"
    done = site.finished(user, "A question")["generation"]["id"]
    site.behave(status=400, error_message="The upstream refuses.")
    failed = site.post("/generations", user, {"message": "Another", "model": "fake"})["generation"]["id"]
    olga.visitor.until(lambda: site.get(f"/generations/{failed}", user)["status"] == "error", "it fails")
    views = {
        "overview": "/ops?span=day",
        "generations": "/ops/generations",
        "generations-none": "/ops/generations?user=nobody&last=1h",
        "generation": f"/ops/generations/{done}",
        "generation-failed": f"/ops/generations/{failed}",
        "generation-missing": f"/ops/generations/{done[:-4]}0000",
        "workers": "/ops/workers",
        "users": "/ops/users",
        "user": f"/ops/users/{olga.ask(f'/generations/{done}')['user_id']}",
        "dead-letters": "/ops/dead-letters",
        "dead-webhooks": "/ops/dead-letters?of=webhooks",
        "audit": "/ops/audit",
    }
    found: list[str] = []
    for name, path in views.items():
        olga.go(path)
        expect(page.locator(".skeleton")).to_have_count(0)
        for light in in_both_lights(olga.visitor):
            found += [f"{name} {light}: {fault['id']} {fault['where'][:2]}" for fault in faults(page)]
            for size in ("phone", "tablet", "desk") if light == "light" else ("tablet", "desk"):
                olga.resize(size)
                olga.visitor.picture(f"ops-{name}-{size}-{light}")
                if not fits(olga.visitor):
                    found.append(f"{name} {size}: wider than the screen")
    olga.go(f"/ops/generations/{failed}")
    page.get_by_role("button", name=re.compile("^Requeue")).click()
    for light in in_both_lights(olga.visitor):
        olga.visitor.picture(f"ops-reason-{light}")
        found += [f"reason {light}: {fault['id']} {fault['where'][:2]}" for fault in faults(page)]
    assert found == []
