"""An event has one encoding, which never changes, and one way to be read."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.cursor import Cursor
from app.domain.events import (
    BLOCK_BYTES,
    KINDS,
    Done,
    Entry,
    Event,
    Mark,
    Reasoning,
    Refusal,
    Snapshot,
    Token,
    Tool,
    decode,
    encode,
    escaped_text,
    number,
    pack,
    unpack,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
usages = st.none() | st.dictionaries(st.sampled_from(["input_tokens", "output_tokens"]), st.integers(0, 10**6))
errors = st.none() | st.fixed_dictionaries({"code": texts, "message": texts})
reasons = st.sampled_from(["start", "takeover", "continue", "restart", "failover", "cancel"])
events = st.one_of(
    st.builds(Snapshot, texts, reasons, st.integers(0, 99), texts),
    st.builds(Token, texts),
    st.builds(Reasoning, texts),
    st.builds(Tool, texts, texts, st.sampled_from(["started", "finished", "failed"]), texts, st.none() | texts),
    st.builds(Mark, texts, usages),
    st.builds(Refusal),
    st.builds(Done, st.sampled_from(["completed", "error", "cancelled"]), st.none() | texts, usages, texts, errors),
)

# The encoding of each kind in existing logs and archives. A service that needs a change here cannot read them.
GOLDEN: list[tuple[Event, bytes]] = [
    (Snapshot("Hé\n", "start", 1), b'{"type":"snapshot","text":"H\xc3\xa9\\n","reason":"start","attempt":1}'),
    (
        Snapshot("a", "continue", 2, "why"),
        b'{"type":"snapshot","text":"a","reason":"continue","attempt":2,"reasoning":"why"}',
    ),
    (Token('"\\\t\u2028🙂'), b'{"type":"token","content":"\\"\\\\\\t\xe2\x80\xa8\xf0\x9f\x99\x82"}'),
    (Reasoning("hm"), b'{"type":"reasoning","content":"hm"}'),
    (
        Tool("c1", "clock", "started", '{"zone":"UTC"}'),
        b'{"type":"tool","call_id":"c1","tool":"clock","state":"started","arguments":"{\\"zone\\":\\"UTC\\"}"}',
    ),
    (
        Tool("c1", "clock", "finished", "{}", "noon"),
        b'{"type":"tool","call_id":"c1","tool":"clock","state":"finished","arguments":"{}","result":"noon"}',
    ),
    (Refusal(), b'{"type":"refusal"}'),
    (
        Mark("stop", {"input_tokens": 3, "output_tokens": 5}),
        b'{"type":"usage","finish_reason":"stop","usage":{"input_tokens":3,"output_tokens":5}}',
    ),
    (Mark("stop", None), b'{"type":"usage","finish_reason":"stop","usage":null}'),
    (
        Done("completed", "stop", {"output_tokens": 5}, "ab" * 32),
        b'{"type":"done","status":"completed","finish_reason":"stop","usage":{"output_tokens":5},"sha256":"'
        + b"ab" * 32
        + b'"}',
    ),
    (
        Done("error", "error", None, "00", {"code": "upstream_error", "message": "no"}),
        (
            b'{"type":"done","status":"error","finish_reason":"error","usage":null,"sha256":"00",'
            b'"error":{"code":"upstream_error","message":"no"}}'
        ),
    ),
]


@given(events)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    assert decode(encode(event)) == event


@given(events)
def test_the_escaped_text_of_an_event_is_the_text_of_its_kind_only(event: Event) -> None:
    for kind in (Token, Reasoning):
        escaped = escaped_text(encode(event), kind)
        if isinstance(event, kind):
            assert escaped is not None
            assert json.loads(b'"' + escaped + b'"') == event.content
        else:
            assert escaped is None


@given(events)
def test_an_encoded_event_is_one_line_whatever_it_contains(event: Event) -> None:
    encoded = encode(event)
    assert b"\n" not in encoded
    assert b"\r" not in encoded
    assert b"\x00" not in encoded
    encoded.decode("utf-8")


@given(events)
def test_any_json_reader_understands_an_event(event: Event) -> None:
    body = json.loads(encode(event))
    assert KINDS[body["type"]] is type(event)


@given(events)
def test_the_same_event_gives_the_same_bytes(event: Event) -> None:
    assert encode(event) == encode(decode(encode(event)))


@pytest.mark.parametrize(("event", "encoded"), GOLDEN, ids=lambda value: type(value).__name__)
def test_the_form_of_events_does_not_change_unnoticed(event: Event, encoded: bytes) -> None:
    assert encode(event) == encoded
    assert decode(encoded) == event


def test_every_kind_has_a_golden_form() -> None:
    assert {type(event) for event, _ in GOLDEN} == set(KINDS.values())


@given(st.sampled_from(sorted(set(map(chr, range(32))) | {"\x7f", "\x85", "\u2028", "\u2029", "\ufeff", "\U0010ffff"})))
def test_control_characters_and_separators_survive(sign: str) -> None:
    assert decode(encode(Token(f"a{sign}b"))) == Token(f"a{sign}b")


@pytest.mark.parametrize("payload", [b'{"type":"nothing"}', b'{"type":"event"}'])
def test_an_unknown_type_is_an_error(payload: bytes) -> None:
    with pytest.raises(KeyError):
        decode(payload)


@given(st.lists(events, max_size=30))
def test_what_was_packed_comes_out_byte_for_byte(some: list[Event]) -> None:
    payloads = [encode(event) for event in some]
    assert unpack(pack(payloads)) == payloads


def test_a_packed_body_of_an_earlier_release_can_be_read() -> None:
    body = bytes.fromhex("7801ab562aa92c4855b2522ac9cf4ecd53d2514acecf2b49cd2b018a242ad57255e3964e52aa05006f4b13da")
    assert unpack(body) == [b'{"type":"token","content":"a"}', b'{"type":"token","content":"b"}']


def test_of_pieces_of_text_only_the_text_is_packed() -> None:
    some = [encode(Token("a")), encode(Token("")), encode(Reasoning("b")), encode(Token('"}\n"'))]
    assert zlib.decompress(pack(some)) == b'\n"a\n"\n\'b\n"\\"}\\n\\""}'
    assert unpack(pack(some)) == some


@pytest.mark.parametrize("payload", [b'{"type":"token","content":"a","more":1}', b'{"type":"token","content":null}'])
def test_an_event_that_a_later_release_says_otherwise_is_packed_byte_for_byte(payload: bytes) -> None:
    for some in ([payload], [payload, encode(Token("a")), payload], [encode(Mark("stop", {"a": "b"})), payload]):
        assert unpack(pack(some)) == some


@given(st.lists(st.lists(events, min_size=1, max_size=5), min_size=1, max_size=5))
def test_bodies_one_behind_the_other_come_out_in_order_when_the_newest_is_first(some: list[list[Event]]) -> None:
    parts = [[encode(event) for event in part] for part in some]
    body = b"".join(pack(part) for part in reversed(parts))
    assert unpack(body) == [payload for part in parts for payload in part]


def test_a_body_that_was_cut_off_is_an_error() -> None:
    body = pack([b"some", b"lines"]) + pack([b"earlier", b"ones"])
    with pytest.raises(zlib.error):
        unpack(body[:-1])


def test_numbering_gives_consecutive_positions_of_one_revision() -> None:
    assert number(3, 5, [b"a", b"b"]) == [Entry(Cursor(3, 5), b"a"), Entry(Cursor(3, 6), b"b")]
    assert number(3, 5, []) == []


def test_a_log_of_many_blocks_is_packed_as_if_it_were_one() -> None:
    said = [Token("é" * n) if n % 3 else Reasoning('"}' * (n % 7)) for n in range(1500)]
    payloads = [encode(event) for event in (Snapshot("", "start", 1), *said, Mark("stop", None))]
    assert sum(map(len, payloads)) > 3 * BLOCK_BYTES
    assert unpack(pack(payloads)) == payloads
    whole = b'"}\n' + b"\n".join(payloads)
    whole = whole.replace(b'"}\n{"type":"token","content":"', b'\n"')
    whole = whole.replace(b'"}\n{"type":"reasoning","content":"', b"\n'")
    assert zlib.decompress(pack(payloads)) == whole, "no seam is missed at the end of a block"
