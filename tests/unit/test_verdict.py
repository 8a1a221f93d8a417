"""Verdicts on fits: which block is ok, doubtful or failed, and why, in every table of a fit."""

from types import SimpleNamespace

import numpy as np
import pytest

from mrsflow.quantification import fit_tables


def result_of(problems=("", "", "no signal"), doubts=("", "negative Glu; residual 5 times the noise", "")):
    """A fit of three blocks; the last has no amplitudes."""
    amplitudes = np.array([[10.0, 8.0, 2.0], [10.0, -1.0, 2.0], [np.nan] * 3])
    covariance = np.stack([np.eye(3), np.eye(3), np.full((3, 3), np.nan)])
    return SimpleNamespace(
        names=("NAA", "Glu", "Gln"),
        amplitudes=amplitudes,
        covariance=covariance,
        quality=[{"snr": 40.0, "unknown": ""}, {"snr": 30.0, "unknown": "ethanol"}, {}],
        problems=problems,
        doubts=doubts,
        constraints="none",
    )


def test_every_table_of_a_fit_has_the_verdict_and_its_reason():
    quality = fit_tables.quality(result_of(), [4, 5, 6])
    assert list(quality.columns) == fit_tables.quality_columns()
    assert quality["status"].tolist() == ["ok", "doubtful", "failed"]
    assert quality["reason"].tolist() == ["", "negative Glu; residual 5 times the noise", "no signal"]
    assert quality["unknown"].tolist()[:2] == ["", "ethanol"]
    table = fit_tables.judged(fit_tables.amplitudes(result_of(), [4, 5, 6]), quality)
    by_spectrum = table.groupby("spectrum")
    assert by_spectrum["status"].unique().str[0].tolist() == ["ok", "doubtful", "failed"]
    assert (by_spectrum["status"].nunique() == 1).all()
    assert by_spectrum["amplitude"].apply(lambda a: a.notna().all()).tolist() == [True, True, False]


def test_doubtful_fits_keep_their_numbers_and_failed_ones_have_none():
    quality = fit_tables.quality(result_of(), [0, 1, 2])
    np.testing.assert_allclose(quality["glx_per_tnaa"], [1.0, 0.1, np.nan])
    assert quality["glu_gln_correlation"].notna().tolist() == [True, True, False]


@pytest.mark.parametrize("doubt", ["", "negative Glu"])
def test_a_fit_without_numbers_has_failed_whatever_the_fitter_says(doubt):
    status, reason = fit_tables.verdict(result_of(problems=("", "", ""), doubts=("", "", doubt)), 2)
    assert status == "failed" and "not finite" in reason
