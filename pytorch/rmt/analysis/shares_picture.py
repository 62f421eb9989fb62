"""How much of their attention tokens give to memory and cache, as a picture, a table and JSON."""

from pathlib import Path

from rmt.analysis.pictures import REGION_NAMES
from rmt.analysis.shares import Shares
from rmt.runs.drawing import plt, save_figure
from rmt.runs.reports import markdown

MOST_NUMBERS = 200  # heads: of more there is no room for numbers


def draw_shares(shares: Shares, title: str, out: Path) -> None:
    """Of every head to cache and memory, and of every layer by the position in the segment."""
    regions = shares.before
    n_layers, n_heads = shares.by_head(regions[0]).shape
    sizes = {"figsize": (3.4 + 3.4 * len(regions), 1.9 + 0.28 * max(n_layers, 6))}
    figure, axes = plt.subplots(1, len(regions) + 1, squeeze=False, layout="constrained", **sizes)
    for axis, region in zip(axes[0], regions, strict=False):
        by_head = shares.by_head(region)
        axis.imshow(by_head, cmap="Greys", vmin=0, vmax=1, aspect="auto")
        if by_head.size <= MOST_NUMBERS:
            for (layer, head), share in _each(by_head):
                colour = "white" if share > 0.5 else "black"
                place = {"ha": "center", "va": "center", "fontsize": 7, "color": colour}
                axis.text(head, layer, f"{share:.2f}", **place)
        axis.set_xticks(range(n_heads), [str(i + 1) for i in range(n_heads)])
        axis.set_yticks(range(n_layers), [str(i + 1) for i in range(n_layers)])
        axis.set(title=f"to the {REGION_NAMES[region]}", xlabel="head", ylabel="layer")
    last = axes[0][-1]
    by_position = sum(shares.by_position(region) for region in regions)
    for layer, share_T in enumerate(by_position):
        colour = plt.cm.viridis(layer / max(n_layers - 1, 1))
        last.plot(range(1, len(share_T) + 1), share_T, color=colour, label=f"layer {layer + 1}")
    last.set(title="to these, by position", xlabel="position in the segment", ylim=(0, 1))
    last.grid(alpha=0.3)
    last.legend(frameon=False, fontsize=7, ncols=1 + n_layers // 9)
    figure.suptitle(title, fontsize=11, parse_math=False)
    save_figure(figure, out)


def shares_table(shares: Shares) -> str:
    """Of every layer to every region, in Markdown."""
    regions = [region for region in REGION_NAMES if region in shares.by_region]
    columns = [shares.by_layer(region) for region in regions]
    rows = [
        [str(layer + 1), *(f"{share:.3f}" for share in row)]
        for layer, row in enumerate(zip(*columns, strict=True))
    ]
    return markdown(["layer", *(REGION_NAMES[region] for region in regions)], rows)


def record(shares: Shares) -> dict:
    """All numbers of the picture."""
    return {
        "n_segments": shares.n_segments,
        "by_head": {region: shares.by_head(region).tolist() for region in shares.by_region},
        "by_position": {region: shares.by_position(region).tolist() for region in shares.by_region},
    }


def _each(by_head):
    return (
        ((layer, head), share)
        for layer, row in enumerate(by_head)
        for head, share in enumerate(row)
    )
