"""The command line."""

from click.testing import CliRunner

from mammofast.cli import main
from mammofast.cli.phantom import phantom_command


def test_makes_studies(tmp_path):
    ran = CliRunner().invoke(
        phantom_command, [str(tmp_path), "--studies", "1", "--seed", "5", "--workers", "1", "--verbose"]
    )
    assert ran.exit_code == 0, ran.output
    assert len(list((tmp_path / "dicom").glob("*/*.dcm"))) == 4
    assert len(list((tmp_path / "truth").glob("*.png"))) == 4
    assert "4 images of 1 study" in ran.output


def test_misuse_is_two():
    runner = CliRunner()
    assert runner.invoke(phantom_command, ["out"]).exit_code == 2
    assert runner.invoke(phantom_command, ["out", "--studies", "0"]).exit_code == 2
    assert "Example" in runner.invoke(phantom_command, ["--help"]).output


def test_a_folder_of_another_set_is_said_in_words(tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "1.2.3.png").write_bytes(b"")
    ran = CliRunner().invoke(main, ["phantom", str(tmp_path), "--studies", "1", "--quiet"])
    assert ran.exit_code == 1
    assert "another set of phantoms" in ran.output
    assert "another folder" in ran.output
