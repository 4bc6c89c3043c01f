"""The modules of attachments and pictures in Chromium, against a server that follows a script."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from tests.browser.scripted import ScriptedServer, status

STORED = {"filename": "tide.txt", "media_type": "text/plain", "bytes": 4}

ATTACH = """
async () => {
  const {Attachments} = await import('/static/attachments.js');
  const list = new Attachments();
  let changed = () => {};
  list.bind({
    limits: () => ({}),
    accepts: () => ({label: 'Clever', images: true, files: true}),
    onChange: () => changed(),
    onProblem: () => {},
    focus: () => {},
  });
  document.body.append(list.node);
  const attach = (name) => {
    list.add([new File(['tide'], name, {type: 'text/plain'})]);
    return new Promise((resolve) => (changed = () => list.onTheirWay === 0 && resolve()));
  };
  const ids = () => list.files.map(({file_id}) => file_id);
  await attach('tide.txt');
  await attach('tide.txt');
  list.put([{file_id: 'file-1', filename: 'tide.txt', media_type: 'text/plain', bytes: 4}]);
  const twice = ids();
  list.node.querySelector('[aria-label="Remove tide.txt"]').click();
  const none = ids();
  await attach('ebb.txt');
  return {twice, none, last: ids()};
}
"""


def test_a_file_is_attached_once_and_its_removal_leaves_it_on_the_server(
    module_page: Page, scripted: ScriptedServer
) -> None:
    # The server has one file for equal bytes under an equal name.
    first = {"id": "file-1", **STORED}
    scripted.play(status(201, first), status(200, first), status(201, {**first, "id": "file-2", "filename": "ebb.txt"}))
    told: dict[str, Any] = module_page.evaluate(ATTACH)
    assert told == {"twice": ["file-1"], "none": [], "last": ["file-2"]}
    assert [asked.method for asked in scripted.asked] == ["POST"] * 3


PICTURES = """
async (others) => {
  const {pictureOf} = await import('/static/pictures.js');
  const [first, meanwhile] = await Promise.all([pictureOf('first'), pictureOf('first')]);
  const again = await pictureOf('first');
  const isThere = () => fetch(first).then(() => true, () => false);
  const before = await isThere();
  await Promise.all(Array.from({length: others}, (_, n) => pictureOf(`other-${n}`)));
  return {isOne: first === again && first === meanwhile, before, after: await isThere()};
}
"""


def test_a_picture_is_fetched_once_for_all_its_sizes_and_only_some_are_kept(
    module_page: Page, scripted: ScriptedServer
) -> None:
    scripted.play(status(200, {}))
    assert module_page.evaluate(PICTURES, 19) == {"isOne": True, "before": True, "after": True}
    paths = [asked.path for asked in scripted.asked]
    assert paths.count("/api/v1/files/first/content") == 1
    assert len(paths) == 20
    module_page.reload()
    assert module_page.evaluate(PICTURES, 20)["after"] is False
