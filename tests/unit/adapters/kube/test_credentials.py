"""Credentials that change: a token's file, and a plugin."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from onehop.adapters.kube.credentials import KubeConfigError, Plugin, PluginSpec, TokenFile

V1 = "client.authentication.k8s.io/v1"


def test_a_token_file_is_read_again_each_minute_and_when_it_was_refused(tmp_path: Path) -> None:
    file, now = tmp_path / "token", [0.0]
    file.write_text("one\n")
    token = TokenFile(file, clock=lambda: now[0])
    file.write_text("two\n")
    now[0] = 59.0
    assert token.authorization() == "Bearer one"
    now[0] = 60.0
    assert token.authorization() == "Bearer two"
    assert not token.renew("Bearer two")
    file.write_text("three")
    assert token.renew("Bearer two")
    assert token.authorization() == "Bearer three"
    assert token.renew("Bearer two"), "somebody else has renewed it already"


@pytest.mark.parametrize("content", ["", "a b", None])
def test_a_token_file_that_is_spoilt_later_leaves_the_old_token(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    token = TokenFile(file)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    assert not token.renew("Bearer one")
    assert token.authorization() == "Bearer one"


def test_a_token_file_has_to_be_there_at_first(tmp_path: Path) -> None:
    with pytest.raises(KubeConfigError, match="cannot be read"):
        TokenFile(tmp_path / "none")


def plugin(tmp_path: Path, body: str, clock: Callable[[], float] = time.time) -> Plugin:
    file = tmp_path / "plugin"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    spec = PluginSpec(
        command="./plugin", api_version=V1, args=["get"], env=[{"name": "WHO", "value": "me"}]
    )
    return Plugin(spec, folder=tmp_path, show=lambda certificate, key: None, clock=clock)


def answer(**status: object) -> str:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status})


def test_a_plugin_is_run_once_until_its_token_is_refused(tmp_path: Path) -> None:
    body = f"echo run >> {tmp_path}/runs; n=$(wc -l < {tmp_path}/runs)\n"
    body += 'test -n "$KUBERNETES_EXEC_INFO" && printf \'' + answer(token="$TOKEN") + "' |"
    body += ' sed "s/[$]TOKEN/$WHO-$1-$n/"'
    found = plugin(tmp_path, body)
    assert found.authorization() == "Bearer me-get-1"
    assert found.authorization() == "Bearer me-get-1"
    assert found.renew("Bearer me-get-1")
    assert found.authorization() == "Bearer me-get-2"


def test_a_plugin_is_run_again_when_its_token_has_expired(tmp_path: Path) -> None:
    text = answer(token="t", expirationTimestamp="2020-01-01T00:00:00Z")
    now = [0.0]
    body = f"echo run >> {tmp_path}/runs; echo '{text}'"
    found = plugin(tmp_path, body, clock=lambda: now[0])
    expiry = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    for now[0] in (expiry - 3600, expiry - 31, expiry - 30, expiry + 3600):
        found.authorization()
    assert (tmp_path / "runs").read_text() == "run\n" * 3
    # Our clock is an hour ahead: what it gives has expired at once.
    for now[0] in (expiry + 3609, expiry + 3610, expiry + 3611):
        found.authorization()
    assert (tmp_path / "runs").read_text() == "run\n" * 4


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("echo no access >&2; exit 3", "ended with 3: no access"),
        ("echo nonsense", "malformed"),
        ("echo '{}'", "missing required field"),
    ],
)
def test_a_plugin_that_fails_is_named(tmp_path: Path, body: str, says: str) -> None:
    with pytest.raises(KubeConfigError, match=says) as error:
        plugin(tmp_path, body).authorization()
    assert "the plugin ./plugin" in str(error.value)


def test_a_plugin_may_give_a_certificate(tmp_path: Path) -> None:
    shown: list[tuple[bytes, bytes]] = []
    text = answer(clientCertificateData="CRT", clientKeyData="KEY")
    spec = PluginSpec(command="echo", api_version=V1, args=[text])
    found = Plugin(spec, folder=tmp_path, show=lambda crt, key: shown.append((crt, key)))
    assert found.authorization() == ""
    assert shown == [(b"CRT", b"KEY")]
