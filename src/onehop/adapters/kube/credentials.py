"""Credentials: what is shown to the API server, and how it is had anew when it is refused.

A bearer token out of a file is read again each minute, since the kubelet exchanges it long before
it expires, and at once when the server answers 401. A plugin (client.authentication.k8s.io) is run
when its last answer has expired or was refused.
"""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from onehop.adapters.kube.structs import UNREADABLE

_READ_AGAIN = 60.0  # seconds; client-go's period
_PLUGIN_SECONDS = 30.0
_BEFORE_EXPIRY = 30.0
_AT_LEAST = 10.0  # a clock that is ahead of the plugin's must not run it for each request


class KubeConfigError(Exception):
    """How to reach the API server cannot be found out; the text is for the user."""


class Credentials(Protocol):
    """The value of the Authorization header, empty for none.

    `is_slow`: to be asked may take seconds.
    """

    is_slow: bool

    def authorization(self) -> str:
        """What to send now."""
        ...

    def renew(self, spoilt: str) -> bool:
        """The server refused `spoilt`: whether there is something else now."""
        ...


class Fixed:
    """A header that never changes: a token in a kubeconfig, a password, or none."""

    is_slow = False

    def __init__(self, header: str) -> None:
        self._header = header

    def authorization(self) -> str:
        """The header."""
        return self._header

    def renew(self, spoilt: str) -> bool:
        """Never anything else."""
        return spoilt != self._header


class TokenFile:
    """A bearer token in a file.

    Raises:
        KubeConfigError: when there is no such file at the start; later the last token stays.
    """

    is_slow = False

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        try:
            self._header = self._read()
        except (OSError, ValueError) as error:
            raise KubeConfigError(f"the token file {path} cannot be read: {error}") from error
        self._read_at = clock()

    def authorization(self) -> str:
        """The token, read again when it is old."""
        with self._lock:
            if self._clock() - self._read_at >= _READ_AGAIN:
                self._again()
            return self._header

    def renew(self, spoilt: str) -> bool:
        """Read the file again."""
        with self._lock:
            if self._header == spoilt:
                self._again()
            return self._header != spoilt

    def _again(self) -> None:
        self._read_at = self._clock()
        try:
            self._header = self._read()
        except (OSError, ValueError):
            return  # half written or gone for a moment: the old one may still do

    def _read(self) -> str:
        token = self._path.read_text().strip()
        if not token or any(c.isspace() for c in token):
            raise ValueError("it holds no token")
        return f"Bearer {token}"


class PluginSpec(msgspec.Struct, rename="camel", frozen=True):
    """users[].user.exec of a kubeconfig."""

    command: str
    api_version: str
    args: list[str] | None = None
    env: list[dict[str, str]] | None = None


class _PluginStatus(msgspec.Struct, rename="camel"):
    token: str | None = None
    expiration_timestamp: datetime | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None


class _PluginAnswer(msgspec.Struct):
    status: _PluginStatus


class Plugin:
    """A program that prints credentials."""

    is_slow = True

    def __init__(
        self,
        spec: PluginSpec,
        *,
        folder: Path,
        show: Callable[[bytes, bytes], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spec = spec
        self._folder = folder
        self._show = show
        self._clock = clock
        self._lock = threading.Lock()
        self._header = ""
        self._until = 0.0

    def authorization(self) -> str:
        """What the program printed, which is run again when that has expired.

        Raises:
            KubeConfigError: when the program fails.
        """
        with self._lock:
            if self._clock() >= self._until:
                self._run()
            return self._header

    def renew(self, spoilt: str) -> bool:
        """Run the program again, unless somebody did since."""
        with self._lock:
            if self._header == spoilt:
                self._run()
            return self._header != spoilt

    def _run(self) -> None:
        spec = self._spec
        info = {"apiVersion": spec.api_version, "kind": "ExecCredential"}
        text = msgspec.json.encode({**info, "spec": {"interactive": False}}).decode()
        more = {each.get("name", ""): each.get("value", "") for each in spec.env or ()}
        command = spec.command
        if "/" in command:
            command = str(self._folder / command)
        try:
            done = subprocess.run(
                [command, *(spec.args or ())],
                env={**os.environ, **more, "KUBERNETES_EXEC_INFO": text},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PLUGIN_SECONDS,
                check=True,
            )
            status = msgspec.json.decode(done.stdout, type=_PluginAnswer).status
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
            why = f"ended with {error.returncode}: {' '.join(said)}"
            raise KubeConfigError(f"the plugin {spec.command} {why}") from error
        except (OSError, subprocess.TimeoutExpired, *UNREADABLE) as error:
            raise KubeConfigError(f"the plugin {spec.command}: {error}") from error
        self._take(status)

    def _take(self, status: _PluginStatus) -> None:
        if status.client_certificate_data and status.client_key_data:
            self._show(status.client_certificate_data.encode(), status.client_key_data.encode())
        self._header = f"Bearer {status.token}" if status.token else ""
        expiry = status.expiration_timestamp
        until = expiry.timestamp() - _BEFORE_EXPIRY if expiry else float("inf")
        self._until = max(until, self._clock() + _AT_LEAST)


def show_certificate(tls: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Let a context show a client certificate. The key is in memory only, on no disk.

    Raises:
        KubeConfigError: when the two are no pair in PEM.
    """
    names = []
    descriptors = []
    try:
        for content in (certificate, key):
            descriptor = os.memfd_create("onehop", os.MFD_CLOEXEC)
            descriptors.append(descriptor)
            os.write(descriptor, content)
            names.append(f"/proc/self/fd/{descriptor}")
        tls.load_cert_chain(*names)
    except (ssl.SSLError, OSError) as error:
        raise KubeConfigError(f"the client certificate cannot be used: {error}") from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def basic(username: str, password: str) -> str:
    """The header for a user name and a password."""
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    return f"Basic {pair}"
