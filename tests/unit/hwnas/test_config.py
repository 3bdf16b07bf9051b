"""Every way an experiment file can be wrong is one line that says where and what."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.config import ExperimentConfig, load_config, load_product, parse_config
from hwnas.errors import UserError

DIGITS = "name: x\ndataset: {kind: digits}\n"
NPZ = "name: x\ndataset: {kind: npz, path: a.npz, "
BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{k + 1}: &a{k + 1} [{', '.join([f'*a{k}'] * 10)}]\n" for k in range(10)
)
EXPERIMENTS = sorted((Path(__file__).parents[3] / "experiments").glob("*.yaml"))


def error_of(tmp_path: Path, text: str | bytes, *overrides: str) -> str:
    """Return the one line that a file is refused with, without the path before it."""
    path = tmp_path / "experiment.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message.removeprefix(str(path)).removeprefix(": ")


def load(tmp_path: Path, text: str, *overrides: str) -> ExperimentConfig:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    return load_config(path, overrides)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_that_comes_along_is_valid(path: Path) -> None:
    assert isinstance(load_config(path), ExperimentConfig)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DIGITS + "serch: {}", "serch: unknown key. Did you mean 'search'?"),
        (
            DIGITS + "search: {evaluatons: 3}",
            "search.evaluatons: unknown key. Did you mean 'evaluations'?",
        ),
        (
            DIGITS + "constraints: {max_latncy_ms: 3}",
            "constraints.max_latncy_ms: unknown key. Did you mean 'max_latency_ms'?",
        ),
        (
            DIGITS + "training: {augmentation: {shfit: 1}}",
            "training.augmentation.shfit: unknown key. Did you mean 'shift'?",
        ),
        (NPZ + "featres: {}}", "dataset.featres: unknown key. Did you mean 'features'?"),
        (
            NPZ + "features: {sample_rate_hz: 8000, n_mel: 9}}",
            "dataset.features.n_mel: unknown key. Did you mean 'n_mels'?",
        ),
        ("name: x\ndataset: {kind: digits, path: a}", "dataset.path: unknown key. Allowed: kind,"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(
    tmp_path: Path, text: str, message: str
) -> None:
    assert error_of(tmp_path, text).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {evaluations: '60'}", 'search.evaluations: wanted a valid integer. Got "60".'),
        ("search: {evaluations: 1.5}", "search.evaluations: wanted a valid integer. Got 1.5."),
        ("search: {evaluations: true}", "search.evaluations: wanted a valid integer. Got true."),
        ("training: {augmentation: {flip: 1}}", "training.augmentation.flip: wanted a valid b"),
        ("search: 3", "search: wanted keys and values. Got 3."),
        ("search:", "search: wanted keys and values. Got null."),
        ("objectives: accuracy", 'objectives: wanted a list. Got "accuracy".'),
        ("space: {choices: {kernel: 3}}", "space.choices.kernel: wanted a list. Got 3."),
        (
            "space: {choices: {kernel: [3, true]}}",
            "space.choices.kernel.1: wanted a valid integer. Got true.",
        ),
        ("space: {choices: [3]}", "space.choices: wanted keys and values. Got [3]."),
    ],
)
def test_a_wrong_type_is_refused_and_never_converted(
    tmp_path: Path, text: str, message: str
) -> None:
    assert error_of(tmp_path, DIGITS + text).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {evaluations: -3}", "search.evaluations: wanted greater than or equal to 1."),
        ("search: {warm_start: -1}", "search.warm_start: wanted greater than or equal to 0."),
        ("calibration: {samples: 7}", "calibration.samples: wanted greater than or equal to 8."),
        ("finalists: {seeds: 1}", "finalists.seeds: wanted greater than or equal to 2."),
        ("constraints: {max_latency_ms: 0}", "constraints.max_latency_ms: wanted greater than 0."),
        ("constraints: {min_accuracy: 1}", "constraints.min_accuracy: wanted less than 1."),
        ("constraints: {min_accuracy: .nan}", "constraints.min_accuracy: wanted "),
        ("training: {learning_rate: .inf}", "training.learning_rate: wanted a finite number."),
        ("early_exit: {max_accuracy_drop: .nan}", "early_exit.max_accuracy_drop: wanted "),
        (
            "early_exit: {measure: entrpy}",
            "early_exit.measure: wanted 'auto', 'max_probability', 'entropy' or 'margin'.",
        ),
        ("seed: 2147483648", "seed: wanted less than 2147483648."),
        ("seed: -1", "seed: wanted greater than or equal to 0."),
        ("search: {sampler: TPE}", "search.sampler: wanted 'pareto_guided', 'tpe', 'nsga2', "),
        ("objectives: [accuracy, latncy]", "objectives.1: wanted 'accuracy', 'latency', 'energy'"),
        ("objectives: [accuracy]", "objectives: wanted at least 2 items"),
        ("objectives: [latency, latency]", "objectives: wanted each once."),
    ],
)
def test_a_value_out_of_range_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert error_of(tmp_path, DIGITS + text).startswith(message)


@pytest.mark.parametrize("name", ["a/b", "../x", "", ".hidden", "-x", "a" * 101])
def test_a_name_that_is_no_plain_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    text = f"name: '{name}'\ndataset: {{kind: digits}}"
    assert error_of(tmp_path, text).startswith("name: wanted text that matches")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "dataset: missing; it has no default"),
        ("dataset: {kind: digits}", "name: missing; it has no default"),
        ("name: x\ndataset: digits", 'dataset: wanted keys and values. Got "digits".'),
        ("name: x\ndataset: {path: a}", "dataset.kind: missing; it has no default"),
        ("name: x\ndataset: {kind: npz}", "dataset.path: missing; it has no default"),
        ("name: x\ndataset: {kind: digitz}", "dataset.kind: unknown 'digitz'. Did you mean 'digi"),
        ("name: x\ndataset: {kind: 3}", "dataset.kind: unknown '3'. Known: digits, npz,"),
        ("serch: {}\nnam: x", "name: missing; it has no default (3 more)"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, message: str) -> None:
    assert error_of(tmp_path, text).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name: missing"),
        ("# nothing but a comment", "name: missing"),
        ("- a\n- b", "wanted keys and values such as 'name: my-search'. Got list."),
        ("name", "wanted keys and values such as 'name: my-search'. Got str."),
        ("a: [", ":1: not valid YAML (while parsing a flow node,"),
        ("name: x\n\tdataset: {}", ":2: not valid YAML (while scanning"),
        (DIGITS + "name: y", ":3: not valid YAML (key 'name' is written twice)"),
        (DIGITS + "search: {batch: 1, batch: 2}", ":3: not valid YAML (key 'batch' is written"),
        (DIGITS + "seed: &a 1\nnotes: *a", ":4: not valid YAML (aliases such as *a are not read"),
        # ten lines would be ten thousand million words
        (BOMB, ":2: not valid YAML (aliases such as *a0 are not read: repeat what it names)"),
        (DIGITS + "1: y", ":3: not valid YAML (keys must be text. Got 1.)"),
        (DIGITS + "? [a]\n: 1", ":3: not valid YAML (keys must be text. Got ['a'].)"),
        (DIGITS + "---\nname: y", ":3: not valid YAML (expected a single document"),
        (DIGITS + "seed: !!int ''", "not valid YAML (a value does not fit its tag)"),
        (DIGITS + "seed: !!map [[a]]", ":3: not valid YAML (expected a mapping"),
        (DIGITS + "seed: !!python/name:os.system", ":3: not valid YAML (could not determine"),
        (DIGITS + "seed: 2024-13-45", "not valid YAML (month must be in 1..12"),
        (DIGITS + "seed: " + "9" * 5000, "not valid YAML (Exceeds the limit"),
        (DIGITS + "seed: " + "[" * 3000, "nested too deeply"),
        (DIGITS + "seed: &x [*x]", ":3: not valid YAML (aliases such as *x are not read"),
        (DIGITS + '"a\\nb": 1', "a b: unknown key"),
        (DIGITS + '"\\e[2J": 1', r"\x1b[2J: unknown key"),
        (DIGITS + '"\\uD800": 1', "document: wanted text that is valid Unicode."),
        ("name: x\x00", "not valid YAML (special characters"),
    ],
)
def test_what_is_no_mapping_of_keys_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert error_of(tmp_path, text).startswith(message)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    assert error_of(tmp_path, b"name: \xff\xfe").startswith("cannot be read ('utf-8' codec")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read \(No such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.evaluations", "--set search.evaluations: wanted key=value"),
        ("=3", "--set =3: wanted key=value"),
        ("name.x=3", "--set name.x=3: 'name' holds a value, not a section"),
        ("seed=[", "--set seed=[:1: not valid YAML"),
        ("seed=", "seed: wanted a valid integer. Got null."),
        ("search.evaluatons=3", "search.evaluatons: unknown key. Did you mean 'evaluations'?"),
        ("search..batch=3", "search.: unknown key."),
        ("search=3", "search: wanted keys and values. Got 3."),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, message: str) -> None:
    assert error_of(tmp_path, DIGITS, override).startswith(message)


def test_overrides_replace_entries_and_are_read_as_yaml(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        DIGITS + "search: {evaluations: 5}",
        "search.evaluations=7",
        "training.learning_rate=1e-3",
        "objectives=[accuracy, flash]",
        "constraints.max_flash_kib=64",
    )
    assert config.search.evaluations == 7
    assert config.training.learning_rate == pytest.approx(1e-3)
    assert config.objectives == ("accuracy", "flash")
    assert config.constraints.max_flash_kib == 64


PRODUCT = """
product:
  interval_s: 10
  sleep_power_mw: 0.1
  sensor_energy_mj: 3
  wake_energy_mj: 0.5
  battery: {capacity_mah: 220, voltage_v: 3, usable_share: 0.9, self_discharge_per_month: 0.0008}
  country: DEU
"""


def test_a_product_is_read_in_engineering_units_and_kept_in_si(tmp_path: Path) -> None:
    product = load(tmp_path, DIGITS + PRODUCT).product
    assert product is not None
    assert (product.sleep_power_w, product.event_energy_j) == pytest.approx((1e-4, 3.5e-3))
    assert product.battery is not None
    # 0.22 Ah at 3 V
    assert product.battery.battery.nominal_energy_j == pytest.approx(2376.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("product.interval_s=0", "product.interval_s: wanted greater than 0."),
        ("product.sleep_power_mw=-1", "product.sleep_power_mw: wanted greater than or equal to 0."),
        ("product.battery.usable_share=1.1", "product.battery.usable_share: wanted less than or"),
        ("product.battery.converter_efficiency=90", "product.battery.converter_efficiency: want"),
        ("product.charger_efficiency=0", "product.charger_efficiency: wanted greater than 0."),
        ("product.country=Germany", "product.country: no carbon intensity of 'Germany'. Known: "),
        ("product.country=49", "product.country: wanted a valid string. Got 49."),
        ("product.sensor_mj=3", "product.sensor_mj: unknown key. Did you mean"),
        ("product.battery={voltage_v: 3}", "product.battery.capacity_mah: missing"),
        ("product.offload={payload_bytes: 0, energy_per_mb_j: 5}", "product.offload.payload_bytes"),
    ],
)
def test_a_product_that_cannot_be_is_refused(tmp_path: Path, override: str, message: str) -> None:
    assert error_of(tmp_path, DIGITS + PRODUCT, override).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objectives: [accuracy, battery_days]", "objectives: battery_days: needs product.battery"),
        ("objectives: [accuracy, average_power]", "objectives: average_power: needs product, whi"),
        ("constraints: {min_battery_days: 30}", "constraints.min_battery_days: needs product.batt"),
        (
            "constraints: {max_co2e_g_per_million: 3}\nproduct: {interval_s: 1, sleep_power_mw: 0}",
            "constraints.max_co2e_g_per_million: needs product.country, which is missing.",
        ),
        (
            "constraints: {max_cost_per_million: 3}\nproduct: {interval_s: 1, sleep_power_mw: 0}",
            "constraints.max_cost_per_million: needs product.price_per_kwh, which is missing.",
        ),
    ],
)
def test_an_objective_or_limit_of_a_product_needs_its_description(
    tmp_path: Path, text: str, message: str
) -> None:
    assert error_of(tmp_path, DIGITS + text).startswith(message)


def test_a_product_may_be_read_alone_or_out_of_an_experiment(tmp_path: Path) -> None:
    alone, within = tmp_path / "product.yaml", tmp_path / "experiment.yaml"
    alone.write_text(PRODUCT)
    within.write_text(DIGITS + PRODUCT)
    assert load_product(alone) == load_product(within) == load_config(within).product


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("interval_s: 10", "product: missing; it has no default"),
        ("product: {interval_s: 10}", "product.sleep_power_mw: missing; it has no default"),
        (
            "product: {interval_s: 1, sleep_power: 1, sleep_power_mw: 1}",
            "product.sleep_power: unkn",
        ),
        ("- 3", "wanted keys and values such as"),
    ],
)
def test_a_file_without_a_valid_product_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "product.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_product(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_inferences_per_joule_need_no_product(tmp_path: Path) -> None:
    config = load(tmp_path, DIGITS + "objectives: [accuracy, inferences_per_joule]")
    assert config.product is None


def test_a_resolved_config_survives_being_written_and_read(tmp_path: Path) -> None:
    config = load(tmp_path, DIGITS + "space: {choices: {kernel: [3, 5], stride_plan: ['1-2']}}")
    assert parse_config(config.model_dump(mode="json"), "manifest.json") == config


VALID: dict[str, Any] = {
    **{"name": "x", "seed": 3, "target": "host", "objectives": ["accuracy", "latency"]},
    "dataset": {"kind": "npz", "path": "a.npz", "features": {"sample_rate_hz": 8000}},
    "space": {"name": "early_exit", "choices": {"kernel": [3, 5], "stride_plan": ["1-2"]}},
    "constraints": {"max_latency_ms": 0.2},
    "training": {"epochs": 3, "augmentation": {"shift": 1}},
    "search": {"evaluations": 60, "sampler": "tpe"},
    "finalists": {"count": 1},
}
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["digits", "idx", "log_mel", "accuracy"])
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every entry of a nested document."""
    if isinstance(document, dict):
        inner = document.items()
    elif isinstance(document, list):
        inner = enumerate(document)
    else:
        return []
    return [p for key, value in inner for p in ((*path, key), *places(value, (*path, key)))]


@st.composite
def broken_documents(draw: st.DrawFn) -> dict[str, Any]:
    """A valid document of which entries were deleted, replaced, renamed, or added."""
    document = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(places(document)))
        node: Any = document
        for key in parents:
            node = node[key]
        action = draw(st.sampled_from(["delete", "replace", "rename", "add"]))
        if action == "replace" or isinstance(node, list):
            node[last] = draw(_JSON)
        elif action == "add":
            node[draw(st.text(max_size=8))] = draw(_JSON)
        else:
            value = node.pop(last)
            if action == "rename":
                node[draw(st.sampled_from([last[:-1], last.upper(), f"{last}s"]))] = value
        if not document:
            break
    return document


def refused_in_one_line_or_valid(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        config = load_config(path)
    except UserError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - whether it raises is open
        assert str(error).isprintable()  # noqa: PT017
        assert str(path) in str(error)  # noqa: PT017
    else:
        # what is accepted can be written to a manifest and means the same when read again
        assert parse_config(config.model_dump(mode="json"), "again") == config


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "experiment.yaml"


@settings(max_examples=300, deadline=None)
@given(document=broken_documents())
def test_a_mutated_document_is_valid_or_refused_in_one_line(
    file: Path, document: dict[str, Any]
) -> None:
    refused_in_one_line_or_valid(yaml.safe_dump(document, allow_unicode=True), file)


_YAML_PIECES = st.sampled_from(
    [
        *(
            ": ",
            "- ",
            "\n",
            "\n  ",
            "{",
            "}",
            "[",
            "]",
            ",",
            "'",
            '"',
            "#",
            "&a ",
            "*a",
            "? ",
            "| ",
        ),
        *("!!int ", "!!float ", "!!bool ", "!!map ", "!!set ", "!!timestamp ", "!!binary ", "!x "),
        *("!!omap ", "!!pairs ", "<<: ", "---\n", "...\n", "%YAML 1.2\n", "\t", "\\x", "\r"),
        *("name", "dataset", "kind", "digits", "search", "evaluations", "1", "-1", "1e3", "0x"),
        *("2024-01-01", "2024-13-45", "1:99", "~", "true", "\u2028", "\x85", "é", "\x07", "0b_"),
        *(".inf", "=", "0o9", "> ", "| "),
    ]
)


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(_YAML_PIECES | st.text(max_size=3), max_size=20), base=st.booleans())
def test_random_yaml_is_valid_or_refused_in_one_line(
    file: Path, pieces: list[str], base: bool
) -> None:
    refused_in_one_line_or_valid((DIGITS if base else "") + "".join(pieces), file)


@settings(max_examples=100, deadline=None)
@given(override=st.text(max_size=12) | st.builds("{}={}".format, st.text(max_size=6), st.text()))
def test_a_random_override_is_valid_or_refused_in_one_line(override: str) -> None:
    document = Path(EXPERIMENTS[0])
    try:
        load_config(document, [override])
    except UserError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - whether it raises is open
