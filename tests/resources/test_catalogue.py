"""Declarations: what loads, and what every error says."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from resources.catalogue import DeclarationError, json_schema, load_catalogue, read_declarations, require_known
from resources.settings import PROJECT

MODELS = PROJECT / "models"

VALID = """\
model: demo
task: regression
log: {csv: log.csv, time: at, id: row_id, timezone: UTC}
features: {numeric: [x1, x2]}
outcome: {column: y, delay: 1d}
reference: {start: 2024-01-01, end: 2024-03-01}
"""

SEVERAL = """\
model: demo
task: multiclass_classification
log: {csv: log.csv, time: at, id: row_id, timezone: UTC, prediction: p, probabilities: {ebb: p_ebb, flood: p_flood, slack: p_slack}}
features: {numeric: [x1, x2]}
outcome: {column: y, delay: 1d, classes: [ebb, flood, slack]}
reference: {start: 2024-01-01, end: 2024-03-01}
"""
BINARY = VALID.replace("regression", "binary_classification")


@pytest.fixture
def write(tmp_path: Path):
    def to(text: str, name: str = "demo.yaml") -> Path:
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return to


def line(old: str, new: str, text: str = VALID) -> str:
    """``text`` with one line exchanged."""
    assert old in text
    return text.replace(old, new)


def message_of(file: Path) -> str:
    with pytest.raises(DeclarationError) as caught:
        read_declarations(file)
    return str(caught.value)


def test_a_valid_file_gives_one_declaration_with_defaults(write):
    (declaration,) = read_declarations(write(VALID))
    policy = declaration.policy
    assert policy.model == "demo"
    assert policy.chunk == "1d"
    assert policy.reference.start == datetime(2024, 1, 1, tzinfo=UTC)
    assert policy.metrics == ["mae", "rmse"]
    assert policy.estimator == "dle"


def test_a_model_of_several_classes_has_a_probability_for_each_and_cbpe(write):
    policy = read_declarations(write(SEVERAL))[0].policy
    assert policy.predictions == ["y_pred", "y_pred_proba_0", "y_pred_proba_1", "y_pred_proba_2"]
    assert (policy.metrics, policy.estimator) == (["roc_auc", "accuracy"], "cbpe")
    assert policy.fit_hash != read_declarations(write(line("[ebb, flood, slack]", "[flood, ebb, slack]", SEVERAL)))[0].policy.fit_hash


CASES = [
    pytest.param(
        VALID + "retrian: {enabled: false}\n",
        ["demo.yaml:7: retrian: got {'enabled': False}; expected one of", "retrain", "did you mean 'retrain'?"],
        id="unknown key",
    ),
    pytest.param(
        VALID + "retrain:\n  enabled: true\n  cooldwon: 3\n",
        ["demo.yaml:9: retrain.cooldwon: got 3; expected one of", "did you mean 'cooldown'?"],
        id="unknown key in a section",
    ),
    pytest.param(line("task: regression\n", ""), ["demo.yaml:1: task: got 'nothing'; expected this required field"], id="missing field"),
    pytest.param(
        line("time: at, ", ""), ["demo.yaml:3: log.time: got 'nothing'; expected this required field"], id="missing field in a section"
    ),
    pytest.param(
        line("task: regression", "task: guessing"),
        ["demo.yaml:2: task: got 'guessing'", "'binary_classification', 'multiclass_classification', 'regression' or 'forecast'"],
        id="wrong word",
    ),
    pytest.param(
        VALID + "validation:\n  minimum_rows: many\n", ["demo.yaml:8: validation.minimum_rows: got 'many'", "integer"], id="wrong type"
    ),
    pytest.param(
        VALID + "validation:\n  missing_share: 1.5\n",
        ["demo.yaml:8: validation.missing_share: got 1.5", "less than or equal to 1"],
        id="out of bounds",
    ),
    pytest.param(VALID + "chunk: 2d\n", ["demo.yaml:7: chunk: got '2d'", "'1h', '1d', '1w', '1mo' or '1q'"], id="unknown chunk"),
    pytest.param(
        line("features: {numeric: [x1, x2]}", "features:\n  numeric:\n    - x1\n    - 7\n"),
        ["demo.yaml:7: features.numeric.1: got 7; expected", "string"],
        id="wrong list item",
    ),
    pytest.param(
        line("end: 2024-03-01", "end: 2023-03-01"),
        ["demo.yaml:6: reference", "2023-03-01", "expected a day after start 2024-01-01"],
        id="reference ends before it starts",
    ),
    pytest.param(
        line("csv: log.csv", "csv: log.csv, parquet: log.parquet"),
        ["demo.yaml:3: log", "['parquet', 'csv']", "expected exactly one of parquet, csv, duckdb"],
        id="two sources",
    ),
    pytest.param(
        line("csv: log.csv, ", ""), ["demo.yaml:3: log", "no source", "expected exactly one of parquet, csv, duckdb"], id="no source"
    ),
    pytest.param(
        line("csv: log.csv", "duckdb: log.duckdb"),
        ["demo.yaml:3: log", "got duckdb 'log.duckdb' and table None; expected both"],
        id="database without table",
    ),
    pytest.param(
        line("features: {numeric: [x1, x2]}", "features: {numeric: []}"),
        ["demo.yaml:4: features", "no feature", "expected at least one numeric or categorical column"],
        id="no feature",
    ),
    pytest.param(
        line("[x1, x2]", "[x1, x2], categorical: [x1]"),
        ["demo.yaml:4: features", "['x1']", "more than once", "expected every feature to be listed once"],
        id="duplicate feature",
    ),
    pytest.param(line("column: y,", "column: x1,"), ["demo.yaml:5: outcome.column", "'x1'", "feature"], id="outcome among features"),
    pytest.param(
        VALID + "validation: {ranges: {speed: [0, 1]}}\n",
        ["demo.yaml:7: validation.ranges", "['speed']", "['x1', 'x2', 'y_pred'"],
        id="range of a column that is no feature",
    ),
    pytest.param(
        VALID + "replay: {start: 2024-02-01, end: 2024-05-01}\n",
        ["demo.yaml:7: replay.start", "reference.end"],
        id="replay inside the reference",
    ),
    pytest.param(
        line("regression", "binary_classification").replace("id: row_id", "id: row_id, prediction: p"),
        ["demo.yaml:3: log", "probability"],
        id="prediction without probability",
    ),
    pytest.param(line("id: row_id", "id: row_id, probability: p"), ["demo.yaml:3: log", "prediction"], id="probability without prediction"),
    pytest.param(
        line("delay: 1d", "delay: 1 day"),
        ["demo.yaml:5: outcome.delay: got '1 day'", "expected a number and a unit of min, h, d, w, mo, q or y"],
        id="bad duration",
    ),
    pytest.param(
        VALID + "owners:\n  - team:tides\n  - bob\n",
        ["owners", "'bob'", "expected an email address or team:name", "demo.yaml:"],
        id="bad owner",
    ),
    pytest.param(
        VALID + "retrain: {windows: [all, forever]}\n", ["demo.yaml:7: retrain.windows", "'forever'", "such as 30d or 4y"], id="bad window"
    ),
    pytest.param(
        VALID + "validation:\n  rules:\n    - {name: dew, holds: x1 <= speed}\n",
        ["demo.yaml:9: validation.rules.0.holds", "'speed'", "x1"],
        id="rule about an unknown column",
    ),
    pytest.param(
        VALID + "validation:\n  rules:\n    - {name: dew, holds: x1 + 1}\n",
        ["demo.yaml:9: validation.rules.0.holds", "a number; expected a condition"],
        id="rule that is no condition",
    ),
    pytest.param(
        VALID + "validation:\n  rules:\n    - {name: dew}\n",
        ["demo.yaml:9: validation.rules.0", "expected holds, or column with most_per_hour"],
        id="rule that says nothing",
    ),
    pytest.param(VALID + "kpi: {cost: x1 * 3}\n", ["demo.yaml:7: kpi.cost", "sum"], id="KPI that is no aggregate"),
    pytest.param(VALID + "kpi: {cost: __import__(1)}\n", ["demo.yaml:7: kpi.cost", "__import__"], id="KPI that is code"),
    pytest.param(
        line(", classes: [ebb, flood, slack]", "", SEVERAL),
        ["demo.yaml:5: outcome.classes", "got []; expected at least 3 different class names"],
        id="several classes without names",
    ),
    pytest.param(
        line("classes: [ebb, flood, slack]", "classes: [ebb, flood, ebb]", SEVERAL),
        ["demo.yaml:5: outcome.classes", "['ebb', 'flood', 'ebb']; expected at least 3 different"],
        id="a class twice",
    ),
    pytest.param(
        line("classes: [ebb, flood, slack]", "classes: [1, 2, 3]", SEVERAL),
        ["demo.yaml:5: outcome.classes.0: got 1; expected", "string"],
        id="classes that are no texts",
    ),
    pytest.param(
        line("delay: 1d", "classes: [a, b, c]"),
        ["demo.yaml:5: outcome.classes", "with task regression; expected none: only multiclass_classification has it"],
        id="classes of a number",
    ),
    pytest.param(
        line("id: row_id", "id: row_id, prediction: p, probabilities: {a: b}"),
        ["demo.yaml:3: log.probabilities", "with task regression; expected none"],
        id="probabilities of a number",
    ),
    pytest.param(
        line("slack: p_slack", "slack: p_slack, neap: p_neap", SEVERAL),
        ["demo.yaml:3: log.probabilities", "'neap'", "expected a column of its own for each of ['ebb', 'flood', 'slack']"],
        id="probability of a class that is none",
    ),
    pytest.param(
        line("slack: p_slack", "slack: p_ebb", SEVERAL),
        ["demo.yaml:3: log.probabilities", "expected a column of its own for each"],
        id="one column for two classes",
    ),
    pytest.param(
        line(", probabilities: {ebb: p_ebb, flood: p_flood, slack: p_slack}", "", SEVERAL),
        ["demo.yaml:3: log.prediction", "got log.probabilities {}; expected a column of its own for each"],
        id="predicted classes without probabilities",
    ),
    pytest.param(
        line("prediction: p, ", "", SEVERAL),
        ["demo.yaml:3: log", "expected the column of the served prediction too"],
        id="no class, only probabilities",
    ),
    pytest.param(
        line("prediction: p,", "prediction: p, probability: q,", SEVERAL),
        ["demo.yaml:3: log.probability", "'q'; expected log.probabilities, a column for each"],
        id="one probability for several classes",
    ),
    pytest.param(
        line("[x1, x2]", "[x1, y_pred_proba_1]", SEVERAL),
        ["demo.yaml:4: features", "['y_pred_proba_1']; expected other names"],
        id="feature called like the probability of a class",
    ),
    pytest.param(
        BINARY + "performance: {metrics: [business_value]}\n",
        ["demo.yaml:7: performance.business_value", "got None with metrics ['business_value']; expected the value of each kind of row"],
        id="business value without values",
    ),
    pytest.param(
        BINARY + "performance: {business_value: [[1, 0], [0, 1]]}\n",
        ["demo.yaml:7: performance.business_value", "with metrics ['roc_auc', 'accuracy']; expected", "only there"],
        id="values without the metric",
    ),
    pytest.param(VALID + "retrain: {windows: []}\n", ["demo.yaml:7: retrain.windows", "no window"], id="no window"),
    pytest.param(line("model: demo", "model: Demo Model"), ["demo.yaml:1: model: got 'Demo Model'", "^[a-z][a-z0-9_]*$"], id="bad name"),
    pytest.param(line("start: 2024-01-01", "start: soon"), ["demo.yaml:6: reference.start: got 'soon'"], id="a date that is none"),
    pytest.param(line("start: 2024-01-01", "start: 2024-02-30"), ["demo.yaml:", "day"], id="a day the calendar lacks"),
    pytest.param(
        "model: demo\ntask: [regression\nlog: {}\n", ["demo.yaml:3: (whole file): got", "expected valid YAML"], id="broken syntax"
    ),
    pytest.param("model: demo\ntask: \x07\n", ["demo.yaml:", "expected valid YAML"], id="control character"),
    pytest.param("- model: demo\n", ["demo.yaml:1: (whole file): got [{'model': 'demo'}]; expected a mapping"], id="a list"),
    pytest.param("", ["demo.yaml:1: (whole file): got None; expected a mapping that starts with `model: <name>`"], id="an empty file"),
    pytest.param(
        VALID + "variants: {control: yes}\n",
        ["demo.yaml:7: variants: got {'control': 'yes'}; expected a mapping of variant name to overrides"],
        id="variant is no mapping",
    ),
    pytest.param(VALID + "variants:\n  control:\n    chunk: 2d\n", ["demo.yaml:9: chunk: got '2d'"], id="bad value in a variant"),
    pytest.param(VALID + "variants:\n  Control:\n    chunk: 1w\n", ["demo_Control", "^[a-z][a-z0-9_]*$"], id="bad variant name"),
]


@pytest.mark.parametrize(("text", "parts"), CASES)
def test_an_error_names_file_line_field_got_and_expected(write, text: str, parts: list[str]):
    message = message_of(write(text))
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize(("text", "parts"), CASES)
def test_an_error_does_not_repeat_what_was_got_where_it_says_what_is_expected(write, text: str, parts: list[str]):
    for finding in message_of(write(text)).splitlines():
        assert finding.startswith("demo.yaml:"), finding
        assert "; expected got " not in finding


def test_every_finding_of_a_file_is_listed_on_its_own_line(write):
    text = line("task: regression", "task: guessing") + "chunk: 2d\nretrian: {}\n"
    findings = message_of(write(text)).splitlines()
    assert [finding.split(": ")[:2] for finding in findings] == [
        ["demo.yaml:2", "task"],
        ["demo.yaml:7", "chunk"],
        ["demo.yaml:8", "retrian"],
    ]


def test_a_file_that_is_not_utf8_is_refused_by_name(tmp_path: Path):
    file = tmp_path / "demo.yaml"
    file.write_bytes(VALID.encode() + b"description: caf\xe9\n")
    assert message_of(file).startswith("demo.yaml:")


def test_a_key_written_twice_is_refused(write):
    message = message_of(write(VALID + "chunk: 1d\nchunk: 1w\n"))
    assert message.startswith("demo.yaml:8: chunk"), message


def test_a_variant_overrides_only_what_it_names(write):
    text = VALID + "variants:\n  control:\n    log: {csv: control.csv}\n    chunk: 1w\n"
    base, variant = (item.policy for item in read_declarations(write(text)))
    assert (base.model, variant.model) == ("demo", "demo_control")
    assert (base.log.csv, variant.log.csv) == ("log.csv", "control.csv")
    assert (base.chunk, variant.chunk) == ("1d", "1w")
    assert variant.model_copy(update={"model": base.model, "log": base.log, "chunk": base.chunk}) == base


def test_a_list_in_a_variant_replaces_the_list(write):
    text = VALID + "variants:\n  small:\n    features: {numeric: [x2]}\n"
    assert read_declarations(write(text))[1].policy.features.numeric == ["x2"]


def test_a_variant_may_name_itself(write):
    text = VALID + "variants:\n  control:\n    model: twin\n"
    assert read_declarations(write(text))[1].policy.model == "twin"


def test_two_files_load_sorted_by_name(write, tmp_path: Path):
    write(VALID.replace("demo", "zebra"), "a.yaml")
    write(VALID.replace("demo", "ape"), "b.yaml")
    write("not yaml: [", "notes.txt")
    assert [item.policy.model for item in load_catalogue(tmp_path)] == ["zebra", "ape"]


def test_the_findings_of_all_files_are_reported_together(write, tmp_path: Path):
    write(VALID + "chunk: 2d\n", "a.yaml")
    write(VALID + "chunk: 3d\n", "b.yaml")
    with pytest.raises(DeclarationError) as caught:
        load_catalogue(tmp_path)
    assert "a.yaml:7: chunk: got '2d'" in str(caught.value)
    assert "b.yaml:7: chunk: got '3d'" in str(caught.value)


def test_a_name_used_in_two_files_is_refused(write, tmp_path: Path):
    write(VALID, "a.yaml")
    write("description: again\n" + VALID, "b.yaml")
    with pytest.raises(DeclarationError) as caught:
        load_catalogue(tmp_path)
    assert str(caught.value) == "b.yaml:2: model: got 'demo'; expected a name not already used in a.yaml"


def test_a_variant_may_not_take_the_name_of_another_model(write, tmp_path: Path):
    write(VALID + "variants:\n  control: {}\n", "a.yaml")
    write(VALID.replace("model: demo", "model: demo_control"), "b.yaml")
    with pytest.raises(DeclarationError, match=r"b\.yaml:1: model: got 'demo_control'; expected a name not already used in a\.yaml"):
        load_catalogue(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(DeclarationError) as caught:
        load_catalogue(tmp_path)
    assert str(caught.value) == f"{tmp_path.name}: got no *.yaml file; expected one declaration per monitored model"


def drift_methods(policy) -> dict[tuple[str | int, ...], str]:
    return {("drift", "numeric", index): name for index, name in enumerate(policy.drift.numeric)}


def test_an_unknown_method_is_refused_with_its_line_and_the_known_names(write):
    declarations = read_declarations(write(VALID + "drift:\n  numeric:\n    - wasserstein\n    - helinger\n"))
    with pytest.raises(DeclarationError) as caught:
        require_known(declarations, drift_methods, ["wasserstein", "hellinger"])
    assert (
        str(caught.value)
        == "demo.yaml:10: drift.numeric.1: got 'helinger'; expected one of hellinger, wasserstein; did you mean 'hellinger'?"
    )


def test_an_unknown_method_far_from_all_known_gets_no_hint(write):
    declarations = read_declarations(write(VALID + "drift: {numeric: [qqq]}\n"))
    with pytest.raises(DeclarationError) as caught:
        require_known(declarations, drift_methods, ["wasserstein", "hellinger"])
    assert str(caught.value) == "demo.yaml:7: drift.numeric.0: got 'qqq'; expected one of hellinger, wasserstein"


def test_known_methods_pass(write):
    assert require_known(read_declarations(write(VALID)), drift_methods, ["wasserstein", "kolmogorov_smirnov"]) is None


def test_a_declaration_cannot_be_changed_after_loading(write):
    (declaration,) = read_declarations(write(VALID))
    with pytest.raises(ValueError, match="frozen"):
        declaration.policy.chunk = "1w"


def test_the_shipped_declarations_load():
    names = [item.policy.model for item in load_catalogue(MODELS)]
    assert {"weather_station", "weather_station_control", "glucose_sensor"} <= set(names)


def test_the_committed_schema_is_fresh():
    assert (MODELS / "schema.json").read_text(encoding="utf-8") == json_schema()


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


@pytest.mark.parametrize("file", sorted(MODELS.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_shipped_declarations_fit_the_schema_for_editors(file: Path):
    schema = json.loads(json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(as_json(yaml.safe_load(file.read_text(encoding="utf-8"))), schema)


def test_the_schema_for_editors_refuses_an_unknown_key():
    with pytest.raises(jsonschema.ValidationError, match="retrian"):
        jsonschema.validate(as_json(yaml.safe_load(VALID + "retrian: {}\n")), json.loads(json_schema()))


def test_the_committed_table_of_methods_is_fresh():
    from monitoring_assets.measures.registry import methods_table

    assert (MODELS.parent / "docs" / "methods.md").read_text(encoding="utf-8") == methods_table()


def test_a_clause_may_be_called_on_without_quotes(tmp_path):
    file = tmp_path / "demo.yaml"
    text = (
        "model: demo\ntask: regression\nlog: {csv: log.csv, time: at, id: row_id, timezone: UTC}\nfeatures: {numeric: [x1]}\n"
        "outcome: {column: y}\nreference: {start: 2024-01-01, end: 2024-03-01}\n"
    )
    file.write_text(text + "retrain: {enabled: false, when: {verdict: {on: [concept]}}}\n")
    found = read_declarations(file)[0].policy.retrain
    assert (found.enabled, found.when.verdict.on) == (False, ["concept"])
