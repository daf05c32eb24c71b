"""Every knob of the project: environment variables `CITY311_*`, or a `.env` file.

What belongs here: a value an operator may want to change. What does not: anything that decides
what a number means; that is a named constant beside the rule it belongs to.
"""

import os
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The settings of one process; `settings()` reads them once."""

    model_config = SettingsConfigDict(
        env_prefix="CITY311_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    source: Literal["sample", "live"] = Field(
        default="sample",
        description="Where records come from: the embedded sample city, or the portals.",
    )
    start_date: date = Field(
        default=date(2025, 1, 1), description="First day the graph covers; the first of a month."
    )
    data_dir: Path = Field(
        default=Path("data"), description="Folder of the DuckDB files and of DAGSTER_HOME."
    )
    dagster_home: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("CITY311_DAGSTER_HOME", "DAGSTER_HOME"),
        description="Folder with dagster.yaml; default: dagster/ in the data folder.",
    )

    portal_url: str = Field(
        default="https://{portal}",
        description="Base URL of a Socrata portal; {portal} stands for the feed's host name.",
    )
    socrata_app_token: SecretStr | None = Field(
        default=None,
        description="App token sent as X-App-Token; the portals answer without one, slower.",
    )
    socrata_page_size: int = Field(default=50_000, ge=1, le=50_000, description="Rows per page.")
    weather_archive_url: str = Field(
        default="https://archive-api.open-meteo.com",
        description="Base URL of the Open-Meteo archive.",
    )
    weather_forecast_url: str = Field(
        default="https://api.open-meteo.com", description="Base URL of the Open-Meteo forecast."
    )
    weather_archive_lag_days: int = Field(
        default=5, ge=0, description="Days until archive weather counts as known."
    )
    http_timeout_seconds: float = Field(
        default=60.0, gt=0, description="Longest silence while an answer is waited for."
    )
    http_longest_answer_seconds: float = Field(
        default=600.0, gt=0, description="Longest time one answer may take, also one that drips."
    )
    http_attempts: int = Field(
        default=6, ge=1, description="Tries before an unavailable service fails the run."
    )
    http_longest_wait_seconds: float = Field(
        default=120.0,
        gt=0,
        description="Longest pause between two tries, also when the service asks for more.",
    )
    raw_pages_dir: Path | None = Field(
        default=None,
        description="Folder to keep every answered page in, zstd; default: not kept.",
    )

    photo_requests_at_once: int = Field(
        default=4, ge=1, le=32, description="Photos fetched at the same time from one host."
    )
    photo_requests_per_second: float = Field(
        default=8.0, gt=0, description="Most photos asked of one host in a second."
    )

    caption_method: Literal["case_text", "openai"] = Field(
        default="case_text",
        description="Who says what a case shows: its own text, or a model that is shown the photo.",
    )
    embedding_method: Literal["local", "openai"] = Field(
        default="local",
        description="Where vectors come from: a model fitted here, or a model service.",
    )
    cluster_name_method: Literal["c_tf_idf", "openai"] = Field(
        default="c_tf_idf",
        description="Who names clusters: their own words, or a model that reads captions.",
    )
    model_url: str | None = Field(
        default=None,
        description="Base URL of an OpenAI-compatible service; default: the sample city's own "
        "with sample records, else https://api.openai.com/v1.",
    )
    model_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("CITY311_MODEL_KEY", "OPENAI_API_KEY"),
        description="Key of the model service; alone it spends nothing.",
    )
    caption_model: str = Field(
        default="gpt-6-luna", description="Model that is shown photos and names clusters."
    )
    embedding_model: str = Field(
        default="text-embedding-3-small", description="Model of the service that embeds texts."
    )
    model_budget_usd: float = Field(
        default=1.0, ge=0, description="Most that one run may spend on models, US dollars."
    )
    model_requests_at_once: int = Field(
        default=4, ge=1, le=64, description="Calls to the model service at the same time."
    )

    atlas_window_months: int = Field(
        default=18, ge=1, description="Months of cases on one map, the newest included."
    )
    atlas_max_cases: int = Field(
        default=100_000, ge=100, description="Most cases on one map; of more a sample is drawn."
    )

    causal_limit_days: float = Field(
        default=30.0,
        gt=0,
        description="Days beyond which a longer wait counts as no longer; cases opened so long "
        "before a month's end are compared.",
    )
    causal_controls: int = Field(
        default=3, ge=1, description="Like cases elsewhere that each case is compared with."
    )
    causal_caliper: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="Share of a stratum's pairs than which two compared cases are more alike.",
    )

    risk_medium_from: float = Field(
        default=0.2, gt=0, lt=1, description="Probability from which a risk is called medium."
    )
    risk_high_from: float = Field(
        default=0.5, gt=0, lt=1, description="Probability from which a risk is called high."
    )
    risk_priors: Path | None = Field(
        default=None,
        description="TOML file of priors that replace those of the package, by name.",
    )
    risk_crew_hours: float = Field(
        default=80.0, gt=0, description="Crew hours of a day that recommendations may fill."
    )

    console_host: str = Field(
        default="127.0.0.1",
        description="Address the console and the API listen on; others than this machine's own "
        "let everybody in who can reach it.",
    )
    console_names: str | None = Field(
        default=None,
        description="Names, with commas between, under which console and API answer besides "
        "localhost, as behind a proxy; default: no others on this machine's own address, any on "
        "another.",
    )
    console_port: int = Field(
        default=8311, ge=0, le=65_535, description="Port of the console and the API."
    )
    console_map_style: str | None = Field(
        default=None,
        description="URL of a MapLibre style to draw maps on; default: the boundaries that the "
        "city publishes, without any other service.",
    )
    dagster_url: str = Field(
        default="http://127.0.0.1:3000",
        description="Where the Dagster UI is, for links from the console.",
    )

    warehouse: str | None = Field(
        default=None,
        description="`ducklake:sqlite:FILE` or `ducklake:postgres:CONNECTION`, for several "
        "machines; default: one DuckDB file in the data folder.",
    )
    data_path: str | None = Field(
        default=None,
        description="Folder, or address in an object store, of a DuckLake's data files; default: "
        "lake/ in the data folder.",
    )
    duckdb_extensions: Literal["packages", "fetch"] = Field(
        default="packages",
        description="Where DuckDB's extensions come from: their installed packages alone, or else "
        "DuckDB's own server.",
    )
    lake_keep_days: float = Field(
        default=7.0, gt=0, description="Days that old versions of a DuckLake are kept."
    )

    lock_timeout_seconds: float = Field(
        default=600.0,
        gt=0,
        description="Longest wait for another run's statements on the warehouse.",
    )

    sample_seed: int = Field(default=311, description="Seed of the sample city.")
    sample_records_per_day: int = Field(
        default=400,
        ge=1,
        le=100_000,
        description="About how many records a day each sample feed has.",
    )
    sample_now: datetime | None = Field(
        default=None, description="The sample city's clock, UTC; default: the real one."
    )

    alerts: Literal["dry-run", "send", "off"] = Field(
        default="dry-run",
        description="Failed runs, failed checks, late feeds and unusual days: said in the sensor's "
        "log, sent, or neither (dry-run, send, off).",
    )
    alerts_slack_token: SecretStr | None = Field(
        default=None, description="Slack bot token, to post to the channel named next."
    )
    alerts_slack_channel: str | None = Field(
        default=None, description="Slack channel, by its name or number."
    )
    alerts_slack_url: str = Field(
        default="https://slack.com/api/", description="Base URL of Slack's API."
    )
    alerts_slack_webhook_url: SecretStr | None = Field(
        default=None, description="Incoming webhook of Slack, instead of a token."
    )
    alerts_teams_url: SecretStr | None = Field(
        default=None, description="Webhook of a Microsoft Teams workflow or connector."
    )
    alerts_webhook_url: SecretStr | None = Field(
        default=None, description="Any address that takes alerts as JSON."
    )

    @field_validator("start_date")
    @classmethod
    def first_of_a_month(cls, value: date) -> date:
        """Refuse a start inside a month: monthly slices would be cut."""
        if value.day != 1:
            raise ValueError(
                f"CITY311_START_DATE is {value}; it must be the first of a month, "
                f"for example {value.replace(day=1)}"
            )
        return value

    @field_validator("sample_now")
    @classmethod
    def in_utc(cls, value: datetime | None) -> datetime | None:
        """Read a clock without a zone as UTC."""
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value

    @property
    def warehouse_path(self) -> Path:
        """The file that runs write; readers open `snapshot_path`."""
        return self.data_dir / "warehouse" / "warehouse.duckdb"

    @property
    def snapshot_path(self) -> Path:
        """The published copy for notebooks, the console and anybody's `duckdb` shell."""
        return self.data_dir / "city311.duckdb"

    @property
    def photos_path(self) -> Path:
        """Folder of the photos and their thumbnails."""
        return self.data_dir / "photos"

    @property
    def risk_models_path(self) -> Path:
        """Folder of the fitted models of risk."""
        return self.data_dir / "risk_models"

    @property
    def published_path(self) -> Path:
        """Folder of the published pages."""
        return self.data_dir / "published"

    @property
    def dagster_home_path(self) -> Path:
        """Dagster's own folder, absolute as Dagster wants it."""
        return (self.dagster_home or self.data_dir / "dagster").absolute()


@cache
def settings() -> Settings:
    """Return this process's settings, read once from the environment and `.env`."""
    return Settings()


def unknown_variables() -> list[str]:
    """Return the CITY311_* names of the environment and `.env` that are no setting."""
    known = {f"CITY311_{name.upper()}" for name in Settings.model_fields}
    named = {*os.environ, *dotenv_values(str(Settings.model_config.get("env_file")))}
    return sorted(n for n in named if n.startswith("CITY311_") and n.upper() not in known)
