"""Every `HELIX_*` setting, typed, read once from the environment and an optional `.env`, secrets never printed.

The line below a field says what it is for: `helix settings --markdown` prints the README's table from them.
Reading uses msgspec, not pydantic-settings: the latter costs 0.24 s of the 0.5 s in which `helix status` has to start.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Self, get_args, get_type_hints

import msgspec
from msgspec import Meta

from helix_pipelines.resilience.errors import SetupError

PREFIX = "HELIX_"
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
YEAR = 366 * 86_400
MOST_PER_MINUTE = 1_000_000_000
"""Far above what a service allows; well below where times between requests can no longer be told apart."""
MOST_CONCURRENCY = 10_000
MOST_MONEY = 10**12
SHOWN_CHARS = 60
"""Of a value that is refused."""

# Each has an end, as "inf" is a number too and no column, timer or socket takes it; the description says what is allowed.
Positive = Annotated[int, Meta(ge=1, le=2_000_000_000, description="a whole number from 1 to 2,000,000,000")]
NotNegative = Annotated[int, Meta(ge=0, le=1_000, description="a whole number from 0 to 1,000")]
Bytes = Annotated[int, Meta(ge=1, le=2**50, description="bytes: a whole number from 1 to 1,125,899,906,842,624")]
Concurrency = Annotated[int, Meta(ge=1, le=MOST_CONCURRENCY, description="a whole number from 1 to 10,000")]
Rate = Annotated[int, Meta(ge=0, le=MOST_PER_MINUTE, description="a whole number from 0 (no limit) to 1,000,000,000")]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port: a whole number from 1 to 65535")]
Seconds = Annotated[float, Meta(gt=0, le=YEAR, description="seconds: a number above 0, at most 31,622,400 (a year)")]
Pause = Annotated[float, Meta(ge=0, le=YEAR, description="seconds: a number from 0 to 31,622,400 (a year)")]
Price = Annotated[float, Meta(ge=0, le=MOST_MONEY, description="a sum of money: a number from 0 to 1,000,000,000,000")]


class Secret:
    """A text that never shows itself: `repr` and `str` print stars, `reveal()` returns it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that has to send it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


class Prices(dict[str, float]):
    """Prices by model, written as `model=price,model=price`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for anything else, and for prices below zero."""
        prices = cls()
        for part in filter(None, (part.strip() for part in text.split(","))):
            model, given, price = part.rpartition("=")
            if not given or not 0 <= float(price) <= MOST_MONEY:
                raise ValueError(f"{part!r} is not model=price")
            prices[model.strip()] = float(price)
        return prices


def default_home() -> Path:
    """`var/` beside the package in a checkout, `~/.helix` where the package is installed without one."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout / "var" if (checkout / "pyproject.toml").is_file() else Path.home() / ".helix"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a process. Field `x` is read from `HELIX_X`; sizes are bytes, times are seconds."""

    home: Path = msgspec.field(default_factory=default_home)
    """Folder for all that Helix keeps: database, original files, logs."""
    inbox: Path | None = None
    """Folder to drop files into; its first sub-folders name collections. Not set: `inbox` in HELIX_HOME."""
    store_url: str | None = None
    """Where original files are kept, as an fsspec URL (`s3://...`). Not set: `store` in HELIX_HOME."""
    database_url: Secret | None = None
    """PostgreSQL >= 15 with pgvector >= 0.8, as `postgresql://user:password@host/name`. Not set: an embedded one."""
    database_pool_size: Positive = 2
    """Connections that a process keeps open."""
    database_max_overflow: NotNegative = 3
    """Connections beyond the pool that a process may open for a while."""
    database_pool_timeout: Seconds = 30.0
    """Seconds to wait for a free connection of the pool."""
    database_pool_recycle: Positive = 1800
    """Seconds after which a pooled connection is replaced, as firewalls drop idle ones."""
    database_pre_ping: bool = True
    """Whether a pooled connection that was idle for a second is tried before it is used again."""
    embedding_url: str | None = None
    """Base of a service that speaks OpenAI's embeddings API, `https://api.openai.com/v1`. Not set: a local embedder."""
    embedding_api_key: Secret | None = None
    """Key of that service."""
    embedding_model: str = "multilingual-e5-small"
    """Model that makes the vectors. It cannot change under vectors that exist."""
    embedding_dimensions: Positive | None = None
    """Size of the vectors. Not set: the model's own."""
    embedding_max_concurrency: Concurrency | None = None
    """Requests in flight at most. Not set: 2 for the local embedder, 5 for a service."""
    embedding_rpm: Rate | None = None
    """Requests a minute at most, 0 for no limit. Not set: 60 for a service outside, no limit on this machine."""
    embedding_tpm: Rate | None = None
    """Tokens a minute at most, 0 for no limit. Not set: no limit."""
    embedding_limit_period: Seconds = 60.0
    """Seconds of the window in which the service counts: 60 as a rule, less where it splits its minute."""
    embedding_breaker_threshold: Positive = 5
    """Failures in a row after which the service is left alone."""
    embedding_breaker_timeout: Seconds | None = None
    """Longest wait in seconds between two looks at a service that failed. Not set: 60, 5 for one on this machine."""
    embedding_prices: Prices | None = None
    """Price of a million tokens by model, `text-embedding-3-small=0.02,other=0.1`. Costs are in the same currency."""
    budget_per_batch: Price | None = None
    """Most that the requests of one batch may cost; then it is paused. Needs a price."""
    budget_per_day: Price | None = None
    """Most that all requests of a day (UTC) may cost; then batches wait for the next one. Needs a price."""
    outage_patience: Seconds = 120.0
    """Seconds that a run waits for a service that does not answer; then its batch is deferred and goes on by itself later."""
    search_timeout: Seconds = 0.6
    """Seconds that a search waits for its vector; then it answers from full text."""
    ui_port: Port | None = None
    """Port of Dagster's UI on 127.0.0.1. Not set: 3000, or a free one where that is taken."""
    batch_timeout: Seconds = 120.0
    """Seconds that one embedding request may take; then its texts are left for another."""
    max_retries: NotNegative = 3
    """Tries of a request or a step beyond the first, for failures that pass."""
    retry_backoff_base: Seconds = 60.0
    """Seconds before a failed step is tried again; doubled for each further try."""
    phase_timeout: Seconds = 3600.0
    """Seconds without an end after which a phase gives up, or `helix import` stops waiting for a deferred batch."""
    run_timeout: Seconds = 86400.0
    """Seconds after which a run gives way to others: its batch goes to the end of the queue, and on from where it is."""
    auto_recovery: bool = True
    """Whether what a crash leaves behind is put right by itself; else it is only reported, for `helix recover`."""
    inbox_stable_seconds: Pause = 5.0
    """Seconds for which a file in the inbox must keep its size and time before it is taken."""
    inbox_batch_files: Positive = 500
    """Files in one batch at most."""
    inbox_batch_bytes: Bytes = 256 * 1024 * 1024
    """Bytes in one batch at most; a larger file is a batch by itself."""
    inbox_batch_age: Pause = 10.0
    """Seconds that a file waits for company before its batch is closed."""
    max_running_batches: Positive = 2
    """Batches that run at once."""
    max_file_bytes: Bytes = 4 * 1024**3
    """Bytes of a file at most; a larger one is rejected."""
    max_expanded_bytes: Bytes = 8 * 1024**3
    """Bytes of a compressed file's content at most."""
    max_expansion_ratio: Positive = 200
    """How many times its size a compressed file may expand to."""
    max_cell_chars: Positive = 1_000_000
    """Characters of a cell at most; a row with a longer one is quarantined."""
    max_columns: Positive = 2_000
    """Columns of a file at most."""
    max_nesting: Positive = 100
    """Levels of a JSON or YAML value at most."""
    max_rows: Positive = 10_000_000
    """Records of a file at most."""
    max_sheets: Positive = 200
    """Sheets of a workbook at most."""
    max_aliases: Positive = 1_000
    """Aliases (`*name`) of a YAML file at most, as each may repeat a large part of it."""
    max_document_bytes: Bytes = 64 * 1024**2
    """Bytes of a file at most that has to be held whole to be understood: YAML, Markdown, HTML."""
    max_workbook_bytes: Bytes = 512 * 1024**2
    """Bytes of an unpacked workbook (Excel, OpenDocument) at most, as it is held whole."""
    max_archive_members: Positive = 10_000
    """Files in an archive at most."""
    max_file_seconds: Seconds = 3600.0
    """Seconds that reading one file may take."""
    reader_timeout: Seconds = 60.0
    """Seconds that a reader which holds a file whole may take until its first records, and between them."""
    reader_memory: Bytes = 2 * 1024**3
    """Bytes of memory that such a reader, a process of its own, may ask for."""

    @property
    def inbox_dir(self) -> Path:
        """The folder that people drop files into; its first sub-folder names the collection."""
        return self.inbox or self.home / "inbox"

    @property
    def store(self) -> str:
        """fsspec URL of the content-addressed store of original files."""
        return self.store_url or f"file://{(self.home / 'store').absolute()}"

    @property
    def embeds_locally(self) -> bool:
        """Whether texts go to the embedder that Helix starts itself, as no other service is named."""
        return self.embedding_url is None

    @property
    def embedding_concurrency(self) -> int:
        """Requests in flight at most: as set, else 2 for the local embedder (2 forward passes) and 5 for a service."""
        return self.embedding_max_concurrency or (2 if self.embeds_locally else 5)

    def price(self, model: str) -> float:
        """Price of a million tokens of a model, 0 where none is set."""
        return self.embedding_prices.get(model, 0.0) if self.embedding_prices else 0.0


def load_settings(environ: dict[str, str] | None = None, env_file: Path | None = Path(".env")) -> Settings:
    """Read the settings; the environment wins over `env_file`.

    Raises SetupError (SETTING_INVALID) that names the variable, its value and what it accepts.
    """
    values: dict[str, Any] = {}
    if env_file is not None and env_file.is_file():
        from dotenv import dotenv_values

        values.update({key: value for key, value in dotenv_values(env_file).items() if value is not None})
    values.update(os.environ if environ is None else environ)
    given = {
        name: values[PREFIX + name.upper()] for name in Settings.__struct_fields__ if values.get(PREFIX + name.upper())
    }
    try:
        return msgspec.convert(given, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        name = str(error).rpartition(" - at `$.")[2].rstrip("`")
        raise SetupError("SETTING_INVALID", _refusal(name, str(given[name]))) from error


def _refusal(name: str, value: str) -> str:
    """What is wrong with a setting, and what would be right. No secret gets here, as any text may be one."""
    shown = value if len(value) <= SHOWN_CHARS else value[:SHOWN_CHARS] + "..."
    return (
        f"{PREFIX}{name.upper()} is {shown!r}, but has to be {allowed(name)}. Correct it in the environment or in .env."
    )


def allowed(name: str) -> str:
    """What the setting of a field may be, in words."""
    kind = get_type_hints(Settings, include_extras=True)[name]
    for choice in (kind, *get_args(kind)):
        if choice is bool:
            return "true or false"
        if choice is Prices:
            return "prices written as model=price,model=price, each a number from 0 to 1,000,000,000,000"
        for note in getattr(choice, "__metadata__", ()):
            return str(note.description)
    return "a text"


def _decode(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(str(value)).expanduser()
    if kind is Secret:
        return Secret(str(value))
    if kind is Prices:
        return Prices.parse(str(value))
    raise NotImplementedError(f"no setting has the type {kind}")
