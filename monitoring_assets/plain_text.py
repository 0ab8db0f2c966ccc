"""Names and numbers as text in the tables that the Dagster UI shows.

Belongs here: how one cell is written. Does not: whole tables, report pages (``page_words.py``).
"""


def cell(text: str) -> str:
    """A name as the text of one markdown cell: names come from logs."""
    return text.replace("|", "/").replace("<", "‹").replace(">", "›").replace("\n", " ")


def shown(number: float) -> str:
    """A number with three digits; a dash where there is none."""
    return "–" if number != number else f"{number:.3g}"
