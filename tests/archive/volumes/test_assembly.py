"""Which frames make a volume, against what is known of frames that were made to be one."""

import itertools
import random

import numpy as np
import pytest

from mammofast.archive.volumes.assembly import assemble
from mammofast.archive.volumes.record import Frame, MrObject


def rotation(rng):
    """Two perpendicular unit vectors, in any direction."""
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return tuple(float(v) for v in (*q[0], *q[1]))


def mr_object(label, frames, series):
    return MrObject(
        study_uid="1.2",
        series_uid=series,
        sop_uid=label,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        frame_of_reference_uid="1.2.7",
        rows=8,
        cols=8,
        dtype="uint16",
        bits_stored=12,
        photometric="MONOCHROME2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        frames=tuple(frames),
        protocol=(4.0, 2.0, 10.0),
    )


def frame_at(phase, index, way, numbers, orientation, origin, number=None):
    normal = np.cross(orientation[:3], orientation[3:])
    noise = 1e-4 * numbers.normal(size=3)  # what writing a decimal string costs
    return Frame(
        number=number,
        position=tuple(float(v) for v in origin + 2.5 * index * normal + noise),
        orientation=orientation,
        spacing=(1.0, 1.0),
        temporal=phase + 1 if way == "temporal" else None,
        acquisition=3 * phase if way == "acquisition" else None,
        trigger=1000.0 * phase if way == "trigger" else None,
        time=60.0 * phase if way in ("time", "series") else None,
    )


def is_whole(places):
    """Say by brute force whether (phase, slice) pairs are phases, two or more, of the same slices at even steps."""
    if len(set(places)) < len(places) or not places:
        return False
    phases, slices = ({place[i] for place in places} for i in (0, 1))
    even = len(set(np.diff(sorted(slices)))) == 1
    return len(phases) > 1 and even and len(places) == len(phases) * len(slices)


@pytest.mark.parametrize("way", ["temporal", "acquisition", "trigger", "time", "series"])
@pytest.mark.parametrize("enhanced", [False, True])
def test_random_series(way, enhanced):
    if enhanced and way == "series":
        pytest.skip("one object is of one series")
    seen = {True: 0, False: 0}
    for seed in range(150):
        rng, numbers = random.Random(f"{way}{enhanced}{seed}"), np.random.default_rng(seed)
        orientation, origin = rotation(numbers), numbers.normal(0, 100, 3)
        places = list(itertools.product(range(rng.randint(1, 4)), range(rng.randint(2, 6))))
        for _ in range(rng.choice([0, 0, 1, 2, 5])):
            what = rng.randrange(4)
            if what == 0:
                places.remove(rng.choice(places))
            elif what == 1:
                places.append(rng.choice(places))
            elif what == 2:
                gone = rng.choice(places)[1]
                places = [place for place in places if place[1] != gone]
            else:
                gone = rng.choice(places)[0]
                places = [place for place in places if place[0] != gone]
            if not places:
                break
        if not places:
            continue
        rng.shuffle(places)
        frames = [
            frame_at(*place, way, numbers, orientation, origin, number if enhanced else None)
            for number, place in enumerate(places, start=1)
        ]
        if enhanced:
            objects = [mr_object("1.9", frames, "1.5")]
        else:
            objects = [
                mr_object(f"1.9.{number}", [frame], f"1.5.{9 - places[number][0]}" if way == "series" else "1.5")
                for number, frame in enumerate(frames)
            ]
            rng.shuffle(objects)
        groups = assemble(objects)
        expected = is_whole(places)
        seen[expected] += 1
        assert any(group.plan for group in groups) == expected, (seed, sorted(places), [g.error for g in groups])
        if expected:
            (group,) = groups
            found = [[places[frames.index(each.frame)] for each in row] for row in group.plan.slices]
            phases, slices = (sorted({place[i] for place in places}) for i in (0, 1))
            assert found == [[(phase, index) for index in slices] for phase in phases]
            assert group.plan.step == pytest.approx(2.5 * (slices[1] - slices[0]), abs=1e-3)
    assert min(seen.values()) > 20
