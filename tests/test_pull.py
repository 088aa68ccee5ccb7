"""Pulling from the Hub: what is kept, what is fetched, and what is refused in words that help."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.commands import Commands
from tests.hub.server import Hub
from tests.hub.store import Repo
from tests.sharing import client
from tlhub import adapt, load
from tlhub.artifact import read_record
from tlhub.errors import UserError
from tlhub.testing import toy_catalog, toy_manifest
from tlhub_registry.entry import Entry
from tlhub_registry.pull import pull
from tlhub_registry.refs import HubRef, parse_hub, parse_repo
from tlhub_registry.registry import Registry

pytestmark = pytest.mark.hub

WEIGHTS, CONFIG, RECORD = "model.safetensors", "config.json", "tlhub.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adapted model in timm's own form."""
    folder = tmp_path_factory.mktemp("model") / "run"
    backbone = {"use": "timm", "model": "test_resnet", "pretrained": False, "input_size": 32}
    manifest = {**toy_manifest([]), "backbone": backbone, "name": "toy"}
    adapt(manifest, out=folder, catalog=toy_catalog(), baseline=False, keep=False, device="cpu")
    return folder


@pytest.fixture
def online(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The Hub of the test, as the one that this process asks: the client reads its environment when it is imported."""
    from huggingface_hub import constants

    address = {"ENDPOINT": hub.url, "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}"}
    for name, value in {**address, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return hub


def contents(model: Path, **record: Any) -> dict[str, bytes]:
    """What a repository of the model holds, with changes of its `tlhub.json`."""
    told = read_record(model)
    files = {name: (model / name).read_bytes() for name in told["files"]}
    return {**files, RECORD: json.dumps({**told, **record}).encode()}


def share(hub: Hub, model: Path, more: Mapping[str, bytes] | None = None, **record: Any) -> Repo:
    """A repository with the model, made by somebody else."""
    return hub.create("you/model", {**contents(model, **record), **(more or {})})


def fetch(place: str = "you/model") -> Entry:
    return pull(parse_repo(place), Registry())


def fetched(hub: Hub) -> list[str]:
    """The files whose content the Hub was asked for."""
    return [each.path.rpartition("/")[2] for each in hub.log if "/resolve/" in each.path]


def refused(match: str) -> str:
    """The words of a refusal; nothing is kept after it, and nothing is left in the registry's folder."""
    with pytest.raises(UserError, match=match) as told:
        fetch()
    registry = Registry()
    assert registry.entries() == []
    assert [path.name for path in registry.root.glob("pull-*")] == []
    return str(told.value)


class TestNames:
    @pytest.mark.parametrize("place", ["hub:you/model", "hub:you/model@v1", f"hub:a.b/c_d-e@{'0' * 40}", "hub:a/b@x/y"])
    def test_a_place_on_the_hub_reads_as_it_was_written(self, place: str) -> None:
        assert str(parse_hub(place)) == place
        assert str(parse_repo(place.removeprefix("hub:"))) == place

    def test_other_places_are_none_of_the_hubs(self) -> None:
        assert parse_hub("digits:3") is None
        assert parse_hub("runs/hub") is None

    @pytest.mark.parametrize(
        "text",
        [
            *("hub:", "hub:you", "hub:you/", "hub:/model", "hub:you/a/b", "hub:../model", "hub:you/..", "hub:you/m@"),
            *("hub:a b/c", "hub:you/m@../../main", "hub:you/a--b", "hub:-you/m", "hub:you/m@-x", "hub:you/m\n"),
        ],
    )
    def test_a_malformed_place_is_refused(self, text: str) -> None:
        with pytest.raises(UserError, match="names no repository"):
            parse_hub(text)


class TestPull:
    def test_the_model_is_kept_under_its_repository_s_name_and_pinned(self, online: Hub, model: Path) -> None:
        repo = share(online, model)
        entry = fetch()
        assert (entry.ref, entry.source) == ("you/model:1", f"hub:you/model@{repo.commits[0]}")
        assert entry.run is None
        pictures = [Image.fromarray(torch.randint(0, 256, (32, 32, 3)).byte().numpy()) for _ in range(3)]
        for place in ("you/model:1", f"hub:you/model@{repo.commits[0]}", "hub:you/model"):
            assert torch.equal(load(place, "cpu").logits(pictures), load(model, "cpu").logits(pictures))

    def test_only_what_the_record_names_is_fetched(self, online: Hub, model: Path) -> None:
        share(online, model, {"README.md": b"# Hello", ".env": b"SECRET=1", "pytorch_model.bin": b"pickle"})
        fetch()
        assert sorted(set(fetched(online))) == sorted([WEIGHTS, CONFIG, RECORD])

    def test_what_is_here_is_not_fetched_again(self, online: Hub, model: Path) -> None:
        share(online, model)
        first = fetch()
        online.log.clear()
        assert fetch() == first
        assert fetch(first.source) == first
        assert fetched(online) == []

    def test_a_revision_means_the_commit_it_has_now(self, online: Hub, model: Path) -> None:
        repo = share(online, model)
        old = repo.commits[0]
        repo.commit({RECORD: contents(model, name="renamed")[RECORD]})
        assert fetch().source.endswith(repo.commits[0])
        assert fetch(f"you/model@{old}").source.endswith(old)
        assert [entry.version for entry in Registry().entries("you/model")] == [2, 1]

    def test_without_a_connection_there_is_what_was_pulled(
        self, online: Hub, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from huggingface_hub import constants

        share(online, model)
        entry = fetch()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        online.log.clear()
        assert fetch(entry.source) == entry
        assert load("you/model", "cpu").record == entry.record
        with pytest.raises(UserError, match="pulled before: `you/model:1`"):
            fetch()
        assert online.log == []


class TestTransfer:
    @pytest.mark.parametrize(("name", "request_of"), [(WEIGHTS, "/cdn/"), (CONFIG, CONFIG), (RECORD, RECORD)])
    def test_a_flipped_bit_is_refused_with_the_files_name(
        self, online: Hub, model: Path, name: str, request_of: str
    ) -> None:
        share(online, model)
        online.fail("GET", request_of, flip=-9, times=9)
        refused(f"`{name}` of .* arrived damaged, 2 times")

    def test_a_flipped_bit_is_mended_by_another_transfer(self, online: Hub, model: Path) -> None:
        share(online, model)
        flipped = online.fail("GET", "/cdn/", flip=1000)
        assert fetch().files[WEIGHTS].sha256 == read_record(model)["files"][WEIGHTS]
        assert flipped.met == 1

    def test_a_cut_download_is_mended(self, online: Hub, model: Path) -> None:
        share(online, model)
        cut = online.fail("GET", "/cdn/", cut=1000)
        assert fetch().files[WEIGHTS].sha256 == read_record(model)["files"][WEIGHTS]
        assert cut.met == 1

    def test_a_file_that_was_changed_after_publishing(self, online: Hub, model: Path) -> None:
        share(online, model, {CONFIG: (model / CONFIG).read_bytes().replace(b"flat", b"flit")})
        refused(f"`{CONFIG}` of .* is not the one that its tlhub.json names")

    def test_a_file_that_is_missing(self, online: Hub, model: Path) -> None:
        share(online, model).commit({CONFIG: None})
        refused(f"is not whole: it has no `{CONFIG}`")


class TestRefused:
    def test_weights_that_are_pickles_only(self, online: Hub) -> None:
        online.create("you/model", {"pytorch_model.bin": b"pickle", CONFIG: b"{}"})
        told = refused(r"`pytorch_model.bin`|pytorch_model\.bin only")
        assert "run code when they are opened" in told
        assert "safetensors" in told
        assert fetched(online) == []

    def test_a_record_that_names_a_pickle(self, online: Hub, model: Path) -> None:
        share(online, model, {"model.pkl": b"pickle"}, files={"model.pkl": "0" * 64})
        assert "runs code" in refused(r"made of `model\.pkl`")
        assert "model.pkl" not in fetched(online)

    def test_a_model_that_is_not_ours_is_shown_its_use_as_a_backbone(self, online: Hub, model: Path) -> None:
        repo = online.create("you/model", {WEIGHTS: (model / WEIGHTS).read_bytes(), CONFIG: b"{}"})
        told = refused("no model of tlhub")
        assert f"backbone: {{use: bert, model: you/model, revision: {repo.commits[0]}}}" in told
        assert f"backbone: {{use: timm, model: 'hf_hub:you/model@{repo.commits[0]}'}}" in told

    def test_a_repository_without_a_model(self, online: Hub) -> None:
        online.create("you/model", {"README.md": b"soon"})
        refused("holds no model")

    def test_code_of_its_own(self, online: Hub, model: Path) -> None:
        config = {**json.loads((model / CONFIG).read_bytes()), "auto_map": {"AutoModel": "evil.Model"}}
        files = contents(model)
        files |= {CONFIG: json.dumps(config).encode(), "evil.py": b"open('/tmp/evil', 'w')"}
        files[RECORD] = _with_hashes(files)
        online.create("you/model", files)
        refused("asks for code of its own")
        assert "evil.py" not in fetched(online)

    @pytest.mark.parametrize("tensor", ["5", '{"shape": [1]}', '{"shape": [Infinity], "data_offsets": [0, 4]}'])
    def test_weights_whose_header_lists_no_tensors(self, online: Hub, model: Path, tensor: str) -> None:
        header = f'{{"a": {tensor}}}'.encode()
        files = {**contents(model, exporter=None), WEIGHTS: len(header).to_bytes(8, "little") + header}
        online.create("you/model", {**files, RECORD: _with_hashes(files)})
        refused("its header is no list of tensors")

    @pytest.mark.parametrize(
        "name", ["../evil.json", "/etc/evil.json", "C:\\evil.json", "..\\evil.json", "a/../../evil.json"]
    )
    def test_names_that_lead_outside(self, online: Hub, model: Path, name: str, tmp_path: Path) -> None:
        repo = share(online, model, {name: b"{}"})
        refused("would be written outside its folder")
        repo.commit({name: None, RECORD: contents(model, files={name: "0" * 64})[RECORD]})
        refused("would be written outside its folder")
        assert not list(tmp_path.rglob("*evil*"))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"format": 2}, "format"),
            ({"files": {WEIGHTS: "short"}}, "files"),
            ({"files": {"run.sh": "0" * 64}}, r"`run\.sh`"),
            ({"files": {RECORD: "0" * 64}}, RECORD),
            ({"lineage": "long"}, "lineage"),
            ({"manifest": {}}, "manifest"),
            ({"result": {"metric": "accuracy"}}, "result"),
            ({"classes": [1, 2]}, "classes"),
            ({"name": "x" * 1000}, "name"),
            ({"backbone": {"use": "artifact", "ref": "hub:you/model"}}, "another model"),
            ({"backbone": {"use": "timm", "model": "hf_hub:evil/x", "pretrained": True}}, "another model"),
            ({"backbone": {"use": "bert", "config": {"num_hidden_layers": 10**6}}}, "num_hidden_layers: 1000000"),
            ({"backbone": {"use": "bert", "config": {"vocab_size": 4 * 10**9}}}, "vocab_size: 4000000000"),
            ({"backbone": {"use": "timm", "args": {"layers": [2, 10**6]}}}, "layers: 1000000"),
            ({"head": {"use": "linear", "features": 8, "outputs": 10**9}}, "outputs: 1000000000"),
            ({"delta": {"base": {"repo": "you/base"}, "same": []}}, "delta"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_a_record_that_no_tlhub_wrote(self, online: Hub, model: Path, change: dict[str, Any], words: str) -> None:
        share(online, model, **change)
        refused(words)

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"null"])
    def test_a_record_that_is_no_json_object(self, online: Hub, model: Path, text: bytes) -> None:
        share(online, model, {RECORD: text})
        refused("is not what this tlhub writes")

    def test_a_record_of_gigabytes_is_not_fetched(self, online: Hub, model: Path) -> None:
        share(online, model, {RECORD: b" " * 10_000_001})
        refused(r"10,000,001 bytes, more than")
        assert fetched(online) == []

    def test_a_configuration_that_says_more_than_the_weights_hold(self, online: Hub, model: Path) -> None:
        config = {**json.loads((model / CONFIG).read_bytes()), "model_args": {"depth": 10**6}}
        files = {**contents(model), CONFIG: json.dumps(config).encode()}
        files[RECORD] = _with_hashes(files)
        online.create("you/model", files)
        refused("depth: 1000000")

    def test_no_such_repository(self, online: Hub) -> None:
        refused("you/model")


def _with_hashes(files: Mapping[str, bytes]) -> bytes:
    """The `tlhub.json` of these files, as their owner would write it."""
    import hashlib

    record = json.loads(files[RECORD])
    return json.dumps({**record, "files": {n: hashlib.sha256(files[n]).hexdigest() for n in record["files"]}}).encode()


CANARY = "hf_canaryCANARYcanaryCANARYcanary"


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Commands]]:
    """A Hub, and `tlhub` as its user runs it, in a process for each command."""
    folder = tmp_path_factory.mktemp("user")
    with Hub(folder / "hub") as hub:
        environment = client(hub, folder, hub.add_user("canary", CANARY))
        with Commands(folder / "commands", environment) as tlhub:
            yield hub, tlhub


class TestCommand:
    def test_a_full_disk_is_told_in_one_line_and_nothing_is_left(
        self, user: tuple[Hub, Commands], model: Path, tmp_path: Path
    ) -> None:
        hub, tlhub = user
        share(hub, model)

        def fill(process: int) -> None:
            resource.prlimit(process, resource.RLIMIT_FSIZE, (200_000, 200_000))

        done = tlhub("pull", "you/model", env={"TLHUB_HOME": str(tmp_path)}, begun=fill)
        assert done.returncode == 2, done
        [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "File too large" in error
        assert "Traceback" not in done.stderr
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    @pytest.mark.parametrize("request_of", ["/tree/", RECORD, "/cdn/"])
    def test_a_killed_pull_is_done_by_the_same_command_again(
        self, user: tuple[Hub, Commands], model: Path, tmp_path: Path, request_of: str
    ) -> None:
        hub, tlhub = user
        share(hub, model)
        running: list[int] = []
        hub.fail("GET", request_of, before=lambda: os.kill(running[0], signal.SIGKILL))
        home = {"TLHUB_HOME": str(tmp_path)}
        assert tlhub("pull", "you/model", env=home, begun=running.append).returncode == -signal.SIGKILL
        done = tlhub("pull", "you/model", "--json", env=home)
        assert done.returncode == 0, done
        assert json.loads(done.stdout)["ref"] == "you/model:1"

    def test_the_token_is_told_nobody(self, user: tuple[Hub, Commands], model: Path, tmp_path: Path) -> None:
        hub, tlhub = user
        share(hub, model)
        hub.create("you/secret", contents(model), private=True)
        said = ""
        for repo, code in (("you/model", 0), ("you/secret", 2), ("nobody/nothing", 2)):
            for command in ("pull", "show", "reproduce"):
                place = repo if command == "pull" else f"hub:{repo}"
                done = tlhub(command, place, "--debug", env={"TLHUB_HOME": str(tmp_path)})
                said += done.stdout + done.stderr
                assert command == "reproduce" or done.returncode == code, done
        assert any(CANARY in str(request.headers.get("authorization")) for request in hub.log)
        assert CANARY not in said
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def test_a_pulled_place_is_a_place_for_every_command(online: Hub, model: Path) -> None:
    from tlhub.catalog import Catalog
    from tlhub.store import locate

    share(online, model)
    entry = fetch()
    catalog = Catalog.installed()
    assert locate(entry.source, catalog) == locate("you/model", catalog) == locate(entry.digest, catalog)
    assert locate(str(HubRef("you/model")), catalog) == Registry().checkout(entry)
    with pytest.raises(UserError, match="no adapted model `runs/nothing`"):
        locate("runs/nothing", catalog)
    with pytest.raises(UserError, match="there is no `modle`"):
        locate("modle", catalog)
