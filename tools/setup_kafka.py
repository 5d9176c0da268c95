"""Fetch, check and prepare the lab's Kafka brokers: `setup_kafka.py [prepare|record]`.

`prepare` is what `make setup` calls. `record` is for whoever changes a version in
`tools/kafka/pom.xml`: it writes the checksums of what Maven resolves, to be read before they are
committed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from onehop.lab.kafka_artifacts import (
    ArtifactError,
    cache_directory,
    checksums,
    fetch,
    prepare,
)

HERE = Path(__file__).resolve().parent / "kafka"
POM, SUMS = HERE / "pom.xml", HERE / "SHA256SUMS"


def main(argv: list[str]) -> int:
    """Do what `argv` asks; the exit code says whether it succeeded."""
    if argv not in ([], ["prepare"], ["record"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if argv == ["record"]:
            with tempfile.TemporaryDirectory() as scratch:
                libs = Path(scratch, "libs")
                fetch(POM, libs, None)
                SUMS.write_text(checksums(libs))
        else:
            prepare(cache_directory(), POM, SUMS, lambda text: print(f"setup: {text}"))
    except (ArtifactError, PermissionError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
