"""Settings: what is read, what is refused, and what is never carried along."""

from pathlib import Path

import pytest

from city311_assets.bronze.sources import Sources
from city311_assets.clients.http import Patience
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.settings import Settings, settings, unknown_variables


@pytest.fixture
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_settings: None) -> Path:
    """A .env file that the settings read."""
    path = tmp_path / ".env"
    monkeypatch.setitem(Settings.model_config, "env_file", str(path))
    return path


def test_the_default_is_the_sample_city_without_addresses(fresh_settings: None):
    sources = Sources.of(settings())
    assert (sources.origin, sources.portal_url) == ("sample", None)


def test_every_setting_of_patience_reaches_every_client(dotenv: Path):
    dotenv.write_text(
        "CITY311_HTTP_ATTEMPTS=2\nCITY311_HTTP_TIMEOUT_SECONDS=3\n"
        "CITY311_HTTP_LONGEST_WAIT_SECONDS=4\nCITY311_HTTP_LONGEST_ANSWER_SECONDS=5\n"
        "CITY311_SOURCE=live\n"
    )
    told = Patience(attempts=2, timeout_seconds=3, longest_wait_seconds=4, longest_answer_seconds=5)
    sources = Sources.of(settings())
    with sources.portal_of(SF_311) as portal, sources.boundaries_of(SF_311.city) as areas:
        assert portal.asker.patience == areas.asker.patience == sources.patience == told


def test_a_dotenv_file_is_read_and_what_is_not_ours_in_it_is_left_alone(dotenv: Path):
    dotenv.write_text("OTHER_TOOL=1\nCITY311_SOURCE=live\n")
    assert settings().source == "live"
    assert unknown_variables() == []


def test_a_typing_error_is_found_in_the_environment_and_in_the_file(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
):
    dotenv.write_text("CITY311_SORCE=live\n")
    monkeypatch.setenv("CITY311_STRAT_DATE", "2026-01-01")
    assert unknown_variables() == ["CITY311_SORCE", "CITY311_STRAT_DATE"]


def test_the_app_token_is_in_no_configuration_but_reaches_the_portal_client(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
):
    dotenv.write_text("CITY311_SOURCE=live\nCITY311_SOCRATA_APP_TOKEN=opensesame\n")
    said = settings()
    sources = Sources.of(said)
    assert "opensesame" not in f"{said!r}{sources!r}{sources.model_dump()}"
    with sources.portal_of(SF_311) as portal:
        assert portal.asker.client.headers["X-App-Token"] == "opensesame"


def test_a_start_inside_a_month_is_refused_with_the_month_s_first_day():
    with pytest.raises(ValueError, match="for example 2026-01-01"):
        Settings(start_date="2026-01-05")  # pyright: ignore[reportArgumentType]
