"""The templates of PS3.16 that a Mammography CAD SR is made of, as tables, and a check of a tree against them.

Written from the standard (edition 2024; TID 4020 and 4023 checked against 2015a too), independently of the writer:
NL, row | relationship | value type | concept | VM | requirement | value set. What an INCLUDE names is another table; a
template that is not here stands for rows that no tree of ours may have. MC and UC rows have their condition below.
"""

from dataclasses import dataclass, field

TEMPLATES = {
    "4000": """
    1    |                 | CONTAINER | 111036 DCM | 1   | M  |
    > 2  | HAS CONCEPT MOD | INCLUDE   | 1204       | 1   | M  |
    > 3  | CONTAINS        | CONTAINER | 111028 DCM | 1   | M  |
    >> 4 | CONTAINS        | INCLUDE   | 4020       | 1-n | M  |
    > 5  | CONTAINS        | INCLUDE   | 4001       | 1   | M  |
    > 6  | CONTAINS        | CODE      | 111064 DCM | 1   | M  | 6042
    >> 7 | INFERRED FROM   | INCLUDE   | 4015       | 1   | MC |
    > 8  | CONTAINS        | CODE      | 111065 DCM | 1   | M  | 6042
    >> 9 | INFERRED FROM   | INCLUDE   | 4016       | 1   | MC |
    """,
    "1204": """
    1    |                 | CODE      | 121049 DCM | 1   | M  | 5000
    > 2  | HAS CONCEPT MOD | CODE      | 121046 DCM | 1   | U  |
    """,
    "4020": """
    1    |                 | IMAGE     |            | 1   | M  |
    > 2  | HAS ACQ CONTEXT | CODE      | 111027 DCM | 1   | MC | 6022
    > 3  | HAS ACQ CONTEXT | CODE      | 111031 DCM | 1   | MC | 4014
    >> 4 | HAS CONCEPT MOD | CODE      | 111032 DCM | 1-n | MC | 4015
    > 5  | HAS ACQ CONTEXT | TEXT      | 111044 DCM | 1   | MC |
    > 6  | HAS ACQ CONTEXT | TEXT      | 111043 DCM | 1   | MC |
    > 7  | HAS ACQ CONTEXT | DATE      | 111060 DCM | 1   | MC |
    > 8  | HAS ACQ CONTEXT | TIME      | 111061 DCM | 1   | MC |
    > 9  | HAS ACQ CONTEXT | DATE      | 111018 DCM | 1   | MC |
    > 10 | HAS ACQ CONTEXT | TIME      | 111019 DCM | 1   | MC |
    > 11 | HAS ACQ CONTEXT | NUM       | 111026 DCM | 1   | MC | mm UCUM
    > 12 | HAS ACQ CONTEXT | NUM       | 111066 DCM | 1   | MC | mm UCUM
    > 13 | HAS ACQ CONTEXT | NUM       | 112011 DCM | 1   | U  | deg UCUM
    > 14 | HAS ACQ CONTEXT | NUM       | 112012 DCM | 1   | U  | deg UCUM
    > 27 | HAS ACQ CONTEXT | NUM       | 110910 DCM | 1   | U  | {pixels} UCUM
    > 28 | HAS ACQ CONTEXT | NUM       | 110911 DCM | 1   | MC | {pixels} UCUM
    """,
    "4001": """
    1    |                 | CODE      | 111017 DCM | 1   | M  | 6047
    > 2  | HAS PROPERTIES  | INCLUDE   | 4002       | 1   | U  |
    > 3  | INFERRED FROM   | INCLUDE   | 4003       | 1-n | MC |
    """,
    "4002": """
    5    |                 | TEXT      | 111033 DCM | 1   | M  |
    10   |                 | NUM       | 111013 DCM | 1   | U  | % UCUM
    11   |                 | INCLUDE   | 4019       | 1   | M  |
    """,
    "4003": """
    1    |                 | CONTAINER | 111034 DCM | 1   | M  |
    > 2  | HAS CONCEPT MOD | CODE      | 111056 DCM | 1   | M  | 6034
    > 3  | CONTAINS        | INCLUDE   | 4002       | 1   | U  |
    > 4  | CONTAINS        | INCLUDE   | 4004       | 1-n | U  |
    > 5  | CONTAINS        | INCLUDE   | 4006       | 1-n | M  |
    """,
    "4006": """
    1    |                 | CODE      | 111059 DCM | 1   | M  | 6014
    > 2  | HAS CONCEPT MOD | CODE      | 111056 DCM | 1   | M  | 6034
    >> 3 | HAS PROPERTIES  | NUM       | 111071 DCM | 1   | MC | {1:n} UCUM
    > 4  | HAS OBS CONTEXT | INCLUDE   | 4108       | 1   | U  |
    > 5  | HAS PROPERTIES  | INCLUDE   | 4019       | 1   | M  |
    > 6  | HAS PROPERTIES  | NUM       | 111012 DCM | 1   | U  | % UCUM
    > 7  | HAS PROPERTIES  | NUM       | 111047 DCM | 1   | U  | % UCUM
    > 8  | HAS PROPERTIES  | INCLUDE   | 4021       | 1   | M  |
    > 14 | HAS PROPERTIES  | INCLUDE   | 4011       | 1   | U  |
    > 26 | HAS OBS CONTEXT | INCLUDE   | 4022       | 1   | U  |
    """,
    "4108": """
    1    |                 | TEXT      | 112039 DCM | 1   | M  |
    2    |                 | UIDREF    | 112040 DCM | 1   | M  |
    """,
    "4011": """
    5    |                 | INCLUDE   | 1401       | 1   | M  |
    """,
    "1401": """
    1    |                 | NUM       | 42798000 SCT | 1 | M  | mm2 UCUM
    """,
    "4015": """
    1    |                 | CONTAINER | 111063 DCM | 1   | MC |
    > 2  | CONTAINS        | INCLUDE   | 4017       | 1-n | M  |
    3    |                 | CONTAINER | 111025 DCM | 1   | MC |
    > 4  | CONTAINS        | INCLUDE   | 4017       | 1-n | M  |
    """,
    "4017": """
    1    |                 | CODE      | 111022 DCM | 1   | M  | 6014
    > 2  | HAS PROPERTIES  | INCLUDE   | 4019       | 1   | M  |
    > 4  | HAS PROPERTIES  | REFERENCE |            | 1-n | MC |
    > 5  | HAS PROPERTIES  | UIDREF    | 112002 DCM | 1-n | MC |
    > 9  | HAS PROPERTIES  | INCLUDE   | 4023       | 1   | U  |
    """,
    "4019": """
    1    |                 | TEXT      | 111001 DCM | 1   | M  |
    2    |                 | TEXT      | 111003 DCM | 1   | M  |
    3    |                 | TEXT      | 111002 DCM | 1-n | U  |
    4    |                 | CODE      | 111000 DCM | 1   | U  |
    """,
    "4021": """
    1    |                 | SCOORD    | 111010 DCM | 1   | M  | POINT
    > 2  | SELECTED FROM   | REFERENCE |            | 1   | M  |
    3    |                 | SCOORD    | 111041 DCM | 1   | U  | POLYLINE
    > 4  | SELECTED FROM   | REFERENCE |            | 1   | M  |
    """,
    "4023": """
    1    |                 | NUM       | 111072 DCM | 1   | M  | [arb'U] UCUM
    2    |                 | NUM       | 111092 DCM | 1   | U  | {0:n} UCUM
    """,
}

VALUE_SETS = {
    "5000": {"en RFC5646"},
    "6042": {f"{n} DCM" for n in range(111222, 111226)},
    "6047": {f"{n} DCM" for n in range(111241, 111246)},
    "6034": {"111150 DCM", "111151 DCM", "111152 DCM"},
    "6014": {"129793001 SCT", "129792006 SCT", "129769006 SCT", "129770007 SCT", "111101 DCM"},
    "6022": {"80248007 SCT", "73056007 SCT", "63762007 SCT"},
    "4014": {
        f"{code} SCT"
        for code in (
            *("399260004", "399368009", "399352003", "399099002", "399162004", "399196006"),
            *("399188001", "441555000", "399192008", "399101009", "127457009"),
        )
    },
    "4015": {
        f"{code} SCT"
        for code in (
            *("399161006", "399011000", "399197002", "399226006", "414493004", "415670009", "399209000"),
            *("399163009", "399055006", "399110001", "442581004", "441752004", "442593008", "442580003"),
        )
    },
}


@dataclass
class Row:
    """One row of a table with those below it."""

    name: str
    relationship: str
    value_type: str
    concept: str
    several: bool
    requirement: str
    values: str
    children: list["Row"] = field(default_factory=list)


def table(tid):
    """Return a template's rows at its top level."""
    top, stack = [], []
    for line in TEMPLATES[tid].strip().splitlines():
        place, relationship, value_type, concept, vm, requirement, values = (part.strip() for part in line.split("|"))
        *arrows, number = place.split()
        depth = len(arrows[0]) if arrows else 0
        row = Row(f"TID {tid} row {number}", relationship, value_type, concept, vm == "1-n", requirement, values)
        del stack[depth:]
        (stack[-1].children if stack else top).append(row)
        stack.append(row)
    return top


def errors(report, headers):
    """Return what is wrong with a report's tree; ``headers``: the images' data sets, by SOP Instance UID."""
    return _Check(report, headers).found


class _Check:
    def __init__(self, report, headers):
        self.report, self.headers, self.found = report, headers, []
        rest = self._group(table("4000"), [report], None, None)
        self.found += [f"{_name(item)}: no row for it here" for item in rest]

    def _group(self, rows, items, parent, relationship):
        """Take the items that a table's rows describe off the front, in order; return the rest."""
        for row in rows:
            items = self._row(row, items, parent, row.relationship or relationship)
        return items

    def _row(self, row, items, parent, relationship):
        number = 0
        while items and (number == 0 or row.several):
            if row.value_type == "INCLUDE":
                if row.concept not in TEMPLATES or not self._starts(row.concept, items[0], relationship):
                    break
                items = self._group(table(row.concept), items, parent, relationship)
            elif _fits(row, items[0], relationship):
                self._item(row, items[0], parent)
                items = items[1:]
            else:
                break
            number += 1
        required = CONDITIONS[row.name](self, parent) if row.requirement == "MC" else row.requirement == "M"
        if required and not number:
            self.found.append(f"{row.name} is missing in {_name(parent)}")
        if required is False and row.requirement == "MC" and number:
            self.found.append(f"{row.name} must not be there in {_name(parent)}")
        return items

    def _starts(self, tid, item, relationship):
        """Whether an item is one of a template's rows that can stand first."""
        for row in table(tid):
            if row.value_type == "INCLUDE" and self._starts(row.concept, item, relationship):
                return True
            if _fits(row, item, row.relationship or relationship):
                return True
        return False

    def _item(self, row, item, parent):
        if row.value_type == "REFERENCE":
            target = self._resolve(item.ReferencedContentItemIdentifier)
            if getattr(target, "ValueType", None) != "IMAGE":
                self.found.append(f"{row.name}: refers to {_name(target)}, no image of the library")
            return
        if row.values and _value(item) not in VALUE_SETS.get(row.values, {row.values}):
            self.found.append(f"{row.name}: {_value(item)} is not of {row.values}")
        rest = self._group(row.children, list(item.get("ContentSequence", [])), item, None)
        self.found += [f"{_name(child)}: no row for it below {row.name}, or out of order" for child in rest]

    def _resolve(self, position):
        item = self.report
        try:
            for number in list(position)[1:]:
                item = item.ContentSequence[number - 1]
        except (AttributeError, IndexError):
            return None
        return item

    def header(self, image):
        return self.headers[image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID]


def _fits(row, item, relationship):
    if row.value_type == "REFERENCE":
        return "ReferencedContentItemIdentifier" in item and item.RelationshipType == relationship
    if "ReferencedContentItemIdentifier" in item:
        return False
    return (item.ValueType, _concept(item), item.get("RelationshipType")) == (row.value_type, row.concept, relationship)


def _concept(item):
    return _code(item.ConceptNameCodeSequence[0]) if "ConceptNameCodeSequence" in item else ""


def _code(item):
    return f"{item.CodeValue} {item.CodingSchemeDesignator}"


def _value(item):
    if item.ValueType == "CODE":
        return _code(item.ConceptCodeSequence[0])
    if item.ValueType == "NUM":
        return _code(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0])
    return item.GraphicType if item.ValueType == "SCOORD" else None


def _name(item):
    if item is None:
        return "nothing"
    if "ReferencedContentItemIdentifier" in item:
        return f"a reference to {list(item.ReferencedContentItemIdentifier)}"
    return f"{item.ValueType} ({_concept(item)})"


def _children(item, concept):
    return [child for child in item.get("ContentSequence", []) if "ValueType" in child and _concept(child) == concept]


def _in_image(keyword, legal=lambda value: True):
    def condition(check, image):
        value = check.header(image).get(keyword)
        # True: it has to be there. None: may be there, as it can be told by other attributes.
        return True if value not in (None, "", []) and legal(value) else None

    return condition


def _is_time(value):
    return str(value).replace(".", "").isdigit()


_ORIENTATION = _in_image("PatientOrientation", lambda value: all(set(v) <= set("APLRHF") for v in value))
_SPACINGS = ("ImagerPixelSpacing", "PixelSpacing")


def _has_spacing(check, image):
    values = [check.header(image).get(keyword) for keyword in _SPACINGS]
    return any(value and all(float(part) > 0 for part in value) for value in values)


def _has_points(check, intent):
    """TID 4006 row 3: if the intent is optional; row 9 of TID 4017 is there wherever something was found."""
    return _value(intent) == "111151 DCM"


CONDITIONS = {
    "TID 4000 row 7": lambda check, parent: _value(parent) != "111225 DCM",
    "TID 4000 row 9": lambda check, parent: _value(parent) != "111225 DCM",
    "TID 4001 row 3": lambda check, parent: _value(parent) in ("111242 DCM", "111244 DCM"),
    "TID 4006 row 3": _has_points,
    "TID 4015 row 1": lambda check, parent: _value(parent) in ("111222 DCM", "111223 DCM"),
    "TID 4015 row 3": lambda check, parent: _value(parent) in ("111224 DCM", "111223 DCM"),
    # At least one of rows 3 to 6.
    "TID 4017 row 4": lambda check, parent: True if not _children(parent, "112002 DCM") else None,
    "TID 4017 row 5": lambda check, parent: None,
    "TID 4020 row 2": _in_image("ImageLaterality"),
    "TID 4020 row 3": _in_image("ViewCodeSequence"),
    "TID 4020 row 4": lambda check, view: None,
    "TID 4020 row 5": _ORIENTATION,
    "TID 4020 row 6": _ORIENTATION,
    "TID 4020 row 7": _in_image("StudyDate"),
    "TID 4020 row 8": _in_image("StudyTime", _is_time),
    "TID 4020 row 9": _in_image("ContentDate"),
    "TID 4020 row 10": _in_image("ContentTime", _is_time),
    "TID 4020 row 11": _has_spacing,
    "TID 4020 row 12": _has_spacing,
    "TID 4020 row 28": lambda check, image: bool(_children(image, "110910 DCM")),
}
