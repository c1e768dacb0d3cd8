"""``mammofast demo`` keeps to a folder of its own."""

import pytest
from click.testing import CliRunner

from mammofast import cli, phantom


@pytest.fixture
def demo(monkeypatch, tmp_path):
    """The command up to where it would begin to work."""

    def begin(*arguments, **options):
        raise OSError("begins")

    monkeypatch.setattr(phantom, "write_studies", begin)

    def demo(studies=2):
        return CliRunner().invoke(
            cli.main, ["demo", "--quiet", "--studies", str(studies), "--out", str(tmp_path / "d")]
        )

    return demo


BEGINS = "mammofast: a file could not be used: OSError\n"


def test_a_new_an_empty_and_its_own_folder_will_do(demo, tmp_path):
    assert demo().output == BEGINS
    assert demo().output == BEGINS
    (tmp_path / "d" / "demo.json").unlink()
    (tmp_path / "d" / ".hidden").touch()
    assert demo().output == BEGINS


@pytest.mark.parametrize("name", ["dicom/1", "results/results.json", "note.txt"])
def test_a_folder_of_something_else_is_left_as_it_is(demo, tmp_path, name):
    (tmp_path / "d" / name).parent.mkdir(parents=True)
    (tmp_path / "d" / name).write_text("mine")
    done = demo()
    assert done.exit_code == 1
    assert done.output == f"mammofast: {tmp_path}/d: is not empty, and no demo made it; give a new folder with --out\n"
    assert [path.name for path in (tmp_path / "d").rglob("*") if path.is_file()] == [name.rpartition("/")[2]]


def test_another_demo_is_said(demo):
    demo(2)
    done = demo(3)
    assert done.exit_code == 1
    assert 'holds another demo, {"studies": 2, "seed": 20000}; give a new folder' in done.output
