"""Masses by kind, counted by hand."""

import numpy as np
import pytest

from mammofast.errors import ResultsError
from mammofast.evaluation import measure
from mammofast.evaluation.groups import BY, breakdown
from mammofast.evaluation.measuring import MeasuredImage, MeasuredMass
from mammofast.evaluation.truth import Known, PngTruth

NOTHING = np.empty(0)


def image(patient, *masses, uid=None):
    made = tuple(MeasuredMass(found, dice, length, attributes) for found, dice, length, attributes in masses)
    return MeasuredImage(uid or f"{patient}{len(masses)}", "s", patient, False, NOTHING, NOTHING > 0, made, None)


IMAGES = [
    image("a", (True, 0.9, 10.0, {"shape": "OVAL", "birads": "4a", "density": "DENSITY C", "pathology": "BENIGN"})),
    image("b", (False, 0.0, 10.1, {"shape": "oval", "birads": "BI-RADS 4"}), (True, 0.8, 20.0, {"shape": " Round "})),
    image("c", (True, 0.6, 50.1, {"pathology": "BENIGN_WITHOUT_CALLBACK"}), (False, 0.0, None, {"shape": "oval"})),
    image("d"),
]


def test_sizes_are_in_the_order_of_millimetres():
    groups = breakdown(IMAGES, "size", 200, 0)
    assert [(g["group"], g["n_masses"], g["n_images"], g["n_patients"]) for g in groups] == [
        ("10 mm or less", 1, 1, 1),
        ("over 10 to 20 mm", 2, 1, 1),
        ("over 50 mm", 1, 1, 1),
        ("not said", 1, 1, 1),
    ]
    assert [g["sensitivity"] for g in groups] == [1, 0.5, 1, 0]
    assert [g["dice_mean"] for g in groups] == pytest.approx([0.9, 0.4, 0.6, 0])
    # Each of one patient: nothing can be said of their spread.
    assert all(g["intervals"] == {"sensitivity": None, "dice_mean": None} for g in groups)


def test_names_are_told_apart_by_what_they_say():
    oval, round_, unsaid = breakdown(IMAGES, "shape", 200, 0)
    assert (oval["group"], oval["n_masses"], oval["n_patients"], oval["sensitivity"]) == (
        "oval",
        3,
        3,
        pytest.approx(1 / 3),
    )
    assert (round_["group"], unsaid["group"]) == ("round", "not said")
    assert oval["dice_mean"] == pytest.approx(0.3)
    low, high = oval["intervals"]["sensitivity"]
    assert (low, high) == (0, 1)
    assert [g["group"] for g in breakdown(IMAGES, "birads", 10, 0)] == ["4", "4a", "not said"]
    assert [g["group"] for g in breakdown(IMAGES, "density", 10, 0)] == ["c", "not said"]
    assert [(g["group"], g["n_masses"]) for g in breakdown(IMAGES, "pathology", 10, 0)] == [
        ("benign", 2),
        ("not said", 3),
    ]


def test_kinds_are_a_part_of_all():
    for by in ("size", "shape", "birads"):
        groups = breakdown(IMAGES, by, 10, 0)
        assert sum(g["n_masses"] for g in groups) == 5
        assert sum(g["n_masses"] * g["sensitivity"] for g in groups) == pytest.approx(3)


def test_a_thousand_sets_of_masses():
    """By size, of lengths on the limits too, and by shape, against masses taken one by one."""
    rng = np.random.default_rng(0)
    limits = {
        "10 mm or less": (0, 10),
        "over 10 to 20 mm": (10, 20),
        "over 20 to 50 mm": (20, 50),
        "over 50 mm": (50, 999),
    }
    for case in range(1000):
        images = []
        for number in range(rng.integers(1, 6)):
            masses = []
            for _ in range(rng.integers(0, 4)):
                found = bool(rng.random() < 0.6)
                length = None if rng.random() < 0.2 else float(rng.choice([3, 10, 10.5, 20, 21, 50, 50.5]))
                said = {} if rng.random() < 0.3 else {"shape": str(rng.choice(["OVAL", "oval ", "ROUND", " "]))}
                masses.append((found, float(rng.choice([0, 0.25, 1])) if found else 0.0, length, said))
            images.append(image(f"p{rng.integers(3)}", *masses, uid=str(number)))
        every = [(patient.patient, mass) for patient in images for mass in patient.masses]
        meant = {
            "size": {
                name: lambda m, a=a, b=b: m.length_mm is not None and a < m.length_mm <= b
                for name, (a, b) in limits.items()
            },
            "shape": {
                name: lambda m, name=name: m.attributes.get("shape", "").strip().lower() == name
                for name in ("oval", "round")
            },
        }
        for by, kinds in meant.items():
            members = {name: [(p, m) for p, m in every if belongs(m)] for name, belongs in kinds.items()}
            members["not said"] = [pair for pair in every if not any(belongs(pair[1]) for belongs in kinds.values())]
            expected = [(name, pairs) for name, pairs in members.items() if pairs]
            if [name for name, _ in expected] in ([], ["not said"]):
                with pytest.raises(ResultsError):
                    breakdown(images, by, 3, case)
                continue
            got = breakdown(images, by, 3, case)
            assert [group["group"] for group in got] == [name for name, _ in expected]
            for group, (_, pairs) in zip(got, expected, strict=True):
                assert (group["n_masses"], group["n_patients"]) == (len(pairs), len({patient for patient, _ in pairs}))
                assert group["sensitivity"] == pytest.approx(np.mean([mass.found for _, mass in pairs]), abs=1e-6)
                assert group["dice_mean"] == pytest.approx(np.mean([mass.dice for _, mass in pairs]), abs=1e-6)
                assert (group["intervals"]["dice_mean"] is None) == (group["n_patients"] < 2)


def test_what_nobody_said_is_no_kind():
    with pytest.raises(ResultsError, match="got 'margin', which the truth says of no mass; it says birads, density"):
        breakdown(IMAGES, "margin", 10, 0)
    with pytest.raises(ResultsError, match="it says none of these"):
        breakdown([image("d")], "size", 10, 0)
    with pytest.raises(ValueError, match="by: got 'colour'"):
        breakdown(IMAGES, "colour", 10, 0)


class Told(PngTruth):
    """Pictures, and what is said of their masses."""

    def known(self, sop_uid):
        return Known("one patient", {"density": "b"}, ({"shape": "oval"}, {"shape": "round"}))


def test_from_a_ledger(filled, ledger, tmp_path):
    """Image 2: mass 1 is found, its box's IoU one half; mass 2 is missed. 0.1 mm pixels."""
    found = measure(ledger.path, Told(tmp_path / "truth"))
    assert {image.patient for image in found.images} == {"one patient"}
    image = next(image for image in found.images if image.sop_uid == "1.2.2")
    first, second = image.masses
    assert (first.found, second.found) == (True, False)
    assert first.dice == pytest.approx(2 * 100 / (100 + 200))
    assert second.dice == 0
    assert (first.length_mm, second.length_mm) == pytest.approx((2.0, 1.0))
    assert first.attributes == {"laterality": "L", "view": "CC", "density": "b", "shape": "oval"}
    assert second.attributes["shape"] == "round"
    assert [g["group"] for g in breakdown(found.images, "view", 10, 0)] == ["cc"]


def test_a_mass_is_not_its_neighbour(record, ledger, tmp_path):
    """One finding over two masses side by side: it found the one it overlaps most, and that one alone is its Dice."""
    record(1, [((10, 10, 30, 20), 0.9)], [(10, 10, 24, 20), (24, 10, 30, 20)])
    first, second = measure(ledger.path, tmp_path / "truth").images[0].masses
    assert (first.found, second.found) == (True, False)
    assert first.dice == pytest.approx(2 * 140 / (200 + 140))


def test_pictures_tell_sizes_and_views(filled, ledger, tmp_path):
    found = measure(ledger.path, tmp_path / "truth")
    (group,) = breakdown(found.images, "size", 10, 0)
    assert (group["group"], group["n_masses"], group["n_patients"]) == ("10 mm or less", 4, 2)
    for by in set(BY) - {"size", "view", "laterality"}:
        with pytest.raises(ResultsError, match="says of no mass"):
            breakdown(found.images, by, 10, 0)
