"""Say where the results of the demo are, and compare the headline with the truth it was simulated with."""

from pathlib import Path

from mrsflow.run import run


def main(demo: Path) -> None:
    """Print the paths of the results and the headline beside its truth.

    Parameters
    ----------
    demo : path
        Folder of the demo, with results/ and truth/.
    """
    from mrsflow.files import read_json

    found = read_json(demo / "results/group/headline.json")
    truth = read_json(demo / "truth/trial.json")
    print(f"\nReport  {demo}/results/report/index.html\nTables  {demo}/results/group/\n")
    if found["estimate"] is None:
        print(f"No headline: {found['reason']}")
        return
    true = truth["arm_difference"]["sample"]
    inside = found["ci_low"] <= true <= found["ci_high"]
    print(
        f"{found['outcome']}, {found['contrast']}: {found['estimate']:+.4f} "
        f"(95 % interval {found['ci_low']:+.4f} to {found['ci_high']:+.4f}, p = {found['p']:.3f}, "
        f"{found['n_participants']} participants, {found['n_doubtful']} of {found['n_blocks']} blocks doubtful)\n"
        f"Simulated truth: {true:+.4f}, which the interval {'covers' if inside else 'does not cover'}"
    )


if __name__ == "__main__":
    run(main)
