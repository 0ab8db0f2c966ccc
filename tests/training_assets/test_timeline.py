"""The ledger's picture and table say what was decided, chunk by chunk."""

import base64
import json
import xml.etree.ElementTree as ET

import pandas as pd

from training_assets.timeline import picture, table


def ledger(*answers):
    clauses = json.dumps({"clauses": [{"clause": "composite_score", "value": 0.16, "fire_above": 0.15, "is_up": True}]})
    return pd.DataFrame([
        {
            "chunk": chunk, "action": action, "clause": clause, "as_of": pd.Timestamp("2025-01-05", tz="UTC"), "state_before": "armed", "state_after": "armed",
            "inputs": clauses,
        }
        for chunk, action, clause in answers
    ])  # fmt: skip


def bars(text):
    root = ET.fromstring(base64.b64decode(text.split("base64,")[1].rstrip(")")))
    namespace = {"svg": "http://www.w3.org/2000/svg"}
    return [
        bar.find("svg:title", namespace).text for bar in root.findall("svg:rect", namespace) if bar.find("svg:title", namespace) is not None
    ]


def test_each_chunk_is_a_bar_and_an_order_outweighs_what_was_answered_after_it():
    rows = ledger(("2025-01-01", "hold", "no_harm"), ("2025-01-02", "retrain", "composite_score"), ("2025-01-02", "hold", "cooldown"))
    assert bars(picture(rows)) == ["2025-01-01: hold by no_harm", "2025-01-02: retrain by composite_score"]


def test_a_later_answer_about_a_chunk_replaces_an_earlier_one():
    rows = ledger(("2025-01-01", "hold", "no_harm"), ("2025-01-01", "open_incident", "data_fault"))
    assert bars(picture(rows)) == ["2025-01-01: open_incident by data_fault"]


def test_the_table_shows_the_newest_first_with_what_the_clauses_read():
    lines = table(ledger(("2025-01-01", "hold", "no_harm"), ("2025-01-02", "retrain", "composite_score"))).splitlines()
    assert "2025-01-02" in lines[2]
    assert "composite_score 0.16 / 0.15 **holds**" in lines[2]
    assert "2025-01-01" in lines[3]
