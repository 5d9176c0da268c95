"""How to reach an API server: a kubeconfig, or the pod's own service account.

The rules are kubectl's: a file that is named, else those that KUBECONFIG names (merged, the first
one that has a name counts), else the service account where the environment says that we run in a
cluster, else ~/.kube/config. A relative path in a file starts from that file's folder.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
import yaml

from onehop.adapters.kube.credentials import (
    Credentials,
    Fixed,
    KubeConfigError,
    Plugin,
    PluginSpec,
    TokenFile,
    basic,
    show_certificate,
)
from onehop.model.address import host_port

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_T = TypeVar("_T")


class _Shape(msgspec.Struct, rename="kebab"):
    """A part of a kubeconfig; what we do not know is let through."""


class _Cluster(_Shape):
    server: str = ""
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None
    proxy_url: str | None = None


class _User(_Shape):
    token: str | None = None
    token_file: str | None = msgspec.field(name="tokenFile", default=None)
    username: str | None = None
    password: str | None = None
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    exec: PluginSpec | None = None
    auth_provider: dict[str, object] | None = None


class _Context(_Shape):
    cluster: str
    user: str | None = None
    namespace: str | None = None


class _NamedCluster(_Shape):
    name: str
    cluster: _Cluster


class _NamedUser(_Shape):
    name: str
    user: _User


class _NamedContext(_Shape):
    name: str
    context: _Context


class _File(_Shape):
    current_context: str | None = None
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A server, and what to show it. Reading and writing both go by this.

    `prefix` is the path of the server's URL, `server_name` what its certificate has to be for.
    `is_pod`: it is the service account of the pod that we run in, and `namespace` is our own.
    """

    server: str
    host: str
    port: int
    prefix: str = ""
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    namespace: str = "default"
    is_pod: bool = False
    credentials: Credentials = field(default=Fixed(""), repr=False)

    def authorization(self) -> str:
        """The Authorization header now, empty for none.

        Raises:
            KubeConfigError: when a plugin has to be run and fails.
        """
        return self.credentials.authorization()

    def renew(self, spoilt: str) -> bool:
        """The server refused `spoilt`: whether there is something else to try.

        Raises:
            KubeConfigError: when a plugin has to be run and fails.
        """
        return self.credentials.renew(spoilt)


def load_access(
    kubeconfig: Path | None = None,
    context: str | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    service_account: Path = SERVICE_ACCOUNT,
) -> Access:
    """The server to talk to.

    Raises:
        KubeConfigError: when nothing says which, or what says so cannot be used.
    """
    if kubeconfig is not None:
        return _from_files([kubeconfig], context)
    if environment.get("KUBECONFIG"):
        found = [Path(each) for each in environment["KUBECONFIG"].split(os.pathsep) if each]
        return _from_files([each for each in found if each.exists()] or found[:1], context)
    if environment.get("KUBERNETES_SERVICE_HOST") and context is None:
        return _in_cluster(environment, service_account)
    return _from_files([Path(environment.get("HOME", "/")) / ".kube" / "config"], context)


def _in_cluster(environment: Mapping[str, str], account: Path) -> Access:
    host = environment["KUBERNETES_SERVICE_HOST"]
    port = int(environment.get("KUBERNETES_SERVICE_PORT") or 443)
    try:
        namespace = (account / "namespace").read_text().strip()
        tls = _context(cafile=account / "ca.crt")
    except OSError as error:
        raise KubeConfigError(f"the service account in {account}: {error}") from error
    return Access(
        server=f"https://{host_port(host, port)}",
        host=host,
        port=port,
        tls=tls,
        server_name=host,
        namespace=namespace,
        is_pod=True,
        credentials=TokenFile(account / "token"),
    )


def _from_files(paths: list[Path], wanted: str | None) -> Access:
    files = [(path, _file(path)) for path in paths]
    shown = ", ".join(map(str, paths))
    name = wanted or next((f.current_context for _, f in files if f.current_context), None)
    if not name:
        raise KubeConfigError(f"{shown}: there is no current-context: name one with --context")
    contexts = [(p, each.name, each.context) for p, f in files for each in f.contexts or ()]
    clusters = [(p, each.name, each.cluster) for p, f in files for each in f.clusters or ()]
    users = [(p, each.name, each.user) for p, f in files for each in f.users or ()]
    _, context = _named(contexts, name, "context", shown)
    cluster_path, cluster = _named(clusters, context.cluster, "cluster", shown)
    user_path, user = paths[0], _User()
    if context.user:
        user_path, user = _named(users, context.user, "user", shown)
    return _access(context, cluster, cluster_path.parent, user, user_path.parent)


def _named(items: list[tuple[Path, str, _T]], name: str, what: str, shown: str) -> tuple[Path, _T]:
    for path, each, item in items:
        if each == name:
            return path, item
    known = ", ".join(each for _, each, _ in items) or "none"
    raise KubeConfigError(f"{shown}: there is no {what} {name!r} (there is: {known})")


def _file(path: Path) -> _File:
    try:
        plain = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        return msgspec.convert({} if plain is None else plain, _File)
    except OSError as error:
        raise KubeConfigError(f"the kubeconfig {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KubeConfigError(f"the kubeconfig {path} cannot be read: {error}") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise KubeConfigError(f"{path} is no kubeconfig: {error}") from error


def _access(
    context: _Context, cluster: _Cluster, folder: Path, user: _User, user_folder: Path
) -> Access:
    url = urlsplit(cluster.server)
    try:
        port = url.port or (80 if url.scheme == "http" else 443)
    except ValueError as error:
        raise KubeConfigError(f"server {cluster.server!r}: {error}") from error
    if url.scheme not in ("http", "https") or not url.hostname:
        raise KubeConfigError(f"server {cluster.server!r} is no URL of http or https")
    if cluster.proxy_url:
        raise KubeConfigError("proxy-url is not served: reach the API server directly")
    if user.auth_provider is not None:
        raise KubeConfigError("auth-provider is not served: use exec or a token")
    tls = _tls(cluster, folder) if url.scheme == "https" else None
    if tls is not None:
        _show_own(tls, user, user_folder)
    return Access(
        server=cluster.server,
        host=url.hostname,
        port=port,
        prefix=url.path.rstrip("/"),
        tls=tls,
        server_name=cluster.tls_server_name or url.hostname,
        namespace=context.namespace or "default",
        credentials=_credentials(user, user_folder, tls),
    )


def _credentials(user: _User, folder: Path, tls: ssl.SSLContext | None) -> Credentials:
    if user.token_file:
        return TokenFile(folder / user.token_file)
    if user.token:
        return Fixed(f"Bearer {user.token}")
    if user.username and user.password:
        return Fixed(basic(user.username, user.password))
    if user.exec is not None:

        def show(certificate: bytes, key: bytes) -> None:
            if tls is not None:
                show_certificate(tls, certificate, key)

        return Plugin(user.exec, folder=folder, show=show)
    return Fixed("")


def _tls(cluster: _Cluster, folder: Path) -> ssl.SSLContext:
    if cluster.insecure_skip_tls_verify:
        tls = _context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        return tls
    try:
        if cluster.certificate_authority_data:
            text = _decoded(cluster.certificate_authority_data, "certificate-authority-data")
            return _context(cadata=text.decode("ascii", errors="replace"))
        if cluster.certificate_authority:
            return _context(cafile=folder / cluster.certificate_authority)
        return _context()
    except (OSError, ValueError) as error:
        raise KubeConfigError(f"the certificate authority cannot be read: {error}") from error


def _context(cafile: Path | None = None, cadata: str | None = None) -> ssl.SSLContext:
    tls = ssl.create_default_context(cafile=cafile, cadata=cadata)
    tls.set_alpn_protocols(["http/1.1"])
    return tls


def _show_own(tls: ssl.SSLContext, user: _User, folder: Path) -> None:
    certificate = _content(
        user.client_certificate_data, user.client_certificate, folder, "client-certificate"
    )
    key = _content(user.client_key_data, user.client_key, folder, "client-key")
    if certificate is not None and key is not None:
        show_certificate(tls, certificate, key)
    elif certificate is not None or key is not None:
        raise KubeConfigError("client-certificate and client-key go together")


def _content(data: str | None, path: str | None, folder: Path, what: str) -> bytes | None:
    if data:
        return _decoded(data, f"{what}-data")
    if not path:
        return None
    try:
        return (folder / path).read_bytes()
    except OSError as error:
        raise KubeConfigError(f"{what} cannot be read: {error}") from error


def _decoded(data: str, what: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise KubeConfigError(f"{what} is not base64: {error}") from error
