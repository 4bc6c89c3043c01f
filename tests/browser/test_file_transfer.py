"""The way of a big file to the server, in parts: what is lost is sent again, and nothing else."""

from __future__ import annotations

import threading
from typing import Any

from playwright.sync_api import Page

from tests.browser.scripted import Answer, Handler, ScriptedServer, nothing, status
from tests.stack import until

PART = 4 * 1024 * 1024  # bytes, as app/web/static/file_transfer.js has it

SEND = """
async ({size}) => {
  const {Upload} = await import('/static/upload.js');
  const upload = Upload.of(new File([new Uint8Array(size)], 'tide.bin'));
  const states = [];
  await upload.start(() => states.at(-1) === upload.state || states.push(upload.state));
  upload.cancel();
  return {states, about: upload.about, problem: upload.problem};
}
"""
STORED = {"id": "file-1", "filename": "tide.bin", "media_type": "application/octet-stream", "bytes": 2 * PART + 1}
UPLOADS = "/api/v1/uploads"


def sent(page: Page, size: int) -> Any:
    return page.evaluate(SEND, {"size": size})


def has(offset: int, *, name: str = "upload_1", state: str = "pending", **more: Any) -> Answer:
    """The reply of a server that has so many bytes."""
    return status(200, {"id": name, "offset": offset, "status": state, **more})


def asked(scripted: ScriptedServer) -> list[tuple[str, str, bool]]:
    """Method, path, and whether the body has the bytes of a whole part, for each request."""
    return [(each.method, each.path.removeprefix(UPLOADS), len(each.body) > PART) for each in scripted.asked]


def test_a_part_that_is_lost_is_sent_again_and_no_other(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(
        has(0),
        has(PART),
        status(500, {"title": "Broken"}),
        has(PART),
        status(503, {"title": "Busy"}),
        has(2 * PART),  # it was stored, and only its reply was lost
        has(2 * PART + 1),
        has(2 * PART + 1, state="completed", file=STORED),
    )
    outcome = sent(module_page, 2 * PART + 1)
    assert outcome["states"] == ["waiting", "sending", "paused", "sending", "paused", "sending", "ready"]
    assert outcome["about"]["file_id"] == "file-1"
    assert asked(scripted) == [
        ("POST", "", False),
        ("PATCH", "/upload_1?offset=0", True),
        ("PATCH", f"/upload_1?offset={PART}", True),
        ("GET", "/upload_1", False),
        ("PATCH", f"/upload_1?offset={PART}", True),
        ("GET", "/upload_1", False),
        ("PATCH", f"/upload_1?offset={2 * PART}", False),
        ("POST", "/upload_1/complete", False),
    ]


def test_a_completion_whose_reply_was_lost_is_found(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(
        has(0),
        has(PART),
        has(PART + 1),
        status(502, {"title": "Bad gateway"}),
        has(PART + 1, state="completed", file=STORED),
    )
    assert sent(module_page, PART + 1)["states"][-1] == "ready"
    assert asked(scripted)[-1] == ("GET", "/upload_1", False)


def test_an_upload_goes_on_where_the_server_is(module_page: Page, scripted: ScriptedServer) -> None:
    """The request before was carried out after its connection was lost."""
    scripted.play(
        has(0),
        status(409, {"title": "Not in this state"}),
        has(PART),
        has(PART + 1),
        has(0, state="completed", file=STORED),
    )
    assert sent(module_page, PART + 1)["states"] == ["waiting", "sending", "ready"]
    assert [path for _, path, _ in asked(scripted)] == [
        "", "/upload_1?offset=0", "/upload_1", f"/upload_1?offset={PART}", "/upload_1/complete",
    ]  # fmt: skip


def test_an_upload_that_the_server_has_given_up_begins_anew(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(
        has(0),
        has(PART),
        status(404, {"title": "Not found"}),
        has(0, name="upload_2"),
        status(409, {"title": "Not in this state"}),
        has(0, name="upload_2", state="expired"),
        has(0, name="upload_3"),
        has(PART),
        has(2 * PART),
        has(2 * PART, state="completed", file=STORED),
    )
    assert sent(module_page, 2 * PART)["states"][-1] == "ready"
    assert scripted.asked[-1].path == f"{UPLOADS}/upload_3/complete"


def test_a_file_that_is_not_taken_is_cancelled_on_the_server(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(
        has(0), has(PART), has(PART + 1), status(422, {"title": "Unreadable", "detail": "Not a film."}), status(204)
    )
    outcome = sent(module_page, PART + 1)
    assert (outcome["states"][-1], outcome["problem"]) == ("failed", "Not a film.")
    until(lambda: asked(scripted)[-1] == ("DELETE", "/upload_1", False))


def test_a_file_that_is_removed_at_once_is_cancelled_on_the_server(module_page: Page, scripted: ScriptedServer) -> None:
    """Its upload is begun by a request whose reply has not come yet."""

    cancelled = threading.Event()

    def slow(handler: Handler) -> None:
        assert cancelled.wait(60)
        has(0)(handler)

    scripted.play(slow, status(204))
    scripted.calls["begun"] = lambda: bool(until(lambda: scripted.asked, what="the beginning"))
    scripted.calls["cancelled"] = cancelled.set
    module_page.evaluate(
        """async (size) => {
          const {Upload} = await import('/static/upload.js');
          const upload = Upload.of(new File([new Uint8Array(size)], 'tide.bin'));
          const started = upload.start(() => {});
          await call('begun');
          upload.cancel();
          await call('cancelled');
          await started;
        }""",
        PART + 1,
    )
    until(lambda: len(scripted.asked) == 2, what="the cancellation")
    assert asked(scripted) == [("POST", "", False), ("DELETE", "/upload_1", False)]


def test_a_beginning_whose_reply_was_lost_is_found(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(nothing, has(0), has(PART), has(PART + 1), has(PART + 1, state="completed", file=STORED))
    assert sent(module_page, PART + 1)["states"][-1] == "ready"
    keys = [each.headers["Idempotency-Key"] for each in scripted.asked]
    assert keys[0] is not None
    assert keys == [keys[0], keys[0], None, None, None]


def test_a_server_without_parts_is_asked_for_them_once(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(404, {"title": "Not found"}))
    # The refusal of the whole file is final.
    assert sent(module_page, PART + 1)["states"] == ["waiting", "sending", "failed"]
    assert [asked.path for asked in scripted.asked] == [UPLOADS, "/api/v1/files"]
    scripted.play(status(200, STORED))
    assert sent(module_page, PART + 1)["states"] == ["waiting", "sending", "ready"]
    assert [asked.path for asked in scripted.asked] == ["/api/v1/files"]


def test_a_refusal_ends_the_attempts_and_is_said(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(422, {"title": "Unreadable", "detail": "This file is not what it says."}))
    outcome = sent(module_page, 10)
    assert outcome["states"] == ["waiting", "sending", "failed"]
    assert outcome["problem"] == "This file is not what it says."
    assert len(scripted.asked) == 1
