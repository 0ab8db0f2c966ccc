"""What was refused reaches the screen letter for letter, and nothing else is taken for a refusal."""

import pytest
import typer

from plumbline.screen import refusing


def test_a_refusal_is_printed_letter_for_letter_and_ends_the_command(capsys):
    said = "got rows@3[chunk = '2025-01-01'] and [bold]; expected one of ['1', '2']" + " that a long line tells of" * 20
    with pytest.raises(typer.Exit) as ended, refusing(LookupError, ValueError, code=2):
        raise ValueError(said)
    assert ended.value.exit_code == 2
    assert capsys.readouterr().out == said + "\n"


def test_another_error_is_no_refusal(capsys):
    with pytest.raises(ZeroDivisionError), refusing(LookupError):
        raise ZeroDivisionError
    with refusing(LookupError):
        pass
    assert capsys.readouterr().out == ""
