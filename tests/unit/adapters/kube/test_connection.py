"""A kept connection: answers of every form, and every way in which it breaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onehop.adapters.kube.connection import Connection, LostError, Request
from onehop.adapters.kube.credentials import KubeConfigError
from tests.fakes.api_writes import ApiWrites, FakeAccess

PATH = "/api/v1/namespaces/kafka/services/broker-0"
GET = Request("GET", PATH)


@pytest.fixture
def api() -> Iterator[ApiWrites]:
    server = ApiWrites()
    server.service("kafka", "broker-0")
    yield server
    server.close()


@pytest.fixture
def connection(api: ApiWrites) -> Iterator[Connection]:
    made = Connection(api.access(), timeout=0.5)
    yield made
    made.close()


def test_requests_share_one_connection(api: ApiWrites, connection: Connection) -> None:
    for _ in range(3):
        answer = connection.exchange(GET)
        assert answer.status == 200
        assert b'"broker-0"' in answer.body
    assert {each.connection for each in api.seen} == {1}


@pytest.mark.parametrize("trick", ["chunked", "interim", "close"])
def test_every_form_of_an_answer_is_read_whole(
    api: ApiWrites, connection: Connection, trick: str
) -> None:
    plain = connection.exchange(GET).body
    api.script.append(trick)
    assert connection.exchange(GET).body == plain
    assert connection.exchange(GET).body == plain


def test_the_next_request_after_close_takes_a_new_connection(
    api: ApiWrites, connection: Connection
) -> None:
    api.script.append("close")
    connection.exchange(GET)
    connection.exchange(GET)
    assert [each.connection for each in api.seen] == [1, 2]


def test_a_connection_that_was_closed_while_idle_is_replaced_unseen(
    api: ApiWrites, connection: Connection
) -> None:
    connection.exchange(GET)
    api.break_connections()
    assert connection.exchange(GET).status == 200


def test_a_request_that_is_cut_on_a_kept_connection_is_tried_once_more(
    api: ApiWrites, connection: Connection
) -> None:
    connection.exchange(GET)
    api.script.append("drop")
    assert connection.exchange(GET).status == 200


@pytest.mark.parametrize("trick", ["half", "hang", "drop"])
def test_a_first_request_that_is_cut_is_unclear(
    api: ApiWrites, connection: Connection, trick: str
) -> None:
    api.script.append(trick)
    with pytest.raises(LostError) as lost:
        connection.exchange(GET)
    assert lost.value.was_sent
    assert connection.exchange(GET).status == 200


def test_half_an_answer_on_a_kept_connection_is_never_repeated(
    api: ApiWrites, connection: Connection
) -> None:
    connection.exchange(GET)
    api.script.append("half")
    with pytest.raises(LostError):
        connection.exchange(GET)
    assert len(api.seen) == 2


def test_nobody_there_was_not_sent() -> None:
    server = ApiWrites()
    server.close()
    with pytest.raises(LostError, match="Connection refused") as lost:
        Connection(FakeAccess(server.port)).exchange(GET)
    assert not lost.value.was_sent


def test_a_refused_token_is_read_again_once(api: ApiWrites) -> None:
    connection = Connection(api.access("stale", "good"))
    assert connection.exchange(GET).status == 200
    assert [each.headers["authorization"] for each in api.seen] == ["Bearer stale", "Bearer good"]
    connection.close()
    hopeless = Connection(api.access("stale"))
    assert hopeless.exchange(GET).status == 401
    hopeless.close()


class Failing(FakeAccess):
    """Its plugin fails: from the first, or once it is asked for something else to show."""

    when = "first"

    def authorization(self) -> str:
        if self.when == "first":
            raise KubeConfigError("the plugin says no")
        return super().authorization()

    def renew(self, spoilt: str) -> bool:
        raise KubeConfigError("the plugin says no")


@pytest.mark.parametrize("when", ["first", "renewal"])
def test_credentials_that_cannot_be_had_are_a_lost_connection(api: ApiWrites, when: str) -> None:
    access = Failing(api.port, ("stale",))
    access.when = when
    connection = Connection(access)
    with pytest.raises(LostError, match="the plugin says no") as lost:
        connection.exchange(GET)
    assert not lost.value.was_sent
    connection.close()


def test_the_server_may_ask_for_patience(api: ApiWrites, connection: Connection) -> None:
    api.script.append((429, {"retry-after": "7"}, b"{}"))
    assert connection.exchange(GET).retry_after == 7.0


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"garbage",
        b"HTTP/1.1 abc X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000,
    ],
)
def test_what_is_no_answer_is_a_lost_connection(head: bytes) -> None:
    import socket
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(1 << 16)
            client.sendall(head)
            client.shutdown(socket.SHUT_WR)
            client.recv(1)

    thread = threading.Thread(target=answer)
    thread.start()
    connection = Connection(FakeAccess(listener.getsockname()[1]), timeout=2)
    with pytest.raises(LostError):
        connection.exchange(GET)
    connection.close()
    thread.join(5)
    listener.close()


def test_lines_come_as_they_are_sent(api: ApiWrites, connection: Connection) -> None:
    api.script.append("chunked")
    api.objects[PATH] = {"a": 1}
    # No end of line: it never was whole.
    assert list(connection.lines(GET, idle=lambda: 1.0)) == []
    api.script.append((404, {}, b"{}"))
    with pytest.raises(LostError, match="HTTP 404"):
        list(connection.lines(GET, idle=lambda: 1.0))
