"""The way of a big file to the server, in parts: what is lost is sent again, and nothing else."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from tests.browser.scripted import ScriptedServer, status

PART = 4 * 1024 * 1024  # bytes, as app/web/static/file_transfer.js has it

SEND = """
async ({size}) => {
  const {Upload} = await import('/static/upload.js');
  const upload = Upload.of(new File([new Uint8Array(size)], 'tide.bin'));
  const states = [];
  await upload.start(() => states.at(-1) === upload.state || states.push(upload.state));
  return {states, about: upload.about, problem: upload.problem};
}
"""
STORED = {"id": "file-1", "filename": "tide.bin", "media_type": "application/octet-stream", "bytes": 2 * PART + 1}


def sent(page: Page, size: int) -> Any:
    return page.evaluate(SEND, {"size": size})


def test_a_part_that_is_lost_is_sent_again(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(
        status(200, {"id": "upload_1"}),
        status(200, {"id": "part_1"}),
        status(500, {"title": "Broken"}),
        status(503, {"title": "Busy"}),
        status(200, {"id": "part_2"}),
        status(200, {"id": "part_3"}),
        status(200, {"id": "upload_1", "file": STORED}),
    )
    outcome = sent(module_page, 2 * PART + 1)
    assert outcome["states"] == ["waiting", "sending", "paused", "sending", "paused", "sending", "ready"]
    assert outcome["about"]["file_id"] == "file-1"
    asked = [(each.path, len(each.body) > PART) for each in scripted.asked]
    part = "/api/v1/uploads/upload_1/parts"
    assert asked == [
        ("/api/v1/uploads", False),
        (part, True),
        (part, True),
        (part, True),
        (part, True),
        (part, False),
        ("/api/v1/uploads/upload_1/complete", False),
    ]
    assert scripted.asked[-1].body == b'{"part_ids":["part_1","part_2","part_3"]}'


def test_an_upload_that_the_server_has_given_up_begins_anew(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(
        status(200, {"id": "upload_1"}),
        status(200, {"id": "part_1"}),
        status(404, {"title": "Not found"}),
        status(200, {"id": "upload_2"}),
        status(200, {"id": "part_1"}),
        status(200, {"id": "part_2"}),
        status(200, {"id": "upload_2", "file": STORED}),
    )
    assert sent(module_page, 2 * PART)["states"][-1] == "ready"
    assert scripted.asked[-1].path == "/api/v1/uploads/upload_2/complete"


def test_a_server_without_parts_is_asked_for_them_once(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(404, {"title": "Not found"}))
    # The refusal of the whole file is final.
    assert sent(module_page, PART + 1)["states"] == ["waiting", "sending", "failed"]
    assert [asked.path for asked in scripted.asked] == ["/api/v1/uploads", "/api/v1/files"]
    scripted.play(status(200, STORED))
    assert sent(module_page, PART + 1)["states"] == ["waiting", "sending", "ready"]
    assert [asked.path for asked in scripted.asked] == ["/api/v1/files"]


def test_a_refusal_ends_the_attempts_and_is_said(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(422, {"title": "Unreadable", "detail": "This file is not what it says."}))
    outcome = sent(module_page, 10)
    assert outcome["states"] == ["waiting", "sending", "failed"]
    assert outcome["problem"] == "This file is not what it says."
    assert len(scripted.asked) == 1
