#!/bin/sh
# Installs once what onehop, its lab and its tests need, and nothing twice:
#   1. packages of the distribution, by apt-get, only those whose command or file is missing
#   2. Python packages from PyPI into .venv, by uv, each pinned by hash in requirements.lock
#   3. onehop itself, editable: .venv/bin/onehop
# The BPF object and Kafka's artifacts follow in the Makefile, which knows when they are stale.
# pip's and uv's own configuration of the machine decides where PyPI is.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "setup: $*"; }
die() { printf '%s\n' "setup: $*" >&2; exit 1; }

# ---- 1. the distribution's packages --------------------------------------------------------

has() { command -v "$1" >/dev/null 2>&1; }
has_file() { for path in "$@"; do [ -e "$path" ] && return 0; done; return 1; }
has_library() { has_file /usr/lib/*/"$1"* /usr/lib/"$1"* /lib/*/"$1"* /usr/lib64/"$1"*; }

java_is_new() {
    has java || return 1
    major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge 17 ]
}

# The interpreter that .venv is made of: any 3.11 to 3.13 on PATH that can make one.
find_python() {
    for candidate in python3.13 python3.12 python3.11 python3 \
        /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11 /usr/bin/python3; do
        if "$candidate" -c 'import ensurepip, sys, venv
sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# One line a need: packages that satisfy it, the first that the distribution offers wins.
needs() {
    [ -x .venv/bin/python ] || find_python >/dev/null ||
        echo 'python3.13+python3.13-venv python3.12+python3.12-venv python3.11+python3.11-venv'
    has clang || echo 'clang'
    has llvm-strip || echo 'llvm'
    has_library libbpf.so.1 || echo 'libbpf1'
    has_file /usr/include/bpf/bpf_helpers.h || echo 'libbpf-dev'
    has_file /usr/include/linux/bpf.h || echo 'linux-libc-dev'
    has ip || echo 'iproute2'
    has nft || echo 'nftables'
    has tcpdump || echo 'tcpdump'
    has arp || echo 'net-tools'
    has arping || echo 'arping iputils-arping'
    has ping || echo 'iputils-ping'
    has ethtool || echo 'ethtool'
    has sysctl || echo 'procps'
    has bird || echo 'bird2'
    has_file /usr/lib/frr/bgpd || echo 'frr'
    has gobgpd || echo 'gobgpd'
    has taskset || echo 'util-linux'
    has git || echo 'git'
    java_is_new || echo 'openjdk-17-jre-headless openjdk-21-jre-headless default-jre-headless'
    has mvn || echo 'maven'
    has_file /etc/ssl/certs/ca-certificates.crt || echo 'ca-certificates'
}

# The lab runs these daemons in its own namespaces; their packages would run them for the machine.
keep_from_running() {
    [ -d /run/systemd/system ] || return 0
    for package in "$@"; do
        case $package in
            bird2) systemctl --quiet disable --now bird ;;
            frr | gobgpd) systemctl --quiet disable --now "$package" ;;
        esac
    done 2>/dev/null || true
}

offered() { [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }

choose() {
    for alternative in "$@"; do
        if offered "${alternative%%+*}"; then
            printf '%s\n' "$alternative" | tr '+' ' '
            return 0
        fi
    done
    die "this distribution offers none of: $*"
}

install_packages() {
    missing=$(needs)
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || die "root is needed to install: $(echo $missing)"
    has apt-get || die "apt-get is needed (Debian or Ubuntu) to install: $(echo $missing)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null || die "apt-get update failed"
    chosen=$(printf '%s\n' "$missing" | while read -r alternatives; do
        # shellcheck disable=SC2086  # the alternatives are words
        choose $alternatives
    done)
    say "installing $(echo $chosen)"
    mkdir -p build
    # shellcheck disable=SC2086  # the packages are words
    if ! apt-get install -q -y --no-install-recommends $chosen </dev/null >build/apt.log 2>&1; then
        tail -n 20 build/apt.log >&2
        die "apt-get install failed: $(echo $chosen)"
    fi
    # shellcheck disable=SC2086
    keep_from_running $chosen
}

# ---- 2. and 3. Python ----------------------------------------------------------------------

make_venv() {
    .venv/bin/python -c '' >/dev/null 2>&1 && return 0
    python=$(find_python) || die "no Python 3.11 to 3.13 with venv is on this machine"
    say "making .venv with $python"
    rm -rf .venv
    "$python" -m venv .venv
}

# uv lives in its own environment, so that it is no package of onehop's.
find_uv() {
    [ -x build/uv/bin/uv ] && return 0
    rm -rf build/uv
    mkdir -p build
    "$(.venv/bin/python -c 'import os, sys; print(os.path.realpath(sys.executable))')" \
        -m venv build/uv &&
        build/uv/bin/python -m pip install --quiet --require-hashes -r tools/uv.lock
}

by_uv() {
    # pip's index, where the machine sets one, holds for uv too.
    index=$(build/uv/bin/python -m pip config get global.index-url 2>/dev/null || true)
    index=${PIP_INDEX_URL:-$index}
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    build/uv/bin/uv --quiet pip install --python .venv/bin/python "$@"
}

by_pip() {
    [ -x .venv/bin/pip ] || .venv/bin/python -m ensurepip >/dev/null
    .venv/bin/python -m pip --quiet install "$@"
}

install_python() {
    make_venv
    installer=by_uv
    find_uv || installer=by_pip
    say "installing the packages of requirements.lock"
    if ! "$installer" --require-hashes -r requirements.lock; then
        [ "$installer" = by_uv ] || die "pip could not install requirements.lock"
        say "uv could not install requirements.lock, trying pip"
        installer=by_pip
        "$installer" --require-hashes -r requirements.lock ||
            die "neither uv nor pip could install requirements.lock"
    fi
    "$installer" --no-deps --no-build-isolation --editable . ||
        die "onehop itself could not be installed"
}

install_packages
install_python
