"""How the records of one file are nested: found out in one pass, applied to every part of it in the next."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from helix_pipelines.parsing.columns import columns_seen, folded, map_columns
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.notes import Note, NoteCode
from helix_pipelines.parsing.objects.field_texts import is_scalar, kind_of
from helix_pipelines.parsing.objects.json_elements import Path
from helix_pipelines.parsing.objects.layouts import PARENT, Candidate, Form, Walk, handed_down, names_identity
from helix_pipelines.parsing.objects.object_rows import SAMPLE_RECORDS, ObjectRows
from helix_pipelines.parsing.objects.record_schemes import Recogniser, Scheme, path_of
from helix_pipelines.parsing.objects.strict_json import members
from helix_pipelines.resilience.errors import FileRejectedError

SAMPLED_PATHS = 500
"""Lists of one file that are looked at one by one; of a file with more, the first ones stand for the others."""
SEEN_PATHS = 40
LOOKED_AT = 200
"""Lists and objects of a unit, outer ones first, whose keys are remembered for messages."""
NOTED_PARTS = 10
Context = Mapping[Path, Mapping[str, Any]]


class Found(NamedTuple):
    """A record with what turns it into a row. `is_whole` says that it is the very value that was walked."""

    objects: ObjectRows
    record: Any
    is_whole: bool


class Layout:
    """Where the records of a file are and what their keys mean. `mapping` is that of the first group of records."""

    def __init__(self, groups: Mapping[Scheme, ObjectRows], walk: Walk, context: Context, *, has_parts: bool) -> None:
        self._groups = groups
        self._first = next(iter(groups.values()))
        self._walk = walk
        self._context = context
        self._has_parts = has_parts
        self._above: dict[Path, Mapping[str, Any]] = {}
        self.mapping = self._first.mapping
        self.notes: list[Note] = []

    def flat(self, path: Path) -> ObjectRows | None:
        """What turns objects at `path` into rows as they are, where nothing is handed down to them and there is one kind."""
        is_plain = len(self._groups) == 1 and not self._has_parts and not self._handed_to(path)
        return self._first if is_plain else None

    def records(self, value: Any, path: Path) -> Iterator[Found]:
        """The records in a unit of the file (see `JsonElements`), in document order."""
        own = self._context.get(path)
        is_own = own is not None and isinstance(value, dict) and value.keys() >= own.keys()
        # The fields of an opened object come as a unit, too, to which they are not handed down.
        for candidate in self._walk.element(value, path, {} if is_own else self._handed_to(path)):
            objects = self._groups.get(candidate.scheme) if candidate.scheme else self._closest(candidate.record)
            part = ".".join(candidate.part) if self._has_parts else None
            record = candidate.merged(part)
            yield Found(objects or self._first, record, record is value)

    def _closest(self, record: Any) -> ObjectRows | None:
        """The group of which a record has at least one of the two keys."""
        if not isinstance(record, dict):
            return None
        return next((rows for scheme, rows in self._groups.items() if any(key in record for key in scheme)), None)

    def _handed_to(self, path: Path) -> Mapping[str, Any]:
        if path not in self._above:
            above: Mapping[str, Any] = {}
            for depth in range(len(path) + 1):
                if path[:depth] in self._context:
                    above = handed_down(above, dict(self._context[path[:depth]]), path[depth - 1] if depth else PARENT)
            if len(self._above) == SAMPLED_PATHS:
                self._above.clear()
            self._above[path] = above
        return self._above[path]


class LayoutSurvey:
    """Looks at the parts of a file and decides on its layout.

    `explicit` is role -> key, or the dotted way to it. Where several forms of records are found, objects count before
    lists, and those before maps.
    """

    def __init__(self, explicit: Mapping[str, str], limits: ParseLimits) -> None:
        self._explicit = explicit
        self._limits = limits
        forms = frozenset({Form.OBJECT} if explicit else Form)
        self._walk = Walk(Recogniser(explicit, limits), forms)
        self._looked_at: dict[Path, int] = {}
        self._candidates: dict[Form, list[Candidate]] = defaultdict(list)
        self._seen: dict[Path, None] = {}
        self._object_lists: dict[Path, None] = {}
        self._kinds: dict[str, None] = {}

    def wants(self, path: Path) -> bool:
        """Whether the next unit at `path` should be looked at: the first ones of each list are enough."""
        count = self._looked_at.get(path, 0)
        if count >= SAMPLE_RECORDS or (count == 0 and len(self._looked_at) >= SAMPLED_PATHS):
            return False
        self._looked_at[path] = count + 1
        return True

    def pass_over(self, kind: str) -> None:
        """Take a unit into account that is not to be looked at; `kind` says in words what it is."""
        self._kinds[kind] = None

    def look(self, value: Any, path: Path) -> None:
        """Take one unit into account."""
        self._kinds[kind_of(value)] = None
        if isinstance(value, dict) and path:
            self._object_lists[path] = None
        self._note_keys(value, path)
        for candidate in self._walk.element(value, path, {}):
            found = self._candidates[candidate.form]
            if len(found) < SAMPLE_RECORDS * (1 + len(self._looked_at)):
                found.append(candidate)

    def layout(self, context: Context) -> Layout:
        """The layout of all that was looked at; `context` are the fields of objects whose parts came as units of their own.

        Raises FileRejectedError: EMPTY_FILE, UNSUPPORTED_LAYOUT, COLUMNS_NOT_FOUND, MAPPING_COLUMN_MISSING,
        TOO_MANY_COLUMNS.
        """
        if any(self._walk.headers.values()):  # lists without column names are no records beside a table with them
            tables = [
                entry for entry in self._candidates[Form.LIST] if self._walk.headers[entry.place] and entry.scheme
            ]
            self._candidates[Form.LIST] = tables
        form = next((form for form in Form if self._candidates[form]), None)
        if form is None:
            raise self._rejection()
        candidates = self._candidates[form]
        if form == Form.MEMBER:  # the members of a map are its records, and nothing that it hands down to them
            maps = {candidate.place for candidate in candidates}
            context = {path: fields for path, fields in context.items() if path not in maps}
        schemes = _undisputed(candidates)
        parts = dict.fromkeys(candidate.part for candidate in candidates)
        has_parts = len(parts) > 1
        groups = {scheme: self._group(scheme, candidates, context, has_parts=has_parts) for scheme in schemes}
        self._refuse_unknown_roles(groups)
        places = frozenset(candidate.place for candidate in candidates) - frozenset(context)
        forms = frozenset({Form.OBJECT, form})
        walk = Walk(Recogniser(self._explicit, self._limits, schemes), forms, places, self._walk.headers)
        layout = Layout(groups, walk, context, has_parts=has_parts)
        layout.notes = self._left_out(parts)
        return layout

    def _group(self, scheme: Scheme, candidates: list[Candidate], context: Context, *, has_parts: bool) -> ObjectRows:
        """What turns the records of one scheme into rows: their own keys decide on roles before those handed down."""
        mine = [candidate for candidate in candidates if candidate.scheme == scheme]
        merged = [candidate.merged("part" if has_parts else None) for candidate in mine]
        merged.append({name: None for fields in context.values() for name in fields if not names_identity(name)})
        names = {folded(name): name for record in merged for name in record}
        leaves = {role: path_of(name)[-1] for role, name in self._explicit.items() if folded(name) not in names}
        wanted = {**self._explicit, **leaves}
        wanted = {role: name for role, name in wanted.items() if folded(name) in names} | scheme._asdict()
        roles = ObjectRows([candidate.record for candidate in mine], scheme._asdict(), self._limits).mapping
        if any(candidate.key is not None for candidate in mine):
            roles.setdefault("external_id", "key")
        return ObjectRows(merged, roles | wanted, self._limits)

    def _refuse_unknown_roles(self, groups: Mapping[Scheme, ObjectRows]) -> None:
        for role, name in self._explicit.items():
            if not any(role in objects.mapping for objects in groups.values()):
                seen = columns_seen([".".join(path) for path in self._seen])
                message = f"The file has no key {name[:100]!r} for {role}. {seen}"
                raise FileRejectedError("MAPPING_COLUMN_MISSING", message)

    def _note_keys(self, value: Any, path: Path) -> None:
        """Remember the first keys seen for the wording of a rejection, and the lists of objects for that of notes."""
        remaining = deque([(path, value)])
        for _ in range(LOOKED_AT):
            if not remaining:
                return
            at, item = remaining.popleft()
            if isinstance(item, dict):
                for key, member in members(item)[:SEEN_PATHS]:
                    if len(self._seen) < SEEN_PATHS:
                        self._seen[(*at, key)] = None
                    if not is_scalar(member):
                        remaining.append(((*at, key), member))
            elif isinstance(item, list):
                if any(isinstance(inner, dict) for inner in item) and at:
                    self._object_lists[at] = None
                remaining += [(at, inner) for inner in item[:SEEN_PATHS] if not is_scalar(inner)]

    def _left_out(self, parts: Mapping[Path, None]) -> list[Note]:
        """A note for each list of objects outside of the records in which none was found."""
        left_out = [
            path
            for path in self._object_lists
            if not any(part[: len(path)] == path or (path[: len(part)] == part) for part in parts)
        ]
        return [
            Note(
                NoteCode.PART_LEFT_OUT,
                f"{'.'.join(path)[:100]!r} is a list of objects without question and answer and was left out.",
            )
            for path in left_out[:NOTED_PARTS]
        ]

    def _rejection(self) -> FileRejectedError:
        if not self._kinds:
            return FileRejectedError("EMPTY_FILE", "The file has no records: it is an empty list.")
        if not self._seen:
            found = ", ".join(sorted(self._kinds))
            return FileRejectedError(
                "UNSUPPORTED_LAYOUT",
                f"The file holds no objects with question and answer (found: {found}). "
                'Export records as objects: [{"question": "...", "answer": "..."}].',
            )
        names = [".".join(path) for path in self._seen]
        if max(map(len, self._seen)) == 1:
            try:
                map_columns(names, self._explicit)
            except FileRejectedError as error:
                return error
        return FileRejectedError(
            "UNSUPPORTED_LAYOUT",
            f"No object of the file has a question and an answer. {columns_seen(names)} Name them by their keys or the way "
            "to them: --map question=data.items.ask,answer=data.items.reply. Or export a flat list of objects.",
        )


def _undisputed(candidates: list[Candidate]) -> list[Scheme]:
    """The schemes in the order in which they were found, without those that records had the keys of but did not choose.

    Where one record shows that `prompt` is not the question beside `question`, it is not the question of those that lack
    the other.
    """
    shapes = {(candidate.scheme, tuple(candidate.record)) for candidate in candidates}
    schemes = dict.fromkeys(candidate.scheme for candidate in candidates if candidate.scheme)
    disputed = {
        scheme
        for scheme in schemes
        for chosen, names in shapes
        if chosen != scheme and scheme.question in names and scheme.answer in names
    }
    return [scheme for scheme in schemes if scheme not in disputed] or list(schemes)
