"""How to reach a server: every form of a kubeconfig that is read, and what is said of the rest."""

from __future__ import annotations

import base64
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from onehop.adapters.kube.credentials import KubeConfigError
from onehop.adapters.kube.kubeconfig import Access, load_access


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A self-signed certificate and its key."""
    folder = tmp_path_factory.mktemp("pki")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=api", "-days", "1", "-keyout", "key", "-out", "crt"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return (folder / "crt").read_bytes(), (folder / "key").read_bytes()


def config(
    cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "main",
        "clusters": [{"name": "c", "cluster": cluster or {"server": "https://192.0.2.1:6443"}}],
        "users": [{"name": "u", "user": user or {"token": "abc"}}],
        "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
        **more,
    }


def loaded(tmp_path: Path, body: object, context: str | None = None) -> Access:
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(body))
    return load_access(file, context)


def test_a_token(tmp_path: Path) -> None:
    access = loaded(tmp_path, config({"server": "https://api.example:6443/k8s/", "unknown": 1}))
    assert (access.host, access.port, access.prefix) == ("api.example", 6443, "/k8s")
    assert access.server_name == "api.example"
    assert access.namespace == "default"
    assert access.authorization() == "Bearer abc"
    assert not access.renew("Bearer abc")
    assert access.tls is not None
    assert access.tls.verify_mode is ssl.CERT_REQUIRED
    assert "abc" not in repr(access)


def test_a_plain_server_has_its_default_port(tmp_path: Path) -> None:
    access = loaded(tmp_path, config({"server": "http://[2001:db8::1]"}))
    assert (access.host, access.port, access.tls) == ("2001:db8::1", 80, None)


def test_a_context_is_chosen_by_its_name(tmp_path: Path) -> None:
    other = {"name": "other", "context": {"cluster": "c", "namespace": "metallb-system"}}
    body = config()
    body["contexts"].append(other)
    access = loaded(tmp_path, body, "other")
    assert (access.namespace, access.authorization()) == ("metallb-system", "")


def test_a_user_name_and_a_password(tmp_path: Path) -> None:
    access = loaded(tmp_path, config(user={"username": "me", "password": "pw"}))
    assert access.authorization() == "Basic " + base64.b64encode(b"me:pw").decode()


def test_certificates_come_from_files_beside_the_kubeconfig_or_from_itself(
    tmp_path: Path, pair: tuple[bytes, bytes]
) -> None:
    crt, key = pair
    (tmp_path / "ca.crt").write_bytes(crt)
    (tmp_path / "key").write_bytes(key)
    by_file = loaded(
        tmp_path,
        config(
            {"server": "https://192.0.2.1", "certificate-authority": "ca.crt"},
            {"client-certificate": "ca.crt", "client-key": "key"},
        ),
    )
    inline = loaded(
        tmp_path,
        config(
            {
                "server": "https://192.0.2.1",
                "certificate-authority-data": base64.b64encode(crt).decode(),
                "tls-server-name": "api",
            },
            {
                "client-certificate-data": base64.b64encode(crt).decode(),
                "client-key-data": base64.b64encode(key).decode(),
            },
        ),
    )
    for access in (by_file, inline):
        assert access.tls is not None
        assert len(access.tls.get_ca_certs()) == 1
    assert inline.server_name == "api"


def test_a_server_may_go_unverified(tmp_path: Path) -> None:
    cluster = {"server": "https://192.0.2.1", "insecure-skip-tls-verify": True}
    access = loaded(tmp_path, config(cluster))
    assert access.tls is not None
    assert access.tls.verify_mode is ssl.CERT_NONE


def test_several_files_are_one_and_the_first_that_has_a_name_counts(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "token").write_text("from-file")
    first, second = tmp_path / "one", tmp_path / "sub" / "two"
    first.write_text(yaml.safe_dump({"clusters": config()["clusters"]}))
    second.write_text(
        yaml.safe_dump(config({"server": "https://not-this"}, {"tokenFile": "token"}))
    )
    environment = {"KUBECONFIG": f"{first}:{tmp_path / 'none'}:{second}"}
    access = load_access(environment=environment)
    assert access.host == "192.0.2.1"
    assert access.authorization() == "Bearer from-file"


def test_in_a_cluster_the_service_account_counts(
    tmp_path: Path, pair: tuple[bytes, bytes]
) -> None:
    for name, content in (
        ("ca.crt", pair[0]),
        ("token", b"sa\n"),
        ("namespace", b"onehop-system"),
    ):
        (tmp_path / name).write_bytes(content)
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = load_access(environment=environment, service_account=tmp_path)
    assert (access.server, access.host, access.port) == ("https://[fd00::1]:443", "fd00::1", 443)
    assert access.namespace == "onehop-system"
    assert access.authorization() == "Bearer sa"


def test_else_the_file_in_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(yaml.safe_dump(config()))
    assert load_access(environment={"HOME": str(tmp_path)}).host == "192.0.2.1"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "is no kubeconfig"),
        ({}, "there is no current-context: name one with --context"),
        (config(**{"current-context": "x"}), "there is no context 'x' (there is: main)"),
        (config(clusters=[]), "there is no cluster 'c' (there is: none)"),
        (config(users=None), "there is no user 'u' (there is: none)"),
        (config({"server": "api"}), "server 'api' is no URL of http or https"),
        (config({"server": "https://a:b"}), "server 'https://a:b'"),
        (config({"server": "https://a", "proxy-url": "http://p"}), "proxy-url is not served"),
        (config(user={"auth-provider": {"name": "x"}}), "auth-provider is not served"),
        (config(user={"tokenFile": "none"}), "none cannot be read"),
        (config(user={"client-certificate-data": "YQ=="}), "client-key go together"),
        (
            config(user={"client-certificate-data": "YQ==", "client-key-data": "YQ=="}),
            "the client certificate cannot be used",
        ),
        (config(user={"client-certificate-data": "?", "client-key-data": "YQ=="}), "not base64"),
        (config(user={"client-certificate": "x", "client-key": "y"}), "client-certificate cannot"),
        (
            config({"server": "https://a", "certificate-authority": "none"}),
            "the certificate authority cannot be read",
        ),
        (
            config({"server": "https://a", "certificate-authority-data": "YQ=="}),
            "the certificate authority cannot be read",
        ),
        (config(user={"token": 7}), "users[0].user.token"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, body: object, says: str) -> None:
    with pytest.raises(KubeConfigError) as error:
        loaded(tmp_path, body)
    assert says in str(error.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(KubeConfigError, match="config cannot be read"):
        load_access(environment={"HOME": str(tmp_path)})
    with pytest.raises(KubeConfigError, match="the service account in"):
        load_access(environment={"KUBERNETES_SERVICE_HOST": "x"}, service_account=tmp_path)
