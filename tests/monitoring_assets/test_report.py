"""The pages of a chunk and of a model's history: written by the platform, linked in the UI, told apart from their null twin."""

import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import dagster as dg
import pandas as pd
import pytest
import synthetic
from synthetic_platform import Platform

from monitoring_assets.measures.lines import with_all_columns
from monitoring_assets.measures.ranking import performance_correlation, ranked
from monitoring_assets.report import link, write_pages
from resources.settings import PROJECT
from resources.vocabulary import Kind, Stage

CHUNK = "2024-02-12"


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def page_of(platform, chunk=CHUNK):
    return (platform.settings.reports / "shop" / f"{chunk}.html").read_text(encoding="utf-8")


def test_the_page_of_a_shifted_chunk_names_the_offender_first_and_is_linked_from_the_asset(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="shift"), importance={"x1": 0.9, "x2": 0.1})
    assert platform.run("monitor", CHUNK).success
    page = page_of(platform)
    offenders = page[page.index("Top offenders") :]
    assert offenders.index("x2") < offenders.index("x1")
    assert "What to do next" in page
    assert "without drift the check fails on at most 1.0% of chunks" in page
    made = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=dg.AssetKey(["shop", str(Stage.REPORT)])), limit=1).records[0]
    metadata = made.asset_materialization.metadata
    assert metadata["page"].value == str(platform.settings.reports / "shop" / f"{CHUNK}.html")
    assert metadata["drifted_features"].value == 1
    assert "| x2 |" in metadata["ranking"].value


def test_the_page_of_its_twin_is_calm(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log())
    assert platform.run("monitor", CHUNK).success
    assert "No offenders" in page_of(platform)


def test_a_range_gets_a_page_each_and_the_history_links_them(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="missing"))
    assert platform.run("monitor", "2024-02-07", "2024-02-11").success
    history = page_of(platform, "history")
    for chunk in ("2024-02-07", "2024-02-08", "2024-02-09", "2024-02-10", "2024-02-11"):
        assert f'href="{chunk}.html"' in history
        assert chunk in page_of(platform, chunk)
    assert "data_fault" in page_of(platform, "2024-02-11")  # nothing is measured on broken data, and the page says what it is


def test_the_history_stays_that_of_the_newest_chunk_when_an_old_one_runs_again(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log())
    for chunk in ("2024-02-05", "2024-02-06", "2024-02-05"):
        assert platform.run("monitor", chunk).success
    history = page_of(platform, "history")
    assert all(f'href="{chunk}.html"' in history for chunk in ("2024-02-05", "2024-02-06"))


def test_a_page_can_be_written_again_and_says_the_same(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="shift"), segments=["site"], drift={"season": "hour"})
    assert platform.run("monitor", CHUNK).success
    before = page_of(platform)
    assert "same hour" in before
    assert "site=north" in before
    write_pages(platform.settings, platform.policy, platform.lake, [CHUNK])
    assert page_of(platform) == before


def test_a_link_is_an_address_where_reports_are_served_and_a_path_where_they_are_not(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log())
    file = platform.settings.reports / "shop" / "a.html"
    assert link(platform.settings, file) == dg.MetadataValue.path(file)
    served = replace(platform.settings, reports_url="http://127.0.0.1:3001/")
    assert link(served, file) == dg.MetadataValue.url("http://127.0.0.1:3001/shop/a.html")


def test_reports_are_served_until_the_process_that_asked_for_it_has_gone(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "a.html").write_text("a page", encoding="utf-8")
    starter = (
        "import socket, subprocess, sys, time\n"
        "with socket.socket() as one:\n    one.bind(('127.0.0.1', 0)); port = one.getsockname()[1]\n"
        "child = subprocess.Popen([sys.executable, '-m', 'plumbline.reports', sys.argv[1], '127.0.0.1', str(port)])\n"
        "print(child.pid, port, flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT
    ) as parent:
        _, port = (int(word) for word in parent.stdout.readline().split())
        assert _fetched(port) == "a page"
        parent.stdin.close()
        parent.wait(timeout=10)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/shop/a.html", timeout=1).close()
        except OSError:
            return
        time.sleep(0.3)
    pytest.fail("the server outlived its parent")


def _fetched(port):
    for _ in range(50):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/shop/a.html", timeout=1) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(0.2)
    return None


def lines(values, kind, subject, breach=False, limit=1.0):
    return with_all_columns(
        pd.DataFrame([
            {"chunk": f"2024-01-{day:02d}", "kind": str(kind), "method": "m", "subject": subject, "value": value, "standard_error": float("nan"),
             "n_rows": 100, "lower_limit": float("nan"), "upper_limit": limit, "breach": breach}
            for day, value in enumerate(values, 1)
        ])
    )  # fmt: skip


def test_the_feature_that_moves_with_performance_correlates_with_it():
    strays = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 2.0]
    auc = [0.9 - stray / 10 for stray in strays]
    company = lines([abs(value - sum(auc) / len(auc)) for value in auc], Kind.UNIVARIATE_DRIFT, "with")
    other = lines([0.5, 0.4, 0.5, 0.4, 0.5, 0.4, 0.5, 0.4], Kind.UNIVARIATE_DRIFT, "without")
    still = lines([0.5] * 8, Kind.UNIVARIATE_DRIFT, "still")
    found = performance_correlation(pd.concat([company, other, still, lines(auc, Kind.REALIZED_PERFORMANCE, "roc_auc")]), "roc_auc")
    assert found["with"] == pytest.approx(1.0)
    assert abs(found["without"]) < 0.6
    assert "still" not in found  # what never varies has no correlation
    short = pd.concat([company.head(4), lines(auc[:4], Kind.REALIZED_PERFORMANCE, "roc_auc")])
    assert performance_correlation(short, "roc_auc") == {}


def test_importance_decides_between_features_equally_far_out():
    own = pd.concat(
        [lines([2.0], Kind.UNIVARIATE_DRIFT, name, breach=True) for name in ("light", "heavy")]
        + [lines([0.9], Kind.UNIVARIATE_DRIFT, "calm")]
    )
    assert list(ranked(own, {"heavy": 0.7, "light": 0.2, "calm": 0.1}, {})["feature"]) == ["heavy", "light", "calm"]
    assert list(ranked(own, {}, {})["feature"]) == ["heavy", "light", "calm"]  # by name where nothing else tells
    assert list(ranked(own, {"heavy": 0.1, "light": 0.9}, {})["feature"]) == ["light", "heavy", "calm"]
