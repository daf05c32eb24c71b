"""Photos: what every link leads to, over real connections, and where none is ever made."""

import csv
import hashlib
import ipaddress
import logging
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpcore
import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageDraw, ImageOps

from city311_assets.clients.addresses import is_public
from city311_assets.clients.http import Patience
from city311_assets.clients.photo_files import examined, stored, swept, upright
from city311_assets.clients.photo_links import Links, Photo
from city311_assets.clients.photos import HOPELESS_AFTER, MOST_BYTES, Photos
from city311_assets_tests.clients.answers import (
    Asked,
    Reply,
    Script,
    Server,
    answering,
    in_turn,
)

HOST, OTHER, STRANGER = "photos.city.example", "cdn.city.example", "elsewhere.example"
PUBLIC = "93.184.216.34"
LINK = f"http://{HOST}/a.jpg"
STATUSES = {
    "ok", "no_link", "not_found", "forbidden", "html_page", "not_an_image", "too_large",
    "too_small", "undecodable", "host_not_allowed", "private_address", "too_many_redirects",
    "timed_out", "unavailable",
}  # fmt: skip
GPS = {1: "N", 2: (37.0, 46.0, 30.0), 3: "W", 4: (122.0, 25.0, 10.0)}


def picture(seed: int = 0, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A coarse pattern in colour that no other seed gives."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.NEAREST)


def encoded(image: Image.Image, kind: str = "JPEG", **how: Any) -> bytes:
    written = BytesIO()
    image.save(written, kind, **how)
    return written.getvalue()


def jpeg(seed: int = 0, size: tuple[int, int] = (96, 64), **how: Any) -> bytes:
    return encoded(picture(seed, size), **how)


def photographed(orientation: int = 6, size: tuple[int, int] = (320, 240)) -> bytes:
    """A photo as a telephone writes it: lying on its side, with the place where it was taken."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Telephone"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(GPS)
    return jpeg(1, size, exif=exif, comment=b"taken at home", quality=95)


JPEG = jpeg()
GOOD = Reply(JPEG, headers={"Content-Type": "image/jpeg"})
PAGE = b"<!DOCTYPE html><html><body>" + b"a page about a photo " * 100 + b"</body></html>"


def moved(to: str, status: int = 302) -> Reply:
    return Reply(b"", status, {"Location": to})


def bomb(side: int) -> bytes:
    """A PNG of a few bytes whose header promises very many pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(100_000))),
        (b"IEND", b""),
    ]
    packed = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


class Wired(httpcore.NetworkBackend):
    """Connects to one loopback server whatever the address, and remembers which it was.

    Nothing listens on port 443 unless the server speaks TLS.
    """

    def __init__(self, port: int, speaks_tls: bool = False) -> None:
        self.port, self.speaks_tls = port, speaks_tls
        self.below = httpcore.SyncBackend()
        self.connections: list[tuple[str, int]] = []

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        if port == 443 and not self.speaks_tls:
            raise httpcore.ConnectError("refused")
        self.connections.append((host, port))
        return self.below.connect_tcp(
            "127.0.0.1", self.port, timeout, local_address, socket_options
        )


def names(known: Mapping[str, Sequence[str]]):
    """Return a resolver that knows some names."""

    def resolve(host: str) -> Sequence[str]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known[host]

    return resolve


KNOWN = names({HOST: [PUBLIC], OTHER: ["2606:4700::1111"]})
WITHOUT_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@contextmanager
def fetching(folder: Path, script: Script, **how: Any) -> Iterator[tuple[Photos, Server, Wired]]:
    """Photos of two allowed hosts that one loopback server stands for."""
    with answering(script) as server:
        wired = Wired(int(server.url.rsplit(":", 1)[1]))
        usual = dict[str, Any](
            patience=Patience(3, 5.0, 10.0, lambda _: None, 10.0),
            resolve=KNOWN,
            network=wired,
            per_second=1e6,
            certificates=WITHOUT_CERTIFICATES,
        )
        with Photos([HOST, OTHER], folder, **(usual | how)) as photos:
            yield photos, server, wired


def fetch(folder: Path, reply: Reply | Script, url: str = LINK, **how: Any) -> Photo:
    """Return what one link comes to."""
    script = in_turn(reply) if isinstance(reply, Reply) else reply
    with fetching(folder, script, **how) as (photos, _, _):
        (photo,) = photos.fetched([url])
    return photo


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_photo_is_kept_by_its_hash_with_its_thumbnail(tmp_path: Path):
    body = jpeg(3, (640, 400), quality=90)
    photo = fetch(tmp_path, Reply(body))
    sha = hashlib.sha256(body).hexdigest()
    place = f"{sha[:2]}/{sha}"
    assert files(tmp_path) == [f"{place}.jpg", f"{place}.thumb.jpg"]
    assert (tmp_path / f"{place}.jpg").read_bytes() == body
    with Image.open(BytesIO(body)) as image:
        phash = str(imagehash.phash(image))
    assert photo == Photo(
        LINK, sha, "ok", None, "image/jpeg", 640, 400, len(body), phash,
        f"{place}.jpg", f"{place}.thumb.jpg", photo.fetched_at,
    )  # fmt: skip
    with Image.open(tmp_path / f"{place}.thumb.jpg") as thumbnail:
        assert thumbnail.size == (256, 160)


STATUS_OF: dict[str, tuple[Reply, str]] = {
    "JPEG": (GOOD, "ok"),
    "PNG": (Reply(encoded(picture(), "PNG")), "ok"),
    "WebP": (Reply(encoded(picture(), "WEBP")), "ok"),
    "GIF": (Reply(encoded(picture(), "GIF", save_all=True, append_images=[picture(1)])), "ok"),
    "a JPEG that says it is a page": (Reply(JPEG, headers={"Content-Type": "text/html"}), "ok"),
    "metadata that ends early": (
        Reply(jpeg(exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0")), "ok",
    ),
    "metadata that points outside": (
        Reply(jpeg(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x02\0\0\x10\0\0\0\x90\0")), "ok",
    ),
    "as small as may be": (Reply(jpeg(0, (32, 32))), "ok"),
    "404": (Reply(JPEG, 404), "not_found"),
    "410": (Reply(b"", 410), "not_found"),
    "401": (Reply(JPEG, 401), "forbidden"),
    "403": (Reply(JPEG, 403), "forbidden"),
    "400": (Reply(JPEG, 400), "forbidden"),
    "a page": (Reply(PAGE), "html_page"),
    "a page that says it is a JPEG": (
        Reply(PAGE, headers={"Content-Type": "image/jpeg"}), "html_page",
    ),
    "a short page": (Reply(b"\n <HTML>gone"), "html_page"),
    "a page by its type alone": (
        Reply(b"nothing here", headers={"Content-Type": "text/html; charset=utf-8"}), "html_page",
    ),
    "text": (Reply(b"no photo " * 200), "not_an_image"),
    "nothing": (Reply(b""), "not_an_image"),
    "nothing, 204": (Reply(b"", 204), "not_an_image"),
    "moved to nowhere": (Reply(b"", 302), "not_an_image"),
    "HEIC": (Reply(b"\x00\x00\x00\x18ftypheic" + bytes(2_000)), "not_an_image"),
    "PDF": (Reply(b"%PDF-1.7" + bytes(2_000)), "not_an_image"),
    "one side short": (Reply(jpeg(0, (31, 400))), "too_small"),
    "half of a JPEG": (Reply(jpeg(0, (640, 480))[:5_000]), "undecodable"),
    "half of a PNG": (Reply(encoded(picture(), "PNG")[:120]), "undecodable"),
    "the beginning of a WebP": (Reply(b"RIFF\x00\x01\x00\x00WEBPVP8 " + bytes(99)), "undecodable"),
    "the beginning of a JPEG": (Reply(b"\xff\xd8\xff" + bytes(600)), "undecodable"),
    "50 megapixels": (Reply(bomb(7_072)), "too_large"),
    "100 megapixels": (Reply(bomb(10_000)), "too_large"),
    "200 megapixels": (Reply(bomb(14_200)), "too_large"),
    "10 MB, said": (Reply(JPEG + bytes(MOST_BYTES)), "too_large"),
    "30 MB, not said": (Reply(JPEG + bytes(3 * MOST_BYTES), is_unsized=True), "too_large"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "status"), STATUS_OF.values(), ids=STATUS_OF)
def test_every_answer_has_its_status(tmp_path: Path, reply: Reply, status: str):
    photo = fetch(tmp_path, reply)
    assert photo.status == status
    assert photo.fetched_at is not None
    assert (photo.said is None) == (status == "ok")
    has_photo = [photo.photo_id, photo.path, photo.thumbnail_path, photo.phash, photo.bytes]
    assert [value is not None for value in has_photo] == [status == "ok"] * 5
    assert len(files(tmp_path)) == (2 if status == "ok" else 0)


def test_the_largest_photo_that_may_be_is_taken(tmp_path: Path):
    assert fetch(tmp_path, Reply(JPEG + bytes(MOST_BYTES - len(JPEG)))).status == "ok"


def test_of_a_large_photo_the_size_is_told_without_decoding_it(tmp_path: Path):
    photo = fetch(tmp_path, Reply(bomb(7_072)))
    assert (photo.mime, photo.width, photo.height) == ("image/png", 7_072, 7_072)


def test_a_kind_that_is_not_taken_is_named(tmp_path: Path):
    heic = Reply(b"\x00\x00\x00\x18ftypheic", headers={"Content-Type": "image/heic"})
    assert fetch(tmp_path, heic).said == "a file of brand heic, content type image/heic"


@pytest.mark.parametrize(
    "text", ["", " ", "none", "photo.jpg", "ftp://photos.city.example/a.jpg", "http://",
             "https:///a.jpg", "javascript:alert(1)", "file:///etc/passwd", "//a/b", "http://[::1",
             "http://0177.0.0.1/",
             "https://photos.city.example:port/a", "http://photos.city.example/\x00"],
)  # fmt: skip
def test_what_is_no_link_is_said_to_be_none_and_asked_of_nobody(tmp_path: Path, text: str):
    with fetching(tmp_path, in_turn(GOOD)) as (photos, _, wired):
        (photo,) = photos.fetched([text])
    assert (photo.status, photo.url, photo.fetched_at) == ("no_link", text, None)
    assert wired.connections == []


@pytest.mark.parametrize(
    "link",
    [
        f"https://{STRANGER}/a.jpg",
        f"https://{HOST}.{STRANGER}/a.jpg",
        f"https://{HOST}./a.jpg",
        f"https://sub.{HOST}/a.jpg",
        f"https://{HOST}@{STRANGER}/a.jpg",
        f"https://{STRANGER}#@{HOST}/a.jpg",
        f"https://{STRANGER}/{HOST}/a.jpg",
        f"https://{HOST}:8443/a.jpg",
        f"http://{HOST}:22/",
        "https://8.8.8.8/a.jpg",
        "https://xn--phots-vce.city.example/a.jpg",
    ],
)
def test_only_hosts_of_the_list_are_asked_and_only_on_their_ports(tmp_path: Path, link: str):
    with fetching(tmp_path, in_turn(GOOD)) as (photos, _, wired):
        (photo,) = photos.fetched([link])
        (after,) = photos.fetched([moved_link := f"http://{HOST}/elsewhere"])
    assert (photo.status, photo.fetched_at) == ("host_not_allowed", None)
    assert (after.status, after.url) == ("ok", moved_link)
    assert wired.connections == [(PUBLIC, 80)]
    photo = fetch(tmp_path, moved(link))
    assert photo.status == "host_not_allowed"


PRIVATE = [
    "127.0.0.1", "10.0.0.7", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.100.100.200",
    "0.0.0.1", "224.0.0.1", "255.255.255.255", "192.0.0.192", "168.63.129.16", "198.18.0.1",
    "::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::", "fe80::1", "fe80::1%eth0",
    "fec0::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2001::1", "not an address",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_at_a_private_address_is_refused_before_any_connection(tmp_path: Path, address: str):
    resolve = names({HOST: [PUBLIC, address]})
    with fetching(tmp_path, in_turn(GOOD), resolve=resolve) as (photos, server, wired):
        (photo,) = photos.fetched([f"https://{HOST}/a.jpg"])
    assert photo.status == "private_address"
    assert photo.said == f"{HOST} is at {address}"
    assert (wired.connections, server.asked) == ([], [])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost",
             "a.localhost", "169.254.169.254", "10.1.2.3", "[::1]", "[::ffff:127.0.0.1]",
             "[64:ff9b::7f00:1]", "[fd00:ec2::254]", "0", "user@127.0.0.1"],
)  # fmt: skip
@pytest.mark.parametrize("is_redirected", [False, True], ids=["published", "redirected"])
@pytest.mark.parametrize("has_gateway", [False, True], ids=["direct", "gateway"])
def test_a_private_address_is_refused_however_it_is_written_and_reached(
    tmp_path: Path, host: str, is_redirected: bool, has_gateway: bool
):
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.02)
        link = f"http://{host}:{listener.getsockname()[1]}/latest/meta-data/"
        with answering(in_turn(moved(link))) as server:
            how: dict[str, Any] = {"resolve": KNOWN, "network": Wired(int(server.url[17:]))}
            if has_gateway:
                how = {"gateway": server.url}
            how |= {"certificates": WITHOUT_CERTIFICATES}
            with Photos([HOST, host.strip("[]")], tmp_path, per_second=1e6, **how) as photos:
                (photo,) = photos.fetched([LINK if is_redirected else link])
        with pytest.raises(TimeoutError):
            accepted.append(listener.accept())
    assert photo.status == "private_address"
    assert (photo.fetched_at is not None, len(server.asked)) == (is_redirected, is_redirected)
    assert accepted == []


def test_a_name_that_means_another_address_the_second_time_is_looked_at_again(tmp_path: Path):
    # The first look is for TLS, which nobody answers.
    answers = [[PUBLIC], [PUBLIC], ["127.0.0.1"]]
    closes = Reply(JPEG, is_unsized=True)
    with fetching(tmp_path, in_turn(closes), resolve=lambda _: answers.pop(0)) as (
        photos, server, wired,
    ):  # fmt: skip
        links = [f"http://{HOST}:80/{name}.jpg" for name in "ab"]
        found = [photo for link in links for photo in photos.fetched([link])]
    assert [photo.status for photo in found] == ["ok", "private_address"]
    # One look a connection, and the connection goes where was looked.
    assert (answers, wired.connections, len(server.asked)) == ([], [(PUBLIC, 80)], 1)


def test_the_next_address_of_a_name_is_tried_when_one_does_not_answer(tmp_path: Path):
    class FirstIsDown(Wired):
        def connect_tcp(self, host: str, *args: Any, **more: Any) -> httpcore.NetworkStream:
            if host == PUBLIC:
                raise httpcore.ConnectTimeout("down")
            return super().connect_tcp(host, *args, **more)

    with answering(in_turn(GOOD)) as server:
        network = FirstIsDown(int(server.url.rsplit(":", 1)[1]))
        resolve = names({HOST: [PUBLIC, "8.8.8.8"]})
        photo = fetch(tmp_path, GOOD, network=network, resolve=resolve)
    assert (photo.status, network.connections) == ("ok", [("8.8.8.8", 80)])


@given(st.ip_addresses(v=4))
@settings(max_examples=150, deadline=None)
def test_an_address_is_as_public_as_what_it_wraps(address: ipaddress.IPv4Address):
    wraps = [
        f"::ffff:{address}",
        str(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80))),
        str(ipaddress.IPv6Address((0x64FF9B << 96) | int(address))),
    ]
    assert {is_public(wrapped) for wrapped in wraps} == {is_public(str(address))}
    assert not is_public(f"::{address}")
    if not address.is_global:
        assert not is_public(str(address))


def test_addresses_of_the_open_internet_are_public():
    known = ["8.8.8.8", PUBLIC, "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
    assert [address for address in known if not is_public(address)] == []


def test_redirects_are_followed_five_times_and_not_once_more(tmp_path: Path):
    hops = [moved(f"/{n}") for n in range(5)]
    with fetching(tmp_path, in_turn(*hops, GOOD)) as (photos, server, _):
        (photo,) = photos.fetched([LINK])
    assert photo.status == "ok"
    assert [asked.path for asked in server.asked] == ["/a.jpg", *(f"/{n}" for n in range(5))]
    with fetching(tmp_path, in_turn(moved("/again"))) as (photos, server, _):
        (photo,) = photos.fetched([LINK])
    assert (photo.status, len(server.asked)) == ("too_many_redirects", 6)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_allowed_host_is_followed(tmp_path: Path, status: int):
    script = in_turn(moved(f"//{OTHER}/b.jpg?size=1", status), GOOD)
    with fetching(tmp_path, script) as (photos, server, wired):
        (photo,) = photos.fetched([f"http://name:secret@{HOST}:80/a.jpg#part"])
    assert photo.status == "ok"
    assert wired.connections == [(PUBLIC, 80), ("2606:4700::1111", 80)]
    assert [asked.headers["host"] for asked in server.asked] == [HOST, OTHER]
    assert server.asked[1].params == {"size": "1"}
    assert not any("authorization" in asked.headers for asked in server.asked)


@pytest.mark.parametrize(
    "to", ["ftp://photos.city.example/a.jpg", "file:///etc/passwd", "data:image/png;base64,AA",
           "http://[", "javascript:alert(1)"],
)  # fmt: skip
def test_a_redirect_to_no_web_address_is_not_followed(tmp_path: Path, to: str):
    with fetching(tmp_path, in_turn(moved(to))) as (photos, server, _):
        (photo,) = photos.fetched([LINK])
    assert (photo.status, len(server.asked)) == ("host_not_allowed", 1)


def quick(sleep: Any = lambda _: None, **more: float) -> Patience:
    said = {"timeout_seconds": 0.15, "longest_answer_seconds": 0.4} | more
    return Patience(attempts=3, longest_wait_seconds=30.0, sleep=sleep, **said)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(JPEG, delay_seconds=5.0), id="silent"),
        pytest.param(Reply(JPEG, drip_seconds=0.05), id="dripping"),
    ],
)
def test_an_answer_that_takes_too_long_is_given_up_at_once(tmp_path: Path, reply: Reply):
    began = time.monotonic()
    with fetching(tmp_path, in_turn(reply), patience=quick()) as (photos, server, _):
        (photo,) = photos.fetched([LINK])
        took = time.monotonic() - began
    assert (photo.status, len(server.asked)) == ("timed_out", 1)
    assert took < 1.5


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(JPEG, 429), id="429"),
        pytest.param(Reply(JPEG, 500), id="500"),
        pytest.param(Reply(JPEG, 503), id="503"),
        pytest.param(Reply(hangs_up=True), id="hangs up"),
        pytest.param(Reply(JPEG, promised_bytes=99), id="ends early"),
    ],
)
def test_a_fault_is_tried_again_and_if_it_stays_the_link_is_unavailable(
    tmp_path: Path, reply: Reply
):
    waits: list[float] = []
    how: dict[str, Any] = {
        "patience": quick(waits.append, timeout_seconds=5.0, longest_answer_seconds=9.0)
    }
    with fetching(tmp_path, in_turn(reply), **how) as (photos, server, _):
        (photo,) = photos.fetched([LINK])
    assert (photo.status, len(server.asked)) == ("unavailable", 3)
    assert [1 <= wait <= 1.5 or 2 <= wait <= 3 for wait in waits if wait > 0.5] == [True] * 2
    assert fetch(tmp_path, in_turn(reply, reply, GOOD), **how).status == "ok"


RAW = [
    b"", b"\r\n\r\n", b"no HTTP at all", b"HTTP/1.1 200\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000, b"HTTP/1.1 101 Switching\r\n\r\n" + JPEG,
    b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\xe9\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: Mon, 01 Jan 99999999999 00:00:00 GMT\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: " + b"9" * 5_000 + b"\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("answer", RAW, ids=range(len(RAW)))
def test_no_answer_is_an_error_of_the_run(tmp_path: Path, answer: bytes):
    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.recv(4_096)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        photo = fetch(tmp_path, GOOD, network=Wired(listener.getsockname()[1]))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert photo.status in STATUSES - {"ok"}
    assert photo.said is not None
    assert len(photo.said) <= 200


def test_a_host_is_left_in_peace_for_as_long_as_it_asks(tmp_path: Path):
    waits: list[float] = []
    busy = Reply(b"", 429, {"Retry-After": "7"})
    patience = quick(waits.append, timeout_seconds=5.0, longest_answer_seconds=9.0)
    fetch(tmp_path, in_turn(busy, GOOD), patience=patience)
    assert max(waits) == pytest.approx(7.0, abs=0.1)
    waits.clear()
    fetch(tmp_path, in_turn(Reply(b"", 503, {"Retry-After": "9999"}), GOOD), patience=patience)
    assert waits[0] == 30.0
    assert max(waits) == 30.0
    # Its other links wait too.
    waits.clear()
    how: dict[str, Any] = {"patience": replace(patience, attempts=1), "at_once": 1}
    with fetching(tmp_path, in_turn(busy, GOOD), **how) as (photos, _, _):
        found = photos.fetched([f"http://{HOST}:80/{name}" for name in "ab"])
        assert [photo.status for photo in found] == ["unavailable", "ok"]
    assert max(waits) == pytest.approx(7.0, abs=0.3)


def test_a_name_that_does_not_resolve_is_unavailable(tmp_path: Path):
    photo = fetch(tmp_path, GOOD, resolve=names({}))
    assert photo.status == "unavailable"
    assert photo.said is not None
    assert "cannot be resolved" in photo.said


def test_a_host_that_fails_again_and_again_is_left_alone_until_the_next_time(tmp_path: Path):
    links = [f"http://{HOST}/{n}.jpg" for n in range(HOPELESS_AFTER + 10)]
    others = [f"http://{OTHER}/{n}.jpg" for n in range(3)]

    def script(asked: Asked) -> Reply:
        return Reply(b"", 503) if asked.headers["host"] == HOST else GOOD

    patience = Patience(1, 5.0, 1.0, lambda _: None, 5.0)
    with fetching(tmp_path, script, at_once=1, patience=patience) as (photos, server, _):
        found = list(photos.fetched([*links, *others]))
        asked = sum(one.headers["host"] == HOST for one in server.asked)
        assert asked == HOPELESS_AFTER
        never = [photo for photo in found if photo.fetched_at is None]
        assert {photo.status for photo in never} == {"unavailable"}
        assert len(never) == 10
        assert sum(photo.status == "ok" for photo in found) == 3
        list(photos.fetched(links[:2]))
        assert sum(one.headers["host"] == HOST for one in server.asked) == asked + 2


def test_a_photo_is_told_of_when_its_files_are_there_and_before_the_next_is_asked(tmp_path: Path):
    order: list[str] = []

    def script(asked: Asked) -> Reply:
        order.append(f"asked {asked.path}")
        return GOOD

    def keep(photo: Photo) -> None:
        assert (tmp_path / str(photo.path)).exists()
        assert (tmp_path / str(photo.thumbnail_path)).exists()
        order.append(f"kept {photo.url.removeprefix(f'http://{HOST}')}")

    links = [f"http://{HOST}/{n}" for n in range(3)]
    with fetching(tmp_path, script, at_once=1) as (photos, _, _):
        list(photos.fetched(links, keep))
    assert order == [f"{what} /{n}" for n in range(3) for what in ("asked", "kept")]


def test_each_distinct_link_is_asked_once(tmp_path: Path):
    links = [f"http://{HOST}/{n}.jpg" for n in (0, 1, 1, 2, 0)]
    with fetching(tmp_path, in_turn(GOOD)) as (photos, server, _):
        found = list(photos.fetched(links))
    assert sorted(photo.url for photo in found) == sorted(set(links))
    assert len(server.asked) == 3
    # The same bytes behind three links are one file.
    assert len(files(tmp_path)) == 2


def test_a_host_is_asked_so_many_at_once_and_so_many_a_second(tmp_path: Path):
    now, most = 0, 0
    lock = threading.Lock()

    class Busy(Wired):
        """Counts exchanges under way with one host: each has a connection of its own."""

        def connect_tcp(self, host: str, *args: Any, **more: Any) -> httpcore.NetworkStream:
            nonlocal now, most
            stream = super().connect_tcp(host, *args, **more)
            if host == PUBLIC:
                with lock:
                    now += 1
                    most = max(most, now)
                time.sleep(0.05)
                with lock:
                    now -= 1
            return stream

    def script(asked: Asked) -> Reply:
        """Each photo is at one host, to which the other points."""
        there = moved(f"http://{HOST}{asked.path}")
        reply = GOOD if asked.headers["host"] == HOST else there
        return replace(reply, is_unsized=True)

    links = [f"http://{host}/{n}.jpg" for n in range(9) for host in (HOST, OTHER)]
    with answering(script) as server:
        network = Busy(int(server.url.rsplit(":", 1)[1]))
        how: dict[str, Any] = {"network": network, "patience": Patience(1, 5.0)}
        with fetching(tmp_path, script, at_once=3, **how) as (photos, _, _):
            assert {photo.status for photo in photos.fetched(links)} == {"ok"}
        assert most == 3
        began = time.monotonic()
        with fetching(tmp_path, script, per_second=20, **how) as (photos, _, _):
            list(photos.fetched([f"http://{HOST}/{n}.jpg" for n in range(9)]))
        assert time.monotonic() - began >= 0.4


def test_a_link_is_asked_by_tls_where_the_host_speaks_it(tmp_path: Path):
    with tls_server(tmp_path, HOST) as (port, certificates, server_names):
        network = Wired(port, speaks_tls=True)
        how: dict[str, Any] = {"resolve": KNOWN, "network": network, "certificates": certificates}
        how |= {"patience": Patience(1, 5.0), "per_second": 1e6}
        with Photos([HOST, OTHER], tmp_path / "photos", **how) as photos:
            found = [next(photos.fetched([f"{scheme}://{HOST}/a"])) for scheme in ("http", "https")]
            assert [photo.status for photo in found] == ["ok", "ok"]
            assert {port for _, port in network.connections} == {443}
            # The name on the certificate is the link's, though the connection was to an address.
            assert set(server_names) == {HOST}
            photo = next(photos.fetched([f"https://{OTHER}/a"]))
            assert photo.status == "unavailable"
            assert "certificate" in str(photo.said)


@contextmanager
def tls_server(folder: Path, name: str) -> Iterator[tuple[int, ssl.SSLContext, list[str]]]:
    """A server of one photo that has a certificate for one name."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl to write a certificate with")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    asked_for: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _, server_name, __: asked_for.append(str(server_name))
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(JPEG)}\r\nConnection: close\r\n\r\n"

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(4_096)
                    secured.sendall(head.encode() + JPEG)
            except OSError:
                connection.close()

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(listener,))
    thread.start()
    try:
        trusting = ssl.create_default_context(cafile=str(certificate))
        yield listener.getsockname()[1], trusting, asked_for
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_a_gateway_is_asked_for_the_host_and_path_of_each_address(tmp_path: Path):
    script = in_turn(moved(f"https://{OTHER}/b/c.jpg?v=2"), GOOD, Reply(b"", 404))
    with answering(script) as server, Photos([HOST, OTHER], tmp_path, gateway=server.url) as photos:
        links = [f"https://{HOST}/a%20b.jpg", f"http://{HOST}/gone"]
        found = [photo for link in links for photo in photos.fetched([link])]
        stranger = next(photos.fetched([f"https://{STRANGER}/a.jpg"]))
    assert [photo.status for photo in [*found, stranger]] == ["ok", "not_found", "host_not_allowed"]
    paths = [f"/photos/{HOST}/a%20b.jpg", f"/photos/{OTHER}/b/c.jpg", f"/photos/{HOST}/gone"]
    assert [asked.path for asked in server.asked] == paths
    assert server.asked[1].params == {"v": "2"}


def test_behind_a_gateway_names_are_judged_as_a_given_resolver_knows_them(tmp_path: Path):
    resolve = names({HOST: ["10.0.0.7"]})
    with answering(in_turn(GOOD)) as server:
        how: dict[str, Any] = {"gateway": server.url, "resolve": resolve}
        with Photos([HOST, OTHER], tmp_path, patience=Patience(1, 5.0), **how) as photos:
            found = photos.fetched([f"https://{HOST}/a", f"https://{OTHER}/a"])
            by_link = {photo.url: photo.status for photo in found}
    assert by_link == {f"https://{HOST}/a": "private_address", f"https://{OTHER}/a": "unavailable"}
    assert server.asked == []


@pytest.fixture(scope="module")
def unconnected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Photos]:
    """Photos of hosts that have no address."""
    patience = Patience(1, 1.0, 1.0, lambda _: None, 1.0)
    how: dict[str, Any] = {"resolve": names({}), "certificates": WITHOUT_CERTIFICATES}
    folder = tmp_path_factory.mktemp("photos")
    with Photos([HOST], folder, patience=patience, per_second=1e9, **how) as photos:
        yield photos


@given(
    st.one_of(st.text(), st.from_regex(r"https?://[^/]{0,20}(/.*)?"), st.text().map(LINK.__add__))
)
@settings(max_examples=100, deadline=None)
def test_whatever_a_portal_publishes_has_one_status(unconnected: Photos, text: str):
    (photo,) = unconnected.fetched([text])
    assert photo.url == text
    assert photo.status in STATUSES - {"ok"}


@given(
    st.integers(3, 4_000), st.binary(max_size=40), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP"])
)
@settings(max_examples=60, deadline=None)
def test_a_photo_that_was_spoilt_is_a_photo_or_has_a_status(
    tmp_path_factory: pytest.TempPathFactory, at: int, spoilt: bytes, kind: str
):
    body = bytearray(encoded(picture(5, (200, 150)), kind))
    body[at : at + len(spoilt)] = spoilt
    photo = fetch(tmp_path_factory.mktemp("photos"), Reply(bytes(body)))
    assert photo.status in STATUSES


def test_orientation_is_applied_and_nothing_of_the_metadata_is_left(tmp_path: Path):
    photo = fetch(tmp_path, Reply(photographed()))
    assert (photo.status, photo.width, photo.height) == ("ok", 240, 320)
    thumbnail = (tmp_path / str(photo.thumbnail_path)).read_bytes()
    for body in (thumbnail, upright(tmp_path / str(photo.path), 200)):
        with Image.open(BytesIO(body)) as image:
            assert (image.format, image.width < image.height) == ("JPEG", True)
            assert dict(image.getexif()) == {}
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert b"Exif" not in body
        assert b"home" not in body
    with Image.open(tmp_path / str(photo.path)) as original:
        assert original.getexif().get_ifd(ExifTags.IFD.GPSInfo)[2] == (37.0, 46.0, 30.0)
        turned = ImageOps.exif_transpose(original).convert("RGB").resize((24, 32))
    with Image.open(BytesIO(thumbnail)) as image:
        differences = np.abs(np.asarray(image.resize((24, 32)), int) - np.asarray(turned, int))
    assert np.median(differences) < 12


def test_a_photo_is_shown_to_a_model_no_longer_than_asked_and_never_enlarged(tmp_path: Path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(picture(2, (400, 100)), "PNG"))
    sizes = []
    for longest in (200, 4_000):
        with Image.open(BytesIO(upright(path, longest))) as image:
            sizes.append(image.size)
    assert sizes == [(200, 50), (400, 100)]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "L", "CMYK", "I;16"])
def test_photos_of_every_mode_have_a_thumbnail(mode: str):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    image = Image.new("I;16", (64, 48)) if mode == "I;16" else picture(4, (64, 48)).convert(mode)
    found = examined(encoded(image, kind))
    assert (found.width, found.height, len(found.phash)) == (64, 48, 16)


def test_what_is_transparent_is_white(tmp_path: Path):
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ImageDraw.Draw(clear).rectangle((0, 0, 20, 63), fill=(255, 0, 0, 255))
    with Image.open(BytesIO(examined(encoded(clear, "PNG")).thumbnail)) as thumbnail:
        red, white = thumbnail.getpixel((8, 8)), thumbnail.getpixel((50, 50))
    assert isinstance(red, tuple)
    assert isinstance(white, tuple)
    assert red[0] > 230
    assert red[1] < 40
    assert min(white) > 240


def test_the_hash_of_a_photo_outlives_resizing_and_tells_others_apart():
    first = examined(jpeg(1, (640, 480))).phash
    smaller = examined(jpeg(1, (320, 240), quality=60)).phash
    other = examined(jpeg(2, (640, 480))).phash
    as_hash = imagehash.hex_to_hash
    assert as_hash(first) - as_hash(smaller) <= 4
    assert as_hash(first) - as_hash(other) >= 16


def test_what_is_kept_already_is_not_written_again(tmp_path: Path):
    photo = fetch(tmp_path, GOOD)
    path = tmp_path / str(photo.path)
    os.utime(path, (1, 1))
    again = fetch(tmp_path, GOOD, url=f"http://{HOST}/b.jpg")
    assert (again.path, path.stat().st_mtime) == (photo.path, 1)


def test_a_write_that_fails_leaves_nothing_and_is_an_error(tmp_path: Path, monkeypatch):
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(tmp_path, GOOD)
    assert files(tmp_path) == []


def test_only_what_was_abandoned_is_swept(tmp_path: Path):
    kept = stored(tmp_path, JPEG, examined(JPEG))
    old, young = (tmp_path / f"{kept.path}.{name}.part" for name in ("old", "young"))
    old.touch()
    young.touch()
    os.utime(old, (1, 1))
    assert swept(tmp_path) == 1
    assert (old.exists(), young.exists(), (tmp_path / kept.path).exists()) == (False, True, True)


def test_the_log_tells_how_far_it_is_and_no_query(tmp_path: Path, caplog):
    with caplog.at_level(logging.DEBUG, "city311_assets"):
        fetch(tmp_path, Reply(b"", 404), url=f"{LINK}?token=secret")
    said = [record.getMessage() for record in caplog.records if "city311" in record.name]
    assert any(f"{LINK}: not_found" in line for line in said)
    assert any("1 of 1 photo links" in line and "0 s left; 1 not_found" in line for line in said)
    assert not any("secret" in line for line in said)


def test_what_links_came_to_is_remembered_across_runs(tmp_path: Path):
    found = [
        fetch(tmp_path, GOOD),
        fetch(tmp_path, Reply(b"", 404), url=f"http://{HOST}/b?c='d'"),
    ]
    never = replace(found[1], url="x", fetched_at=None)
    path = tmp_path / "links" / "feed.sqlite"
    with Links(path) as links:
        for photo in [replace(found[0], status="timed_out"), *found, never]:
            links.keep(photo)
    with Links(path) as links, Links(path) as others:
        asked = [photo.url for photo in found] + ["x", "never seen"]
        assert links.known(asked) == {photo.url: photo for photo in found}
        assert others.known([]) == {}
        others.keep(replace(found[0], said="by another run"))
        assert links.known(asked)[LINK].said == "by another run"


@pytest.mark.real
def test_real_photos_are_taken_as_they_are(tmp_path: Path, real_data: Path):
    folder = real_data / "photos"
    with (folder / "manifest.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    at = f"http://{HOST}/"

    def script(asked: Asked) -> Reply:
        return Reply((folder / asked.path[1:]).read_bytes())

    with fetching(tmp_path, script) as (photos, _, _):
        links = photos.fetched([at + name for name in rows])
        found = {photo.url.removeprefix(at): photo for photo in links}
    assert {photo.status for photo in found.values()} == {"ok"}
    assert len(found) == len(rows) == 30
    for name, row in rows.items():
        photo = found[name]
        assert {photo.width, photo.height} == {int(row["width"]), int(row["height"])}
        assert photo.bytes == int(row["bytes"])
        with Image.open(folder / name) as image:
            turned = ImageOps.exif_transpose(image).convert("RGB")
            assert photo.phash == str(imagehash.phash(turned))
        with Image.open(tmp_path / str(photo.thumbnail_path)) as thumbnail:
            assert max(thumbnail.size) == 256
            assert dict(thumbnail.getexif()) == {}
    assert isinstance(next(iter(found.values())).fetched_at, datetime)
