"""The rehearsal of a planned trial: what is simulated, what is said of it."""

import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from small_config import PRESS

from mrsflow.errors import InputError
from mrsflow.planning import rehearsal
from mrsflow.simulation import planned_trial
from mrsflow.study import config as study_config

QUIET = {"sd_participant": 0, "sd_session": 0, "sd_block": 0.01, "sd_response_participant": 0,
         "sd_response_condition": 0, "sd_response_session": 0}  # fmt: skip


def configuration(**more):
    content = {
        "study": {"design": "crossover", "conditions": ["a", "b"]}, "protocols": {"p": PRESS},
        "blocks": {"bins": {"before": [-4, 0], "early": [0, 4], "late": [6, 10]}, "baseline": ["before"]},
        "power": {"n_baseline": 1, "shape": [0.5, 1], "rise": 0.1, "attenuation": [0.5], "period": 0, "dropouts": 0,
                  "components": QUIET},
        "rehearsal": {"participants": 4},
    }  # fmt: skip
    return study_config.checked({name: content.get(name, {}) | more.get(name, {}) for name in {**content, **more}})


def drawn(config, weights=(-1.0, 1.0), seed=1):
    return planned_trial.draw(config, rehearsal.scenario_for(config, weights), seed)


def test_sessions_follow_the_plan_in_every_bin():
    found = drawn(configuration())
    assert found.effect_percent == pytest.approx(-0.05 * 0.75 * 100)
    assert len(found.sessions) == 8 and {s.arm for s in found.sessions} == {"a", "b"}
    for session in found.sessions:
        minutes = -4 + (np.arange(len(session.factor)) + 0.5) * 2 / 60
        high = 0.1 if session.arm == "a" else 0.05
        expected = np.select([minutes < 0, minutes < 4, minutes < 6, minutes < 10], [0, high / 2, 0, high], 0.0)
        np.testing.assert_allclose(session.factor, 1 + expected)
        assert session.first_s == 10 * 3600 - 240


def test_a_trial_is_that_of_its_seed():
    config = configuration(power={"components": {}})
    one, same, other = drawn(config), drawn(config), drawn(config, seed=2)
    assert all((a.factor == b.factor).all() for a, b in zip(one.sessions, same.sessions, strict=True))
    assert not (one.sessions[0].factor == other.sessions[0].factor).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"group": {"outcome": "GABA/tCr"}}, "simulated are ratios of Glu, Gln, Glx"),
        ({"blocks": {"event": "pain"}}, "a rehearsal knows start, infusion and dose"),
        ({"blocks": {"event": "start"}}, "begin before the first excitation"),
        ({"power": {"shape": [1.0]}}, "1 baseline bins and 2 others, power.n_baseline is 1 and power.shape has 1"),
        ({"power": {"components": "cohort"}}, "needs the standard deviations as numbers"),
        ({"protocols": {"p": {**PRESS, "preset": None}}}, "Name the preset"),
    ],
)
def test_what_cannot_be_rehearsed_says_what_to_change(change, words):
    with pytest.raises(InputError, match=words):
        drawn(configuration(**change))


def test_the_summary_is_that_of_its_definitions():
    rng = np.random.default_rng(1)
    estimates = rng.normal(-2.0, 1.0, 400)
    trials = [{"estimate": e, "se": 1.0, "ci_low": e - 1.96, "ci_high": e + 1.96, "p": 0.01 if e < -1.96 else 0.5}
              for e in estimates]  # fmt: skip
    found = rehearsal.summary(trials, -2.0, 0.95)
    assert found["bias"] == pytest.approx(estimates.mean() + 2)
    assert found["bias_se"] == pytest.approx(estimates.std(ddof=1) / 20)
    assert found["coverage"].value == pytest.approx(np.mean(np.abs(estimates + 2) <= 1.96))
    assert found["power"].value == np.mean(estimates < -1.96)
    assert found["power"].low < found["power"].value < found["power"].high


@pytest.mark.usefixtures("png_alone")
def test_the_page_says_bias_cost_and_what_failed(tmp_path):
    from mrsflow import result_tables
    from mrsflow.reporting import rehearsal_page

    rows = [{"seed": i, "truth": -3.75, "estimate": -6.0 + 0.1 * i, "se": 1.0, "ci_low": -8.0, "ci_high": -4.0,
             "p": 0.01, "n_participants": 4, "n_failed": 0, "n_doubtful": 1, "n_excluded": 0, "cpu_s": 360.0,
             "remark": ""}
            for i in range(5)]  # fmt: skip
    table = result_tables.from_rows([*rows, {"seed": 9, "cpu_s": 1.0, "remark": "not analysed: <x>"}], "rehearsal")
    config = configuration()
    scenario = rehearsal.scenario_for(config, (-1.0, 1.0))
    page = rehearsal_page.write(config, table, scenario, {"power": 0.8, "half_width": 0.02}, tmp_path).read_text(
        "utf-8"
    )
    assert "1 of 6 trials gave no estimate (not analysed: &lt;x&gt;)" in page
    assert "differ from the truth by more than chance" in page and "holds the truth less often than it says" in page
    assert "0.50 CPU-hours" in page and "0 % [0, 43]" in page


RUNS = """
import sys
from pathlib import Path
from mrsflow.command import rehearse
sys.executable = {program!r}
rehearse._run(Path({file!r}), 1, [])
"""


def test_who_ends_a_rehearsal_ends_its_run(tmp_path):
    """A run that went on would write into a trial that the same command begins anew."""
    program, file = tmp_path / "program", tmp_path / "trial/config/config.yaml"
    program.write_text(f"#!/bin/sh\necho $$ > '{tmp_path}/began'\nexec sleep 600\n")
    program.chmod(0o755)
    file.parent.mkdir(parents=True)
    running = subprocess.Popen([sys.executable, "-c", RUNS.format(program=str(program), file=str(file))])
    began = tmp_path / "began"
    while not (began.exists() and began.read_text().strip()):
        assert running.poll() is None
        time.sleep(0.1)
    running.terminate()
    assert running.wait(timeout=60) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), 0)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["kings_crossover", "visual_3t", "visual_7t", "treatment_pre_post"])
def test_each_preset_runs_from_raw_files_to_its_report(tmp_path, preset):
    from mrsflow.command import rehearse
    from mrsflow.study.study_presets import presets

    protocol = presets()[preset]["protocol"] | {"preset": "ideal"}
    content = {"preset": preset, "study": {"name": preset}, "protocols": {"p": protocol}, "group": {"draws": 99},
               "rehearsal": {"participants": 6, "trials": 1}}  # fmt: skip
    config = study_config.checked(content)
    rehearse.rehearse(config, tmp_path, 1, True, print)
    table = pd.read_csv(tmp_path / "rehearsal.tsv", sep="\t")
    assert table["n_failed"][0] == 0 and np.isfinite(table["estimate"][0])
    assert abs(table["estimate"][0] - table["truth"][0]) < 5 * table["se"][0]
    assert (tmp_path / "sap/sap.md").is_file() and (tmp_path / "power/power.tsv").is_file()
