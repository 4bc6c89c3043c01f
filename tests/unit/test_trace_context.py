"""W3C Trace Context: what is read, what counts as absent, and the form that is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.trace_context import MOST_MEMBERS, MOST_STATE_CHARS, TraceContext

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"

hexes = st.text("0123456789abcdef", min_size=1)


def test_a_valid_header_is_read_and_written_as_it_was() -> None:
    context = TraceContext.read(PARENT, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
    assert context == TraceContext(TRACE, SPAN, 1, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
    assert context.parent == PARENT


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_the_sampled_flag_is_kept(flags: str, sampled: bool) -> None:
    context = TraceContext.read(f"00-{TRACE}-{SPAN}-{flags}")
    assert context is not None
    assert context.is_sampled is sampled
    assert TraceContext.read(context.parent) == context


@pytest.mark.parametrize(
    "header",
    [
        None, "", "00", PARENT.upper(), PARENT[:-1], f"{PARENT}0", f"{PARENT}-00", f"{PARENT}, {PARENT}", f"{PARENT}\n",
        f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00_{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-0g", f"00-{TRACE[:-1]}٣-{SPAN}-01", f"01-{TRACE}-{SPAN}-01x",
    ],
)  # fmt: skip
def test_any_other_header_counts_as_absent(header: str | None) -> None:
    assert TraceContext.read(header, "a=b") is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    context = TraceContext.read(f"cc-{TRACE}-{SPAN}-01-what-comes-later")
    assert context is not None
    assert context.parent == PARENT


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("a=1 , b=2", "a=1,b=2"), (" a=1,, ", "a=1"), ("t@v=x y", "t@v=x y"), ("0t@v=x", "0t@v=x"),
        (None, None), ("", None), (",", None), ("a", None), ("A=1", None), ("a=1,a=2", None), ("a=\x01", None),
        ("0a=1", None), ("a=1;b", "a=1;b"), ("a=b=c", None), ("a=é", None), ("a=1\nb=2", None),
        (",".join(f"k{n}=1" for n in range(MOST_MEMBERS + 1)), None), ("a=" + "x" * 256, "a=" + "x" * 256),
        ("a=" + "x" * 257, None), (",".join(f"k{n}={'x' * 200}" for n in range(3)), None),
    ],
)  # fmt: skip
def test_an_invalid_state_is_dropped_and_its_trace_stays(state: str | None, kept: str | None) -> None:
    context = TraceContext.read(PARENT, state)
    assert context == TraceContext(TRACE, SPAN, 1, kept)


@given(
    parent=st.one_of(st.text(), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")),
    state=st.text(),
)
def test_whatever_comes_has_one_form_and_fits_its_columns(parent: str, state: str) -> None:
    context = TraceContext.read(parent, state)
    if context is None:
        return
    assert len(context.parent) == 55
    assert context.state is None or 0 < len(context.state) <= MOST_STATE_CHARS
    assert TraceContext.read(context.parent, context.state) == context
