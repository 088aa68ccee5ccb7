"""Publishing: one commit with all of it or none, whatever breaks on the way, and nothing that should stay at home."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.commands import Finished
from tests.hub.faults import Fault
from tests.hub.server import Hub
from tests.sharing import World, world
from tlhub.artifact import digest
from tlhub.checkpoint import sha256

pytestmark = pytest.mark.hub

__all__ = ["world"]


@pytest.fixture
def repo(world: World, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for a repository of this test's own; faults that were armed are gone afterwards."""
    yield f"you/{abs(hash(request.node.nodeid)):x}"
    world.hub.faults.clear()


def publish(world: World, run: str | Path, repo: str, *options: str, **more: Any) -> Finished:
    return world.tlhub("publish", world.runs.get(str(run), Path(run)), repo, "--yes", *options, **more)


def fresh(world: World, folder: Path) -> Path:
    """A run with weights that the Hub has not seen yet: those of the digit network, a little changed."""
    shutil.copytree(world.runs["tlhub"], folder)
    file, record = folder / "model.safetensors", json.loads((folder / "tlhub.json").read_text())
    tensors = load_file(file)
    tensors["head.linear.bias"] += np.random.default_rng().normal(size=3).astype("float32")
    save_file(tensors, file)
    record["files"][file.name] = sha256(file)
    (folder / "tlhub.json").write_text(json.dumps(record))
    return folder


def commits(world: World, repo: str) -> int:
    """How many there are besides the Hub's own first one."""
    return len(world.hub.repo(repo).commits) - 1


def clean(done: Finished) -> str:
    """What a command that the user can mend said, without a traceback."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_model_is_private_whole_tagged_and_in_one_commit(world: World, repo: str) -> None:
    done = publish(world, "timm", repo, "--json")

    told, there = json.loads(done.stdout), world.hub.repo(repo)
    names = {"README.md", "config.json", "confusion.png", "manifest.yaml", "model.safetensors", "tlhub.json"}
    assert there.private
    assert commits(world, repo) == 1
    assert set(there.files()) - {".gitattributes"} == names
    assert there.tags == {"v1": there.commits[0]}
    assert told["place"] == f"hub:{repo}@{there.commits[0]}"
    assert told["tag"] == "v1"
    weights = (world.runs["timm"] / "model.safetensors").read_bytes()
    assert there.files()["model.safetensors"] == weights


@pytest.mark.parametrize("run", ["timm", "text", "peft", "tlhub"])
def test_publishing_again_sends_nothing(world: World, repo: str, run: str) -> None:
    assert publish(world, run, repo).returncode == 0
    before = len(world.hub.log)

    again = publish(world, run, repo)

    assert again.returncode == 0
    assert "Nothing was sent" in again.stdout
    assert commits(world, repo) == 1
    assert len(world.hub.repo(repo).tags) == 1
    assert not [r for r in world.hub.log[before:] if r.method in ("POST", "PUT")]


def test_the_entry_knows_where_it_was_published(world: World, repo: str) -> None:
    publish(world, "tlhub", repo)

    known = json.loads(world.tlhub("registry", "list", "toy-tlhub", "--json").stdout)
    assert f"hub:{repo}@{world.hub.repo(repo).commits[0]}" in known[0]["published"]


def test_public_is_said(world: World, repo: str) -> None:
    publish(world, "tlhub", repo, "--public")
    assert not world.hub.repo(repo).private

    world.hub.create(f"{repo}-old", {"README.md": b"hello"})
    assert "is public" in clean(publish(world, "tlhub", f"{repo}-old"))
    assert commits(world, f"{repo}-old") == 1


# What is not sent


def test_what_lies_beside_the_model_stays_at_home(world: World, repo: str, tmp_path: Path) -> None:
    folder = shutil.copytree(world.runs["tlhub"], tmp_path / "run")
    (folder / ".env").write_text("PASSWORD=1234")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    (folder / "cache.pkl").write_bytes(b"\x80\x04")
    (folder / "link.safetensors").symlink_to(folder / ".env")

    done = world.tlhub("publish", folder, repo, "--yes")

    assert done.returncode == 0
    names = {"README.md", "confusion.png", "manifest.yaml", "model.safetensors", "tlhub.json", ".gitattributes"}
    assert set(world.hub.repo(repo).files()) == names
    for name in (".env", "pytorch_model.bin", "cache.pkl", "link.safetensors"):
        assert name in done.stdout


def test_no_path_of_this_disk_is_sent(world: World, repo: str, tmp_path: Path) -> None:
    home = tmp_path / "home" / "alice"
    folder = shutil.copytree(world.runs["text"], home / "run")
    record = json.loads((folder / "tlhub.json").read_text())
    record["manifest"]["source"][0]["path"] = str(home / "secret" / "photos")
    record["backbone"]["tokenizer"] = str(home / "models" / "tiny")
    config = {**json.loads((folder / "config.json").read_text()), "_name_or_path": str(home / "models" / "tiny")}
    (folder / "config.json").write_text(json.dumps(config))
    record["files"]["config.json"] = sha256(folder / "config.json")
    (folder / "tlhub.json").write_text(json.dumps(record))

    done = world.tlhub("publish", folder, repo, "--yes", env={"HOME": str(home)})

    assert done.returncode == 0, done
    sent = world.hub.repo(repo).files()
    assert "…/photos" in sent["tlhub.json"].decode()
    assert "…/tiny" in sent["config.json"].decode()
    for name, content in sent.items():
        assert b"alice" not in content, name
        assert str(tmp_path).encode() not in content, name


def test_a_model_that_needs_a_network_of_this_disk_is_refused(world: World, repo: str, tmp_path: Path) -> None:
    folder = shutil.copytree(world.runs["peft"], tmp_path / "run")
    record = json.loads((folder / "tlhub.json").read_text())
    record["backbone"]["model"] = str(tmp_path / "tiny")
    (folder / "tlhub.json").write_text(json.dumps(record))

    assert "only this disk has" in clean(world.tlhub("publish", folder, repo, "--yes"))


SOON = {"Retry-After": "0.1"}  # no test waits as long as a Hub that is busy asks for
CANARY = "hf_canaryCANARYcanaryCANARYcanary00"


@pytest.mark.parametrize("trouble", ["none", "unknown", "forbidden", "broken", "refused"])
def test_the_token_appears_nowhere(world: World, repo: str, tmp_path: Path, trouble: str) -> None:
    env = {"HF_TOKEN": CANARY, "TLHUB_HOME": str(tmp_path / "home")}
    if trouble != "unknown":
        world.hub.add_user("you", CANARY)
    if trouble == "forbidden":
        world.hub.fail("POST", "/repos/create", status=403, headers={"X-Error-Message": f"token {CANARY} may not"})
    if trouble == "broken":
        world.hub.fail("POST", "/repos/create", times=9, status=500, body=CANARY.encode(), headers=SOON)
    if trouble == "refused":
        world.hub.fail("GET", "/api/models", times=99, cut=0)

    done = publish(world, "tlhub", repo, "--debug", env=env)

    world.hub.users.pop(CANARY, None)
    assert done.returncode == (0 if trouble == "none" else 2)
    assert CANARY not in done.stdout + done.stderr
    if trouble == "none":
        for name, content in world.hub.repo(repo).files().items():
            assert CANARY.encode() not in content, name
    for path in (tmp_path / "home").rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


# What goes wrong on the way

SURVIVED: dict[str, Callable[[Hub, str], object]] = {
    "asked to wait": lambda hub, repo: hub.fail("POST", "/commit/", status=429, headers={"Retry-After": "1"}),
    "asked to wait at once": lambda hub, repo: hub.fail(
        "POST", "/preupload/", status=429, headers={"Retry-After": "1"}
    ),
    "commit unavailable": lambda hub, repo: hub.fail("POST", "/commit/", times=2, status=503),
    "answer of the commit lost": lambda hub, repo: hub.fail("POST", "/commit/", lose_answer=True),
    "answer of the creation lost": lambda hub, repo: hub.fail("POST", "/repos/create", lose_answer=True),
    "answer of the tag lost": lambda hub, repo: hub.fail("POST", "/tag/", lose_answer=True),
    "tag unavailable": lambda hub, repo: hub.fail("POST", "/tag/", status=503),
    "upload cut short": lambda hub, repo: hub.fail("PUT", "/cdn/", cut=1000),
    "LFS not verified": lambda hub, repo: hub.fail("POST", "/verify", status=500),
    "damaged on the way back": lambda hub, repo: hub.fail("GET", "/cdn/", flip=5000),
}


@pytest.mark.parametrize("trouble", SURVIVED)
def test_trouble_that_passes_leaves_one_commit(world: World, repo: str, tmp_path: Path, trouble: str) -> None:
    SURVIVED[trouble](world.hub, repo)

    done = publish(world, fresh(world, tmp_path / "run"), repo)

    assert done.returncode == 0, done
    assert commits(world, repo) == 1
    assert list(world.hub.repo(repo).tags) == ["v1"]
    assert world.hub.faults[0].met


def test_somebody_elses_commit_between_is_kept(world: World, repo: str) -> None:
    world.hub.fail("POST", "/commit/", before=lambda: world.hub.repo(repo).commit({"notes.md": b"mine"}))

    assert publish(world, "tlhub", repo).returncode == 0

    assert commits(world, repo) == 2
    assert world.hub.repo(repo).files()["notes.md"] == b"mine"
    assert "model.safetensors" in world.hub.repo(repo).files()


REFUSED: dict[str, tuple[Callable[[Hub, str], object], str]] = {
    "forbidden": (lambda hub, repo: hub.fail("POST", "/commit/", times=9, status=403), "may not"),
    "never available": (
        lambda hub, repo: hub.fail("POST", "/commit/", times=99, status=503, headers=SOON),
        "status 503",
    ),
    "always asked to wait": (
        lambda hub, repo: hub.fail("POST", "/commit/", times=99, status=429, headers=SOON),
        "too many requests",
    ),
    "LFS never verified": (lambda hub, repo: hub.fail("POST", "/verify", times=99, status=400), "status 400"),
    "card refused": (
        lambda hub, repo: hub.fail(
            "POST", "/validate-yaml", times=9, status=400, body=b'{"errors":[{"message":"no"}]}'
        ),
        "no",
    ),
}


@pytest.mark.parametrize("trouble", REFUSED)
def test_trouble_that_stays_changes_nothing_and_is_told(world: World, repo: str, tmp_path: Path, trouble: str) -> None:
    arm, words = REFUSED[trouble]
    arm(world.hub, repo)
    run = fresh(world, tmp_path / "run")

    assert words in clean(publish(world, run, repo))
    assert commits(world, repo) == 0
    assert not world.hub.repo(repo).tags

    world.hub.faults.clear()
    assert publish(world, run, repo).returncode == 0
    assert commits(world, repo) == 1


@pytest.mark.parametrize("token", ["", "hf_nobodyknowsthis"])
def test_who_is_not_known_is_told_to_log_in(world: World, repo: str, token: str) -> None:
    assert "hf auth login" in clean(publish(world, "tlhub", repo, env={"HF_TOKEN": token}))
    assert ("model", repo) not in world.hub.repos


def test_a_token_that_may_only_read_is_told_so(world: World, repo: str) -> None:
    reader = world.hub.add_user("you", "hf_readerreaderreader", role="read")
    assert "your token may not" in clean(publish(world, "tlhub", repo, env={"HF_TOKEN": reader}))


@pytest.mark.parametrize("taken", [True, False])
def test_the_name_of_somebody_else_is_refused(world: World, repo: str, taken: bool) -> None:
    theirs = repo.replace("you/", "somebody/")
    if taken:
        world.hub.create(theirs, {"README.md": b"theirs"}, private=True)
    clean(publish(world, "tlhub", theirs))
    assert not taken or set(world.hub.repo(theirs).files()) == {".gitattributes", "README.md"}


def test_what_tlhub_did_not_put_there_is_not_touched_unasked(world: World, repo: str) -> None:
    world.hub.create(repo, {"pytorch_model.bin": b"theirs", "README.md": b"theirs"}, private=True)

    done = world.tlhub("publish", world.runs["text"], repo)
    assert "`pytorch_model.bin`" in clean(done)
    assert commits(world, repo) == 1

    assert publish(world, "text", repo).returncode == 0
    assert commits(world, repo) == 2
    assert world.hub.repo(repo).files()["pytorch_model.bin"] == b"theirs"


def test_a_negative_transfer_is_published_only_if_meant(world: World, repo: str) -> None:
    assert "--yes" in clean(world.tlhub("publish", world.runs["timm"], repo))
    assert ("model", repo) not in world.hub.repos


def test_killed_at_any_request_it_goes_on(world: World, repo: str, tmp_path: Path) -> None:
    """The process dies when a request that changes something has arrived, which is then done; the next one goes on."""
    step = 0
    while True:
        name, run, seen, process = f"{repo}-{step}", fresh(world, tmp_path / f"run-{step}"), 0, 0

        def arrived() -> None:
            nonlocal seen
            if seen == step:  # noqa: B023
                os.kill(process, signal.SIGKILL)  # noqa: B023
            seen += 1

        def begun(number: int) -> None:
            nonlocal process
            process = number

        world.hub.faults[:] = [
            Fault("POST", "", times=1000, before=arrived),
            Fault("PUT", "", times=1000, before=arrived),
            Fault("GET", "/cdn/", times=1000, before=arrived),
        ]
        env = {"TLHUB_HOME": str(tmp_path / str(step))}
        first = publish(world, run, name, env=env, begun=begun)
        world.hub.faults.clear()
        if first.returncode == 0:
            break
        assert first.returncode == -signal.SIGKILL
        assert publish(world, run, name, env=env).returncode == 0
        assert commits(world, name) == 1
        assert len(world.hub.repo(name).tags) == 1
        step += 1
    assert step >= 8


# Versions


def test_a_new_version_replaces_the_files_of_the_old_one(world: World, repo: str) -> None:
    publish(world, "text", repo)
    world.hub.repo(repo).commit({"notes.md": b"mine"})

    assert publish(world, "tlhub", repo).returncode == 0

    there = world.hub.repo(repo)
    names = {"README.md", "confusion.png", "manifest.yaml", "model.safetensors", "tlhub.json"}
    assert set(there.files()) == names | {".gitattributes", "notes.md"}
    assert set(there.tags) == {"v1", "v2"}
    assert "tokenizer.json" in there.files("v1")


def test_a_tag_of_another_version_is_refused_before_anything_is_sent(world: World, repo: str) -> None:
    publish(world, "text", repo, "--tag", "best")

    assert "choose another --tag" in clean(publish(world, "tlhub", repo, "--tag", "best"))
    assert commits(world, repo) == 1
    assert "cannot be a tag" in clean(publish(world, "tlhub", repo, "--tag", "a b"))


@pytest.mark.parametrize("lost", [False, True])
def test_a_pull_request_is_opened_once(world: World, repo: str, lost: bool) -> None:
    theirs = repo.replace("you/", "friend/")
    world.hub.create(theirs, {"README.md": b"theirs", "config.json": b"{}"})
    if lost:
        world.hub.fail("POST", "/commit/", lose_answer=True)

    done = publish(world, "tlhub", theirs, "--create-pr", "--json")
    again = publish(world, "tlhub", theirs, "--create-pr")

    assert done.returncode == again.returncode == 0, done
    assert len(world.hub.repo(theirs).pull_requests) == 1
    assert set(world.hub.repo(theirs).files()) == {".gitattributes", "README.md", "config.json"}
    assert "/discussions/1" in json.loads(done.stdout)["url"]
    assert not world.hub.repo(theirs).tags
    missing = publish(world, "tlhub", f"{theirs}-missing", "--create-pr")
    assert "there is no" in clean(missing)


def test_what_was_published_before_is_named_with_its_commit(world: World, repo: str, tmp_path: Path) -> None:
    """A student says where its teacher is, though it was taught by the entry on this disk."""
    publish(world, "tlhub", f"{repo}-teacher")
    teacher = json.loads((world.runs["tlhub"] / "tlhub.json").read_text())
    student = fresh(world, tmp_path / "run")
    record = json.loads((student / "tlhub.json").read_text())
    origin = {"role": "teacher", "name": "toy-tlhub", "revision": digest(teacher), "lineage": []}
    (student / "tlhub.json").write_text(json.dumps({**record, "name": "student", "lineage": [origin]}))

    assert publish(world, student, repo).returncode == 0

    sent = json.loads(world.hub.repo(repo).files()["tlhub.json"])
    name, _, commit = sent["lineage"][0]["hub"].removeprefix("hub:").partition("@")
    assert world.hub.repo(name).files(commit)["tlhub.json"]


# Deltas


def test_a_delta_sends_what_the_base_lacks(world: World, repo: str) -> None:
    """A frozen encoder under other names, and the tokenizer's file, are the base's; the head is sent."""
    done = publish(world, "text", repo, "--delta", "--json")

    sent = world.hub.repo(repo).files()
    assert done.returncode == 0, done
    assert not {"model.safetensors", "tokenizer.json"} & sent.keys()
    assert len(sent["delta.safetensors"]) < 3000
    record = json.loads(sent["tlhub.json"])
    assert record["delta"]["base"]["repo"] == "you/tiny-bert"
    assert record["delta"]["base"]["revision"] == world.hub.repo("you/tiny-bert").commits[0]
    assert record["files"] == json.loads((world.runs["text"] / "tlhub.json").read_text())["files"]
    costs = json.loads(done.stdout)["costs"]
    assert costs["delta"] == sum(len(content) for name, content in sent.items() if name != ".gitattributes")
    assert costs["whole"] > 10 * costs["delta"]
    assert b"library_name: tlhub" in sent["README.md"]


@pytest.mark.parametrize(("run", "reason"), [("timm", "no tensor"), ("peft", "already"), ("tlhub", "no base")])
def test_where_there_can_be_no_delta_it_says_why(world: World, repo: str, run: str, reason: str) -> None:
    assert reason in clean(publish(world, run, repo, "--delta"))
    assert ("model", repo) not in world.hub.repos


# Before


def test_a_dry_run_shows_every_file_and_sends_nothing(world: World, repo: str) -> None:
    before = len(world.hub.log)

    done = world.tlhub("publish", world.runs["timm"], repo, "--dry-run")

    assert done.returncode == 0
    for name in ("README.md", "config.json", "confusion.png", "manifest.yaml", "model.safetensors", "tlhub.json"):
        assert name in done.stdout
    assert "library_name: timm" in done.stdout
    assert ("model", repo) not in world.hub.repos
    assert {request.method for request in world.hub.log[before:]} <= {"GET", "HEAD"}


def test_the_licence_is_the_bases_unless_said(world: World, repo: str) -> None:
    publish(world, "text", repo)
    assert b"license: mit" in world.hub.repo(repo).files()["README.md"]

    unknown = publish(world, "tlhub", f"{repo}-2")
    assert "names no licence" in unknown.stdout
    assert b"license:" not in world.hub.repo(f"{repo}-2").files()["README.md"]

    other = publish(world, "text", f"{repo}-3", "--license", "apache-2.0")
    assert "under mit" in other.stdout
    assert b"license: apache-2.0" in world.hub.repo(f"{repo}-3").files()["README.md"]


@pytest.mark.parametrize("name", ["model", "you/../x", "you/a b", "/you/x", "you/x@main"])
def test_what_names_no_repository_is_refused(world: World, name: str) -> None:
    clean(publish(world, "tlhub", name))
