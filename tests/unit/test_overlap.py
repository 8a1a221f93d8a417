"""Where the voxels of a cohort lie, against volumes known in closed form."""

import numpy as np
import pytest

from mrsflow.anatomy import overlap


def cube(centre, sides=(20.0, 20.0, 20.0)):
    affine = np.diag([*sides, 1.0])
    affine[:3, 3] = centre
    return affine


def test_two_cubes_that_share_a_half():
    """Moved by half a side: half of each is under both; the centre is the mean of the two."""
    found = overlap.of_voxels([cube((1.0, -5.0, 9.0)), cube((11.0, -5.0, 9.0))])
    assert found.centre == pytest.approx((6.0, -5.0, 9.0))
    cell = overlap.GRID_MM**3
    assert found.share.sum() * cell == pytest.approx(20**3)
    assert found.share[found.share > 0.75].sum() * cell == pytest.approx(10 * 20 * 20)
    assert found.share.max() == pytest.approx(1)
    index = np.moveaxis(np.indices(found.share.shape), 0, -1)
    places = index @ found.affine[:3, :3].T + found.affine[:3, 3]
    assert np.average(places.reshape(-1, 3), axis=0, weights=found.share.ravel()) == pytest.approx((6.0, -5.0, 9.0))


def test_turned_voxels_of_any_size_keep_their_volume():
    angle = np.radians(30)
    turned = cube((-30.0, 40.0, 15.0), (40.0, 15.0, 25.0))
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned[:3, :3] = rotation @ turned[:3, :3]
    found = overlap.of_voxels([turned])
    assert found.share.sum() * overlap.GRID_MM**3 == pytest.approx(40 * 15 * 25, rel=1e-6)
    assert found.share.max() < 1.001
