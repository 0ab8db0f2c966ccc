"""The parts of ``triage.py``: worlds, faults, judging, the page."""
