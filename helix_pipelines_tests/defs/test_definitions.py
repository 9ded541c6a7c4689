"""The code location loads without a database, and shows an engineer what there is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from helix_pipelines.definitions import definitions
from helix_pipelines.instance.dagster_runs import IMPORT_JOB
from helix_pipelines.storage.tables import metadata

CHECKOUT = Path(__file__).parents[2]
STAGES = {
    "source_files": "ingestion",
    "parsed_rows": "parsing",
    "qa_pairs": "enrichment",
    "embeddings": "embedding",
    "knowledge_base": "serving",
}


@pytest.fixture(scope="module")
def loaded() -> dg.Definitions:
    return definitions()


def specs(loaded: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in loaded.resolve_all_asset_specs()}


def test_there_is_an_asset_a_stage_in_the_order_of_the_data(loaded: dg.Definitions) -> None:
    assert {name: spec.group_name for name, spec in specs(loaded).items()} == STAGES
    names = list(STAGES)
    for name, upstream in zip(names[1:], names, strict=False):
        assert [dep.asset_key.to_user_string() for dep in specs(loaded)[name].deps] == [upstream]


def test_all_assets_but_the_knowledge_base_are_partitioned_by_batch(loaded: dg.Definitions) -> None:
    whole = [name for name, spec in specs(loaded).items() if spec.partitions_def is None]
    assert whole == ["knowledge_base"]


@pytest.mark.parametrize("name", STAGES)
def test_every_asset_says_what_it_is_whose_and_where(loaded: dg.Definitions, name: str) -> None:
    spec = specs(loaded)[name]
    assert spec.description
    assert spec.owners
    assert spec.kinds
    assert spec.code_version
    table = spec.metadata["dagster/table_name"]
    assert table == "helix.knowledge_base" or table in metadata.tables


@pytest.mark.parametrize("kind", ["sensors", "schedules"])
def test_sensors_and_schedules_run_without_being_switched_on(loaded: dg.Definitions, kind: str) -> None:
    instigators = list(getattr(loaded, kind))
    assert instigators
    for instigator in instigators:
        assert instigator.default_status.value == "RUNNING", instigator.name
        assert instigator.description


def step_names(loaded: dg.Definitions, job: str) -> set[str]:
    return {node.name for node in loaded.resolve_job_def(job).nodes}


def test_an_import_verifies_its_ledger_and_leaves_the_whole_to_the_schedule(loaded: dg.Definitions) -> None:
    assert step_names(loaded, IMPORT_JOB) == {*STAGES, "qa_pairs_ledger_adds_up"}
    assert step_names(loaded, "verification_job") == {"knowledge_base_everything_adds_up"}


def test_the_workspace_names_the_code_location_as_the_project_does() -> None:
    [entry] = yaml.safe_load((CHECKOUT / "workspace.yaml").read_text())["load_from"]
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert entry["python_module"]["location_name"] == project["code_location_name"]
    assert entry["python_module"]["module_name"] == "helix_pipelines.definitions"
