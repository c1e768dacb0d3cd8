import json

from click.testing import CliRunner

from mammofast.cli import main
from mammofast.models import find, names


def test_models_as_json_are_the_whole_list():
    rows = json.loads(CliRunner().invoke(main, ["models", "--json"]).output)
    assert [row["name"] for row in rows] == names()
    assert all({"name", "parameters", "layers", "gmac", "paper"} <= set(row) for row in rows)


def test_one_model_as_json_is_its_row():
    row = json.loads(CliRunner().invoke(main, ["models", "compact-yolo", "--json"]).output)
    assert row["parameters"] == find("compact-yolo").parameters
    assert row["input"] == [1, 960, 480]


def test_the_table_has_a_line_for_each():
    lines = CliRunner().invoke(main, ["models"]).output.splitlines()
    assert [line.split()[0] for line in lines] == ["network", *names()]
    assert "1,441,422" in lines[1 + names().index("compact-yolo")]


def test_quiet_prints_names_and_verbose_everything():
    assert CliRunner().invoke(main, ["models", "--quiet"]).output.split() == names()
    page = CliRunner().invoke(main, ["models", "compact-yolo"]).output
    assert page in CliRunner().invoke(main, ["models", "--verbose"]).output
    assert "raw heads of strides 8, 16 and 32" in page


def test_an_unknown_model_is_misuse():
    done = CliRunner().invoke(main, ["models", "compact-yolov"])
    assert done.exit_code == 2
    assert "Error: no network is called 'compact-yolov'; did you mean compact-yolo" in done.stderr
