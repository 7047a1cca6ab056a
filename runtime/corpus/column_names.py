"""The names that public corpora give to a passage's id, title and text: keys of JSON lines, columns of tables.

A file with another name for one of them is refused: passages would get the numbers of their rows as ids, or no titles,
and nobody would notice.
"""

import re
from functools import lru_cache

# The first of a field's names that a row has is read; upper and lower case are the same.
NAMES = {
    "id": (
        "id",  # facebookresearch/DPR's psgs_w100.tsv, Hugging Face's wiki_dpr, Pyserini
        "_id",  # BEIR
        "pid",  # MS MARCO's passages; those of version 2 have the docid of their document too
        "passage_id",  # facebookresearch/DPR's training sets
        "psg_id",  # the same, older
        "docid",  # MS MARCO's documents, Tevatron, MIRACL, Pyserini's results
        "doc_id",  # ir_datasets
        "docno",  # TREC
    ),
    "title": ("title",),
    "text": (
        "text",
        "contents",  # Pyserini: read whole, even if it begins with the title
        "passage",  # MS MARCO's passages, version 2
        "segment",  # MS MARCO's segmented documents
        "body",  # MS MARCO's documents
    ),
}
_SIMILAR = {  # names that look like one of these fields
    "id": re.compile(
        r"(.*[\W_])?(id|uid|uuid|guid|key|no|nr|number|idx|index|identifier)"
        r"|(\w|doc|document|page|article|passage|psg|para|paragraph|chunk|text|segment|item|row|record)id"
    ),
    "title": re.compile(r"(.*[\W_])?titles?"),
}
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")  # where "chunkId" has its second word


@lru_cache(maxsize=1024)
def find_fields(names: tuple[str, ...]) -> dict[str, str] | str:
    """Return the column or key of each field that a row has, or what is wrong with the names.

    >>> find_fields(("_id", "Title", "text", "metadata"))
    {'id': '_id', 'title': 'Title', 'text': 'text'}
    >>> find_fields(("page_title", "text"))
    '"page_title" looks like the title, whose name is one of title: rename or remove it'
    """
    lowered = [name.strip().lower() for name in names]
    found: dict[str, str] = {}
    for field, known in NAMES.items():
        name = next((name for name in known if name in lowered), None)
        if name is not None:
            if lowered.count(name) > 1:
                return f'"{name}" is there {lowered.count(name)} times'
            found[field] = names[lowered.index(name)]
        elif similar := next((name for name in names if _is_similar(name, field)), None):
            return f'"{similar}" looks like the {field}, whose name is one of {", ".join(known)}: rename or remove it'
    return found


def is_header(cells: tuple[str, ...]) -> bool:
    """Return whether the first row of a table names its columns: the first names an id, or two are known or similar.

    >>> is_header(("doc_id", "url", "body")), is_header(("7", "A play.", "Text"))
    (True, False)
    """
    lowered = {cell.strip().lower() for cell in cells}
    known = sum(bool(lowered.intersection(names)) for names in NAMES.values())
    similar = [name for name in cells if _is_similar(name, "id")]
    return known > 1 or cells[0].strip().lower() in NAMES["id"] or cells[0] in similar or (known == 1 and bool(similar))


def _is_similar(name: str, field: str) -> bool:
    pattern = _SIMILAR.get(field)
    return bool(pattern and pattern.fullmatch(_CAMEL.sub("_", name.strip()).lower()))
