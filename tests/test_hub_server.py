"""The loopback Hub, held to the real clients: what they do with it is what they would do with the Hub."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.hub.server import Hub

pytestmark = pytest.mark.hub

CARD = b"---\nlicense: mit\ntags: [tlhub]\nlibrary_name: timm\nbase_model: them/base\n---\n# A model\n"

PRELUDE = """
import json, os, time
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import *

api = HfApi()

def add(**files):
    return [CommitOperationAdd(name.replace("__", "."), content) for name, content in files.items()]

def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except Exception as error:
        return [type(error).__name__, getattr(getattr(error, "response", None), "status_code", None)]

def contents(folder):
    return {name: open(f"{folder}/{name}", "rb").read().hex() for name in os.listdir(folder)}

def tell(**values):
    print(json.dumps(values))
"""


class Client:
    """Runs scripts in fresh processes with the unmodified `huggingface_hub`; what they `tell` comes back."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub, self.folder = hub, folder

    def __call__(self, script: str, token: str | None = "", xet: bool = False) -> dict[str, Any]:
        """`token` is that of `you` by default, and nobody's where it is None; every call has an empty home."""
        token = self.hub.token if token == "" else token
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
            env=self.hub.env(Path(tempfile.mkdtemp(dir=self.folder)), token=token, xet=xet),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    return Client(hub, tmp_path)


def test_one_commit_publishes_small_and_large_files_which_anybody_downloads_whole(hub: Hub, client: Client) -> None:
    hub.part_size = 1000  # so that one file goes in parts and the other in one piece
    large, small = os.urandom(2500), b"\xff\x00"
    (client.folder / "large").write_bytes(large)
    told = client(
        """
        api.create_repo("you/model", private=False)
        head = api.model_info("you/model").sha
        files = add(config__json=b"{}", model__safetensors=open("large", "rb").read(), few__bin=b"\\xff\\x00")
        done = api.create_commit("you/model", files, commit_message="Publish", parent_commit=head)
        api.create_tag("you/model", tag="v1")
        folder = snapshot_download("you/model", revision="v1", token=False)
        tell(head=head, oid=done.oid, got=contents(folder))
        """
    )
    repo = hub.repo("you/model")
    files = {"config.json": b"{}", "model.safetensors": large, "few.bin": small}
    assert repo.commits == [told["oid"], told["head"]]
    assert repo.tags == {"v1": told["oid"]}
    assert {path: content for path, content in repo.files().items() if path != ".gitattributes"} == files
    assert {path: bytes.fromhex(content) for path, content in told["got"].items()} == repo.files()
    assert len([request for request in hub.log if request.method == "PUT"]) == 3 + 1
    assert not [request for request in hub.log if "/cdn/" in request.path and "authorization" in request.headers]


def test_a_commit_that_changes_nothing_is_none_and_a_stale_parent_is_refused(hub: Hub, client: Client) -> None:
    repo = hub.create("you/model", {"config.json": b"{}"})
    before = repo.commits
    told = client(
        """
        api.create_commit("you/model", add(config__json=b"{}"), commit_message="Again")
        same = [CommitOperationCopy("config.json", "config.json")]
        again = api.create_commit("you/model", same, commit_message="Again")
        parent = api.list_repo_commits("you/model")[1].commit_id
        stale = refused(api.create_commit, "you/model", add(a=b"1"), commit_message="Late", parent_commit=parent)
        tell(again=again.oid, stale=stale)
        """
    )
    assert told == {"again": before[0], "stale": ["HfHubHTTPError", 412]}
    assert repo.commits == before


def test_files_are_copied_and_removed_and_paths_that_leave_the_repository_refused(hub: Hub, client: Client) -> None:
    repo = hub.create("you/model", {"a/x.bin": b"\xff", "a/b/y.txt": b"y", "z.txt": b"z"})
    told = client(
        """
        files = [CommitOperationCopy("a/x.bin", "x.bin"), CommitOperationDelete("a/"), CommitOperationDelete("z.txt")]
        api.create_commit("you/model", files, commit_message="Tidy")
        gone = refused(api.create_commit, "you/model", [CommitOperationDelete("no.txt")], commit_message="Twice")
        out = CommitOperationAdd("fine.txt", b"1")
        out.path_in_repo = "../out.txt"
        tell(gone=gone, out=refused(api.create_commit, "you/model", [out], commit_message="Out"))
        """
    )
    assert set(repo.files()) == {".gitattributes", "x.bin"}
    assert told["gone"][1] == 404
    assert told["out"] == ["BadRequestError", 400]


def test_names_are_taken_once_and_only_in_ones_own_namespaces(hub: Hub, client: Client) -> None:
    hub.create("you/model")
    hub.add_user("member", token="hf_member", orgs=("team",))
    hub.add_user("reader", token="hf_reader", orgs=("you",), role="read")
    told = client(
        """
        api.create_repo("you/model", exist_ok=True)
        api.create_repo("team/model", token="hf_member")
        file = dict(path_or_fileobj=b"", path_in_repo="a", repo_id="you/model")
        tell(
            who=[api.whoami()["name"], api.whoami(token="hf_member")["orgs"][0]["name"]],
            taken=refused(api.create_repo, "you/model"),
            foreign=refused(api.create_repo, "team/other"),
            reader=refused(api.upload_file, **file, token="hf_reader"),
            nobody=refused(api.create_repo, "you/other", token=False),
            wrong=refused(api.whoami, token="hf_wrong"),
        )
        """
    )
    assert told == {
        "who": ["you", "team"],
        "taken": ["HfHubHTTPError", 409],
        "foreign": ["HfHubHTTPError", 403],
        "reader": ["HfHubHTTPError", 403],
        "nobody": ["HfHubHTTPError", 401],
        "wrong": ["HfHubHTTPError", 401],
    }


def test_private_repositories_are_hidden_and_gated_ones_show_all_but_their_files(hub: Hub, client: Client) -> None:
    hub.create("you/hidden", {"config.json": b"{}"}, private=True)
    gated = hub.create("you/gated", {"config.json": b"{}"})
    gated.gated = "manual"
    hub.add_user("other", token="hf_other")
    script = """
        tell(
            hidden=refused(api.model_info, "you/hidden"),
            file=refused(hf_hub_download, "you/hidden", "config.json"),
            gated=refused(hf_hub_download, "you/gated", "config.json"),
            listed=[model.id for model in api.list_models()],
            known=api.model_info("you/gated").gated,
        )
    """
    missing, closed = ["RepositoryNotFoundError"], ["GatedRepoError"]
    shown = {"listed": ["you/gated"], "known": "manual"}
    assert client(script, None) == shown | {"hidden": [*missing, 401], "file": [*missing, 401], "gated": [*closed, 401]}
    other = shown | {"hidden": [*missing, 404], "file": [*missing, 404]}
    assert client(script, "hf_other") == other | {"gated": [*closed, 403]}
    gated.granted.add("other")
    assert client(script, "hf_other") == other | {"gated": None}
    everything = {"listed": ["you/gated", "you/hidden"], "known": "manual"}
    assert client(script) == everything | dict.fromkeys(("hidden", "file", "gated"))


def test_branches_and_tags_are_made_found_and_refused_where_they_exist(hub: Hub, client: Client) -> None:
    repo = hub.create("you/model", {"a": b"1"})
    first = repo.commits[0]
    repo.commit({"a": b"2"})
    told = client(
        f"""
        api.create_tag("you/model", tag="v1", revision="{first}")
        api.create_branch("you/model", branch="try/it", revision="v1")
        api.create_commit("you/model", add(a=b"3"), commit_message="There", revision="try/it")
        api.create_tag("you/model", tag="wrong")
        api.delete_tag("you/model", tag="wrong")
        refs = api.list_repo_refs("you/model")
        files = [hf_hub_download("you/model", "a", revision=name) for name in ("main", "v1", "try/it", "{first}")]
        tell(
            texts=[open(file).read() for file in files],
            names=[ref.name for ref in refs.branches + refs.tags],
            again=refused(api.create_tag, "you/model", tag="v1"),
            nowhere=refused(hf_hub_download, "you/model", "a", revision="no"),
            nothing=refused(hf_hub_download, "you/model", "no"),
        )
        """
    )
    assert told == {
        "texts": ["2", "1", "3", "1"],
        "names": ["main", "try/it", "v1"],
        "again": ["HfHubHTTPError", 409],
        "nowhere": ["RevisionNotFoundError", 404],
        "nothing": ["RemoteEntryNotFoundError", 404],
    }


def test_a_pull_request_waits_beside_main_until_it_is_merged(hub: Hub, client: Client) -> None:
    repo = hub.create("you/model", {"a": b"1", "b": b"1"})
    hub.add_user("other", token="hf_other")
    told = client(
        """
        mine = api.create_commit("you/model", add(a=b"2"), commit_message="Better", create_pr=True)
        late = api.create_commit("you/model", add(a=b"3"), commit_message="Other", create_pr=True)
        waiting = open(hf_hub_download("you/model", "a", revision=mine.pr_revision)).read()
        not_mine = refused(api.merge_pull_request, "you/model", mine.pr_num)
        tell(mine=mine.pr_revision, late=late.pr_num, waiting=waiting, not_mine=not_mine)
        """,
        token="hf_other",
    )
    assert told == {"mine": "refs/pr/1", "late": 2, "waiting": "2", "not_mine": ["HfHubHTTPError", 403]}
    assert repo.files()["a"] == b"1"
    repo.commit({"b": b"2"})
    told = client(
        """
        api.merge_pull_request("you/model", 1)
        conflict = refused(api.merge_pull_request, "you/model", 2)
        found = [[d.title, d.status] for d in api.get_repo_discussions("you/model", discussion_type="pull_request")]
        tell(found=found, conflict=conflict, oid=api.get_discussion_details("you/model", 1).merge_commit_oid)
        """
    )
    assert told["found"] == [["Better", "merged"], ["Other", "open"]]
    assert told["conflict"] == ["HfHubHTTPError", 409]
    assert repo.commits[0] == told["oid"]
    assert (repo.files()["a"], repo.files()["b"]) == (b"2", b"2")


def test_models_are_found_by_what_their_cards_say_page_by_page(hub: Hub, client: Client) -> None:
    for name in ("a", "b", "c"):
        hub.create(f"you/{name}", {"README.md": CARD})
    hub.create("them/other", {f"folder/{n}.txt": b"" for n in range(5)})
    hub.page_size = 2
    told = client(
        """
        def ids(**question):
            return [model.id for model in api.list_models(**question)]

        plain = next(iter(api.list_models(search="a")))
        full = next(iter(api.list_models(search="a", full=True, cardData=True)))
        tell(
            tag=ids(filter="tlhub"),
            tags=ids(filter=["timm", "base_model:them/base", "license:mit"], limit=1),
            author=ids(author="them"),
            name=ids(search="OTHER"),
            none=ids(filter="no"),
            plain=[plain.library_name, plain.sha, plain.card_data],
            full=[full.sha, full.card_data.license, len(full.siblings)],
            paths=[entry.path for entry in api.list_repo_tree("them/other", recursive=True)],
            below=[entry.path for entry in api.list_repo_tree("them/other")],
            some=[[e.path, e.size] for e in api.get_paths_info("you/a", ["README.md", "no"])],
        )
        """
    )
    assert told == {
        "tag": ["you/a", "you/b", "you/c"],
        "tags": ["you/a"],
        "author": ["them/other"],
        "name": ["them/other"],
        "none": [],
        "plain": ["timm", None, None],
        "full": [hub.repo("you/a").commits[0], "mit", 2],
        "paths": [".gitattributes", "folder", *(f"folder/{n}.txt" for n in range(5))],
        "below": [".gitattributes", "folder"],
        "some": [["README.md", len(CARD)]],
    }


def test_a_card_that_is_no_yaml_is_refused_before_anything_is_sent(hub: Hub, client: Client) -> None:
    repo = hub.create("you/model")
    told = client(
        """
        card = b"---\\nlicense: [mit\\n---\\n"
        tell(error=refused(api.create_commit, "you/model", add(README__md=card), commit_message="Card"))
        """
    )
    assert told == {"error": ["ValueError", None]}
    assert not [request for request in hub.log if "/preupload/" in request.path]
    assert len(repo.commits) == 1


def test_a_repository_moves_changes_its_settings_and_goes(hub: Hub, client: Client) -> None:
    hub.create("you/old")
    client(
        """
        api.move_repo("you/old", "you/new")
        api.update_repo_settings("you/new", private=True, gated="auto")
        tell()
        """
    )
    assert (hub.repo("you/new").private, hub.repo("you/new").gated) == (True, "auto")
    client('api.delete_repo("you/new"); api.delete_repo("you/new", missing_ok=True); tell()')
    assert hub.repos == {}


def test_xet_keeps_the_same_files_and_a_client_without_it_gets_them_too(hub: Hub, client: Client) -> None:
    pytest.importorskip("hf_xet")
    files = {"model.safetensors": os.urandom(300_000), "other.safetensors": os.urandom(10)}
    for name, content in files.items():
        (client.folder / name).write_bytes(content)
    fetch = """
        folder = snapshot_download("you/model")
        tell(got=contents(folder))
    """
    publish = """
        api.create_repo("you/model")
        files = {n: CommitOperationAdd(n, n) for n in ("model.safetensors", "other.safetensors")}
        api.create_commit("you/model", files.values(), commit_message="Publish")
    """
    told = client(textwrap.dedent(publish) + textwrap.dedent(fetch), xet=True)
    assert {path: bytes.fromhex(content) for path, content in told["got"].items()} == hub.repo("you/model").files()
    assert {name: hub.repo("you/model").files()[name] for name in files} == files
    assert any("/cas/v1/xorbs/" in request.path for request in hub.log)
    assert not any("lfs" in request.path for request in hub.log)
    assert client(fetch)["got"] == told["got"]
    hub.fail("GET", "/cdn/xorbs/", flip=1000)
    assert client(fetch, xet=True)["got"] != told["got"]  # no more than without Xet does the client look at hashes


# Faults.


def test_a_download_that_is_cut_is_resumed_where_it_stopped(hub: Hub, client: Client) -> None:
    content = os.urandom(5000)
    hub.create("you/model", {"model.safetensors": content})
    hub.fail("GET", "/cdn/", cut=2000)
    told = client(
        """
        constants.DOWNLOAD_CHUNK_SIZE = 1000  # 10 MB are kept back otherwise
        tell(got=open(hf_hub_download("you/model", "model.safetensors"), "rb").read().hex())
        """
    )
    assert bytes.fromhex(told["got"]) == content
    assert [request.headers.get("range") for request in hub.log if "/cdn/" in request.path] == [None, "bytes=2000-"]


def test_a_flipped_bit_is_believed_by_the_client(hub: Hub, client: Client) -> None:
    hub.create("you/model", {"model.safetensors": b"\x00" * 10})
    hub.fail("GET", "/cdn/", flip=3)
    told = client('tell(got=open(hf_hub_download("you/model", "model.safetensors"), "rb").read().hex())')
    assert bytes.fromhex(told["got"]) == b"\x00\x00\x00\x01" + b"\x00" * 6


COMMIT = """
    told = refused(api.create_commit, "you/model", add(a__bin=b"\\xff" * 100), commit_message="Publish")
    tell(error=told)
"""


def test_a_commit_that_is_refused_changes_nothing_and_says_what_the_fault_says(hub: Hub, client: Client) -> None:
    repo = hub.create("you/model")
    hub.fail("POST", "/commit/main", status=503)
    assert client(COMMIT) == {"error": ["HfHubHTTPError", 503]}
    assert len(repo.commits) == 1
    hub.fail("POST", "/commit/main", status=429, headers={"Retry-After": "7"}, body=b'{"error": "slow down"}')
    told = client(
        """
        try:
            api.create_commit("you/model", add(a=b"1"), commit_message="Publish")
        except HfHubHTTPError as error:
            tell(after=error.response.headers["Retry-After"], said="slow down" in str(error))
        """
    )
    assert told == {"after": "7", "said": True}
    assert len(repo.commits) == 1


def test_a_lost_answer_looks_like_a_failure_although_the_work_is_done(hub: Hub, client: Client) -> None:
    repo = hub.create("you/model")
    hub.fail("POST", "/commit/main", lose_answer=True)
    assert client(COMMIT) == {"error": ["RemoteProtocolError", None]}
    assert repo.files()["a.bin"] == b"\xff" * 100
    assert [request.status for request in hub.log if "/commit/" in request.path] == [0]
    assert client(COMMIT) == {"error": None}
    assert len(repo.commits) == 2


def test_an_upload_that_is_cut_leaves_nothing_and_is_sent_again(hub: Hub, client: Client) -> None:
    repo = hub.create("you/model")
    hub.fail("PUT", "/cdn/", cut=10)
    assert client(COMMIT) == {"error": None}
    assert repo.files()["a.bin"] == b"\xff" * 100
    assert [request.status for request in hub.log if request.method == "PUT"] == [0, 200]


def test_half_a_commit_from_a_client_that_dies_is_no_commit(hub: Hub) -> None:
    repo = hub.create("you/model")
    lines = [{"key": "header", "value": {"summary": "Publish"}}]
    lines += [{"key": "file", "value": {"path": f"{n}.txt", "content": "eA=="}} for n in range(2)]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    head = f"POST /api/models/you/model/commit/main HTTP/1.1\r\nAuthorization: Bearer {hub.token}\r\n"
    with socket.create_connection(("127.0.0.1", hub.server.server_port)) as client:
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: body.index(b"1.txt") - 32])
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    assert hub.log[-1].status == 0
    assert len(repo.commits) == 1


def test_an_upload_that_cannot_be_verified_fails(hub: Hub, client: Client) -> None:
    repo = hub.create("you/model")
    hub.fail("POST", "/lfs/verify", status=422)
    assert client(COMMIT)["error"][0] == "RuntimeError"
    assert len(repo.commits) == 1


def test_somebody_elses_commit_can_come_between(hub: Hub, client: Client) -> None:
    repo = hub.create("you/model")
    hub.fail("POST", "/commit/main", before=lambda: repo.commit({"b": b"theirs"}))
    told = client(
        """
        head = api.model_info("you/model").sha
        tell(error=refused(api.create_commit, "you/model", add(a=b"1"), commit_message="Mine", parent_commit=head))
        """
    )
    assert told == {"error": ["HfHubHTTPError", 412]}
    assert set(repo.files()) == {".gitattributes", "b"}


def test_a_fault_waits_for_its_turn_and_ends(hub: Hub, client: Client) -> None:
    hub.create("you/model")
    hub.fail("GET", "/api/models/you/model$", after=1, times=2, status=500)
    hub.fail("GET", "/api/models/you/model/refs$", delay=0.5)
    told = client(
        """
        infos = [refused(api.model_info, "you/model") for _ in range(5)]
        started = time.monotonic()
        api.list_repo_refs("you/model")
        tell(infos=infos, waited=time.monotonic() - started)
        """
    )
    assert [info and info[1] for info in told["infos"]] == [None, 500, 500, None, None]
    assert told["waited"] >= 0.5


# The libraries that stand on the client.


@pytest.mark.slow
def test_timm_transformers_peft_and_datasets_push_and_load(hub: Hub, client: Client) -> None:
    told = client(
        """
        import datasets, peft, timm, torch, transformers

        net = timm.create_model("test_vit", num_classes=3).eval()
        timm.models.push_to_hf_hub(net, "you/net")
        pixels = torch.rand(2, 3, 160, 160)
        again = timm.create_model("hf_hub:you/net", pretrained=True).eval()
        same = [torch.equal(net(pixels), again(pixels))]

        sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
        config = transformers.BertConfig(vocab_size=20, id2label={0: "bad", 1: "good"}, **sizes)
        model, words = transformers.BertForSequenceClassification(config).eval(), torch.arange(5)[None]
        model.push_to_hub("you/text")
        again = transformers.AutoModelForSequenceClassification.from_pretrained("you/text").eval()
        same.append(torch.allclose(model(words).logits, again(words).logits, atol=1e-6))

        lora = peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"], init_lora_weights=False)).eval()
        lora.push_to_hub("you/lora")
        adapted = peft.PeftModel.from_pretrained(again, "you/lora").eval()
        same.append(torch.allclose(lora(words).logits, adapted(words).logits, atol=1e-6))

        datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).push_to_hub("you/data")
        rows = datasets.load_dataset("you/data", split="train")[:]
        tell(same=same, labels=again.config.id2label, rows=rows)
        """
    )
    assert told["same"] == [True, True, True]
    assert told["labels"] == {"0": "bad", "1": "good"}
    assert told["rows"] == {"text": ["a", "b"], "label": [0, 1]}
    assert {kind for kind, _ in hub.repos} == {"model", "dataset"}
