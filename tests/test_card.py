import hashlib
import json
import shutil
from pathlib import Path

import onnx
import pytest
from conftest import write_model

from openeo_superres import list_models, load_card
from openeo_superres.errors import ModelError, SuperresError, UnknownModelError
from openeo_superres.sensor import BAND_NAMES

MODELS = Path(__file__).parents[1] / "models"

shipped = pytest.mark.parametrize("name", list_models())


@pytest.fixture(scope="module")
def protos():
    return {name: onnx.load(load_card(name).path) for name in list_models()}


@pytest.fixture
def copied(tmp_path):
    """A shipped model's card and weights, to be damaged."""
    for suffix in (".json", ".onnx"):
        shutil.copy(MODELS / f"cubic_mtf{suffix}", tmp_path)
    return tmp_path / "cubic_mtf.json"


def rewrite(path, change):
    """Change a card in place."""
    item = json.loads(path.read_text())
    change(item)
    path.write_text(json.dumps(item))


# ---- what is shipped


def test_models_are_listed_sorted_and_each_has_its_weights():
    names = list_models()
    assert "cubic_mtf" in names
    assert names == sorted(names)
    assert {f"{name}.onnx" for name in names} == {path.name for path in MODELS.glob("*.onnx")}


@shipped
def test_card_is_of_its_weights(name):
    card = load_card(name)
    assert card.name == card.path.stem == name
    assert card.sha256 == hashlib.sha256(card.path.read_bytes()).hexdigest()
    assert card.bands == BAND_NAMES
    model = card.open(provider="cpu", threads=1)
    assert (model.name, model.scale, model.margin, model.bands) == (name, card.scale, card.margin, card.bands)
    assert len(model.fill) == len(card.bands)


@shipped
def test_card_counts_what_was_learnt(name, protos):
    """Learnt weights are the float16 initializers; fixed filters and statistics are float32."""
    sizes = {}
    for tensor in protos[name].graph.initializer:
        sizes.setdefault(tensor.data_type, []).append(onnx.numpy_helper.to_array(tensor).size)
    assert sum(sizes.get(onnx.TensorProto.FLOAT16, [])) == load_card(name).parameters


@shipped
def test_weights_can_be_read_by_old_back_ends(name, protos):
    proto = protos[name]
    assert proto.ir_version <= 9
    assert [(entry.domain, entry.version <= 17) for entry in proto.opset_import] == [("", True)]


@shipped
def test_weights_declare_their_contract(name, protos):
    graph = protos[name].graph
    for values, label in ((graph.input, "input"), (graph.output, "output")):
        (value,) = values
        tensor = value.type.tensor_type
        assert value.name == label
        assert tensor.elem_type == onnx.TensorProto.FLOAT
        n, bands, y, x = tensor.shape.dim
        assert bands.dim_value == 10
        assert all(dim.dim_param for dim in (n, y, x))


@shipped
def test_card_is_a_stac_item(name):
    pystac = pytest.importorskip("pystac", reason="pystac comes with openeo")
    item = pystac.Item.from_dict(json.loads((MODELS / f"{name}.json").read_text()))
    assert item.id == name
    assert item.common_metadata.start_datetime < item.common_metadata.end_datetime
    asset = item.assets["model"]
    assert asset.has_role("mlm:model")
    weights = MODELS / asset.href
    assert weights.name == f"{name}.onnx"
    assert asset.extra_fields["file:size"] == weights.stat().st_size
    assert asset.extra_fields["file:checksum"] == "1220" + hashlib.sha256(weights.read_bytes()).hexdigest()


@shipped
def test_card_has_the_fields_of_the_machine_learning_extension(name):
    item = json.loads((MODELS / f"{name}.json").read_text())
    assert any("/mlm/v1." in uri for uri in item["stac_extensions"])
    properties = item["properties"]
    assert properties["mlm:name"] == name
    assert properties["mlm:tasks"] == ["super-resolution"]
    assert properties["mlm:architecture"]
    assert properties["mlm:framework"] == "ONNX"
    for key, shape in (("mlm:input", "input"), ("mlm:output", "result")):
        (entry,) = properties[key]
        assert [band["name"] for band in entry["bands"]] == list(BAND_NAMES)
        assert entry[shape]["shape"] == [-1, 10, -1, -1]
        assert entry[shape]["dim_order"] == ["batch", "bands", "y", "x"]
        assert entry[shape]["data_type"] == "float32"
    schema = pytest.importorskip("stac_model.schema", reason="the rest is for stac-model to judge")
    schema.MLModelProperties.model_validate({k: v for k, v in properties.items() if k.startswith("mlm:")})


@shipped
def test_people_find_a_model_card_beside(name):
    text = (MODELS / f"{name}.md").read_text(encoding="utf-8")
    assert name in text.splitlines()[0]


# ---- names


@pytest.mark.parametrize(
    "name", ["edsr", "", "../models/cubic_mtf", "./cubic_mtf", "cubic_mtf.onnx", "a" * 5000, "nul\0"]
)
def test_unknown_names_get_the_list(name):
    with pytest.raises(UnknownModelError, match=r"Unknown model .* Available: .*cubic_mtf.*, or the path of"):
        load_card(name)


def test_paths_are_no_names(tmp_path):
    write_model(tmp_path)
    for name in (str(tmp_path / "nearest"), "../" * 40 + str(tmp_path / "nearest")[1:]):
        with pytest.raises(UnknownModelError):
            load_card(name)


def test_missing_card_is_unknown(tmp_path):
    with pytest.raises(UnknownModelError, match=r"no\.json"):
        load_card(tmp_path / "no.json")


@pytest.mark.parametrize("as_type", [str, Path])
def test_card_by_its_path(copied, as_type):
    card = load_card(as_type(copied))
    assert card.path == copied.with_suffix(".onnx")
    assert card.sha256 == load_card("cubic_mtf").sha256


# ---- damage


@pytest.mark.parametrize("position", [0, 0.5, -1])
def test_one_flipped_byte_is_refused(copied, position):
    weights = copied.with_suffix(".onnx")
    content = bytearray(weights.read_bytes())
    content[position if position == -1 else int(position * len(content))] ^= 1
    weights.write_bytes(content)
    with pytest.raises(SuperresError, match=r"SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}"):
        load_card(copied).open(provider="cpu")


def test_truncated_weights_are_refused(copied):
    weights = copied.with_suffix(".onnx")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(SuperresError, match="SHA-256"):
        load_card(copied).open(provider="cpu")


def test_missing_weights_are_an_error_that_names_the_file(copied):
    copied.with_suffix(".onnx").unlink()
    with pytest.raises(ModelError, match=r"weights of model cubic_mtf can't be read.*cubic_mtf\.onnx"):
        load_card(copied).open(provider="cpu")


@pytest.mark.parametrize(
    "content",
    [b"", b"no card", b"\xff\xfe", b"[]", b"null", b'"card"', b"{}", b'{"properties": null}', b"[" * 100_000],
)
def test_file_that_is_no_card(tmp_path, content):
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.json is no model card"):
        load_card(path)


@pytest.mark.parametrize(
    "key", ["superres:scale", "superres:margin", "mlm:input", "mlm:total_parameters", "assets", "id"]
)
def test_card_that_lacks_a_fact(copied, key):
    rewrite(copied, lambda item: (item["properties"] if ":" in key else item).pop(key))
    with pytest.raises(ModelError, match=rf"is no model card: KeyError '{key}'"):
        load_card(copied)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("superres:scale", "2"),
        ("superres:margin", 26.5),
        ("mlm:total_parameters", "many"),
        ("id", ["a"]),
        ("superres:training", None),
    ],
)
def test_facts_of_another_type_are_refused(copied, fact, value):
    rewrite(copied, lambda item: (item["properties"] if ":" in fact else item).update({fact: value}))
    with pytest.raises(ModelError, match=r"is no model card: TypeError expected (int|str|dict), got"):
        load_card(copied)


@pytest.mark.parametrize("checksum", ["d5" + "0" * 64, 5, None])
def test_hash_of_another_kind_is_refused(copied, checksum):
    rewrite(copied, lambda item: item["assets"]["model"].update({"file:checksum": checksum}))
    with pytest.raises(ModelError, match="expected a SHA-256 multihash"):
        load_card(copied)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("superres:margin", 23),
        ("superres:scale", 4),
        ("mlm:input", BAND_NAMES[::-1]),
    ],
)
def test_card_that_contradicts_its_weights(copied, fact, value):
    told = [{"bands": [{"name": band} for band in value]}] if fact == "mlm:input" else value
    rewrite(copied, lambda item: item["properties"].update({fact: told}))
    with pytest.raises(ModelError, match=r"The card of cubic_mtf says \w+ .*, its weights say "):
        load_card(copied).open(provider="cpu")


def test_weights_that_are_no_model_of_ours(copied):
    content = b"no ONNX at all"
    copied.with_suffix(".onnx").write_bytes(content)
    checksum = "1220" + hashlib.sha256(content).hexdigest()
    rewrite(copied, lambda item: item["assets"]["model"].update({"file:checksum": checksum}))
    with pytest.raises(SuperresError, match="can't be opened as a model of openeo-superres"):
        load_card(copied).open(provider="cpu")


# ---- a value


def test_card_is_a_value(mtf_card):
    assert load_card("cubic_mtf") == mtf_card
    assert len({mtf_card, load_card("cubic_mtf")}) == 1
    with pytest.raises(AttributeError):
        mtf_card.margin = 0


def test_a_changed_card_is_read_again(tmp_path):
    first = write_model(tmp_path, margin=6)
    second = write_model(tmp_path, margin=12)
    assert (first.margin, second.margin) == (6, 12)
    assert load_card(tmp_path / "nearest.json") == second


def test_session_is_opened_once_per_process(mtf_card, copied):
    model = mtf_card.open(provider="cpu", threads=1)
    assert mtf_card.open(provider="cpu", threads=1) is model
    # the same weights elsewhere are the same session; other options are not
    assert load_card(copied).open(provider="cpu", threads=1) is model
    assert mtf_card.open(provider="cpu", threads=2) is not model
