"""Files that the controller writes: what a Service's status says, and what it left behind.

`status/NAMESPACE/NAME.yaml` is a Service with nothing but its status, as the API would answer;
`released/NAMESPACE/NAME.yaml` keeps the addresses of a Service that was deleted. A name becomes a
path only when it is a DNS label, so no object can reach outside the folder.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from onehop.adapters.manifests.document import DocumentError, document
from onehop.adapters.objects.fault import Plain, is_label
from onehop.adapters.objects.reading import Reading
from onehop.adapters.objects.shape import LoadBalancerStatus, Shape
from onehop.model.address import IPAddress
from onehop.model.desired import ServiceStatus
from onehop.model.service import Condition, Key

STATUS = "status"
RELEASED = "released"
_SUFFIX = ".yaml"
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


class _StatusPart(Shape):
    load_balancer: LoadBalancerStatus | None = None


class _StatusFile(Shape):
    status: _StatusPart


class _ReleasedFile(Shape):
    addresses: list[str]


def path_of(root: str, part: str, key: Key) -> str | None:
    """Where the file of a Service lies; None when its name could lead elsewhere."""
    if not (is_label(key.namespace) and is_label(key.name)):
        return None
    return f"{root}/{part}/{key.namespace}/{key.name}{_SUFFIX}"


def key_of(root: str, path: str) -> tuple[str, Key] | None:
    """The part and the Service that a path below `root` stands for, if any."""
    steps = path.removeprefix(root + "/").split("/")
    if len(steps) != 3 or not steps[2].endswith(_SUFFIX) or steps[0] not in (STATUS, RELEASED):
        return None
    key = Key(steps[1], steps[2].removesuffix(_SUFFIX))
    return (steps[0], key) if is_label(key.namespace) and is_label(key.name) else None


def status_text(status: ServiceStatus) -> str:
    """The status file of a Service."""
    ingress = [f"    - {{ip: {_quoted(str(ip))}, ipMode: VIP}}" for ip in status.addresses]
    lines = [
        "apiVersion: v1",
        "kind: Service",
        *_metadata(status.key),
        "status:",
        "  loadBalancer:",
        *(["    ingress:", *ingress] if ingress else ["    ingress: []"]),
        *(["  conditions:"] if status.conditions else ["  conditions: []"]),
        *(line for condition in status.conditions for line in _condition(condition)),
    ]
    return "\n".join(lines) + "\n"


def released_text(key: Key, addresses: tuple[IPAddress, ...]) -> str:
    """The file that keeps the addresses of a deleted Service."""
    listed = ", ".join(_quoted(str(address)) for address in addresses)
    lines = ["kind: ReleasedAddresses", *_metadata(key), f"addresses: [{listed}]"]
    return "\n".join(lines) + "\n"


def _metadata(key: Key) -> tuple[str, ...]:
    return ("metadata:", f"  name: {_quoted(key.name)}", f"  namespace: {_quoted(key.namespace)}")


def _condition(condition: Condition) -> Iterator[str]:
    yield f"  - type: {_quoted(condition.type)}"
    yield f'    status: "{condition.status}"'
    yield f"    reason: {_quoted(condition.reason)}"
    yield f"    message: {_quoted(condition.message)}"


def _quoted(text: str) -> str:
    # JSON's strings are YAML's but for these: nothing in a message can break out of its line.
    return _UNPRINTABLE.sub(_escaped, json.dumps(text, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


def addresses_in(part: str, text: str) -> tuple[IPAddress, ...]:
    """The addresses that a status or released file names.

    Raises:
        ValueError: with a sentence, when the file is not what we write.
    """
    try:
        texts = _texts(part, document(text))
    except DocumentError as error:
        raise ValueError(f"line {error.line}: {error.why}") from None
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    reading = Reading()
    addresses = tuple(reading.address(each) for each in texts)
    if reading.faults:
        raise ValueError(reading.faults[0].detail)
    return addresses


def _texts(part: str, plain: Plain) -> list[str]:
    if part == RELEASED:
        return msgspec.convert(plain, _ReleasedFile).addresses
    balancer = msgspec.convert(plain, _StatusFile).status.load_balancer
    return [each.ip for each in (balancer and balancer.ingress) or () if each.ip]


def write(path: str, text: str) -> None:
    """Put a whole file in place of whatever was there; a reader sees the one or the other.

    Raises:
        OSError: when it cannot be written; the old file is then as it was.
    """
    directory, name = os.path.split(path)
    # The dot keeps it out of every reader's sight; one name only, so that what a killed process
    # left behind is overwritten by the next.
    temporary = f"{directory}/.{name}.new"
    try:
        try:
            _put(temporary, text)
        except FileNotFoundError:
            os.makedirs(directory, exist_ok=True)
            _put(temporary, text)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _put(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def remove(path: str) -> None:
    """Take a file away; one that is gone already is no error.

    Raises:
        OSError: when it cannot be removed.
    """
    with suppress(FileNotFoundError):
        os.unlink(path)
