"""A picture of what the hop costs: request rate and bytes on each node, path beside path."""

from __future__ import annotations

from pathlib import Path

from onehop.lab.measure import Cost

_COLOURS = ("#2f6f9f", "#e08e45", "#5f9e6e", "#a05195", "#8c8c8c")


def draw(costs: tuple[Cost, ...], folder: Path) -> tuple[Path, ...]:
    """Write hop.svg and hop.png into a folder, which is made when missing.

    Raises:
        OSError: when they cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    figure, (rates, load) = plt.subplots(1, 2, figsize=(12, 0.6 * len(costs) + 1.6), sharey=True)
    labels = [f"{cost.path}  ({cost.forwarder})" for cost in costs]
    rows = range(len(costs))
    rates.barh(rows, [cost.rate for cost in costs], color=_COLOURS[0])
    rates.set_title("64-byte requests a second, one connection")
    rates.set_yticks(list(rows), labels)
    rates.invert_yaxis()
    left = [0.0] * len(costs)
    for number, node in enumerate(costs[0].node_bytes):
        shares = [cost.node_bytes[node] for cost in costs]
        load.barh(rows, shares, left=left, label=node, color=_COLOURS[number % len(_COLOURS)])
        left = [a + b for a, b in zip(left, shares, strict=True)]
    load.set_title("bytes on the nodes' uplinks for a byte of payload")
    load.legend(loc="lower right")
    figure.tight_layout()
    files = tuple(folder / f"hop.{kind}" for kind in ("svg", "png"))
    for file in files:
        figure.savefig(file)
    plt.close(figure)
    return files
