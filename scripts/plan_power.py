"""Power and precision of a trial to be planned."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, out: Path | None = None) -> None:
    """Simulate trials over a grid of designs, questions, participants, effects and losses; write a table and a figure.

    Settings are in section power of the configuration; the variance components may be those of the study's own group
    tables (components: cohort).

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    out : path, optional
        Folder of power.tsv, power.json, power.svg, sample_size.tsv; by default power in the output folder.
    """
    from threadpoolctl import threadpool_limits

    from mrsflow.planning import power_plan
    from mrsflow.reporting import figures, figures_power
    from mrsflow.statistics.plan import plan_of
    from mrsflow.study.config import load

    settings = load(config)
    folder = out or Path(settings["output"]) / "power"
    weights = {  # of every condition; of a single arm 1
        contrast.name: [contrast.of.get(name, float(not contrast.weights)) for name in settings["study"]["conditions"]]
        for contrast in plan_of(settings).contrasts
    }
    with threadpool_limits(1):
        table = power_plan.plan(settings, weights, folder)
    with figures.style():
        figures.save(figures_power.draw(table), folder / "power")
    shown = ["design", "contrast", "moderated", "outcome", "n_participants", "attenuation", "lost_blocks", "power"]
    shown += ["half_width_percent"]
    print(table[shown].to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    run(main)
