"""The Hub's HTTP interface: what every path answers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode

import yaml

from .store import Discussion, File, Refusal, Repo, User, is_large, parse_card

if TYPE_CHECKING:
    from .server import Hub


@dataclass
class Call:
    """A request, and who asks."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    user: User | None

    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    def wants(self, name: str) -> bool:
        return self.query.get(name, ["false"])[0].lower() in ("1", "true")


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


Endpoint = Callable[..., Answer]
ROUTES: list[tuple[str, re.Pattern[str], Endpoint]] = []
REPO = "/api/{kind}s/{id}"


def route(methods: str, pattern: str) -> Callable[[Endpoint], Endpoint]:
    """Serve the paths of a pattern; a revision, a tag or a path is one quoted segment, `rest` is many."""
    pattern = pattern.replace("{kind}", "(?P<kind>model|dataset)").replace("{id}", "(?P<id>[^/]+/[^/]+?)")
    pattern = re.sub(r"{(\w+)}", lambda m: f"(?P<{m[1]}>{'.+' if m[1] == 'rest' else '[^/]+'})", pattern)

    def add(endpoint: Endpoint) -> Endpoint:
        ROUTES.extend((method, re.compile(pattern), endpoint) for method in methods.split())
        return endpoint

    return add


def answer(hub: Hub, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
    """Answer a request; a refusal becomes the error that clients read."""
    path, _, query = target.partition("?")
    try:
        call = Call(method, path, parse_qs(query, keep_blank_values=True), headers, body, hub.who(headers))
        for verb, pattern, endpoint in ROUTES:
            if verb == method and (found := pattern.fullmatch(path)):
                groups = {name: unquote(value) for name, value in found.groupdict().items() if value is not None}
                return endpoint(hub, call, **groups)
        raise Refusal(404, f"no endpoint {method} {path}")
    except Refusal as refusal:
        said = {"X-Error-Message": refusal.message, **({"X-Error-Code": refusal.code} if refusal.code else {})}
        return reply({"error": refusal.message, **refusal.extra}, refusal.status, **said)


def reply(content: Any, status: int = 200, /, **headers: str) -> Answer:
    return Answer(status, {"Content-Type": "application/json", **headers}, json.dumps(content).encode())


# Who may do what.


def reading(hub: Hub, call: Call, kind: str, id: str) -> Repo:
    """The repository, if this user may see it."""
    repo = hub.repos.get((kind, id))
    if repo is None or (repo.private and not hub.member(call.user, repo.owner)):
        if call.user is None:  # the Hub does not tell nobody what exists
            raise Refusal(401, "Invalid username or password.", "RepoNotFound")
        raise Refusal(404, "Repository not found", "RepoNotFound")
    return repo


def opening(hub: Hub, call: Call, kind: str, id: str) -> Repo:
    """The repository, if this user may download its files."""
    repo = reading(hub, call, kind, id)
    if repo.gated and not hub.member(call.user, repo.owner) and (not call.user or call.user.name not in repo.granted):
        message = f"Access to {kind} {id} is restricted. You must have access to it and be authenticated to access it."
        raise Refusal(403 if call.user else 401, message, "GatedRepo")
    return repo


def writing(hub: Hub, call: Call, kind: str, id: str, *, proposing: bool = False) -> Repo:
    """The repository, if this user may change it; everybody with a writing token may propose a pull request."""
    repo = reading(hub, call, kind, id)
    require_writer(hub, call, call.user.name if proposing and call.user else repo.owner)
    return repo


def require_writer(hub: Hub, call: Call, namespace: str) -> User:
    if call.user is None:
        raise Refusal(401, "Invalid username or password.")
    if call.user.role != "write" or not hub.member(call.user, namespace):
        raise Refusal(403, f'You don\'t have the rights to create or change a repository under "{namespace}"')
    return call.user


# Users and repositories.


@route("GET", "/api/whoami-v2")
def whoami(hub: Hub, call: Call) -> Answer:
    if call.user is None:
        raise Refusal(401, "Invalid username or password.")
    name, orgs = call.user.name, [{"type": "org", "id": org, "name": org} for org in call.user.orgs]
    auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": call.user.role}}
    return reply({"type": "user", "id": name, "name": name, "fullname": name, "orgs": orgs, "auth": auth})


def target(call: Call) -> tuple[str, str]:
    body = call.json()
    owner = body.get("organization") or (call.user.name if call.user else "")
    return body.get("type") or "model", f"{owner}/{body['name']}"


@route("POST", "/api/repos/create")
def create(hub: Hub, call: Call) -> Answer:
    kind, id = target(call)
    require_writer(hub, call, id.split("/")[0])
    if not re.fullmatch(r"(?!.*(--|\.\.))\w[\w.-]{0,95}(?<![.-])", id.split("/")[1]):
        raise Refusal(400, f"Invalid repository name: {id}")
    said = {"url": page(hub, kind, id), "name": id, "id": id}
    if (kind, id) in hub.repos:
        raise Refusal(409, "You already created this model repo", **said)
    body = call.json()
    private = body.get("visibility") == "private" or body.get("private") is True
    hub.repos[kind, id] = Repo(id, kind, hub.blobs, private)
    return reply(said)


@route("DELETE", "/api/repos/delete")
def delete(hub: Hub, call: Call) -> Answer:
    kind, id = target(call)
    writing(hub, call, kind, id)
    del hub.repos[kind, id]
    return reply({})


@route("POST", "/api/repos/move")
def move(hub: Hub, call: Call) -> Answer:
    kind, old, new = (call.json()[name] for name in ("type", "fromRepo", "toRepo"))
    repo = writing(hub, call, kind, old)
    require_writer(hub, call, new.split("/")[0])
    if (kind, new) in hub.repos:
        raise Refusal(409, f"{new} is taken")
    repo.id = new
    hub.repos[kind, new] = hub.repos.pop((kind, old))
    return reply({})


@route("PUT", REPO + "/settings")
def settings(hub: Hub, call: Call, kind: str, id: str) -> Answer:
    repo, body = writing(hub, call, kind, id), call.json()
    repo.private = body.get("visibility", "private" if repo.private else "public") == "private"
    repo.gated = body.get("gated", repo.gated)
    return reply({"private": repo.private, "gated": repo.gated})


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: Hub, call: Call) -> Answer:
    try:
        card = parse_card(call.json()["content"])
    except (yaml.YAMLError, ValueError) as error:
        return reply({"errors": [{"message": f"Invalid metadata in README.md: {error}"}], "warnings": []}, 400)
    missing = [] if "license" in card else [{"message": "license is missing"}]
    return reply({"errors": [], "warnings": [] if card else [{"message": "empty metadata"}, *missing]})


def page(hub: Hub, kind: str, id: str) -> str:
    return f"{hub.url}/{'datasets/' if kind == 'dataset' else ''}{id}"


# Looking: what is there.


def describe(repo: Repo, revision: str = "main", *, blobs: bool = False) -> dict[str, Any]:
    commit, card = repo.at(revision), repo.card(revision)

    def listed(key: str) -> list[str]:
        value = card.get(key) or []
        return [str(item) for item in (value if isinstance(value, list) else [value])]

    relation = card.get("base_model_relation", "finetune")
    tags = listed("library_name") + listed("tags") + listed("pipeline_tag") + listed("language")
    tags += [f"base_model:{base}" for base in listed("base_model")]
    tags += [f"base_model:{relation}:{base}" for base in listed("base_model")]
    tags += [f"dataset:{name}" for name in listed("datasets")] + [f"license:{name}" for name in listed("license")]
    siblings = [{"rfilename": path, **(details(file) if blobs else {})} for path, file in commit.tree.items()]
    return {
        "id": repo.id,
        "modelId": repo.id,
        "author": repo.owner,
        "sha": commit.oid,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "tags": list(dict.fromkeys(tags)),
        "library_name": card.get("library_name"),
        "pipeline_tag": card.get("pipeline_tag"),
        "model-index": card.get("model-index"),
        "cardData": card,
        "siblings": siblings,
        "createdAt": repo.created,
        "lastModified": commit.date,
        "downloads": 0,
        "likes": 0,
    }


def details(file: File) -> dict[str, Any]:
    lfs = {"lfs": {"size": file.size, "sha256": file.sha256, "pointerSize": 134}} if file.lfs else {}
    return {"blobId": file.oid, "size": file.size, **lfs}


@route("GET", REPO)
@route("GET", REPO + "/revision/{revision}")
def info(hub: Hub, call: Call, kind: str, id: str, revision: str = "main") -> Answer:
    return reply(describe(reading(hub, call, kind, id), revision, blobs=call.wants("blobs")))


ALWAYS = ("id", "modelId", "private", "tags", "library_name", "pipeline_tag", "createdAt", "downloads", "likes")


@route("GET", "/api/{kind}s")
def search(hub: Hub, call: Call, kind: str) -> Answer:
    """As on the Hub a list says little of each, unless `full`, `cardData` or `expand` ask for more."""
    keys = set(call.query["expand"]) | {"id"} if "expand" in call.query else set(ALWAYS)
    if call.wants("full"):
        keys |= {"author", "sha", "lastModified", "gated", "disabled", "siblings"}
    if call.wants("cardData"):
        keys |= {"cardData", "model-index"}
    found = []
    for (its_kind, id), repo in sorted(hub.repos.items()):
        if its_kind != kind or (repo.private and not hub.member(call.user, repo.owner)):
            continue
        said = describe(repo)
        if (
            set(call.query.get("filter", [])) <= set(said["tags"])
            and call.query.get("author", [repo.owner]) == [repo.owner]
            and call.query.get("pipeline_tag", [said["pipeline_tag"]]) == [said["pipeline_tag"]]
            and call.query.get("search", [""])[0].lower() in id.lower()
        ):
            found.append({key: value for key, value in said.items() if key in keys})
    return paged(hub, call, found)


def paged(hub: Hub, call: Call, items: list[Any]) -> Answer:
    """A page of a list, with the address of the next."""
    start = int(call.query.get("cursor", ["0"])[0])
    end = start + min(hub.page_size, int(call.query.get("limit", [hub.page_size])[0]))
    query = urlencode({**call.query, "cursor": [str(end)]}, doseq=True)
    link = {"Link": f'<{hub.url}{call.path}?{query}>; rel="next"'} if end < len(items) else {}
    return reply(items[start:end], **link)


def entries(hub: Hub, tree: Iterable[tuple[str, File]], under: str, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below a folder, as git's tree lists them."""
    found: dict[str, dict[str, Any]] = {}
    for path, file in tree:
        if not path.startswith(under):
            continue
        names = path.removeprefix(under).split("/")
        for depth in range(1, len(names) if recursive else min(2, len(names))):
            folder = under + "/".join(names[:depth])
            oid = hashlib.sha1(folder.encode()).hexdigest()  # of no content: only there because clients read one
            found.setdefault(folder, {"type": "directory", "path": folder, "oid": oid, "size": 0})
        if recursive or len(names) == 1:
            found[path] = entry(hub, path, file)
    return list(found.values())


def entry(hub: Hub, path: str, file: File) -> dict[str, Any]:
    said: dict[str, Any] = {"type": "file", "path": path, "oid": file.oid, "size": file.size}
    if file.lfs:
        said["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
        if file.sha256 in hub.xet.hashes:
            said["xetHash"] = hub.xet.hashes[file.sha256]
    return said


@route("GET", REPO + "/tree/{revision}")
@route("GET", REPO + "/tree/{revision}/{rest}")
def tree(hub: Hub, call: Call, kind: str, id: str, revision: str, rest: str = "") -> Answer:
    commit = reading(hub, call, kind, id).at(revision)
    found = entries(hub, commit.tree.items(), rest.strip("/") + "/" if rest else "", call.wants("recursive"))
    if rest and not found:
        raise Refusal(404, f"{rest} does not exist on {revision}", "EntryNotFound")
    return paged(hub, call, found)


@route("POST", REPO + "/paths-info/{revision}")
def paths_info(hub: Hub, call: Call, kind: str, id: str, revision: str) -> Answer:
    items = list(reading(hub, call, kind, id).at(revision).tree.items())
    if call.headers.get("content-type", "").startswith("application/json"):
        wanted = call.json()["paths"]
    else:
        wanted = parse_qs(call.body.decode()).get("paths", [])
    everything = entries(hub, items, "", recursive=True)
    return reply([said for said in everything if said["path"] in {path.strip("/") for path in wanted}])


@route("GET", REPO + "/refs")
def refs(hub: Hub, call: Call, kind: str, id: str) -> Answer:
    repo = reading(hub, call, kind, id)

    def named(prefix: str) -> list[dict[str, str]]:
        return [{"name": n, "ref": prefix + n, "targetCommit": oid} for n, oid in repo.named(prefix).items()]

    pulls = {"pullRequests": named("refs/pr/")} if call.wants("include_prs") else {}
    return reply({"branches": named("refs/heads/"), "tags": named("refs/tags/"), "converts": [], **pulls})


@route("GET", REPO + "/commits/{revision}")
def commits(hub: Hub, call: Call, kind: str, id: str, revision: str) -> Answer:
    log = reading(hub, call, kind, id).log(revision)
    said = [
        {"id": c.oid, "title": c.message, "message": "", "date": c.date, "authors": [{"user": c.author}]} for c in log
    ]
    return paged(hub, call, said)


# Downloads.


@route("GET HEAD", "/(?:{kind}s/)?{id}/resolve/{revision}/{rest}")
def resolve(hub: Hub, call: Call, id: str, revision: str, rest: str, kind: str = "model") -> Answer:
    repo = opening(hub, call, kind, id)
    commit = repo.at(revision)
    known = {"X-Repo-Commit": commit.oid}
    file = commit.tree.get(rest)
    if file is None:
        raised = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        return Answer(404, {**known, **raised}, b"Entry not found")
    if not file.lfs:
        return ranged(call, repo.blobs.read(file.sha256), ETag=f'"{file.oid}"', **known)
    known |= {"X-Linked-Size": str(file.size), "X-Linked-Etag": f'"{file.sha256}"', "ETag": f'"{file.sha256}"'}
    if file.sha256 in hub.xet.hashes:
        token = f"{hub.url}/api/{kind}s/{id}/xet-read-token/{commit.oid}"
        known |= {"X-Xet-Hash": hub.xet.hashes[file.sha256], "Link": f'<{token}>; rel="xet-auth"'}
    return Answer(302, {**known, "Location": f"{hub.outside}/cdn/{file.sha256}?signature=of-a-moment"})


def ranged(call: Call, content: bytes, **headers: str) -> Answer:
    """The content, or the part of it that `Range` asks for."""
    headers |= {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("range", ""))
    if not found:
        return Answer(200, headers, content)
    first, last = found.groups()
    start = int(first) if first else max(0, len(content) - int(last))
    end = min(int(last) + 1, len(content)) if first and last else len(content)
    if start >= len(content):
        return Answer(416, {"Content-Range": f"bytes */{len(content)}"})
    return Answer(206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}, content[start:end])


@route("GET HEAD", "/cdn/{sha256}")
def from_cdn(hub: Hub, call: Call, sha256: str) -> Answer:
    refuse_token(call)
    if sha256 not in hub.blobs:
        raise Refusal(404, "no such object")
    return ranged(call, hub.blobs.read(sha256), ETag=f'"{sha256}"')


def refuse_token(call: Call) -> None:
    """Signed addresses of a content network carry their right in themselves; it must never see a user's token."""
    if "authorization" in call.headers:
        raise Refusal(400, "Only one auth mechanism allowed")


# Uploads: which way, the large files, the commit.


@route("POST", REPO + "/preupload/{revision}")
def preupload(hub: Hub, call: Call, kind: str, id: str, revision: str) -> Answer:
    repo = writing(hub, call, kind, id, proposing=call.wants("create_pr"))
    there = repo.at(revision).tree
    said = []
    for file in call.json()["files"]:
        path, sample = file["path"], base64.b64decode(file.get("sample", ""))
        mode = "lfs" if is_large(path, file["size"], sample) else "regular"
        known = {"oid": there[path].key} if path in there else {}
        said.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
    return reply({"files": said, "commitOid": repo.at(revision).oid})


LFS = "/(?:{kind}s/)?{id}.git/info/lfs"


@route("POST", LFS + "/objects/batch")
def lfs_batch(hub: Hub, call: Call, id: str, kind: str = "model") -> Answer:
    body = call.json()
    writing(hub, call, kind, id, proposing="ref" not in body)
    transfer = next((name for name in ("xet", "multipart") if name in body["transfers"]), "basic")
    objects = []
    for wanted in body["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        said = {"oid": oid, "size": size}
        if transfer != "xet" and oid not in hub.blobs:
            address, header = f"{hub.outside}/cdn/{oid}", {}
            if transfer == "multipart" and size > hub.part_size:
                parts = range(1, -(-size // hub.part_size) + 1)
                header = {"chunk_size": str(hub.part_size), **{str(n): f"{address}/{n}" for n in parts}}
            prefix = page(hub, kind, id)
            actions = {
                "upload": {"href": address, "header": header},
                "verify": {"href": f"{prefix}.git/info/lfs/verify"},
            }
            said["actions"] = actions
        objects.append(said)
    return reply({"transfer": transfer, "objects": objects})


@route("PUT", "/cdn/{sha256}")
def to_cdn(hub: Hub, call: Call, sha256: str) -> Answer:
    refuse_token(call)
    store(hub, sha256, call.body)
    return Answer(200, {"ETag": f'"{sha256}"'})


@route("PUT", "/cdn/{sha256}/{number}")
def part_to_cdn(hub: Hub, call: Call, sha256: str, number: str) -> Answer:
    refuse_token(call)
    etag = hashlib.md5(call.body).hexdigest()
    hub.parts[sha256, int(number)] = (etag, call.body)
    return Answer(200, {"ETag": f'"{etag}"'})


@route("POST", "/cdn/{sha256}")
def complete(hub: Hub, call: Call, sha256: str) -> Answer:
    content = b""
    for part in call.json()["parts"]:
        etag, piece = hub.parts.get((sha256, part["partNumber"]), ("", b""))
        if part["etag"].strip('"') != etag:
            raise Refusal(400, f"part {part['partNumber']} is not what was uploaded")
        content += piece
    store(hub, sha256, content)
    return reply({})


def store(hub: Hub, sha256: str, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Refusal(400, "the content does not have the sha256 it was announced with")
    hub.blobs.add(content)


@route("POST", LFS + "/verify")
def verify(hub: Hub, call: Call, id: str, kind: str = "model") -> Answer:
    reading(hub, call, kind, id)
    oid, size = call.json()["oid"], call.json()["size"]
    if oid not in hub.blobs or hub.blobs.pointer(oid).size != size:
        raise Refusal(404, f"object {oid} is not here in full")
    return reply({})


@route("POST", REPO + "/commit/{revision}")
def commit(hub: Hub, call: Call, kind: str, id: str, revision: str) -> Answer:
    """Everything or nothing: the reference moves only when every line could be done."""
    proposing = call.wants("create_pr")
    repo = writing(hub, call, kind, id, proposing=proposing)
    lines = [json.loads(line) for line in call.body.splitlines() if line]
    header = next(line["value"] for line in lines if line["key"] == "header")
    head, parent, title = repo.at(revision), header.get("parentCommit"), header["summary"]
    if parent and parent != head.oid and not proposing:
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    changes: dict[str, File | None] = {}
    for line in lines:
        changes |= change(repo, head.tree, line["key"], line["value"])
    author = call.user.name if call.user else ""
    pull: Discussion | None = None
    if proposing:
        pull = repo.open_discussion(title, author, parent or head.oid)
        ref = f"refs/pr/{pull.num}"
    elif not (ref := repo.ref(revision)).startswith(("refs/heads/", "refs/pr/")):
        raise Refusal(400, f"{revision} is no branch")
    oid = repo.apply(ref, changes, title, author)
    proposed = {"pullRequestUrl": f"{page(hub, kind, id)}/discussions/{pull.num}"} if pull else {}
    return reply({"success": True, "commitOid": oid, "commitUrl": f"{page(hub, kind, id)}/commit/{oid}", **proposed})


def change(repo: Repo, there: Any, key: str, value: dict[str, Any]) -> dict[str, File | None]:
    """What one line of a commit changes."""
    path = value.get("path", "")
    if key == "header":
        return {}
    if not path or path.startswith("/") or {"..", ".", ".git", ""} & set(path.rstrip("/").split("/")) or "\\" in path:
        raise Refusal(400, f"Invalid path: {path!r}")
    if key == "file":
        content = base64.b64decode(value["content"])
        if content and is_large(path, 0, content):
            raise Refusal(400, f"{path}: your push contains a binary file. Please use LFS.")
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return {path: File(oid, len(content), repo.blobs.add(content), lfs=False)}
    if key == "lfsFile":
        if value["oid"] not in repo.blobs:
            raise Refusal(400, f"{path}: LFS pointer pointed to a file that does not exist")
        return {path: repo.blobs.pointer(value["oid"])}
    gone = [p for p in there if p == path or (key == "deletedFolder" and p.startswith(path.rstrip("/") + "/"))]
    if not gone:
        raise Refusal(404, f"{path} does not exist", "EntryNotFound")
    return dict.fromkeys(gone)


# Branches, tags and pull requests.


def new_ref(repo: Repo, ref: str, revision: str) -> Answer:
    if ref in repo.refs:
        raise Refusal(409, f"Reference already exists: {ref}")
    repo.refs[ref] = repo.at(revision).oid
    return reply({})


def drop_ref(repo: Repo, ref: str) -> Answer:
    if ref == "refs/heads/main":
        raise Refusal(403, "The main branch cannot be deleted")
    if repo.refs.pop(ref, None) is None:
        raise Refusal(404, f"Reference does not exist: {ref}", "RevisionNotFound")
    return reply({})


@route("POST DELETE", REPO + "/branch/{branch}")
def branch(hub: Hub, call: Call, kind: str, id: str, branch: str) -> Answer:
    repo, ref = writing(hub, call, kind, id), f"refs/heads/{branch}"
    return (
        drop_ref(repo, ref) if call.method == "DELETE" else new_ref(repo, ref, call.json().get("startingPoint", "main"))
    )


@route("POST DELETE", REPO + "/tag/{name}")
def tag(hub: Hub, call: Call, kind: str, id: str, name: str) -> Answer:
    """A tag is made at the revision of the address, with its name in the body; it is deleted at its own."""
    repo = writing(hub, call, kind, id)
    if call.method == "DELETE":
        return drop_ref(repo, f"refs/tags/{name}")
    return new_ref(repo, f"refs/tags/{call.json()['tag']}", name)


def discussed(repo: Repo, discussion: Discussion) -> dict[str, Any]:
    pull = discussion.base is not None
    merged = {"mergeCommitId": discussion.merged} if discussion.merged else {}
    return {
        "num": discussion.num,
        "title": discussion.title,
        "author": {"name": discussion.author},
        "status": discussion.status,
        "isPullRequest": pull,
        "createdAt": discussion.date,
        "repo": {"name": repo.id, "type": repo.kind},
        "events": [],
        **({"changes": {"base": "refs/heads/main", **merged}, "filesWithConflicts": [], "diff": ""} if pull else {}),
    }


@route("GET POST", REPO + "/discussions")
def discussions(hub: Hub, call: Call, kind: str, id: str) -> Answer:
    repo = reading(hub, call, kind, id)
    if call.method == "GET":
        wanted = {"pull_request": (True,), "discussion": (False,)}.get(call.query.get("type", [""])[0], (True, False))
        status = call.query.get("status", ["all"])[0]
        found = [d for d in repo.discussions if bool(d.base) in wanted]
        found = [d for d in found if status == "all" or (d.status == "open") == (status == "open")]
        return reply({"count": len(found), "start": 0, "discussions": [discussed(repo, d) for d in found]})
    user = require_writer(hub, call, call.user.name if call.user else "")
    base = repo.at("main").oid if call.json().get("pullRequest") else None
    return reply({"num": repo.open_discussion(call.json()["title"], user.name, base).num})


def numbered(repo: Repo, num: str) -> Discussion:
    if not num.isdigit() or not 0 < int(num) <= len(repo.discussions):
        raise Refusal(404, f"No discussion {num}")
    return repo.discussions[int(num) - 1]


@route("GET", REPO + "/discussions/{num}")
def discussion(hub: Hub, call: Call, kind: str, id: str, num: str) -> Answer:
    repo = reading(hub, call, kind, id)
    return reply(discussed(repo, numbered(repo, num)))


@route("POST", REPO + "/discussions/{num}/merge")
def merge(hub: Hub, call: Call, kind: str, id: str, num: str) -> Answer:
    repo = writing(hub, call, kind, id)
    repo.merge(numbered(repo, num), call.user.name if call.user else "")
    return reply({})
