"""Batches and files in words and tables, for people."""

from __future__ import annotations

from typing import Any

from helix_pipelines.cli.output import one_line, paragraphs, table

COUNTERS = ("rows_read", "inserted", "updated", "unchanged", "duplicate", "quarantined", "pending", "embedded")
DETAILS = ("collection", "mode", "state", "format", "encoding", "bytes", "sha256", "same_as", "replay_of", "batch")


def batch_text(report: dict[str, Any]) -> str:
    """A batch: its state, how far it is, its files, and where the time went."""
    parts = [f"Batch {report['batch']}: {report.get('state') or report['status']}"]
    if report.get("error"):
        parts.append(f"{report['error']['code']}: {report['error']['message']}")
    if report.get("retry_at"):
        parts.append(f"It goes on by itself after {report['retry_at']:%Y-%m-%d %H:%M:%S %Z}.")
    if report.get("stop_requested"):
        parts.append(f"Its run was asked to stop ({report['stop_requested']}) and ends after the chunk that it is at.")
    if report.get("progress"):
        parts.append(progress_text(report["progress"]))
    parts.append(files_text(report["imports"]))
    parts.extend(_remarks(report["imports"]))
    parts.append("\n".join(failure_text(failure) for failure in report.get("failures", [])))
    parts.append(_costs(report))
    return paragraphs(parts)


def import_text(report: dict[str, Any]) -> str:
    """One file of a batch, with what is known of the file itself."""
    details = "\n".join(f"  {name:<11}{one_line(str(report[name]))}" for name in DETAILS if report[name] is not None)
    return paragraphs(
        [f"Import {report['import']}: {one_line(report['path'])}", details, files_text([report]), *_remarks([report])]
    )


def files_text(files: list[dict[str, Any]]) -> str:
    """One line a file: status and counters."""
    return table(
        ["import", "source", "status", *(name.replace("_", " ") for name in COUNTERS), "failed"],
        [
            [str(f["import"]), f["source"], f["status"], *(f[name] for name in COUNTERS), f["failed_embeddings"]]
            for f in files
        ],
    )


def progress_text(progress: dict[str, Any]) -> str:
    """`embeddings: 300 of 1,000 texts, about 12 s left`."""
    total = f" of {progress['total']:,}" if progress["total"] is not None else ""
    eta = f", about {progress['eta_seconds']:.0f} s left" if progress["eta_seconds"] is not None else ""
    return f"{progress['phase']}: {progress['done']:,}{total} {progress['unit']}{eta}"


def failure_text(failure: dict[str, Any]) -> str:
    """`parsed_rows, attempt 2: DISK_FULL in faq.csv, rows 401 to 600. Free space on ...`."""
    told = f"{failure['phase']}, attempt {failure['attempt']}: {failure['code'] or 'its process was lost'}"
    place = failure["place"]
    if place:
        told += f" in {one_line(place['path'])}"
        if place["first_row"] is not None:
            told += f", rows {place['first_row']:,} to {place['last_row']:,}"
    return f"{told}. {failure['advice'] or ''}".rstrip()


def _remarks(files: list[dict[str, Any]]) -> list[str]:
    refused = [f"{one_line(f['source'])}: {f['error']['code']}: {f['error']['message']}" for f in files if f["error"]]
    same = [
        f"{one_line(f['source'])}: the same bytes as import {f['same_as']}; nothing was read again."
        for f in files
        if f["same_as"]
    ]
    replayed = [
        f"{one_line(f['source'])}: {f['replayed']:,} of {f['quarantined']:,} quarantined rows were corrected and replayed since."
        for f in files
        if f.get("replayed")
    ]
    noted = [f"{one_line(f['source'])}: {note['code']}: {note['message']}" for f in files for note in f["notes"]]
    return ["\n".join(lines) for lines in (refused, same, replayed, noted) if lines]


def _costs(report: dict[str, Any]) -> str:
    api = report["api"]
    seconds = ", ".join(f"{phase} {spent:.1f} s" for phase, spent in report["seconds"].items())
    cost = f", cost {api['cost']:,.4g}" if api["cost"] else ""
    usage = f"{api['texts']:,} texts embedded in {api['requests']:,} requests ({api['tokens']:,} tokens{cost})."
    return f"{usage} Time: {seconds}." if seconds else usage
