"""The command line, each command in a process of its own, as a user meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.commands import Commands, Finished

TLHUB = [sys.executable, "-m", "tlhub_cli"]
TINY = ["--set", "train.epochs=1", "--set", "train.steps_per_epoch=5", "--set", "train.batch=8"]


@dataclass
class User:
    """Somebody who types commands in a folder."""

    folder: Path
    environment: dict[str, str]
    commands: Commands

    def types(self, *arguments: str) -> Finished:
        return self.commands(*arguments, cwd=self.folder, env=self.environment)

    def gets_json(self, *arguments: str) -> object:
        done = self.types(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def is_refused(self, *arguments: str) -> str:
        """What the user reads: on the standard error, without a traceback."""
        done = self.types(*arguments)
        assert done.returncode == 2, done
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR", "TLHUB_DEBUG")}
    return {**known, "TLHUB_HOME": str(tmp_path_factory.mktemp("home"))}


@pytest.fixture
def user(tmp_path: Path, environment: dict[str, str], commands: Commands) -> User:
    return User(tmp_path, environment, commands)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], commands: Commands) -> User:
    """Somebody who has typed `tlhub init` in an empty folder."""
    user = User(tmp_path_factory.mktemp("quickstart"), environment, commands)
    done = user.types("init")
    assert done.returncode == 0, done.stderr
    assert "tlhub adapt manifest.yaml" in done.stdout
    return user


@pytest.fixture(scope="module")
def adaptation(quickstart: User) -> Finished:
    """The manifest of `tlhub init`, adapted in a hurry."""
    return quickstart.types("adapt", "manifest.yaml", *TINY, "--out", "first run", "--json")


@pytest.fixture(scope="module")
def adapted(quickstart: User, adaptation: Finished) -> User:
    """Somebody whose adaptation is in the folder `first run`."""
    assert adaptation.returncode == 0, adaptation.stderr
    return quickstart


def images(folder: Path, *classes: str, count: int = 10) -> None:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (16, 16), (index * 20, number * 100, 0)).save(folder / name / f"{name}-{index}.png")


# Before anything heavy is loaded


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_and_version_load_neither_torch_nor_a_plugin(arguments: list[str]) -> None:
    program = f"""
import sys
sys.argv = ["tlhub", *{arguments!r}]
from tlhub_cli.main import main
try:
    main()
except SystemExit as end:
    pass
first = {{name.partition(".")[0] for name in sys.modules}}
heavy = first & {{"torch", "timm", "transformers", "datasets", "numpy", "pydantic", "pluggy", "yaml"}}
plugins = {{name for name in first if name.startswith("tlhub_")}} - {{"tlhub_cli"}}
assert not heavy | plugins, heavy | plugins
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "tlhub" in done.stdout


def test_help_lists_the_commands(user: User) -> None:
    shown = user.types("--help").stdout
    for name in ("adapt", "check", "schema", "init", "evaluate", "predict", "show", "plugins", "describe"):
        assert re.search(rf"^. {name} ", shown, re.MULTILINE), name


def test_a_misspelt_command_is_corrected(user: User) -> None:
    assert "adapt" in user.is_refused("adpat")


@pytest.mark.parametrize("command", ["adapt", "check"])
def test_a_missing_manifest_leads_to_init(user: User, command: str) -> None:
    assert "`tlhub init`" in user.is_refused(command, "nowhere.yaml")


def test_a_debugging_user_sees_the_traceback(user: User) -> None:
    done = user.types("adapt", "nowhere.yaml", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


# init and check


def test_the_quickstart_is_a_manifest_that_check_accepts(quickstart: User) -> None:
    assert quickstart.gets_json("check", "manifest.yaml") == []


def test_init_overwrites_nothing_unless_told_to(quickstart: User) -> None:
    before = (quickstart.folder / "manifest.yaml").read_text()
    assert "--force" in quickstart.is_refused("init")
    assert (quickstart.folder / "manifest.yaml").read_text() == before


def test_init_for_a_folder_of_images_keeps_some_for_the_score(user: User) -> None:
    images(user.folder / "photos", "cat", "[red]dog")
    assert user.types("init", "photos").returncode == 0
    written = (user.folder / "manifest.yaml").read_text()
    assert "classes 2: [red]dog, cat" in written
    assert "batch: 16" in written  # 16 of 20 images are left to train on
    checked = user.types("check", "manifest.yaml")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith("manifest.yaml is fine: backbone timm; source imagefolder; evaluate imagefolder;")


def test_init_for_splits_and_a_target(user: User) -> None:
    for split in ("train", "test"):
        images(user.folder / "photos" / split, "cat", "dog")
    images(user.folder / "cellar", "unknown")
    images(user.folder / "labelled", "cat", "fox")
    done = user.types("init", "photos", "--target", "cellar", "--evaluate", "labelled", "--out", "m.yaml")
    assert done.returncode == 0, done.stderr
    assert "has classes that are not among the run's: fox" in done.stdout
    written = (user.folder / "m.yaml").read_text()
    assert "its labels, if it has any, are not read. Here: 10 examples." in written
    assert "classes 2: cat, dog" in written


def test_init_for_a_table_of_texts_finds_its_columns(user: User) -> None:
    rows = "".join(f"{number};A review that says: {number};{number % 3}\n" for number in range(40))
    (user.folder / "reviews.csv").write_text("id;review;stars\n" + rows)
    done = user.types("init", "reviews.csv")
    assert done.returncode == 0, done.stderr
    written = (user.folder / "manifest.yaml").read_text()
    assert "text: review\n" in written
    assert "label: stars\n" in written
    assert "delimiter: ;\n" in written
    assert "classes 3: 0, 1, 2" in written


def test_init_writes_nothing_for_data_it_cannot_use(user: User) -> None:
    (user.folder / "notes.txt").touch()
    assert "there is no file or folder photos" in user.is_refused("init", "photos")
    assert "notes.txt is no table that is known" in user.is_refused("init", "notes.txt")
    assert not (user.folder / "manifest.yaml").exists()


BROKEN = """\
backbone: lenett
source: {use: digits, splitt: train}
train: {epochs: many}
"""


def test_check_shows_every_problem_at_its_place(user: User) -> None:
    (user.folder / "m.yaml").write_text(BROKEN)
    shown = user.is_refused("check", "m.yaml")
    assert "m.yaml:1:11: error: there is no backbone `lenett`" in shown
    assert "1 | backbone: lenett\n  |           ^^^^^^\n  = help: did you mean `lenet`?" in shown
    assert "m.yaml:2:23" in shown
    assert "m.yaml:3:17" in shown
    assert "3 problems" in shown


def test_check_tells_programs_the_same(user: User) -> None:
    (user.folder / "m.yaml").write_text(BROKEN)
    done = user.types("check", "m.yaml", "--set", "train.lr=-1", "--json")
    assert done.returncode == 2
    problems = json.loads(done.stdout)
    assert {(problem["file"], problem["line"]) for problem in problems} == {
        ("--set train.lr=-1", 0),
        ("m.yaml", 1),
        ("m.yaml", 2),
        ("m.yaml", 3),
    }
    assert all(set(problem) == {"message", "file", "line", "column", "hint"} for problem in problems)


# adapt, and what is done with what it leaves


def test_adapt_tells_what_it_composed_how_training_goes_and_what_came_of_it(
    adapted: User, adaptation: Finished
) -> None:
    shown = adaptation.stderr
    assert re.search(r"^backbone +lenet \(.*shift: 2", shown, re.MULTILINE)
    assert re.search(r"^parameters +[\d,]+, all trained$", shown, re.MULTILINE)
    assert re.search(r"^classes +10: 0, 1, 2", shown, re.MULTILINE)
    assert re.search(r"^examples +source 720, target 600$", shown, re.MULTILINE)
    assert re.search(r"^adapters +dann \(", shown, re.MULTILINE)
    assert re.search(r"^source-only baseline: step 5 of 5, [\d,]+ examples/s, 0:00 left · task \d", shown, re.MULTILINE)
    assert re.search(r"^adapting: step 5 of 5, .* · task [\d.]+ · dann [-\d.]+$", shown, re.MULTILINE)
    assert re.search(r"^evaluate +297 +source-only +[\d.]+ % +[\d.]+ % – [\d.]+ %", shown, re.MULTILINE)
    assert re.search(r"^evaluate +297 +adapted ", shown, re.MULTILINE)
    assert re.search(r"^(Adaptation helped|No evidence|Adaptation hurt)", shown, re.MULTILINE)
    assert "tlhub predict 'first run' INPUT" in shown
    assert "\x1b" not in shown


def test_adapt_tells_programs_the_result_and_nothing_else(adapted: User, adaptation: Finished) -> None:
    told = json.loads(adaptation.stdout)
    assert told["folder"] == "first run"
    assert [row["model"] for row in told["rows"]] == ["source-only", "adapted"]
    assert told["comparison"]["outcome"] in ("helped", "no evidence", "hurt")


def test_show_says_what_the_folder_holds(adapted: User) -> None:
    shown = adapted.types("show", "first run").stdout
    assert re.search(r"^backbone +lenet", shown, re.MULTILINE)
    assert re.search(r"^fingerprints +source: 720 examples, [0-9a-f]{16}$", shown, re.MULTILINE)
    assert re.search(r"^versions +.*torch \d", shown, re.MULTILINE)
    assert re.search(r"^model\.safetensors +[\d,]+$", shown, re.MULTILINE)
    assert "tlhub.load('first run')" in shown
    assert re.search(r"^evaluate +297 +adapted ", shown, re.MULTILINE)


def test_show_tells_programs_the_record(adapted: User) -> None:
    told = adapted.gets_json("show", "first run")
    assert isinstance(told, dict)
    assert told["manifest"]["backbone"]["use"] == "lenet"
    assert told["sizes"]["model.safetensors"] > 0


def test_evaluate_scores_on_other_data(adapted: User) -> None:
    told = adapted.gets_json("evaluate", "first run", "--data", "use=digits,split=test[:50]")
    assert isinstance(told, dict)
    [row] = told["rows"]
    assert row["examples"] == 50
    assert row["low"] <= row["value"] <= row["high"]


def test_predict_answers_for_files_and_folders_and_names_what_it_cannot_read(adapted: User) -> None:
    images(adapted.folder / "pictures", "[bold]a", "b\x1b[31m", count=2)
    (adapted.folder / "torn.png").write_bytes(b"no image")
    done = adapted.types("predict", "first run", "torn.png", "pictures", "pictures/[bold]a/[bold]a-0.png")
    assert done.returncode == 2
    assert done.stderr.startswith("error: torn.png cannot be read as an image")
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(re.search(r"\.png +\d  [\d.]+ %$", line) for line in lines)
    assert lines[0].startswith("pictures/[bold]a/[bold]a-0.png ")
    assert lines[2].startswith(r"pictures/b\x1b[31m/b\x1b[31m-0.png ")


def test_predict_tells_programs_the_answers(adapted: User) -> None:
    Image.new("L", (40, 20)).save(adapted.folder / "grey.png")
    told = adapted.gets_json("predict", "first run", "grey.png")
    assert isinstance(told, list)
    assert told[0]["file"] == "grey.png"
    assert 0 <= told[0]["probability"] <= 1


def test_predict_names_every_missing_file(adapted: User) -> None:
    shown = adapted.is_refused("predict", "first run", "no.png", "none.png")
    assert "there is no file no.png" in shown
    assert "there is no file none.png" in shown


def test_a_folder_without_a_model_is_refused(user: User) -> None:
    assert "is no adapted model" in user.is_refused("show", ".")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_an_interrupted_adaptation_says_how_to_continue_and_does(quickstart: User) -> None:
    long = ["adapt", "manifest.yaml", "--out", "long run", "--no-baseline"]
    long += ["--set", "train.epochs=10", "--set", "train.steps_per_epoch=8", "--set", "train.batch=8"]
    with subprocess.Popen(
        [*TLHUB, *long],
        cwd=quickstart.folder,
        env=quickstart.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("training: step"):
                break
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        shown = process.stderr.read()
    assert process.returncode == 130
    assert shown.startswith("interrupted; continue with: tlhub adapt manifest.yaml --out 'long run'")
    assert shown.endswith("--resume\n")
    assert "Traceback" not in shown

    done = quickstart.types(*long, "--resume")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^training: continues after step \d+ of 80$", done.stdout, re.MULTILINE)
    assert "There is no baseline to compare with." in done.stdout


# Components


class Stranger(User):
    """Somebody with plugins of their own, which every process finds anew."""

    def types(self, *arguments: str) -> Finished:
        done = subprocess.run(
            [*TLHUB, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def strangers(user: User) -> Stranger:
    """Somebody with two more plugins: one has hostile texts and a buggy data set, the other is broken."""
    (user.folder / "odd_plugin.py").write_text(
        "from tlhub.data import Dataset\n"
        "from tlhub.hookspecs import hookimpl\n"
        "class Odd(Dataset):\n"
        "    '''Data in [red]red[/red] and \\x1b[31mred.\n\n    Args:\n        count: how [bold]many.\n    '''\n"
        "    name = 'odd'\n"
        "    modality = 'image'\n"
        "    def __init__(self, count: int, kind: str = '[x]') -> None:\n"
        "        self.count = count\n"
        "    def splits(self):\n"
        "        return []\n"
        "    def open(self, split, labels):\n"
        "        return 1 / 0\n"
        "@hookimpl\n"
        "def tlhub_datasets():\n"
        "    return [Odd]\n"
    )
    for name, module in (("odd", "odd_plugin"), ("torn", "no_such_module")):
        info = user.folder / f"tlhub_{name}-1.2.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tlhub-{name}\nVersion: 1.2.3\n")
        (info / "entry_points.txt").write_text(f"[tlhub]\n{name} = {module}\n")
    path = os.pathsep.join([str(user.folder), user.environment.get("PYTHONPATH", "")])
    return Stranger(user.folder, {**user.environment, "PYTHONPATH": path.strip(os.pathsep)}, user.commands)


def test_plugins_lists_every_component_and_what_is_broken(strangers: User) -> None:
    shown = strangers.types("plugins").stdout
    assert re.search(r"^backbones +lenet .* tlhub ", shown, re.MULTILINE)
    assert re.search(r"^adapters +mmd ", shown, re.MULTILINE)
    odd = r"^datasets +odd +Data in \[red\]red\[/red\] and \\x1b\[31mred\. +odd +tlhub-odd 1\.2\.3$"
    assert re.search(odd, shown, re.MULTILINE)
    assert "torn (tlhub-torn 1.2.3): ModuleNotFoundError: No module named 'no_such_module'" in shown


def test_plugins_tells_programs_the_same(strangers: User) -> None:
    told = strangers.gets_json("plugins")
    assert isinstance(told, dict)
    assert {"kind", "name", "summary", "plugin", "distribution", "version"} == set(told["components"][0])
    assert [each["name"] for each in told["broken"]] == ["torn"]


def test_describe_shows_settings_and_a_snippet_to_copy(strangers: User) -> None:
    shown = strangers.types("describe", "odd/odd").stdout
    assert shown.startswith("odd, a data set of the plugin odd (tlhub-odd 1.2.3)\n")
    assert re.search(r"^count +a whole number +required +how \[bold\]many\.$", shown, re.MULTILINE)
    assert re.search(r"^kind +a text +\[x\]$", shown, re.MULTILINE)
    assert "  source:\n    use: odd\n    count: COUNT\n" in shown


def test_describe_tells_programs_the_same(user: User) -> None:
    told = user.gets_json("describe", "dann")
    assert isinstance(told, list)
    assert told[0]["kind"] == "adapters"
    assert "Ganin" in told[0]["paper"]
    assert "strength" in {setting["name"] for setting in told[0]["settings"]}


@pytest.mark.parametrize(
    ("name", "help"), [("lennet", "did you mean `lenet`?"), ("zzz", "`tlhub plugins` lists them all")]
)
def test_describe_helps_with_an_unknown_name(user: User, name: str, help: str) -> None:
    assert help in user.is_refused("describe", name)


def test_schema_is_a_json_schema(user: User) -> None:
    told = json.loads(user.types("schema").stdout)
    assert told["$schema"].startswith("https://json-schema.org/")
    assert "adapters.alignment.mmd" in told["$defs"]


def test_a_bug_is_ours_and_says_so(strangers: User) -> None:
    (strangers.folder / "m.yaml").write_text("backbone: lenet\nsource: {use: odd, count: 3}\n")
    done = strangers.types("adapt", "m.yaml")
    assert done.returncode == 1
    assert "this is a bug in tlhub or in a plugin: ZeroDivisionError" in done.stderr
    assert "odd_plugin.py, line 16" in done.stderr
    assert "--debug" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes break differently")
def test_a_reader_that_has_seen_enough_is_no_error(user: User) -> None:
    with subprocess.Popen(
        [*TLHUB, "schema"], env=user.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
