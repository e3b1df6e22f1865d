"""Plot the results of speed.py.

python benchmarks/plot.py OUT.svg speed.json [speed512.json …]
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

# readable on light and on dark pages
GREY = "#848d97"
BLUE = "#2f81f7"
NAMES = {
    "padded_loop": "textbook loop, padded to max_length",
    "trainer": "Trainer",
    "trainer_grouped": "Trainer, grouped by length",
    "trainer_grouped_bf16": "Trainer, grouped, bf16",
    "trainer_grouped_bf16_no_attention_dropout": "same, no attention dropout",
    "ours_bare_loop": "our recipe as a bare loop",
    "ours_attention_dropout": "train.py, attention dropout",
    "ours": "python train.py",
}


def draw(results: list[dict[str, Any]], out: Path) -> None:
    """Write an SVG: a panel for each result of ``speed.py``, a bar for each arm."""
    matplotlib.rcParams.update({"text.color": GREY, "svg.fonttype": "none", "svg.hashsalt": "", "font.size": 9})
    arms = max(len(result["rounds"][0]) for result in results)
    figure, panels = pyplot.subplots(1, len(results), figsize=(4.9 * len(results), 0.32 * arms + 0.5), squeeze=False)
    for panel, result in zip(panels[0], results, strict=True):
        speeds = {
            arm: statistics.median(figures[arm]["samples_per_second"] for figures in result["rounds"])
            for arm in result["rounds"][0]
        }
        colours = [BLUE if arm == "ours" else GREY for arm in speeds]
        bars = panel.barh([NAMES[arm] for arm in speeds], list(speeds.values()), color=colours, height=0.7)
        panel.bar_label(bars, labels=[f"{speed:.1f}" for speed in speeds.values()], padding=3, color=GREY)
        panel.set_title(
            f"samples a second, {result['asked']['max_length']} tokens", color=GREY, fontsize=10, loc="left"
        )
        panel.invert_yaxis()
        panel.tick_params(colors=GREY, length=0)
        panel.set_xticks([])
        panel.set_xlim(0, 1.15 * max(speeds.values()))
        for spine in panel.spines.values():
            spine.set_visible(False)
    figure.tight_layout()
    figure.savefig(out, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    draw([json.loads(Path(name).read_text()) for name in sys.argv[2:]], Path(sys.argv[1]))
