"""HTTP/1.1 (RFC 9112) as far as an API server speaks it, for those who ask and those who listen.

The head of an answer is looked at, not modelled: it is bytes up to and with the last header's line
end, and the few headers that matter are searched for.
"""

from __future__ import annotations

import os
import re
import ssl

from onehop.adapters.kube.kubeconfig import Access

HEAD_LIMIT = 1 << 16
_AGENT = "onehop"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[^\r]*close", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*(\d+)", re.IGNORECASE)


def head_of_request(
    access: Access, host: str, method: str, path: str, *, accept: str, authorization: str
) -> str:
    """A request's head without the empty line that ends it; `host` is where it goes."""
    bearer = f"Authorization: {authorization}\r\n" if authorization else ""
    return (
        f"{method} {access.prefix}{path} HTTP/1.1\r\nHost: {host}\r\n"
        f"User-Agent: {_AGENT}\r\nAccept: {accept}\r\n{bearer}"
    )


def status_of(head: bytes) -> int:
    """The status code.

    Raises:
        ValueError: when this is no HTTP.
    """
    return int(head[9:12])


def is_interim(head: bytes | bytearray) -> bool:
    """Whether the answer itself is still to come (1xx)."""
    return head[9:10] == b"1"


def length_of(head: bytes) -> int | None:
    """How many octets the body has, if the head says so."""
    found = _LENGTH.search(head)
    return int(found[1]) if found else None


def is_chunked(head: bytes) -> bool:
    """Whether the body comes in chunks (RFC 9112 7.1)."""
    return _CHUNKED.search(head) is not None


def is_last(head: bytes) -> bool:
    """Whether the server closes the connection after this answer."""
    return _CLOSE.search(head) is not None


def retry_after(head: bytes) -> float | None:
    """For how many seconds the server wants to be left alone."""
    found = _RETRY_AFTER.search(head)
    return float(found[1]) if found else None


def why(error: OSError | ValueError) -> str:
    """What a connection failed of, in the system's own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not verify: {error.verify_message}"
    if not isinstance(error, OSError):
        return str(error)
    # asyncio words it after its own function, so the number says more than the text.
    number = 0 if isinstance(error, ssl.SSLError) else error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or str(error)
