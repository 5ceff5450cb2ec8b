"""Messages of several processes through one pipe."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from maestro.worker.frames import FrameReader, FrameWriter, Kind


def through_a_file(path: Path, messages: list[tuple[Kind, bytes]]) -> bytes:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    writer = FrameWriter(descriptor)
    for kind, payload in messages:
        writer.write(kind, payload)
    os.close(descriptor)
    return path.read_bytes()


def test_messages_of_any_size_arrive_whole_in_any_chunks(tmp_path: Path) -> None:
    sent = [
        (Kind.STDOUT, b""),
        (Kind.RECORD, b"r" * 4096),
        (Kind.OUTCOME, os.urandom(100_000)),
        (Kind.STDERR, b"e"),
    ]
    data = through_a_file(tmp_path / "pipe", sent)
    for size in (1, 7, 4096, len(data)):
        reader = FrameReader()
        received = [m for start in range(0, len(data), size) for m in reader.feed(data[start : start + size])]
        assert [(kind, payload) for _, kind, payload in received] == sent


def test_frames_of_two_processes_may_alternate() -> None:
    read_end, write_end = os.pipe()
    writer = FrameWriter(write_end)
    child = os.fork()
    writer.write(Kind.RECORD, (b"c" if child == 0 else b"p") * 20_000)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write_end)
    reader = FrameReader()
    received = []
    while data := os.read(read_end, 1000):
        received += reader.feed(data)
    os.close(read_end)
    assert sorted(payload[:1] for _, _, payload in received) == [b"c", b"p"]
    assert {len(set(payload)) for _, _, payload in received} == {1}


@given(st.lists(st.binary(max_size=20)))
def test_incomplete_frames_wait(payloads: list[bytes]) -> None:
    read_end, write_end = os.pipe()
    writer = FrameWriter(write_end)
    for payload in payloads:
        writer.write(Kind.STDOUT, payload)
    os.close(write_end)
    reader = FrameReader()
    received: list[tuple[int, Kind, bytes]] = []
    while data := os.read(read_end, 3):
        received += reader.feed(data)
    os.close(read_end)
    assert [payload for _, _, payload in received] == payloads
