"""Pages over HTTP: the pages of `report`, to this machine alone, and nothing that writes or reads elsewhere."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest

from attnrules.commands.browse import Texts, answer
from attnrules.errors import UsageError
from attnrules.ingest.intervene import LaboratorySpec
from attnrules.pages import write_site
from attnrules.pages.browser import Browser
from attnrules.queries.heads import FeatureId
from attnrules.server import Server
from attnrules.warehouse import Warehouse
from tests.conftest import Outcome
from tests.test_pages import HOSTILE, hostile


def served(warehouse: Warehouse) -> Server:
    browser = Browser(
        warehouse,
        run=lambda sql: answer(warehouse, sql),
        texts=Texts(warehouse, LaboratorySpec(device="cpu")),
    )
    server = Server(browser, "127.0.0.1", 0)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def server(small_once: Path) -> Iterator[Server]:
    with Warehouse.open(small_once) as warehouse, served(warehouse) as running:
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def feature(small_once: Path) -> FeatureId:
    with Warehouse.open(small_once) as warehouse:
        [row] = warehouse.rows("SELECT DISTINCT layer, head, feature FROM rules ORDER BY ALL LIMIT 1")
    return FeatureId(*row)


def asked(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body, dict(answer.getheaders())


def test_pages_are_those_of_the_report(
    server: Server, feature: FeatureId, small_once: Path, tmp_path: Path
) -> None:
    with Warehouse.open(small_once) as warehouse:
        write_site(warehouse, tmp_path / "site", features=[feature])
    name, number = str(feature).split(".")
    for path in ("/index.html", f"/{name}/{number}.html"):
        status, body, _ = asked(server, path)
        assert status == 200
        written = (tmp_path / "site" / path[1:]).read_text("utf-8")
        # What is served has a search and links that run queries beside it, and leads to every feature.
        mains = [re.search(r"<main.*</main>", text, re.DOTALL) for text in (body, written)]
        found = [re.sub(r' <a class="copy" href="[^"]*">Run</a>', "", main[0]) for main in mains if main]
        found[0] = re.sub(r'<a href="\.\./[^"]*">(.*?)</a>', r"\1", found[0])
        assert found[0] == found[1]
        assert asked(server, path.removesuffix(".html").removesuffix("index"))[1] == body


def test_a_head_has_a_page_for_every_feature_that_fires(server: Server, small_once: Path) -> None:
    with Warehouse.open(small_once) as warehouse:
        [(without,)] = warehouse.rows(
            "SELECT min(feature) FROM output_features AS f ANTI JOIN rules AS r USING (layer, head, feature)"
            " WHERE f.layer = 0 AND f.head = 0 AND f.n_tokens > 0"
        )
    assert asked(server, "/L0H0")[0] == 302
    assert '"page": false' not in asked(server, "/L0H0/features.js")[1]
    assert asked(server, f"/L0H0/{without}")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/L9H9/",
            "/L0H0/999999",
            "/L0H0/-1",
            "/L0H0/1/2",
            "/nothing",
            "/assets/none.js",
            "/L0H0/none.html",
        ),
        *("/assets/../../server.py", "/assets/%2e%2e/site.py", "//etc/passwd", "/..%2f..%2fetc/passwd"),
    ],
)
def test_what_is_no_page_is_not_found(server: Server, path: str) -> None:
    status, body, headers = asked(server, path)
    assert status == 404
    assert "import" not in body
    assert headers.get("X-Content-Type-Options") == "nosniff"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("127.0.0.1:{port}", 200), ("localhost:{port}", 200), ("[::1]:{port}", 200)),
        *(("evil.example:{port}", 421), ("127.0.0.1:1", 421), ("", 421), ("localhost.evil:{port}", 421)),
        *(("[:{port}", 421), ("192.168.0.1:{port}", 421)),
    ],
)
def test_only_its_own_names_are_answered(server: Server, host: str, status: int) -> None:
    assert asked(server, "/assets/style.css", Host=host.format(port=server.port))[0] == status


def test_other_sites_do_not_ask_in_the_background(server: Server) -> None:
    fetched = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}
    assert asked(server, "/L0H0/features.js", **fetched)[0] == 403
    assert asked(server, "/", **{**fetched, "Sec_Fetch_Mode": "navigate"})[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_get_is_answered(server: Server, method: str) -> None:
    assert asked(server, "/", method)[0] == 501


def test_head_says_what_get_would(server: Server) -> None:
    status, body, headers = asked(server, "/", "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) == len(asked(server, "/")[1].encode())


def sql(server: Server, query: str) -> str:
    status, body, _ = asked(server, f"/sql?q={quote(query)}")
    assert status == 200
    return unescape(body)


def test_sql_is_answered_as_text(server: Server) -> None:
    body = sql(server, "SELECT 1 + 1 AS two, NULL AS nothing, '<b>' AS bold, INTERVAL 1 MONTH AS month")
    assert re.findall(r"<td>(.*?)</td>", body) == ["2", "<small>null</small>", "<b>", "1 month"]
    assert "the first of more" in sql(server, "FROM range(201)")
    assert "200 rows." in sql(server, "FROM range(200)")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("DELETE FROM tokens", "DELETE is refused"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("COPY tokens TO '/tmp/x.csv'", "COPY is refused"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled"),
        ("SELECT 1 +", "syntax error"),
    ],
)
def test_sql_that_does_more_than_read_is_refused(server: Server, query: str, words: str) -> None:
    body = sql(server, query)
    assert words in body
    assert 'role="alert"' in body


def test_a_search_finds_features_by_token_and_by_name(
    server: Server, feature: FeatureId, small_once: Path
) -> None:
    with Warehouse.open(small_once) as warehouse:
        [(text,)] = warehouse.rows(
            "SELECT description FROM output_features WHERE n_tokens > 0 ORDER BY ALL LIMIT 1"
        )
        n = warehouse.value(
            "SELECT count(*) FROM output_features AS f LEFT JOIN rule_right_sides AS n USING (layer, head, feature)"
            " WHERE n_tokens > 0 AND concat_ws(' ', description, says) ILIKE '%' || $text || '%'",
            {"text": text},
        )
    found = asked(server, f"/search?q={quote(text)}")[1]
    assert len(re.findall(r'<th scope="row"><a href="/L', found)) == n > 0
    status, _, headers = asked(server, f"/search?q={feature}")
    assert (status, headers["Location"]) == (302, f"/{str(feature).replace('.', '/')}")
    assert "None." in asked(server, "/search?q=no+such+token+at+all")[1]


def test_a_text_is_explained_or_it_is_said_why_not(small: Path) -> None:
    with Warehouse.open(small, writable=True) as warehouse:
        warehouse.execute("DELETE FROM stated_rules")
        warehouse.execute("DELETE FROM stated_atoms")
    with Warehouse.open(small) as warehouse, served(warehouse) as running:
        body = unescape(asked(running, "/explain?text=Paris")[1])
        assert "no feature has stated rules" in body
        assert 'role="alert"' not in asked(running, "/explain")[1]
        running.shutdown()


def test_a_text_is_explained_with_and_without_the_model(small: Path) -> None:
    from tests.test_stated_on_model import store

    with Warehouse.open(small, writable=True) as warehouse:
        store(warehouse, (0, 0, 0), 1, "['Paris'] at -1")
    with Warehouse.open(small) as warehouse, served(warehouse) as running:
        for model in ("", "&model=1"):
            body = asked(running, f"/explain?text=Paris+speaks{model}")[1]
            assert body.count('<th scope="row"') == 2
            assert '<a href="/L0H0/0">L0H0.0</a>' in body
            assert ('href="/explain?' in body) == bool(model)
        [link, *_] = re.findall(r'href="(/explain\?[^"]*)#why"', body)
        why = asked(running, unescape(link))[1]
        assert "What <code>&#39;speaks&#39;</code> attends to, by L0H0" in why
        assert '<path class="arc"' in why
        assert re.search("Why <code>&#39;Paris&#39;</code>: attention [01]", why)
        for wrong in ("pos=x&feature=L0H0.0", "pos=9&feature=L0H0.0", "pos=1&feature=cats"):
            assert 'role="alert"' in asked(running, f"/explain?text=Paris&model=1&{wrong}")[1]
        running.shutdown()


def test_text_of_a_warehouse_stays_text(small_once: Path, tmp_path: Path) -> None:
    with Warehouse.open(hostile(small_once, tmp_path)) as warehouse, served(warehouse) as running:
        paths = ("/", "/L0H0/", "/search?q=script", f"/sql?q={quote('SELECT token FROM vocabulary')}")
        for path in paths:
            body = asked(running, path)[1]
            assert not any(text in body for text in HOSTILE)
        assert asked(running, f"/sql?q={quote(HOSTILE[0])}")[1].count("<script") == 1
        running.shutdown()


def test_another_interface_is_refused_unless_asked_for(small_once: Path) -> None:
    with Warehouse.open(small_once) as warehouse:
        browser = Browser(
            warehouse,
            run=lambda sql: answer(warehouse, sql),
            texts=Texts(warehouse, LaboratorySpec(device="cpu")),
        )
        with pytest.raises(UsageError, match="add --public"):
            Server(browser, "0.0.0.0", 0)
        with Server(browser, "0.0.0.0", 0, public=True) as server:
            assert server.knows(f"192.168.0.1:{server.port}")
            assert not server.knows(f"evil.example:{server.port}")


def test_a_port_in_use_is_one_line(small_once: Path, attnrules: Callable[..., Outcome]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = attnrules("browse", small_once, "--port", port)
    assert (outcome.code, outcome.out, len(outcome.err.splitlines())) == (1, "", 1)
    assert f"127.0.0.1 port {port}: " in outcome.err
    assert "choose another with --port" in outcome.err


def test_ctrl_c_ends_it(small_once: Path, tmp_path: Path) -> None:
    path = shutil.copy(small_once, tmp_path / "w.duckdb")
    words = [sys.executable, "-m", "attnrules", "browse", path, "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(re.findall(r":(\d+)/", line)[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.split()[:2] == ["attnrules:", "interrupted;"]
