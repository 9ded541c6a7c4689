from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from helix_pipelines.storage import migration_checks, migrations, revisions, schema, tables
from helix_pipelines.storage.migration_checks import Finding, check, scratch_database
from helix_pipelines.storage.migrations import HEAD
from helix_pipelines.storage.revisions import Revision

NEXT = "9999"
HEADER = f"from alembic import op\nrevision = '{NEXT}'\ndown_revision = '{HEAD}'\n"
BACK = "def downgrade():\n    op.execute('SELECT 1')\n"


@pytest.fixture
def second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Gives the product one more revision of the given text; its file is returned."""

    def add(text: str) -> Path:
        scripts = tmp_path / "migrations"
        original = Path(migrations.__file__).parent
        shutil.copytree(original, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        path = scripts / "versions" / "9999_second.py"
        path.write_text(HEADER + text)
        known = revisions.revisions(scripts / "versions")
        monkeypatch.setattr(schema, "SCRIPTS", str(scripts))
        monkeypatch.setattr(migration_checks, "revisions", lambda: known)
        monkeypatch.setattr(migration_checks, "HEAD", NEXT)
        return path

    return add


def failed(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.detail for finding in findings if not finding.ok}


@pytest.fixture
def scratch_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scratch databases that a check makes, as it makes them."""
    names = []

    @contextmanager
    def noted(url: str) -> Iterator[str]:
        with scratch_database(url) as scratch:
            names.append(scratch.rpartition("/")[2])
            yield scratch

    monkeypatch.setattr(migration_checks, "scratch_database", noted)
    return names


def test_the_revisions_of_this_release_are_sound(migrated_url: str, scratch_names: list[str]) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute("INSERT INTO helix.collection (name) VALUES ('faq')")
        connection.execute("CREATE TABLE helix.embedding_g1 PARTITION OF helix.embedding FOR VALUES IN (1)")
    findings = check(migrated_url, copy=True)
    assert failed(findings) == {}
    assert {"up_down_up", "models_match", "copy"} <= {finding.check for finding in findings}
    with psycopg.connect(migrated_url) as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname = ANY(%s)", [scratch_names]).fetchall()
    assert len(scratch_names) == 4
    assert left == [], "scratch databases are dropped"


def test_without_a_server_the_texts_are_checked() -> None:
    assert {finding.check.partition("[")[0] for finding in check(None)} == {
        "head_is_newest",
        "destruction_is_declared",
        "goes_back",
    }


@pytest.mark.parametrize(
    ("upgrade", "step"),
    [
        ("op.drop_table('source', schema='helix')", "DROP TABLE"),
        ("op.drop_column('source', 'name', schema='helix')", "DROP COLUMN"),
        ("op.alter_column('source', 'name', type_=None, schema='helix')", "type change"),
        ("op.execute('ALTER TABLE helix.source ALTER COLUMN id TYPE smallint')", "type change"),
        ("op.execute('alter table helix.source alter id set data type smallint')", "type change"),
        ("op.execute('ALTER TABLE helix.source ADD x int, DROP name')", "DROP COLUMN"),
        ("op.execute('SELECT 1; TRUNCATE helix.source')", "TRUNCATE"),
        ("op.execute('DELETE FROM helix.source')", "DELETE"),
        ("op.execute(f'DROP TABLE helix.{1}')", "DROP TABLE"),
    ],
)
def test_what_destroys_data_has_to_be_declared(second: Callable[[str], Path], upgrade: str, step: str) -> None:
    second(f"def upgrade():\n    {upgrade}\n{BACK}")
    assert failed(check(None))["destruction_is_declared[9999_second]"].startswith(f"{step} without DESTRUCTIVE")


def test_a_declared_destruction_passes_with_its_reason(second: Callable[[str], Path]) -> None:
    second(f"DESTRUCTIVE = 'nobody reads it'\ndef upgrade():\n    op.drop_table('source')\n{BACK}")
    found = next(finding for finding in check(None) if finding.check == "destruction_is_declared[9999_second]")
    assert found == Finding(found.check, ok=True, detail="DROP TABLE: nobody reads it")


def test_sql_files_of_a_revision_are_read_and_comments_and_texts_are_not(second: Callable[[str], Path]) -> None:
    path = second(f"def upgrade():\n    pass\n{BACK}")
    script = path.with_suffix(".sql")
    script.write_text(
        "-- DROP TABLE x\n/* TRUNCATE y; */ COMMENT ON TABLE helix.source IS 'see; DELETE FROM';\n"
        "CREATE TRIGGER t BEFORE DELETE OR TRUNCATE ON helix.source EXECUTE FUNCTION helix.refuse_change();\n"
        "ALTER TABLE helix.source DROP CONSTRAINT x;\nALTER TABLE helix.source ALTER COLUMN name DROP NOT NULL;\n"
    )
    assert Revision(path).destructive_steps() == []
    script.write_text(
        "CREATE FUNCTION helix.f() RETURNS void LANGUAGE sql AS $$\nSELECT 1;\nDELETE FROM helix.source\n$$;"
    )
    assert Revision(path).destructive_steps() == [], "a function does nothing before it is called"
    script.write_text("DO $$ BEGIN PERFORM 1; DELETE FROM helix.source; END $$")
    assert Revision(path).destructive_steps() == ["DELETE"]
    script.write_text("DROP TABLE helix.source;")
    assert Revision(path).destructive_steps() == ["DROP TABLE"]


@pytest.mark.parametrize(
    "way_back", ["", "def downgrade():\n    '''Nothing.'''\n    pass\n", "def downgrade():\n    raise ValueError\n"]
)
def test_a_missing_way_back_is_found(second: Callable[[str], Path], way_back: str) -> None:
    second(f"def upgrade():\n    pass\n{way_back}")
    assert list(failed(check(None))) == ["goes_back[9999_second]"]


def test_a_head_that_was_not_raised_is_found(second: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    second(f"def upgrade():\n    pass\n{BACK}")
    monkeypatch.setattr(migration_checks, "HEAD", HEAD)
    assert "The newest revision is 9999" in failed(check(None))["head_is_newest"]


def test_two_heads_are_found(second: Callable[[str], Path]) -> None:
    path = second(f"def upgrade():\n    pass\n{BACK}")
    path.write_text(path.read_text().replace(f"down_revision = '{HEAD}'", "down_revision = None"))
    assert "not one line" in failed(check(None))["one_line"]


def test_a_downgrade_that_leaves_something_is_found(
    second: Callable[[str], Path], make_database: Callable[[], str]
) -> None:
    second(f"def upgrade():\n    op.execute('CREATE TABLE helix.left (id int)')\n{BACK}")
    problem = failed(check(make_database()))["up_down_up"]
    assert problem.startswith("9999_second: the downgrade does not restore what was before: left over column left.id")


def test_a_revision_that_does_not_run_is_a_finding(
    second: Callable[[str], Path], make_database: Callable[[], str]
) -> None:
    second(f"def upgrade():\n    op.execute('CREATE TABLE helix.source (id int)')\n{BACK}")
    assert 'relation "source" already exists' in failed(check(make_database(), copy=True))["up_down_up"]


def test_models_that_differ_from_the_revisions_are_found(
    make_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = sa.MetaData(schema="helix", naming_convention=tables.metadata.naming_convention)
    for table in tables.metadata.tables.values():
        table.to_metadata(changed)
    sa.Table("source", changed, extend_existing=True).append_constraint(sa.CheckConstraint("id > 0", name="more"))
    monkeypatch.setattr(tables, "metadata", changed)
    problems = failed(check(make_database()))
    assert list(problems) == ["models_match"]
    assert "ck_source_more" in problems["models_match"]


def test_a_user_who_may_not_create_databases_is_told(make_database: Callable[[], str]) -> None:
    url = make_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE limited LOGIN PASSWORD 'limited'")
    host = url.rpartition("@")[2]
    assert "SCRATCH_REFUSED" in failed(check(f"postgresql://limited:limited@{host}"))["up_down_up"]


def test_a_scratch_database_goes_even_when_somebody_is_connected(make_database: Callable[[], str]) -> None:
    url = make_database()
    with scratch_database(url) as scratch:
        connection = psycopg.connect(scratch)
        assert scratch.rpartition("/")[0] == url.rpartition("/")[0]
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()
