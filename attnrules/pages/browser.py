"""The pages of a warehouse on request: a path and parameters in, a reply out. Knows nothing of sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from attnrules.errors import AttnRulesError, UsageError
from attnrules.pages import figures
from attnrules.pages.site import environment, feature_page, feature_table, first_page, head_page
from attnrules.pages.tables import Table
from attnrules.pages.wording import worth_showing
from attnrules.queries.heads import parse_feature
from attnrules.queries.pages import HeadPages, found_features, head_pages, site
from attnrules.sql import head_name

if TYPE_CHECKING:
    from attnrules.queries.explain import Attended, Explained
    from attnrules.queries.heads import FeatureId
    from attnrules.warehouse import Warehouse

Row = dict[str, Any]
# Pages kept: they are of a file that is opened read-only.
_KEPT = 256
_TYPES = {".css": "text/css", ".js": "text/javascript"}
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Reply:
    """What is sent: the status of HTTP, the type of the body, the body, and where to go instead."""

    status: int
    kind: str
    body: bytes
    location: str | None = None


class Texts(Protocol):
    """Explains texts of the user's own; every method may raise `AttnRulesError`."""

    def explain(self, text: str, with_model: bool) -> Explained:
        """Return a text explained, with the model or without."""

    def attended(self, text: str, feature: FeatureId, pos: int) -> Attended:
        """Return what a token of a text attends to, through the head that a feature reads, and why."""


class Browser:
    """Renders the pages of a warehouse, which is opened read-only.

    Arguments:
        run: answers SQL, or raises `AttnRulesError`. texts: what explains a text of the user's own.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        *,
        run: Callable[[str], Table],
        texts: Texts,
    ) -> None:
        self._warehouse = warehouse
        self._run = run
        self._texts = texts
        self._pages = environment()
        self._pages.globals["served"] = True
        assets = resources.files("attnrules.pages").joinpath("assets")
        self._assets = {asset.name: asset.read_bytes() for asset in assets.iterdir()}
        self._kept: dict[str, Reply] = {}
        self._lock = Lock()

    def reply(self, path: str, given: Mapping[str, str]) -> Reply:
        """Return what stands at a path such as `/L2H1/393`; errors are pages too."""
        try:
            parts = [part for part in path.split("/") if part]
            asked = {"search": self._search, "sql": self._sql, "explain": self._explained}
            if len(parts) == 1 and parts[0] in asked:
                return asked[parts[0]](given)
            with self._lock:
                if path not in self._kept:
                    found = self._stored(path, parts)
                    if found.status != 200:
                        return found
                    if len(self._kept) >= _KEPT:
                        self._kept.clear()
                    self._kept[path] = found
                return self._kept[path]
        except AttnRulesError as error:
            return self._failure(400, str(error))

    def _stored(self, path: str, parts: list[str]) -> Reply:
        if not parts or parts == ["index.html"]:
            return _html(first_page(self._pages, self._warehouse, site(self._warehouse)))
        if len(parts) == 2 and parts[0] == "assets" and parts[1] in self._assets:
            kind = _TYPES[parts[1][parts[1].rindex(".") :]]
            return Reply(200, f"{kind}; charset=utf-8", self._assets[parts[1]])
        heads = {row["name"]: row for row in site(self._warehouse).heads}
        if parts[0] not in heads or len(parts) > 2:
            return self._failure(404, f"{path}: there is no such page")
        row = heads[parts[0]]
        if len(parts) == 1 and not path.endswith("/"):
            return Reply(302, HTML, b"", f"/{parts[0]}/")
        return self._of_head(row, parts[1] if len(parts) == 2 else "index.html", path)

    def _of_head(self, row: Row, name: str, path: str) -> Reply:
        number = name.removesuffix(".html")
        wanted = [int(number)] if number.isascii() and number.isdigit() and len(number) < 9 else []
        found = _with_all(head_pages(self._warehouse, row["layer"], row["head"], wanted))
        if name == "index.html":
            return _html(head_page(self._pages, found, row))
        if name == "features.js":
            return Reply(200, "text/javascript; charset=utf-8", feature_table(found).encode())
        rows = [of for of in found.features if [of["feature"]] == wanted]
        if not rows:
            return self._failure(404, f"{path}: no such feature fires")
        return _html(feature_page(self._pages, found, rows[0]))

    def _search(self, given: Mapping[str, str]) -> Reply:
        text = given.get("q", "").strip()
        try:
            feature = parse_feature(text)
        except UsageError:
            rows = found_features(self._warehouse, text) if text else []
            return self._page("search.html", text=text, rows=rows)
        name, _, number = str(feature).rpartition(".")
        return Reply(302, HTML, b"", f"/{name}/{number}")

    def _sql(self, given: Mapping[str, str]) -> Reply:
        text = given.get("q", "").strip()
        return self._page("sql.html", text=text, **self._tried(lambda: self._run(text), text))

    def _explained(self, given: Mapping[str, str]) -> Reply:
        text, model = given.get("text", ""), given.get("model") == "1"
        found = self._tried(lambda: _by_token(self._texts.explain(text, model)), text)
        asked = text if model and "feature" in given else ""
        why = self._tried(lambda: self._why(asked, given), asked)
        problem = found["problem"] or why["problem"]
        page = {"result": found["result"], "why": why["result"], "problem": problem}
        return self._page("explain.html", text=text, model=model, **page)

    def _why(self, text: str, given: Mapping[str, str]) -> Row:
        """Return what a token of a text attends to through the head of a feature, with its figure."""
        pos = given.get("pos", "")
        if not (pos.isascii() and pos.isdigit() and len(pos) < 9):
            raise UsageError(f"{pos!r}: not a position")
        found = self._texts.attended(text, parse_feature(given["feature"]), int(pos))
        sources = [{**row, "contribution": None} for row in found.sources]
        reasons: dict[int, list[Row]] = {}
        for row in found.reasons:
            reasons.setdefault(row["key_pos"], []).append(row)
        return {
            "head": head_name(found.layer, found.head),
            "layer": found.layer,
            "token": found.sources[-1]["token"],
            "arcs": figures.arcs(worth_showing(sources, found.pos), found.pos, "what the token attends to"),
            "reasons": list(reasons.values()),
        }

    def _tried(self, work: Callable[[], Any], text: str) -> Row:
        """Return what `work` returns as `result`, or why it fails as `problem`; nothing of no text."""
        if not text:
            return {"result": None, "problem": None}
        try:
            return {"result": work(), "problem": None}
        except AttnRulesError as error:
            return {"result": None, "problem": str(error)}

    def _page(self, template: str, **values: Any) -> Reply:
        return _html(self._pages.get_template(template).render(root="/", **values))

    def _failure(self, status: int, words: str) -> Reply:
        return replace(self._page("problem.html", words=words), status=status)


def _html(text: str) -> Reply:
    return Reply(200, HTML, text.encode())


def _with_all(found: HeadPages) -> HeadPages:
    """Return the same with a page for every feature that fires: each is made when it is asked for."""
    return replace(found, shown=[row["feature"] for row in found.features])


def _by_token(found: Explained) -> list[Row]:
    """Return each token with the rows about it."""
    tokens: list[Row] = [
        {"pos": pos, "token": token, "rows": []} for pos, token in enumerate(found.tokens, 1)
    ]
    for row in found.rows.iter_rows(named=True):
        name, _, number = row["feature"].rpartition(".")
        tokens[row["pos"] - 1]["rows"].append({**row, "page": f"/{name}/{number}", "head": name})
    return tokens
