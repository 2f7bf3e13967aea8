"""The bench's own checks: a load client that passes over a wrong text would prove nothing."""

from array import array

import pytest

from tests.bench.cases import CASES, QUICK, find_case, models
from tests.bench.connection import Connection
from tests.bench.tokens import Model, Received, checksum_of, clock, final_text, parse_model


def text_of(tokens: int) -> bytes:
    text = b"".join(b"%05d%09d " % (number, clock()) for number in range(1, tokens + 1))
    return text + final_text(checksum_of(text))


def test_the_name_of_a_model_says_what_the_provider_does() -> None:
    for model in (Model(500), Model(100, 50), Model(2, 0.05, 1.5)):
        assert parse_model("bench/" + model.name) == model
    for name in ("gpt", "0x1", "bench/5"):
        with pytest.raises(ValueError, match="not a model"):
            parse_model(name)


@pytest.mark.parametrize("size", [1, 7, 15, 16, 40, 1000])
def test_a_whole_text_is_complete_in_any_division(size: int) -> None:
    latencies = array("q")
    received, text = Received(20, latencies), text_of(20)
    for start in range(0, len(text), size):
        assert not received.is_complete
        received.add(text[start : start + size], clock())
    assert received.is_complete
    assert len(latencies) == 20


def test_a_token_that_is_missing_repeated_or_changed_is_found() -> None:
    text = text_of(5)
    changed = text[:8] + (b"0" if text[8:9] != b"0" else b"1") + text[9:]
    for wrong in (text[15:], text[:15] + text, text[:30] + text[45:], changed, text[:-1], text + b" "):
        received = Received(5, array("q"))
        received.add(wrong, clock())
        assert not received.is_complete


def test_a_new_attempt_starts_the_text_again() -> None:
    received = Received(3, array("q"))
    received.add(text_of(3)[:20], clock())
    received.clear()
    received.add(text_of(3), clock())
    assert received.is_complete


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_the_client_reads_chunks_in_any_division(size: int) -> None:
    connection, found = Connection(), bytearray()
    connection._sink = lambda data, _: found.extend(data)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    response = head + b"3\r\nabc\r\nb\r\nde\r\n\r\nfghij\r\n0\r\n\r\n"
    for data in (response, response):
        for start in range(0, len(data), size):
            connection.data_received(data[start : start + size])
    assert bytes(found) == b"abcde\r\n\r\nfghij" * 2


def test_a_case_of_any_number_of_answers_has_its_model() -> None:
    assert [find_case(name) for name in CASES] == [*CASES.values()]
    assert callable(find_case("10x20"))
    assert "100x20" in models(QUICK, ["10x20"])
    for wrong in ("10x0", "0x50", "99999x50", "other"):
        with pytest.raises(ValueError, match="no case"):
            find_case(wrong)
