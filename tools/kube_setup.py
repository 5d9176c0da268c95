"""Build the programs that tests and labs run beside onehop: `kube_setup.py [NAME]...`.

`server` is Kubernetes' own API server, controller-manager, kube-proxy, kubectl and etcd; `metallb`
is MetalLB's controller and speaker; `helm` is Helm. Without a name, `server`. What is there
already is left alone.
"""

from __future__ import annotations

import sys

from onehop.lab.kube_build import MODULES, BuildError, prepare


def main(argv: list[str]) -> int:
    """Build what `argv` names; the exit code says whether all is there."""
    names = argv or ["server"]
    if not set(names) <= MODULES.keys():
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for name in names:
            prepare(MODULES[name], lambda text: print(f"setup: {text}", flush=True))
    except BuildError as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what was compiled is kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
