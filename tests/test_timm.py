"""Any timm network as a backbone: features, stages, preprocessing, weights, and timm's own form on disk."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from tlhub.errors import ArtifactError, SettingError
from tlhub.head import Head, Identity
from tlhub.model import Model
from tlhub_basics.classification import Classification
from tlhub_basics.linear import LinearHead
from tlhub_timm.backbone import TimmBackbone

torch.set_num_threads(2)

SIZES = {
    "resnet18": 64,
    "mobilenetv2_100": 64,
    "mobilenetv3_small_050": 64,
    "convnext_atto": 64,
    "vit_tiny_patch16_224": 64,
    "vit_tiny_patch16_224.augreg_in21k": 32,
    "swin_tiny_patch4_window7_224": 56,
}
SMALL = {"swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}}
CLASSES = ["bike", "mug", "mouse"]
TASK = Classification()
SHARED = Path(os.environ.get("TLHUB_SHARED", Path(__file__).parents[2] / "shared"))
MOBILENET = {
    "model": "mobilenetv2_100",
    "args": {"pad_type": "same", "bn_eps": 1e-3},
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}


def backbone(name: str = "resnet18", **settings: Any) -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone(name, **{"pretrained": False, "input_size": SIZES[name], "args": SMALL.get(name), **settings})


def model_of(net: TimmBackbone, head: Head | None = None) -> Model:
    return Model(net, Identity(net.width), head or LinearHead(net.width, len(CLASSES))).eval()


def images(net: TimmBackbone, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *net.recipe.data["input_size"]), generator=generator, dtype=torch.uint8)


def normalised(net: TimmBackbone, inputs: Tensor) -> Tensor:
    mean, std = (torch.tensor(net.recipe.data[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (inputs / 255 - mean) / std


def photo(width: int = 90, height: int = 60) -> Image.Image:
    return Image.effect_mandelbrot((width, height), (-3, -2.5, 2, 2.5), 100).convert("RGB")


def same_logits(folder: Path, net: TimmBackbone, expected: Tensor) -> None:
    whole = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    torch.testing.assert_close(whole(normalised(net, images(net))), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SIZES)
def test_an_architecture_keeps_what_a_backbone_promises(name: str, tmp_path: Path) -> None:
    """Features are what timm's classifier reads, each parameter has one stage; saved it is timm's and ours again."""
    net = backbone(name)
    model = model_of(net)
    with torch.inference_mode():
        logits = model(images(net))
        assert net(images(net)).shape == (2, net.width)

        staged = [parameter for stage in net.stages() for parameter in stage]
        assert sorted(staged) == sorted(parameter for parameter, _ in net.named_parameters())
        assert len(net.stages()) >= 4
        assert all(net.stages())

        assert net.export(model, TASK, CLASSES, tmp_path) == "timm"
        same_logits(tmp_path, net, logits)

        rebuilt = model_of(TimmBackbone(**json.loads(json.dumps(net.rebuild()))))
        rebuilt.backbone.load_exported(rebuilt, tmp_path)
        assert torch.equal(rebuilt(images(net)), logits)
        assert rebuilt.backbone.preprocess(train=True) == net.preprocess(train=True)


def test_stages_go_from_the_input_to_the_output() -> None:
    residual = [{name.split(".")[1] for name in stage} for stage in backbone("resnet18").stages()]
    assert residual == [{"conv1", "bn1"}, {"layer1"}, {"layer2"}, {"layer3"}, {"layer4"}]
    transformer = backbone("vit_tiny_patch16_224").stages()
    assert {name.split(".")[1] for name in transformer[0]} == {"cls_token", "pos_embed", "patch_embed"}
    assert {name.split(".")[2] for name in transformer[1]} == {"0"}
    assert {name.split(".")[1] for name in transformer[-1]} == {"blocks", "norm"}
    assert len(transformer) == 13


def test_an_architecture_that_names_no_stages_is_grouped_by_its_modules() -> None:
    stages = TimmBackbone("poolformerv2_s12", pretrained=False, input_size=64).stages()
    assert {name.split(".")[1] for name in stages[0]} == {"stem"}
    assert len(stages) == 6


def test_the_head_reads_the_last_hidden_layer_of_the_architecture() -> None:
    assert [backbone(name).width for name in ("mobilenetv3_small_050", "resnet18")] == [1024, 512]


def test_channels_last_images_stay_so_up_to_the_network() -> None:
    net = backbone()
    seen: list[Tensor] = []
    net.net.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(images(net).to(memory_format=torch.channels_last))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert seen[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "layer", "places"),
    [("swin_tiny_patch4_window7_224", "net.layers.1", (1, 2)), ("resnet18", "net.layer2", (2, 3))],
)
def test_a_map_is_averaged_over_its_places_wherever_its_channels_are(
    name: str, layer: str, places: tuple[int, int]
) -> None:
    net = backbone(name)
    model = model_of(net)
    model.tap(layer)
    seen: list[Tensor] = []
    net.get_submodule(layer).register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        assert torch.equal(model.see(images(net)).layers[layer], seen[0].mean(places))


def test_normalisation_is_no_part_of_the_saved_weights() -> None:
    assert {name.partition(".")[0] for name in backbone().state_dict()} == {"net"}


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224"])
@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (300, 300), (20, 20)])
def test_evaluation_sees_images_as_timm_shows_them(name: str, shape: tuple[int, int]) -> None:
    net = backbone(name)
    theirs = timm.data.create_transform(**net.recipe.data)(photo(*shape))
    ours = net.preprocess(train=False)(photo(*shape))
    assert ours.dtype == torch.uint8
    torch.testing.assert_close(normalised(net, ours), theirs)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_an_image_of_any_mode_is_read_as_rgb(mode: str) -> None:
    image = photo().convert(mode)
    if mode == "P":
        image.info["transparency"] = bytes(256)
    for augment in ("none", "flip", "crop", "resized_crop"):
        example = backbone(augment=augment).preprocess(train=True)(image)
        assert (example.shape, example.dtype) == ((3, 64, 64), torch.uint8)


def test_what_is_no_image_is_said_to_be_none() -> None:
    with pytest.raises(TypeError, match="expected an image, found str"):
        backbone().preprocess(train=False)("a text")


def test_augmentation_varies_training_images_only_and_follows_the_seed() -> None:
    import random

    for augment in ("flip", "crop", "resized_crop"):
        train, plain = (backbone(augment=augment).preprocess(train) for train in (True, False))
        assert (train.random, plain.random) == (True, False)

        def draw(seed: int, train: Any = train) -> bytes:
            random.seed(seed)
            torch.manual_seed(seed)
            return bytes(train(photo()).numpy().tobytes())

        assert len({draw(seed) for seed in range(8)}) > 1
        assert draw(1) == draw(1)
    assert not backbone(augment="none").preprocess(train=True).random


def test_flips_are_the_evaluation_images_and_their_mirror_images() -> None:
    net = backbone(augment="flip")
    plain, train = net.preprocess(train=False)(photo()), net.preprocess(train=True)
    seen = {bytes(train(photo()).numpy().tobytes()) for _ in range(16)}
    assert seen == {bytes(image.numpy().tobytes()) for image in (plain, plain.flip(2))}


def test_preprocessings_are_equal_where_they_do_the_same_and_travel_to_workers() -> None:
    first, same, other = backbone(), backbone(args={"drop_path_rate": 0.1}), backbone(crop_pct=0.5)
    assert first.preprocess(train=True) == same.preprocess(train=True)
    kinds = {net.preprocess(train) for net in (first, same, other) for train in (True, False)}
    assert len(kinds) == 4
    preprocess = first.preprocess(train=False)
    travelled = pickle.loads(pickle.dumps(preprocess))
    assert travelled == preprocess
    assert torch.equal(travelled(photo()), preprocess(photo()))


def test_the_data_configuration_can_be_overridden(tmp_path: Path) -> None:
    net = backbone(
        mean=(0.1, 0.2, 0.3),
        std=(0.5, 0.5, 0.5),
        interpolation="nearest",
        crop_pct=1.0,
        crop_mode="squash",
        input_size=(64, 96),
    )
    assert net.preprocess(train=False)(photo()).shape == (3, 64, 96)
    model = model_of(net)
    with torch.inference_mode():
        net.export(model, TASK, None, tmp_path)
        same_logits(tmp_path, net, model(images(net)))
    written = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    assert written["mean"] == [0.1, 0.2, 0.3]
    assert (written["input_size"], written["crop_pct"], written["crop_mode"]) == ([3, 64, 96], 1.0, "squash")
    assert TimmBackbone(**net.rebuild()).preprocess(train=True) == net.preprocess(train=True)


def test_arguments_of_the_architecture_reach_it_and_the_exported_model(tmp_path: Path) -> None:
    net = backbone("mobilenetv2_100", args={"pad_type": "same", "bn_eps": 1e-3})
    assert net.net.bn1.eps == 1e-3
    model = model_of(net)
    with torch.inference_mode():
        assert net.export(model, TASK, CLASSES, tmp_path) == "timm"
        same_logits(tmp_path, net, model(images(net)))
    assert json.loads((tmp_path / "config.json").read_text())["model_args"] == {"pad_type": "same", "bn_eps": 1e-3}


READ = """
import json, sys, timm, torch
from PIL import Image
from safetensors.torch import load_file
from transformers import TimmWrapperForImageClassification, pipeline

results = []
for folder in sys.argv[1:]:
    images = load_file(folder + ".safetensors")["images"]
    theirs = timm.create_model("local-dir:" + folder, pretrained=True).eval()
    wrapper = TimmWrapperForImageClassification.from_pretrained(folder).eval()
    answers = pipeline("image-classification", folder)(Image.open(folder + ".png"))
    with torch.inference_mode():
        results.append({
            "timm": theirs(images).tolist(),
            "transformers": wrapper(pixel_values=images).logits.tolist(),
            "names": [list(theirs.pretrained_cfg["label_names"]), list(wrapper.config.id2label.values())],
            "answers": {answer["label"]: answer["score"] for answer in answers},
        })
print("RESULT" + json.dumps(results))
"""


def test_timm_and_transformers_read_an_exported_model_in_a_fresh_process(tmp_path: Path) -> None:
    models = {name: model_of(backbone(name)) for name in ("mobilenetv3_small_050", "vit_tiny_patch16_224")}
    for name, model in models.items():
        net = model.backbone
        nn.init.normal_(model.head.linear.weight)
        assert net.export(model, TASK, CLASSES, tmp_path / name) == "timm"
        save_file({"images": normalised(net, images(net))}, tmp_path / f"{name}.safetensors")
        photo().save(tmp_path / f"{name}.png")

    command = [sys.executable, "-c", READ, *(str(tmp_path / name) for name in models)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    for model, result in zip(models.values(), json.loads(done.stdout.partition("RESULT")[2]), strict=True):
        net = model.backbone
        with torch.inference_mode():
            logits = model(images(net))
            probabilities = model(net.preprocess(train=False)(photo())[None]).softmax(1)[0].tolist()
        torch.testing.assert_close(torch.tensor(result["timm"]), logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.tensor(result["transformers"]), logits, rtol=1e-5, atol=1e-5)
        assert result["names"] == [CLASSES, CLASSES]
        assert result["answers"] == pytest.approx(dict(zip(CLASSES, probabilities, strict=True)), abs=1e-4)


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "dla46x_c", "efficientvit_m0"])
def test_an_architecture_whose_classifier_is_not_one_linear_layer_has_no_native_form(name: str, tmp_path: Path) -> None:
    net = TimmBackbone(name, pretrained=False, input_size=64)
    assert net.eval()(images(net)).shape == (2, net.width)
    assert net.export(model_of(net), TASK, CLASSES, tmp_path) is None
    assert not list(tmp_path.iterdir())


class Doubled(Head):
    """A neck that timm's networks have no place for."""

    name = "doubled"

    def __init__(self, features: int) -> None:
        super().__init__()
        self.width = features


def test_a_changed_model_has_no_native_form(tmp_path: Path) -> None:
    net = backbone()
    assert net.export(Model(net, Doubled(512), LinearHead(512, 3)), TASK, CLASSES, tmp_path) is None
    assert net.export(Model(net, Identity(512), Doubled(512)), TASK, CLASSES, tmp_path) is None
    net.net.layer4.extra = nn.Linear(2, 2)
    assert net.export(model_of(net), TASK, CLASSES, tmp_path) is None


def test_an_exported_folder_is_a_start_for_the_next_model(tmp_path: Path) -> None:
    net = backbone("vit_tiny_patch16_224")
    net.export(model_of(net), TASK, CLASSES, tmp_path)
    again = TimmBackbone(f"local-dir:{tmp_path}").eval()
    assert torch.equal(again(images(net)), net.eval()(images(net)))
    assert again.rebuild() == net.rebuild()


def test_a_damaged_exported_folder_is_said_to_be_one(tmp_path: Path) -> None:
    model = model_of(backbone())
    with pytest.raises(ArtifactError, match="does not hold this model"):
        model.backbone.load_exported(model, tmp_path)


def test_weights_are_read_from_a_file_without_their_classifier(tmp_path: Path) -> None:
    theirs = timm.create_model("resnet18", num_classes=5)
    save_file(theirs.state_dict(), tmp_path / "resnet.safetensors")
    net = backbone(weights=str(tmp_path / "resnet.safetensors"), pretrained=True)
    assert torch.equal(net.net.conv1.weight, theirs.conv1.weight)
    assert "weights" not in net.rebuild()


def test_weights_of_another_image_size_are_converted_as_timm_does(tmp_path: Path) -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=96)
    save_file(theirs.state_dict(), tmp_path / "vit.safetensors")
    net = backbone("vit_tiny_patch16_224", weights=str(tmp_path / "vit.safetensors"))
    assert torch.equal(net.net.blocks[0].attn.qkv.weight, theirs.blocks[0].attn.qkv.weight)
    assert net(images(net)).shape == (2, 192)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_the_classifier_of_pretrained_weights_answers_as_the_whole_network_does(name: str, tmp_path: Path) -> None:
    random = backbone(name)
    random.export(model_of(random), TASK, CLASSES, tmp_path)
    file = tmp_path / "model.safetensors"
    for net in (TimmBackbone(f"local-dir:{tmp_path}").eval(), backbone(name, weights=str(file)).eval()):
        classifier = net.source_head()
        assert classifier is not None
        with torch.inference_mode():
            same_logits(tmp_path, net, classifier(net(images(net))))
    assert random.source_head() is None
    assert TimmBackbone(**net.rebuild()).source_head() is None


def test_weights_without_a_linear_classifier_have_no_source_head(tmp_path: Path) -> None:
    for name, classes in (("resnet18", 0), ("deit_tiny_distilled_patch16_224", 5)):
        size = {"img_size": 64} if "deit" in name else {}
        save_file(timm.create_model(name, num_classes=classes, **size).state_dict(), tmp_path / "some.safetensors")
        net = TimmBackbone(name, weights=str(tmp_path / "some.safetensors"), input_size=64)
        assert net.source_head() is None


def test_weights_that_do_not_fit_say_how(tmp_path: Path) -> None:
    state = timm.create_model("resnet18").state_dict()
    state["extra.weight"] = state.pop("bn1.weight")
    state["conv1.weight"] = torch.zeros(8, 3, 7, 7)
    save_file(state, tmp_path / "resnet.safetensors")
    with pytest.raises(SettingError) as error:
        backbone(weights=str(tmp_path / "resnet.safetensors"))
    assert error.value.setting == "weights"
    assert error.value.message.endswith(
        "does not fit `resnet18`: 1 missing (bn1.weight); 1 unknown (extra.weight); "
        "1 of another shape (conv1.weight [8, 3, 7, 7] instead of [64, 3, 7, 7])"
    )


def test_weights_that_are_not_there_or_not_safetensors_are_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "resnet.pth")
    for path, problem in (("none", "there is no file"), ("resnet.pth", "cannot be read"), ("", "is a folder")):
        with pytest.raises(SettingError, match=problem):
            backbone(weights=str(tmp_path / path))


@pytest.mark.parametrize(
    ("settings", "setting", "message", "hint"),
    [
        ({"model": "resnet500"}, "model", "timm has no model `resnet500`", "did you mean `resnet50`"),
        ({"model": "resnet18.best"}, "model", "timm has no weights `resnet18.best`", "`resnet18.a1_in1k`"),
        ({"model": "docker:resnet18"}, "model", "names no model", "hf_hub:owner/name"),
        ({"model": "resnet10t", "args": {"widht": 2}}, "args", "widht", ""),
        ({"model": "resnet18", "args": {"num_classes": 3}}, "args", "cannot hold `num_classes`", "the task's"),
        ({"model": "resnet18", "args": {"img_size": 3}}, "args", "cannot hold `img_size`", "`input_size`"),
        ({"model": "resnet18", "args": {"global_pool": ""}}, "args", "instead of being one vector", ""),
        ({"model": "vit_tiny_patch16_224", "input_size": 8}, "input_size", "images of (8, 8)", ""),
        ({"model": "mobilenetv2_035", "pretrained": True}, "pretrained", "no pretrained weights", "`weights`"),
    ],
)
def test_settings_that_timm_cannot_follow_are_named(
    settings: dict[str, Any], setting: str, message: str, hint: str
) -> None:
    with pytest.raises(SettingError) as error:
        TimmBackbone(**{"pretrained": False, **settings})
    assert error.value.setting == setting
    assert message in error.value.message
    assert hint in (error.value.hint or "")


OFFLINE = """
import sys
from tlhub.errors import UserError
from tlhub_timm.backbone import TimmBackbone
for model in sys.argv[1:]:
    try:
        TimmBackbone(model)
    except UserError as error:
        print(error)
"""


def test_weights_that_cannot_be_fetched_are_the_users_to_mend(tmp_path: Path) -> None:
    names = ("resnet18", "hf_hub:nobody/nothing")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path)}
    command = [sys.executable, "-c", OFFLINE, *names]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    *_, problem, mend = done.stdout.splitlines()
    assert problem.startswith("could not fetch `hf_hub:nobody/nothing`: ")
    assert done.stdout.startswith("could not fetch the weights of `resnet18`: ")
    assert mend.startswith("help: give `weights` a local .safetensors file, or set `pretrained: false`")


def shared(*parts: str) -> Path:
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path}; name the folder of real data in TLHUB_SHARED")
    return path


def test_real_weights_recognise_what_is_on_real_photos() -> None:
    """ImageNet's own classes of four objects win on most photos of those objects."""
    weights = shared("weights", "mobilenetv2_100_imagenet", "model.safetensors")
    photos = shared("data", "office_caltech10", "amazon")
    net = TimmBackbone(**MOBILENET, weights=str(weights)).eval()
    classifier = net.source_head()
    assert classifier is not None
    wanted = {"keyboard": {508, 878}, "backpack": {414}, "mug": {504, 968, 969}, "mouse": {673}}
    hits = []
    for name, numbers in wanted.items():
        files = sorted((photos / name).glob("*.jpg"))[:8]
        batch = net.collate([net.preprocess(train=False)(Image.open(file)) for file in files])
        with torch.inference_mode():
            logits = classifier(net(batch))
        hits += [bool(set(best) & numbers) for best in logits.topk(5).indices.tolist()]
    assert sum(hits) / len(hits) > 0.75


def test_real_features_carry_from_one_domain_to_another() -> None:
    """A linear classifier of frozen features, learnt on 5 photos a class, is right on most photos of another domain."""
    from sklearn.linear_model import LogisticRegression

    weights = shared("weights", "mobilenetv2_100_imagenet", "model.safetensors")
    photos = shared("data", "office_caltech10")
    net = TimmBackbone(**MOBILENET, weights=str(weights)).eval()
    preprocess = net.preprocess(train=False)

    def features(domain: str) -> tuple[Any, list[str]]:
        files = [file for kind in sorted((photos / domain).iterdir()) for file in sorted(kind.glob("*.jpg"))[:5]]
        with torch.inference_mode():
            found = net(net.collate([preprocess(Image.open(file)) for file in files]))
        return found.numpy(), [file.parent.name for file in files]

    classifier = LogisticRegression(max_iter=500).fit(*features("webcam"))
    assert classifier.score(*features("amazon")) > 0.6
