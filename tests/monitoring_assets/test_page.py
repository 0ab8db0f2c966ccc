"""What the report pages promise a reader: worst first, every number with its limit, nothing from outside, readable anywhere."""

import re
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring_assets.page import chunk_page, history_page
from monitoring_assets.page_lines import COLUMNS, CategoryShape, Heading, Line, Shape
from monitoring_assets.page_svg import bounded

NUMERIC, CATEGORICAL = (
    ("wasserstein", "kolmogorov_smirnov", "jensen_shannon", "hellinger"),
    ("chi2", "jensen_shannon", "l_infinity", "hellinger"),
)
LIMITS = {"wasserstein": 0.8, "kolmogorov_smirnov": 0.06, "jensen_shannon": 0.1, "hellinger": 0.08, "chi2": 14.1, "l_infinity": 0.05}
MEANINGS = {method: f"What {method} measures, in one sentence." for method in (*LIMITS, "pca_reconstruction", "cbpe", "missing_share")}
START = datetime(2024, 1, 1, tzinfo=UTC)
VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "<script>alert('x')</script>"


def week(place):
    return (START + timedelta(weeks=place)).strftime("%Y-%m-%d")


def row(chunk, subject, method, value, limit=None, kind="univariate_drift", **more):
    limit = LIMITS.get(method, np.nan) if limit is None else limit
    low = more.pop("lower_limit", np.nan)
    outside = bool(value > limit or value < low)
    base = {
        "chunk": chunk, "kind": kind, "method": method, "subject": subject, "segment": "all", "compared_with": "reference", "value": value,
        "effect": value * 3, "p_value": np.nan if value != value else 0.0004 if outside else 0.31, "adjusted_p_value": np.nan if value != value else 0.0021 if outside else 0.74, "standard_error": abs(value) / 12,
        "n_rows": 1840, "lower_limit": low, "upper_limit": limit, "breach": outside, "is_deciding": method in ("wasserstein", "jensen_shannon", "pca_reconstruction", "cbpe", "realized", "missing_share"), "reason": "",
    }  # fmt: skip
    return {**base, **more}


def frame(rows):
    return pd.DataFrame(rows, columns=COLUMNS)


def heading(**more):
    base = Heading(
        "weather_station", "Will it rain tomorrow, from a day of readings.", "binary_classification", week(23), START + timedelta(weeks=23),
        START + timedelta(weeks=24), "the 12,418 held-out rows of version 7", 1840, "covariate_harmful", 0.6,
        "Retrain on rows since the onset; until then treat scores of site B with care.",
        "Limits are the 99.5 % quantile of what healthy chunks of this size show, so about 1 healthy chunk in 200 alarms falsely.",
        ("The plain rule p < 0.05 would have alarmed falsely in 41 % of healthy chunks.",),
    )  # fmt: skip
    return replace(base, **more)


def drift(chunk, rng, factors):
    rows = []
    for subject, factor in factors.items():
        for method in CATEGORICAL if subject in ("site", "channel") else NUMERIC:
            rows.append(row(chunk, subject, method, float(LIMITS[method] * factor * rng.uniform(0.85, 1.0))))
    return rows


QUIET = {"temperature": 0.5, "dew_point": 0.4, "visibility": 0.3, "wind_speed": 0.6, "pressure": 0.2, "site": 0.4, "channel": 0.7}


def performance(chunk, value, is_known=True):
    rows = [row(chunk, "roc_auc", "cbpe", value, np.nan, "estimated_performance", lower_limit=0.84)]
    told = value - 0.01 if is_known else np.nan
    reason = "" if is_known else "outcomes of 0 of 1840 rows are known; the label delay is 30d"
    return [
        *rows,
        row(chunk, "roc_auc", "realized", told, np.nan, "realized_performance", lower_limit=0.83, reason=reason, is_deciding=True),
    ]


def story(is_faulty=True):
    """24 weeks of a weather station; in the last three a sensor warms up, dew point follows, and a new channel appears."""
    rng, past = np.random.default_rng(7), []
    for place in range(24):
        late = is_faulty and place > 20
        factors = {**QUIET, "temperature": 2.9 if late else 0.5, "dew_point": 1.6 if late else 0.4, "channel": 1.3 if late else 0.6}
        rows = drift(week(place), rng, {name: value * rng.uniform(0.7, 1.05) for name, value in factors.items()})
        rows.append(
            row(
                week(place),
                "all features",
                "pca_reconstruction",
                1.31 if late else 1.02,
                1.2,
                "multivariate_drift",
                reason="temperature × dew_point: 0.81 to 0.32" if late else "",
            )
        )
        rows += performance(week(place), 0.81 if late else 0.87 + rng.normal(0, 0.006), is_known=place < 22)
        past += [{**one, "chunk_start": START + timedelta(weeks=place)} for one in rows]
    history = pd.DataFrame(past, columns=[*COLUMNS, "chunk_start"])
    rows = history[history["chunk"] == week(23)][list(COLUMNS)].to_dict("records")
    scale = 2.4 if is_faulty else 0.5
    rows += [row(week(23), "wind_speed", "wasserstein", np.nan, reason="only 12 rows have a value; 30 are needed")]
    rows += [
        row(week(23), "temperature", "wasserstein", 0.8 * scale * factor, segment=f"site={site}", n_rows=920)
        for site, factor in (("A", 0.3), ("B", 1.6))
    ]
    rows += [
        row(week(23), "temperature", "wasserstein", 0.8 * 0.9 * scale, compared_with="same month"),
        row(week(23), "dew_point", "wasserstein", 0.4, compared_with="same month"),
    ]
    rows += [
        row(week(23), name, "missing_share", 0.09 if is_faulty and name == "visibility" else 0.004, 0.05, "data_quality") for name in QUIET
    ]
    rows += [row(week(23), name, "outlier_share", 0.02, 0.05, "data_quality") for name in ("temperature", "pressure")]
    return frame(rows), history


def shapes():
    edges = tuple(float(one) for one in np.linspace(-10, 40, 26))
    rng = np.random.default_rng(3)
    old, warm = rng.normal(14, 6, 9000), rng.normal(19, 7, 1840)
    share = lambda values: tuple(float(one) for one in np.histogram(values, edges)[0] / len(values))  # noqa: E731
    plain = Shape(edges, share(old), share(rng.normal(14, 6, 1840)))
    channels = CategoryShape(("web", "shop", "phone", "kiosk", "other"), (0.61, 0.24, 0.13, 0.0, 0.02), (0.48, 0.21, 0.12, 0.17, 0.02))
    return {"temperature": Shape(edges, share(old), share(warm)), "dew_point": Shape((-np.inf, *edges[1:-1], np.inf), share(old), share(warm)),
            "wind_speed": plain, "pressure": plain, "visibility": plain, "channel": channels, "site": CategoryShape(("A", "B"), (0.5, 0.5), (0.5, 0.5))}  # fmt: skip


def verdicts(is_faulty=True):
    words = ["healthy"] * 20 + (
        ["covariate_harmless", "covariate_harmful", "concept", "covariate_harmful"] if is_faulty else ["healthy"] * 4
    )
    words[4], words[9] = "data_fault", "undecided"
    recovery = {
        "healthy": "Nothing to do.",
        "covariate_harmful": "Retrain on rows since the onset.",
        "data_fault": "Repair the feed of visibility and log the chunk again.",
    }
    return pd.DataFrame(
        [
            {"chunk": week(place), "verdict": word, "confidence": 0.9, "recovery": recovery.get(word, "Wait for outcomes.")}
            for place, word in enumerate(words)
        ]
    )


def example_chunk_page(is_faulty=True, **more):
    measurements, history = story(is_faulty)
    calm = {} if is_faulty else {"verdict": "healthy", "confidence": 0.95, "recovery": "Nothing to do."}
    importance = {
        "temperature": 0.31,
        "dew_point": 0.22,
        "channel": 0.04,
        "pressure": 0.2,
        "visibility": 0.05,
        "wind_speed": 0.1,
        "site": 0.08,
    }
    return chunk_page(heading(**calm, **more), measurements, history, shapes(), importance, {"temperature": -0.82}, meanings=MEANINGS)


def example_history_page(is_faulty=True):
    links = {week(place): f"chunks/{week(place)}.html" for place in range(24)}
    return history_page(heading(), story(is_faulty)[1], verdicts(is_faulty), links, meanings=MEANINGS)


class Balance(HTMLParser):
    """Every opened tag is closed, in order; collects words, tags and attributes on the way."""

    def __init__(self):
        super().__init__()
        self.open, self.words, self.tags, self.attributes = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def parsed(page):
    reader = Balance()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


def text(page):
    return " ".join(" ".join(parsed(page).words).split())


def offenders(page):
    return [re.sub(r"^\d+\. ", "", name) for name in re.findall(r'<h3 id="offender-\d+">(.*?)</h3>', page)]


PAGES = pytest.mark.parametrize("page", [example_chunk_page, example_history_page], ids=["chunk", "history"])


@PAGES
@pytest.mark.parametrize("is_faulty", [True, False], ids=["faulty", "null twin"])
def test_a_page_is_balanced_names_its_language_and_refers_to_nothing_outside(page, is_faulty):
    page = page(is_faulty)
    reader = parsed(page)
    assert page.startswith("<!DOCTYPE html>\n")
    assert "http:" not in page
    assert "https:" not in page
    assert ("lang", "en") in reader.attributes
    assert ("name", "viewport") in reader.attributes
    assert reader.tags.count("title") > 1
    assert not [value for name, value in reader.attributes if name == "src" or (name == "href" and ":" in value)]
    assert not set(reader.tags) & {"link", "iframe", "object", "img"}


def test_a_feature_moves_up_by_its_importance_and_by_how_far_it_is_outside():
    rows = [row("a", "little", "wasserstein", 4.0), row("a", "much", "wasserstein", 2.0), row("a", "unknown", "wasserstein", 3.2)]
    pages = [chunk_page(heading(), frame(rows), frame([]), {}, weights, {}, meanings={}) for weights in ({}, {"little": 0.1, "much": 0.9})]
    assert offenders(pages[0]) == ["little", "unknown", "much"]
    assert offenders(pages[1]) == ["much", "unknown", "little"]


BOUND = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6))


@given(st.floats(-1e6, 1e6), BOUND, BOUND)
def test_a_share_is_above_one_exactly_where_the_value_is_outside_a_limit(value, one, other):
    low, high = (min(one, other), max(one, other)) if one == one and other == other else (one, other)
    line = Line(**row("a", "x", "m", value, high, lower_limit=low))
    assert (line.share > 1) == (value > high or value < low)
    assert (line.share != line.share) == (low != low and high != high)


def test_a_limit_of_zero_ranks_as_the_farthest_breach():
    rows = [row("a", "far", "wasserstein", 80.0), row("a", "stuck", "wasserstein", 0.1, 0.0)]
    page = chunk_page(heading(), frame(rows), frame([]), {}, {"far": 0.0}, {}, meanings={})
    assert offenders(page) == ["stuck", "far"]
    assert "∞ × its limit" in text(page)


def test_every_number_stands_with_its_limit_effect_chance_rows_and_state():
    page = chunk_page(heading(), frame([row("a", "x", "wasserstein", 1.23456789, p_value=0.0)]), frame([]), {}, {}, {}, meanings={})
    words = text(page).split("Methods and words")[0].split("What to do next")[1]
    for shown in ("wasserstein 1.235 ± 0.1", "≤ 0.8", "1.543", "3.704", "< 1e-16 adj. 0.0021", "1,840", "▲ outside"):
        assert shown in words


def test_the_story_of_the_page_is_told_in_words():
    page = example_chunk_page()
    words = text(page)
    assert offenders(page)[:2] == ["temperature", "dew_point"]
    assert "visibility" in offenders(page)
    for shown in (
        "Retrain on rows since the onset", "Features drifted 3 of 7", "about 1 healthy chunk in 200", "41 % of healthy chunks", "Not seen in the reference: kiosk (17.0%)",
        "A category is new", "Values are missing", "the season explains it", "outside both: not the season", "It points at temperature × dew_point: 0.81 to 0.32",
        "Correlation of its drift with performance over past chunks: -0.82", "What wasserstein measures", "site=B",
    ):  # fmt: skip
        assert shown in words


def test_a_number_that_is_not_there_shows_why():
    words = text(example_chunk_page())
    assert "only 12 rows have a value; 30 are needed" in words
    assert "outcomes of 0 of 1840 rows are known" in words
    assert "? not measured" in words


def test_a_breach_that_does_not_decide_makes_no_offender():
    rows = [row("a", "x", "kolmogorov_smirnov", 0.5, is_deciding=False)]
    page = chunk_page(heading(verdict="healthy"), frame(rows), frame([]), {}, {}, {}, meanings={})
    assert offenders(page) == []
    assert "△ outside, does not decide" in text(page)


@pytest.mark.parametrize(
    ("method", "kind", "told"),
    [
        ("missing_shift", "univariate_drift", "Values are missing"),
        ("unseen_share", "univariate_drift", "A category is new"),
        ("chi2", "univariate_drift", "The mix of categories moved"),
        ("wasserstein", "univariate_drift", "Its values moved"),
        ("out_of_range_share", "data_quality", "Some values lie far outside the reference"),
        ("rejected_share", "data_quality", "The data is broken as data"),
    ],
)
def test_what_to_do_next_follows_from_what_broke(method, kind, told):
    page = chunk_page(heading(), frame([row("a", "x", method, 20.0, 0.05, kind, is_deciding=True)]), frame([]), {}, {}, {}, meanings={})
    assert told in text(page)
    assert page.count("<li>") - page.count('<li><a href="#') == 1


def test_outliers_are_told_on_the_card_of_a_feature_that_drifted():
    told = "2.00% of the rows lie far outside the reference; set aside as outliers"
    outliers = row("a", "x", "outlier_share", 0.02, np.nan, "data_quality", is_deciding=False, reason=told)
    words = text(chunk_page(heading(), frame([row("a", "x", "wasserstein", 3.0), outliers]), frame([]), {}, {}, {}, meanings={}))
    assert f"{told}." in words
    assert "Some values lie far outside" in words
    assert "no limit" in words


def test_a_breach_inside_one_segment_names_it():
    rows = [row("a", "x", "wasserstein", 0.1), row("a", "x", "wasserstein", 1.9, segment="site=B")]
    assert "It breaches only inside site=B" in text(chunk_page(heading(), frame(rows), frame([]), {}, {}, {}, meanings={}))


def test_without_a_breach_the_page_is_calm_and_still_shows_the_numbers():
    page = example_chunk_page(is_faulty=False)
    words = text(page)
    assert offenders(page) == []
    assert "No offenders Nothing is outside its limit." in words
    assert "▲" not in words.split("Methods and words")[0]
    assert "Features drifted 0 of 7" in words
    assert "wasserstein" in words


def test_calm_features_do_not_hide_a_breach_of_all_features_together():
    rows = [
        row("a", "x", "wasserstein", 0.1),
        row("a", "all features", "correlation", 0.4, 0.2, "multivariate_drift", is_deciding=True, reason="x × y"),
    ]
    words = text(chunk_page(heading(), frame(rows), frame([]), {}, {}, {}, meanings={}))
    assert "No single feature is outside its limit. 1 numbers about all features" in words
    assert "Two features no longer move together" in words


def test_names_from_the_log_cannot_become_markup():
    measurements = frame([row("a", HOSTILE, "wasserstein", 3.0, segment=segment, reason=HOSTILE) for segment in ("all", HOSTILE)])
    history = measurements.assign(chunk_start=START)
    twice = pd.concat([history.assign(chunk=f"{place}{HOSTILE}") for place in range(3)])
    for shape in (CategoryShape((HOSTILE, "b"), (0.0, 1.0), (0.5, 0.5)), Shape((0.0, 1.0, 2.0), (0.5, 0.5), (0.1, 0.9))):
        page = chunk_page(
            heading(model=HOSTILE, notes=(HOSTILE,)), measurements, twice, {HOSTILE: shape}, {}, {}, meanings={"wasserstein": HOSTILE}
        )
        assert parsed(page).tags.count("script") == 1
        assert "alert('x')" not in page
        assert "&lt;script&gt;" in page
    judged = pd.DataFrame([{"chunk": HOSTILE, "verdict": HOSTILE, "confidence": 1.0, "recovery": HOSTILE}])
    page = history_page(heading(), twice, judged, {HOSTILE: '"><b>'}, meanings={})
    assert parsed(page).tags.count("script") == 1
    assert "b" not in parsed(page).tags


def test_a_link_that_leaves_the_report_is_refused():
    for address in ("https://example.org/a.html", "//example.org/a.html", "javascript:alert(1)"):
        with pytest.raises(ValueError, match="expected a relative address"):
            history_page(heading(), story()[1], verdicts(), {week(3): address}, meanings={})


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match=r"expected also .*'is_deciding'"):
        chunk_page(heading(), frame([]).drop(columns="is_deciding"), frame([]), {}, {}, {}, meanings={})


def test_an_empty_chunk_makes_a_page_of_its_own():
    page = chunk_page(heading(n_rows=0, verdict="undecided", confidence=float("nan")), frame([]), frame([]), {}, {}, {}, meanings={})
    assert "Features drifted 0 of 0" in text(page)
    assert parsed(history_page(heading(), frame([]), verdicts().iloc[:0], {}, meanings={})).tags


def test_three_hundred_drifted_features_fit_into_one_megabyte():
    rng, names = np.random.default_rng(1), [f"sensor_{place:03d}_of_the_northern_line" for place in range(300)]
    rows = [
        one
        for name in names
        for one in (
            row("w23", name, method, float(LIMITS[method] * rng.uniform(0.2, 9)), reason="largest change in the upper tenth of the values")
            for method in NUMERIC
        )
    ]
    seasons, segments = ([{**one, **change} for one in rows] for change in ({"compared_with": "same month"}, {"segment": "site=A"}))
    past = pd.concat([frame(rows).assign(chunk=f"w{place:02d}", chunk_start=START) for place in range(24)])
    edges = np.linspace(0, 1, 201)
    shape = Shape(tuple(edges), *(tuple(rng.dirichlet(np.ones(200))) for _ in range(2)))
    began = time.monotonic()
    page = chunk_page(heading(), frame([*rows, *seasons, *segments]), past, dict.fromkeys(names, shape), {}, {}, meanings=MEANINGS)
    over_time = history_page(heading(), past, verdicts(), {}, meanings=MEANINGS)
    assert time.monotonic() - began < 60
    for one in (page, over_time):
        parsed(one)
        assert len(one.encode()) <= 1_000_000
    assert all(name in page for name in names)
    assert len(offenders(page)) == 20


def test_infinite_outer_edges_are_drawn_as_one_more_bin():
    assert bounded((-np.inf, 0.0, 2.0, np.inf)) == [-2.0, 0.0, 2.0, 4.0]
    assert bounded((-np.inf, np.inf)) == [0.0, 1.0]


def test_the_history_page_links_every_chunk_newest_first_with_what_drifted():
    page = example_history_page()
    places = [page.index(f'<th scope="row"><a href="chunks/{week(place)}.html">') for place in (23, 12, 0)]
    assert places == sorted(places)
    assert "3: temperature, dew_point, channel" in text(page)
    assert f'aria-label="{week(4)}: data_fault"' in page
    assert "temperature: outside in 3 of 24 chunks" in page
    assert "roc_auc over the chunks: estimated and realized" in page


CONTRAST = """
const light = (words) => { const [r, g, b] = words.match(/[\\d.]+/g).map(Number).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = (one) => { for (let at = one; at; at = at.parentElement) { const c = getComputedStyle(at).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
return arguments[0].flatMap(css => [...document.querySelectorAll(css)].slice(0, 40)).map(one => { const a = light(getComputedStyle(one).color), b = light(ground(one));
  return [one.className || one.tagName, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]; });
"""
READ = ["body", ".badge", ".soft", "small", "td", "th", "a", ".s", ".strip a", "figcaption", ".figures dt"]


def in_a_real_browser(test):
    """Needs a browser; selenium leaves sockets to the garbage collector."""
    missing = not shutil.which("chromium") or not shutil.which("chromedriver")
    for mark in (
        pytest.mark.slow,
        pytest.mark.skipif(missing, reason="needs Debian's chromium and chromium-driver"),
        pytest.mark.filterwarnings("ignore"),
    ):
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    for flag in [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@in_a_real_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@PAGES
def test_a_real_browser_shows_the_page_without_sideways_scrolling_and_with_contrast(browser, tmp_path, page, width, scheme):
    path = tmp_path / "page.html"
    path.write_text(page(), encoding="utf-8")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.get(path.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    weakest = min(browser.execute_script(CONTRAST, READ), key=lambda found: found[1])
    assert weakest[1] >= 4.5, weakest
    dark = browser.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark is (scheme == "dark")


@in_a_real_browser
@PAGES
def test_printed_tables_fit_on_paper(browser, tmp_path, page):
    path = tmp_path / "page.html"
    path.write_text(page(), encoding="utf-8")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 718, "height": 1000, "deviceScaleFactor": 1, "mobile": False})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    browser.get(path.as_uri())
    wide = "return [...document.querySelectorAll('.box:not(.newest)')].filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.ariaLabel)"
    assert browser.execute_script(wide) == []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
