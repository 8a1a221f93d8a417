"""What stands in the table of physics, and again in a data file or in a part that must agree with it."""

import numpy as np
import pytest
from scipy import constants as physics
from scipy import stats

from mrsflow.basis_sets import spins
from mrsflow.constants import GAMMA_1H, GAUSSIAN, MAD_TO_SD, SINGLET_PROTONS, SINGLETS_PPM


def test_the_table_of_spin_systems_has_the_same_singlets():
    known = spins.systems()
    shared = [name for name in SINGLETS_PPM if name in known]
    assert {"NAA", "NAAG", "Cr", "PCr", "GPC"} <= set(shared)
    for name in shared:
        lines = {f.shifts[0]: f.weight for f in spins.fragments(name) if len(f.shifts) == 1}
        assert SINGLETS_PPM[name] in lines, name
        if name in SINGLET_PROTONS:
            assert lines[SINGLETS_PPM[name]] == SINGLET_PROTONS[name]


def test_numbers_are_those_of_physics_and_of_the_normal_distribution():
    assert pytest.approx(physics.value("proton gyromag. ratio in MHz/T"), rel=1e-4) == GAMMA_1H
    assert pytest.approx(1 / stats.norm.ppf(0.75), rel=1e-4) == MAD_TO_SD


def test_a_gaussian_has_half_its_height_at_half_its_width():
    t, width = np.arange(-0.5, 0.5, 1e-4), 10.0
    decay = np.exp(-((np.pi * width * t) ** 2) / GAUSSIAN)
    height, half = (np.sum(decay * np.cos(2 * np.pi * hz * t)) for hz in (0.0, width / 2))
    assert half / height == pytest.approx(0.5, rel=1e-9)
