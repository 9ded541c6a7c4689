"""A ledger that does not add up stops a run; what was refused is only said."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from helix_pipelines.definitions import definitions
from helix_pipelines.defs.checks import everything_adds_up, ledger_adds_up
from helix_pipelines.defs.findings import files_are_accepted, rows_are_accepted, texts_are_embedded
from helix_pipelines.defs.resources import DatabaseResource, EmbeddingResource
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.imports import FileLine
from helix_pipelines_tests.deployment import Deployment
from helix_pipelines_tests.stages import DIMENSIONS


def run_import(deployment: Deployment, key: str, **config: object) -> dg.ExecuteInProcessResult:
    job = definitions().resolve_job_def("import_batch_job")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("import_batches", [key])
        return job.execute_in_process(
            run_config={"ops": {"source_files": {"config": config}}},
            instance=instance,
            partition_key=key,
            raise_on_error=False,
        )


def evaluate(check: dg.AssetChecksDefinition, *arguments: object) -> dg.AssetCheckResult:
    result = check(*arguments, database=DatabaseResource())
    assert isinstance(result, dg.AssetCheckResult)
    return result


def results(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def test_a_sound_import_passes_its_checks_and_the_verification(deployment: Deployment, tmp_path: Path) -> None:
    result = run_import(deployment, deployment.begin(deployment.write(tmp_path / "faq.csv", 3)))
    assert result.success
    assert results(result) == {
        "files_are_accepted": True,
        "rows_are_accepted": True,
        "texts_are_embedded": True,
        "ledger_adds_up": True,
    }
    assert evaluate(everything_adds_up).passed


def test_a_ledger_line_that_went_missing_is_an_error(deployment: Deployment, tmp_path: Path) -> None:
    run_import(deployment, deployment.begin(deployment.write(tmp_path / "faq.csv", 3)))
    deployment.query("DELETE FROM helix.import_row WHERE row_number = 2")
    result = evaluate(ledger_adds_up, dg.build_asset_check_context())
    assert not result.passed
    assert result.severity is dg.AssetCheckSeverity.ERROR
    assert result.metadata["files_at_fault"].value == 1
    whole = evaluate(everything_adds_up)
    assert not whole.passed
    assert "FAILED" in str(whole.metadata["table"].value)


def line(*, quarantined: int = 0, code: str | None = None) -> FileLine:
    return FileLine(1, "faq.csv", "parsed", 10, 10 - quarantined, 0, 0, 0, quarantined, 0, code, None)


def test_refused_input_and_missing_vectors_are_warnings_with_figures() -> None:
    findings = [
        files_are_accepted([line(), line(code="FILE_EMPTY")]),
        rows_are_accepted([line(quarantined=1)]),
        texts_are_embedded(failed=1, pending=1, texts=20),
    ]
    assert [finding.passed for finding in findings] == [False, False, False]
    assert {finding.severity for finding in findings} == {dg.AssetCheckSeverity.WARN}
    assert [finding.metadata["share"].value for finding in findings] == [0.5, 0.1, 0.1]
    assert rows_are_accepted([]).passed


def test_choices_of_the_launchpad_are_stored_with_the_batch(deployment: Deployment, tmp_path: Path) -> None:
    key = deployment.begin(deployment.write(tmp_path / "faq.csv", 3))
    assert run_import(deployment, key, default_category="General", max_texts_per_request=1).success
    assert deployment.service.counters().requests == 3
    assert deployment.batch(key)["config"]["default_category"] == "General"
    assert deployment.batch(key)["config"]["drop_limit"] == 0.3
    categories = deployment.query("SELECT DISTINCT category FROM helix.knowledge_base")
    assert categories == [{"category": "General"}]


@pytest.mark.parametrize(
    "config", [{"drop_limit": 1.5}, {"max_texts_per_request": 0}, {"default_category": ""}], ids=str
)
def test_choices_out_of_range_fail_the_run_before_it_takes_the_batch(
    deployment: Deployment, tmp_path: Path, config: dict[str, object]
) -> None:
    key = deployment.begin(deployment.write(tmp_path / "faq.csv", 1))
    assert not run_import(deployment, key, **config).success
    assert deployment.batch(key)["state"] == "launched"


def test_a_choice_that_does_not_exist_is_refused_at_launch(deployment: Deployment) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="colour"):
        run_import(deployment, "any", colour="red")


def test_a_service_that_decides_on_its_dimensions_is_asked_for_them_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HELIX_EMBEDDING_DIMENSIONS")
    database = Database(deployment.url)
    for _ in range(2):
        with EmbeddingResource().service(database) as service:
            assert service.generation(database).dimensions == DIMENSIONS
    database.close()
    assert deployment.service.counters().requests == 1
