"""Who is answered by the one server, and what it gives to those who try other ways in."""

import http.client
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from city311_assets.serving.api.app import HEADERS
from city311_assets.serving.app import application
from city311_assets.serving.guard import LONGEST_QUERY, MOST_BODY_BYTES, name_in, own_names
from city311_assets.settings import Settings
from city311_assets_tests.serving.conftest import serve
from city311_assets_tests.serving.test_snapshots import publish

REFUSED = 421
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is said of it is what is tried
SERVE = (sys.executable, "-m", "city311_assets.cli.main", "serve")
CALLBACK = "/_dash-update-component"
STRANGERS = (
    "evil.example",
    "evil.example:8311",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "localhost@evil.example",
    "[::1].evil.example",
    "[::1]evil",
    EVERYWHERE,
    "192.168.0.1:8311",
    "",
)
OURS = ("localhost", "localhost:8311", "LocalHost.", "127.0.0.1:8311", "[::1]", "[::1]:8311")
# What only a file of ours, or of the machine, says.
INSIDE = re.compile(r"root:.*:0:0|import dash|def |class \w+\(|secret words")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a small published file, a photo folder, and a secret beside it."""
    # A quote in a path is one in SQL too.
    folder = tmp_path_factory.mktemp("it's; drop table x --")
    publish(folder / "city311.duckdb", 1)
    (folder / "photos").mkdir()
    (folder / "secret.jpg").write_text("secret words")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    """A browser's way to a server that listens on this machine's own address."""
    server = application(Settings(data_dir=folder))
    with TestClient(server, "http://localhost", raise_server_exceptions=False) as client:
        yield client


# Names


@pytest.mark.parametrize("host", STRANGERS)
def test_under_a_strangers_name_nothing_is_answered(client: TestClient, host: str):
    for path in ("/health", "/api/layers/risk", "/", "/hotspots", "/assets/address.js", "/docs"):
        answer = client.get(path, headers={"Host": host}, follow_redirects=False)
        assert answer.status_code == REFUSED, path
        assert "CITY311_CONSOLE_NAMES" in answer.text
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
    assert client.get("/api/effects", headers={"Host": host}).json()["status"] == REFUSED
    assert client.post(CALLBACK, json={}, headers={"Host": host}).status_code == REFUSED


@pytest.mark.parametrize("host", OURS)
def test_under_this_machines_own_names_it_answers(client: TestClient, host: str):
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("listens", "named", "answers", "refuses"),
    [
        ("127.0.0.1", None, ("localhost", "127.0.0.1", "::1"), ("city.example",)),
        ("::1", None, ("localhost", "::1"), ("city.example",)),
        ("localhost", None, ("localhost",), ("city.example",)),
        ("127.0.0.1", "City.example, b.example", ("localhost", "city.example"), ("c.example",)),
        (EVERYWHERE, "city.example", ("city.example", "localhost"), ("10.0.0.7", "c.example")),
        ("10.0.0.7", "city.example", ("city.example", "10.0.0.7"), ("c.example",)),
    ],
)
def test_which_names_are_its_own_follows_from_where_it_listens_and_what_is_set(
    listens: str, named: str | None, answers: tuple[str, ...], refuses: tuple[str, ...]
):
    names = own_names(Settings(console_host=listens, console_names=named))
    assert names is not None
    assert set(answers) <= names
    assert not set(refuses) & names


@pytest.mark.parametrize("listens", [EVERYWHERE, "::", "10.0.0.7", "city.example"])
def test_elsewhere_any_name_will_do_until_some_are_set(listens: str):
    assert own_names(Settings(console_host=listens)) is None


@pytest.mark.parametrize("host", ["[", "[::1", "a:b:c", "[::1]:x", "a b:", "a]"])
def test_what_is_no_host_has_no_name_of_ours(host: str):
    assert name_in(host) not in {"localhost", "127.0.0.1", "::1"}


# Sizes and other ways in


def test_what_is_too_large_is_refused_before_it_is_read(client: TestClient):
    large = b"x" * (MOST_BODY_BYTES + 1)
    assert client.post(CALLBACK, content=large).status_code == 413
    assert client.post(CALLBACK, content=iter([b"{}"])).status_code == 411
    query = "a" * (LONGEST_QUERY + 1)
    assert client.get(f"/hotspots?{query}").status_code == 414
    said = client.get(f"/api/layers/risk?{query}")
    assert (said.status_code, said.json()["status"]) == (414, 414)
    assert len(said.content) < 500


@pytest.mark.parametrize("origin", ["http://localhost", "http://evil.example"])
def test_nobody_speaks_over_a_web_socket(client: TestClient, origin: str):
    for path in ("/_dash-ws-callback", "/api/layers/risk", "/"):
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect(path, headers={"Origin": origin, "Host": "localhost"}),
        ):
            pass


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_no_route_takes_what_would_change_something_and_no_other_site_may_read(
    client: TestClient, method: str
):
    """The one route that takes a body answers what a page shows, and keeps nothing."""
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for path in ("/", "/hotspots", "/health", "/api/layers/risk", "/assets/address.js"):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 405, path
    answer = client.request(method, CALLBACK, headers=headers)
    assert answer.status_code == (500 if method == "POST" else 405)
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path",
    [
        *("/assets/../shell.py", "/assets/..%2fshell.py", "/assets/%2e%2e/shell.py"),
        *("/assets/..%5cshell.py", "/assets//etc/passwd", "/assets/%2fetc/passwd"),
        *("/assets/%00", "/assets/address.js%00.css", "/assets/....//shell.py", "/assets/."),
        *(f"/_dash-component-suites/dash/{up}" for up in ("../dash.py", "..%2fdash.py")),
        *(f"/_dash-component-suites/{name}" for name in ("os/x.js", "dash/__init__.py", "..%2fx")),
        "/_dash-component-suites/dash%2f../x.js",
        *(f"/api/geo/{up}/9.json" for up in ("..", "%2e%2e%2f", "..%2f..%2fsecret")),
        *(f"/api/thumbnails/sf_311/{up}.jpg" for up in ("..%2fsecret", "../secret", "%00")),
        *("/..%2f..%2fetc/passwd", "//etc/passwd", "/static/../../etc/passwd"),
    ],
)
def test_no_path_leads_out_of_what_is_served(client: TestClient, folder: Path, path: str):
    answer = client.get(path)
    assert not INSIDE.search(answer.text), answer.text[:200]
    assert str(folder) not in answer.text
    is_page = answer.headers["content-type"].startswith("text/html")
    assert is_page or answer.status_code >= 400


# The command


def test_a_served_console_listens_to_this_machine_alone_and_refuses_strangers(folder: Path):
    process, address = serve(folder)
    try:
        where = urlsplit(address)
        assert where.hostname == "127.0.0.1"
        assert where.port is not None
        assert listening(process.pid) == {"127.0.0.1"}
        statuses = {}
        for host in ("evil.example", f"localhost:{where.port}"):
            connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=20)
            connection.request("GET", "/health", headers={"Host": host})
            statuses[host.partition(":")[0]] = connection.getresponse().status
            connection.close()
        assert statuses == {"evil.example": REFUSED, "localhost": 200}
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=20)
    assert "every" not in said


@pytest.mark.parametrize("names", ["", "city.example"])
def test_serving_to_others_is_said_and_so_is_what_names_it_answers_under(folder: Path, names: str):
    process = subprocess.Popen(
        [*SERVE, "--port", "0", "--host", EVERYWHERE],
        env={"CITY311_DATA_DIR": str(folder), "CITY311_CONSOLE_NAMES": names, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    for line in process.stdout or ():
        said += line
        if "console:" in line:
            break
    process.terminate()
    process.communicate(timeout=20)
    assert "answers everybody who can reach it" in said
    assert ("under any name" in said) is (not names)


def listening(pid: int) -> set[str]:
    """Return the addresses that a process listens on."""
    import psutil

    return {
        one.laddr.ip
        for one in psutil.Process(pid).net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }


def test_the_dagster_ui_is_started_on_this_machines_own_address_alone():
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert re.search(r"dagster dev .*--host 127\.0\.0\.1 ", makefile)
