"""Amounts, maps and the audit of denominators on simulated truth, at full size.

    python benchmarks/amounts_truth.py [--parts audit gradient moderation amounts fit] [--trials 2000]

- audit: trials of 26 in which tNAA moves by 5 % in one arm, or by nothing: how often it is said to have moved;
- gradient: mean of a linear map in voxels turned at random against its value at the centre;
- moderation: a map with a gradient and a level of each person, looked up in voxels placed at random, moderates nothing:
  how often the test of a crossover of 26 says that it does (limits 3 to 6.5 %);
- amounts: 10 mM of creatine in a voxel of 55 % GM, 30 % WM, 15 % CSF, by every set of constants: ours over a second
  code of Gasparovic's equation, scalar arithmetic in ms from the published numbers;
- fit: amplitudes of spectra of the demo's kind over the truth, without macromolecules, with those of the basis set and
  with those of another scan: what their place under the lines does to an amount, and not to a ratio.
"""

import argparse
import math

import nibabel
import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from mrsflow.anatomy import voxel_maps
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import sequences
from mrsflow.basis_sets.broad_lines import is_macromolecule
from mrsflow.fitting import fit as fitting
from mrsflow.fitting.fit_model import Model
from mrsflow.models import mixed
from mrsflow.quantification import quantify
from mrsflow.simulation import simulate
from mrsflow.statistics import denominator
from mrsflow.statistics.plan import plan_of
from mrsflow.study import config
from mrsflow.study.trial import TrialData, conditions_of

PEOPLE, BEFORE, AFTER = 26, 1, 5
NOISE, SESSION = 0.03, 0.02
"""Relative scatter of an amplitude between blocks and of a response between sessions, as the demo has them."""
MOVED = 0.05
PROTOCOL = {"sequence": "press", "preset": "ideal", "echo_time_ms": 30, "repetition_time_ms": 2000,
            "spectrometer_frequency_mhz": 123.25}  # fmt: skip
VOXEL = {"GM": 0.55, "WM": 0.30, "CSF": 0.15}
SETS = {  # T1 and T2 (ms) of GM, WM, CSF and of creatine's singlet, from the tables of the programs
    ("fsl", 123.25): ((1500, 88), (970, 73), (4470, 2030), (1290, 194)),
    ("fsl", 297.2): ((2050, 50), (1210, 55), (4430, 1050), (1430, 131)),
    ("spant", 63.87): ((1304, 93), (660, 73), (2390, 230), (1153, 347)),
    ("spant", 123.25): ((1331, 110), (832, 79.6), (3817, 503), (1317, 207)),
    ("spant", 297.2): ((2132, 50), (1220, 55), (4425, 1050), (1583, 141)),
    ("osprey", 123.25): ((1331, 110), (832, 79.2), (3817, 503), (1350, 156)),  # means over grey and white matter
    ("challenge", 123.25): ((1e-9, 110), (1e-9, 80), (1e-9, 1), (1e-9, 160)),  # TR far longer than T1
}
WITHOUT_CSF = {"GM": 0.6, "WM": 0.4, "CSF": 0.0}
"""Voxel of the challenge, whose set knows no CSF."""

MAJOR = {"NAA": 1, "NAAG": 1, "Cr": 1, "PCr": 1, "GPC": 3, "PCh": 3}
"""Metabolites by which the usual amount of macromolecules is told, and how often each counts."""
TOLD = ("tNAA", "tCr", "Glx")


def simulated_trial(rng, moved):
    """Blocks of a crossover in which tNAA moves in arm b; every session has units of its own."""
    asked = {"study": {"design": "crossover", "conditions": ["a", "b"], "freeze": True}, "protocols": {"p": PROTOCOL},
             "blocks": {"bins": {"early": [-8, 0], "late": [0, 40]}, "baseline": ["early"]},
             "group": {"outcome": "Glx/tNAA", "mood_scale": None}}  # fmt: skip
    settings = config.checked(asked)
    visits = pd.DataFrame([(str(i), v) for i in range(PEOPLE) for v in (1, 2)], columns=["participant", "visit"])
    visits["session"] = visits["visit"].astype(str)
    visits["condition"] = ["ab"[(int(i) + v) % 2] for i, v in zip(visits["participant"], visits["visit"], strict=True)]
    visits["key"] = "sub-" + visits["participant"] + "_ses-" + visits["session"]
    n = BEFORE + AFTER
    blocks = visits.loc[visits.index.repeat(n)].reset_index(drop=True)
    late = np.tile(np.arange(n) >= BEFORE, len(visits))
    units = np.exp(rng.normal(0, 1, len(visits))).repeat(n)
    in_b = (blocks["condition"] == "b").to_numpy()
    for name, size, own in (("Glx", 13.0, 0.0), ("tNAA", 12.0, moved)):
        response = rng.normal(0, SESSION, len(visits)).repeat(n) + own * in_b
        blocks[name] = units * size * (1 + late * response) * (1 + rng.normal(0, NOISE, len(blocks)))
    blocks["Glx/tNAA"] = blocks["Glx"] / blocks["tNAA"]
    blocks = blocks.assign(phase=np.where(late, "infusion", "baseline"), excluded=False)
    return TrialData(settings, visits, blocks, conditions_of(settings))


def audit(trials):
    for moved, what in ((MOVED, "found"), (0.0, "false alarms")):
        rng, said, any_said = np.random.default_rng([4000, int(1000 * moved)]), 0, 0
        for _ in range(trials):
            trial = simulated_trial(rng, moved)
            rows = {row["part"]: row for row in denominator.audit_rows(trial, plan_of(trial.config))}
            said += bool(rows["denominator"]["moved"])
            any_said += bool(rows["denominator"]["moved"] or rows["numerator"]["moved"])
        print(f"audit, tNAA {100 * moved:+.0f} %: {what} {100 * said / trials:.1f} % of {trials} trials "
              f"(either part said to have moved: {100 * any_said / trials:.1f} %)")  # fmt: skip


def gradient_map(zoom, size, slope, offset):
    affine = np.diag([zoom] * 3 + [1.0])
    affine[:3, 3] = -zoom * (size - 1) / 2
    index = np.moveaxis(np.indices([size] * 3), 0, -1)
    return nibabel.Nifti1Image(offset + nibabel.affines.apply_affine(affine, index) @ slope, affine)


def placed(rng, spread):
    """Voxel of 20 x 30 x 25 mm, turned and placed at random about the cingulate."""
    voxel = np.eye(4)
    voxel[:3, :3] = Rotation.from_euler("xyz", rng.normal(0, 15, 3), degrees=True).as_matrix() * (20.0, 30.0, 25.0)
    voxel[:3, 3] = rng.normal((0.0, 38.0, 18.0), spread)
    return voxel


def gradient(trials):
    rng, worst = np.random.default_rng(5000), 0.0
    for _ in range(min(trials, 200)):
        slope, voxel = rng.normal(0, 0.02, 3), placed(rng, 10.0)
        found = voxel_maps.inside(gradient_map(rng.uniform(1, 3), 70, slope, 3.0), voxel)
        worst = max(worst, abs(found.mean / (3.0 + voxel[:3, 3] @ slope) - 1)) if found.coverage == 1 else worst
    print(f"gradient: largest relative error of a mean {worst:.1e}, limit 1e-6")


def moderation(trials):
    rng = np.random.default_rng(6000)
    receptor = gradient_map(2.0, 90, np.array([0.004, 0.01, -0.006]), 2.0)
    values = [voxel_maps.inside(receptor, placed(rng, 3.0)).mean * rng.lognormal(0, 0.15) for _ in range(PEOPLE)]
    m = np.array(values) - np.mean(values)
    group = np.arange(PEOPLE) % 2
    treated = np.stack([group, 1 - group], axis=1).astype(float)
    y = 0.1 * rng.standard_normal((trials, PEOPLE, 1)) + 0.05 * rng.standard_normal((trials, PEOPLE, 2))
    own, late = np.broadcast_to(m[:, np.newaxis], treated.shape), np.broadcast_to([0.0, 1.0], treated.shape)
    x = np.stack([np.ones_like(treated), treated, late, own, own * treated], axis=-1).reshape(-1, 5)
    people = {"participant": np.repeat(np.arange(PEOPLE), 2)}
    fit = mixed.fit(np.broadcast_to(x, (trials, *x.shape)), y.reshape(trials, -1), people)
    alarms = np.mean(fit.contrast([0.0, 0.0, 0.0, 0.0, 1.0]).p < 0.05)
    print(f"moderation by a map that moderates nothing: {100 * alarms:.1f} % of {trials} trials, limits 3 to 6.5 %")


def amounts():
    """Water signal and creatine's amplitude of a voxel with 10 mM in its tissue, by scalar arithmetic."""
    times = (30.0, 2000.0)
    for (name, mhz), (grey, white, csf, own) in SETS.items():
        water = 0.0
        voxel = WITHOUT_CSF if name == "challenge" else VOXEL
        for part, density, (t1, t2) in zip(voxel.values(), (0.78, 0.65, 0.97), (grey, white, csf), strict=True):
            water += part * density * 55510.0 * math.exp(-times[0] / t2) * (1 - math.exp(-times[1] / t1))
        left = math.exp(-times[0] / own[1]) * (1 - math.exp(-times[1] / own[0]))
        amplitude = 10.0 * (1 - voxel["CSF"]) * left / water
        seconds = tuple(t / 1000 for t in times)
        scaling = quantify.Scaling(1.0, (seconds, seconds), quantify.constants_at(name, mhz), voxel)
        molar = float(scaling.molar(["Cr"])[0] * amplitude)
        kg = (voxel["GM"] * 0.78 + voxel["WM"] * 0.65) / (1 - voxel["CSF"])
        print(f"amounts, {name} at {mhz:g} MHz: {molar:.6f} mM, {molar * scaling.molal:.6f} mmol/kg (truth 10 and "
              f"{10 / kg:.6f})")  # fmt: skip


def fit(trials):
    """SNR of NAA about 80; line widths 5 and 7 Hz, 3.5 Hz of them Lorentzian; 2048 points of 0.5 ms at 127.73 MHz."""
    mhz, dwell, points = 127.73, 5e-4, 2048
    sequence = sequences.Sequence("press", 0.03, te1=0.015)
    basis = sequences.simulate(sequence, mhz, tuple(simulate.CONCENTRATIONS_MM), True, dwell, points)
    model = Model(basis_sets.match(basis, mhz, "1H", dwell, points), (0.5, 4.2))
    usual = 0.28 * sum(simulate.CONCENTRATIONS_MM[name] * k for name, k in MAJOR.items())
    own = usual * sum(f for name, f in zip(basis.names, basis.fids, strict=True) if is_macromolecule(name))
    scan = simulate.gaussian_lines(simulate.MACROMOLECULES, basis, simulate.MACROMOLECULES_MM)
    for label, broad in {"no macromolecules": 0 * own, "those of the basis set": own, "those of a scan": scan}.items():
        for width in (5.0, 7.0):
            over = []
            for seed in range(min(trials, 10)):
                rng = np.random.default_rng(seed)
                fid = (
                    sum(simulate.metabolite_signals(basis, simulate.CONCENTRATIONS_MM, width, rng=rng).values()) + broad
                )
                noise = rng.standard_normal((2, points)) * 0.002 * abs(fid[0])
                result = fitting.fit_session((fid + noise[0] + 1j * noise[1])[np.newaxis], model, None)
                found = dict(zip(result.names, result.amplitudes[0], strict=True))
                over.append([sum(found[n] for n in names) / sum(simulate.CONCENTRATIONS_MM[n] for n in names)
                             for names in (("NAA", "NAAG"), ("Cr", "PCr"), ("Glu", "Gln"))])  # fmt: skip
            means, spread = np.mean(over, axis=0), np.std(over, axis=0)
            told = ", ".join(f"{name} {m:.3f} (SD {s:.3f})" for name, m, s in zip(TOLD, means, spread, strict=True))
            print(f"fit, {label}, {width:g} Hz, over the truth: {told}; tNAA/tCr {means[0] / means[1]:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", nargs="+", default=["audit", "gradient", "moderation", "amounts", "fit"])
    parser.add_argument("--trials", type=int, default=2000)
    given = parser.parse_args()
    for part in given.parts:
        amounts() if part == "amounts" else globals()[part](given.trials)
