"""Output becomes lines, and nothing of it is lost."""

from hypothesis import given
from hypothesis import strategies as st

from maestro.worker.lines import CONTINUED, MAX_MESSAGE, LineSplitter, pieces, storable, storable_json


def split(*chunks: bytes) -> list[str]:
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.close()


def test_lines_end_at_newlines_wherever_the_chunks_end() -> None:
    assert split(b"one\ntw", b"o\r\n", b"\n", b"three") == ["one", "two", "", "three"]


def test_a_character_cut_by_a_chunk_is_whole_again() -> None:
    word = "emissão".encode()
    assert split(word[:6], word[6:]) == ["emissão"]


def test_bytes_that_are_not_utf8_show_their_value() -> None:
    assert split("emissão\n".encode("latin-1"), b"\xff") == ["emiss\\xe3o", "\\xff"]


def test_what_postgresql_refuses_is_made_visible() -> None:
    assert split(b"a\x00b\n") == ["a\u2400b"]
    assert storable("x\ud800y") == "x\ufffdy"
    assert storable_json({"k\0": ["v\0", 1, None, {"n": "\0"}]}) == {
        "k\u2400": ["v\u2400", 1, None, {"n": "\u2400"}]
    }


def test_a_huge_line_is_cut_into_marked_pieces() -> None:
    lines = split(b"x" * (3 * MAX_MESSAGE) + b"\nnext\n")
    assert lines[-1] == "next"
    assert all(len(line) <= MAX_MESSAGE for line in lines)
    assert all(line.startswith(CONTINUED) for line in lines[1:-1])
    assert "".join(line.removeprefix(CONTINUED) for line in lines[:-1]) == "x" * (3 * MAX_MESSAGE)


def test_a_stream_without_newlines_does_not_gather_in_memory() -> None:
    splitter = LineSplitter()
    emitted = [line for _ in range(64) for line in splitter.feed(b"y" * 10_000)]
    assert len(splitter._pending) <= MAX_MESSAGE
    text = "".join(line.removeprefix(CONTINUED) for line in emitted + splitter.close())
    assert text == "y" * 640_000


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")), st.integers(1, 7))
def test_any_text_in_any_chunks_comes_out_whole(text: str, size: int) -> None:
    data = text.encode()
    lines = split(*(data[start : start + size] for start in range(0, len(data), size)))
    assert "\n".join(lines) == text.removesuffix("\n")


@given(st.text(max_size=10))
def test_a_short_message_is_one_piece(text: str) -> None:
    assert list(pieces(text)) == [text]
