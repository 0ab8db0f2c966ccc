"""Why does a model hurt? Pure statistics that look for causes once harm was seen.

Belongs here: one module per question, each a function of reference rows, chunk rows and plain arguments: which column
carries which other's signal, or is written in another unit (``remap``, ``units``), what the predictions lean on
(``attribution``), whether outcomes follow differently from the same inputs (``shadow``), whether only their frequency
changed (``label_shift``), which event or feature is suspect (``likely_cause``), and whether the harm exceeds noise
(``placebo``). Does not: verdicts, storage, sentences for a page beyond one line of what was found.
"""
