"""Thumbnails: those of the photo folder, and no other file."""

from io import BytesIO
from urllib.parse import quote

import pytest
from PIL import Image

from city311_assets.serving.api import thumbnails
from city311_assets.warehouse.tables.atlas import PHOTOS
from city311_assets_tests.serving.api.places import (
    ATLAS_FEED,
    GONE,
    NO_PHOTO,
    OUTSIDE,
    PHOTO,
)

ADDRESS = f"/api/thumbnails/{ATLAS_FEED}/{{}}.jpg"


def is_refused(answer):
    assert "secret" not in answer.text
    return (
        answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json"
    )


def test_the_thumbnail_of_a_case_is_a_photo(api):
    answer = api.get(ADDRESS.format(PHOTO))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert Image.open(BytesIO(answer.content)).size == (64, 48)
    assert "content-encoding" not in answer.headers
    tag = answer.headers["etag"]
    again = api.get(ADDRESS.format(PHOTO), headers={"If-None-Match": tag})
    assert again.status_code == 304


@pytest.mark.parametrize("record", [OUTSIDE, NO_PHOTO, GONE, "nobody"])
def test_whatever_is_no_photo_of_the_folder_is_a_404(api, record):
    assert is_refused(api.get(ADDRESS.format(record)))


@pytest.mark.parametrize(
    "record",
    [
        *("../secret", "..%2fsecret", "%2e%2e/secret", "..%5csecret", "ab/photo", "ab%2fphoto"),
        *("%00", "....//secret", quote("/etc/passwd"), "100%00"),
    ],
)
def test_a_path_is_no_record(api, record):
    answer = api.get(ADDRESS.format(record))
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/etc/passwd", "ab/../../secret.jpg", "ab/link.jpg", "a\0b", ""])
def test_a_path_in_the_data_leads_nowhere_outside(own_place, path):
    photos = own_place.settings.photos_path
    (photos / "ab" / "link.jpg").symlink_to(own_place.folder / "secret.jpg")
    own_place.publish(f"update {PHOTOS} set thumbnail_path = $path", path=path)
    assert is_refused(own_place.client.get(ADDRESS.format(PHOTO)))


def test_a_photo_that_was_not_ok_is_not_shown(own_place):
    own_place.publish(f"update {PHOTOS} set status = 'forbidden'")
    assert is_refused(own_place.client.get(ADDRESS.format(PHOTO)))


def test_a_file_that_is_too_large_for_a_thumbnail_is_not_sent(api, monkeypatch):
    monkeypatch.setattr(thumbnails, "LARGEST_BYTES", 100)
    assert is_refused(api.get(ADDRESS.format(PHOTO)))
