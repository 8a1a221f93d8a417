"""The figures of a study: their names, titles and captions, and drawing all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow.files import read_json, workflow_folder, write_json
from mrsflow.reporting import figures_course, figures_multiverse, figures_quality, figures_tests
from mrsflow.reporting.figures import GREY, new_figure, save, style
from mrsflow.study import layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mrsflow.reporting.group_data import TrialResults

CAPTIONS = workflow_folder() / "report"
"""One file per figure; `snakemake --report` shows the same text."""


@dataclass(frozen=True)
class Picture:
    """A figure of the study.

    Attributes
    ----------
    name : str
        Of its files and of its caption.
    draw : callable
        Gives the figure, None where the study has nothing to draw.
    compares : bool
        Compares arms: not drawn while they are masked.
    nothing : str
        Why there may be nothing to draw.
    of_blocks : bool
        Shows values of usable blocks: not drawn where there is none.
    """

    name: str
    draw: Callable[["TrialResults"], "Figure | None"]
    compares: bool = False
    nothing: str = "The study has no data for it."
    of_blocks: bool = True

    @property
    def title(self) -> str:
        """Title of the figure."""
        return layout.FIGURES[self.name]


NO_BASELINE = "No session has baseline and infusion blocks."
NO_TABLE = "The group tables hold no such analysis."

PICTURES = (
    Picture("flow", figures_quality.flow, of_blocks=False),
    Picture("availability", figures_quality.availability, of_blocks=False),
    Picture("sensitivity", figures_tests.sensitivity, True, NO_TABLE),
    Picture("multiverse", figures_multiverse.multiverse, True,
            "The study declares no choices (group.multiverse)."),
    Picture("contrasts", figures_tests.contrasts, True, NO_TABLE),
    Picture("attenuation", figures_tests.attenuation, True, NO_TABLE),
    Picture("paired_change", figures_course.paired_change, True, NO_BASELINE),
    Picture("denominator", figures_tests.denominator, True,
            "There is no audit of the denominator; table denominator says why."),
    Picture("components", figures_tests.components, True, NO_TABLE),
    Picture("time_course", figures_course.time_course),
    Picture("controls", figures_course.controls),
    Picture("other_outcomes", figures_course.other_outcomes, False, "There is none."),
    Picture("mean_spectra", figures_course.mean_spectra, False, "No fitted spectra were found."),
    Picture("mood", figures_tests.mood, False, "The sessions table has no mood scores.", False),
    Picture("mood_link", figures_tests.mood_link, True,
            "Fewer than three sessions have both changes."),
    Picture("distributions", figures_quality.distributions, of_blocks=False),
    Picture("reliability", figures_quality.reliability, False,
            "Fewer than three participants have baselines of two visits."),
    Picture("voxel_overlap", figures_quality.voxel_overlap, False,
            "No session was aligned with a template, and inputs.to_template gives no transform.", False),
)  # fmt: skip

UNUSABLE = "No session has usable blocks; the flow and the table of exclusions say what became of them."
MASKED = "Not drawn while arms are masked (study.freeze is false)."


def draw_all(trial: "TrialResults", folder: Path) -> None:
    """Draw every figure as PNG, SVG and PDF, and write ``figures.json``: title, caption, and why one is not drawn.

    A figure that has nothing to show gets files too, which say so, so that the set of files is always the same.
    """
    index: list[dict[str, Any]] = []
    usable = not (trial.blocks["excluded"] | trial.blocks["left_out"]).all()
    with style():
        for picture in PICTURES:
            figure, reason = None, MASKED if usable or not picture.of_blocks else UNUSABLE
            if (trial.frozen or not picture.compares) and (usable or not picture.of_blocks):
                figure, reason = picture.draw(trial), picture.nothing
            drawn = figure is not None
            save(figure if figure is not None else _placeholder(picture.title, reason), folder / picture.name)
            index.append(
                {
                    "name": picture.name,
                    "title": picture.title,
                    "caption": caption_of(picture.name, trial.config),
                    "drawn": drawn,
                    "reason": "" if drawn else reason,
                }
            )
    write_json(index, folder / "figures.json")


def read_index(folder: Path) -> list[dict[str, Any]]:
    """Read what `draw_all` wrote about its figures."""
    return read_json(folder / "figures.json")


def caption_of(name: str, config: dict[str, Any]) -> str:
    """Caption of a figure on one line, with what it takes from the configuration, without reStructuredText's marks."""
    from jinja2 import StrictUndefined, Template

    text = (CAPTIONS / f"{name}.rst").read_text(encoding="utf-8")
    filled = Template(text, undefined=StrictUndefined).render(snakemake={"config": config})
    return " ".join(filled.replace("``", "").split())


def _placeholder(title: str, reason: str) -> "Figure":
    figure, axes = new_figure(22)
    axes.set_axis_off()
    axes.text(0.5, 0.5, f"{title}\n{reason}", ha="center", va="center", color=GREY, linespacing=1.6)
    return figure
