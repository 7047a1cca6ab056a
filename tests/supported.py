"""Make the tables of docs/compatibility.md and docs/checkpoints.md from the tables of the code.

    python -m tests.supported       # writes them into the pages

`test_supported.py` fails if a page says anything else, or if a difference from transformers has no test.
"""

from dataclasses import dataclass
from pathlib import Path

from dpr_export import runtime
from dpr_export.exporter.checkpoint.families import FAMILIES
from dpr_export.exporter.checkpoint.layouts import LAYOUTS, WEIGHT_FILES, Layout
from dpr_export.exporter.options import DEFAULT_OPSET, OPSETS
from dpr_export.models.artifact.variants import EMBEDS_FILE, MODEL_FILE, RUNTIME_PRECISIONS, VARIANTS
from dpr_export.models.kinds import KINDS
from dpr_export.models.optional_outputs import LENGTH_AXES
from dpr_export.models.tokenization.tokenizer_files import TOKENIZER_FILES
from dpr_export.runtime.engines.session import SESSION_CLASSES

DOCS = Path(__file__).parent.parent / "docs"
DEVICES = {"cpu": "CPU", "cuda": "NVIDIA GPU"}


@dataclass(frozen=True)
class Difference:
    """A difference from transformers, on purpose.

    Attributes:
        where: what part of the surface it is of.
        reference: what transformers does.
        ours: what dpr-export does.
        test: the test that shows it.
    """

    where: str
    reference: str
    ours: str
    test: str


DIFFERENCES = (
    Difference(
        "checkpoints",
        "transformers 5 ignores `position_embedding_type`, and computes something else",
        "refused, unless it is `absolute`",
        "tests/exporter/test_load.py::test_a_configuration_that_cannot_be_exported_is_refused",
    ),
    Difference(
        "checkpoints",
        "`AutoModel` makes a question encoder with random weights of a context encoder's checkpoint",
        "the class is the one that the weights' names say, or `config.json`",
        "tests/exporter/test_load.py::test_automodel_would_have_loaded_random_weights",
    ),
    Difference(
        "checkpoints",
        "a missing weight is a warning",
        "an error that names it",
        "tests/exporter/test_load.py::test_a_missing_weight_is_an_error_that_names_it",
    ),
    Difference(
        "RoBERTa's models",
        "a literal `<pad>` in a text has the position of padding",
        "it has a position of its own, as every token",
        "tests/layouts/test_layouts.py::test_a_literal_pad_token_in_a_text_of_roberta_has_a_position_of_its_own",
    ),
    Difference(
        "calls",
        "transformers 5 swallows unknown keywords",
        "a TypeError, as in transformers 4",
        "tests/runtime/inference/test_model.py::test_an_unknown_keyword_is_a_type_error",
    ),
    Difference(
        "calls",
        "in transformers 5 `return_dict=False` loses the first of hidden states and attentions",
        "the tuple of transformers 4",
        "tests/runtime/inference/test_extras.py::test_a_tuple_has_all_of_them_in_the_order_of_transformers_4",
    ),
    Difference(
        "calls",
        "ids, masks and lengths out of bounds are whatever the tensor library makes of them",
        "a ValueError or IndexError that names the argument, the value and the bound",
        "tests/bad_input/test_calls.py::test_it_is_refused_in_one_line_and_nothing_is_changed",
    ),
    Difference(
        "calls",
        "`DPRReader(configuration)` is a model with random weights",
        "a TypeError: a configuration alone has none",
        "tests/runtime/inference/test_model.py::test_a_configuration_alone_makes_no_model",
    ),
    Difference(
        "calls",
        "`output_hidden_states`, `output_attentions` and `inputs_embeds` work at any call",
        "they are exported (`--output-hidden-states`, ...); elsewhere a ValueError that names the option",
        "tests/runtime/inference/test_extras.py::test_what_a_folder_does_not_hold_is_answered_with_the_option_that_makes_it",
    ),
    Difference(
        "tokenizers",
        "transformers 5's lower-case, whatever `do_lower_case` says",
        "as the checkpoint's configuration says",
        "tests/models/test_tokenizers.py::test_lower_case_follows_the_checkpoint",
    ),
    Difference(
        "tokenizers",
        "a lone surrogate is an error of the tokenizers library",
        "a ValueError with the argument and the position",
        "tests/models/test_tokenizers.py::test_a_lone_surrogate_is_refused_by_name_and_position",
    ),
    Difference(
        "reader's tokenizer",
        "the Fast class asserts that there are as many titles as texts",
        "a ValueError in both classes",
        "tests/models/test_reader_tokenizer.py::test_titles_and_texts_of_different_length_are_a_value_error",
    ),
    Difference(
        "reader's tokenizer",
        '`truncation="do_not_truncate"` cuts',
        "does not cut",
        "tests/models/test_reader_tokenizer.py::test_do_not_truncate_does_not_cut",
    ),
    Difference(
        "reader's tokenizer",
        "an unknown strategy of truncation cuts",
        "a ValueError",
        "tests/models/test_reader_tokenizer.py::test_an_unknown_strategy_is_refused",
    ),
    Difference(
        "reader's tokenizer",
        "`return_attention_mask=False` gives the mask",
        "leaves it out",
        "tests/models/test_reader_tokenizer.py::test_a_mask_that_is_not_wanted_is_left_out",
    ),
    Difference(
        "reader's tokenizer",
        'rows of different lengths with `return_tensors="np"` fail within NumPy',
        "a ValueError that names `padding`",
        "tests/models/test_reader_tokenizer.py::test_ragged_rows_asked_for_as_arrays_are_refused",
    ),
    Difference(
        "`decode_best_spans`",
        "NaN logits are sorted somewhere",
        "a ValueError",
        "tests/models/test_spans.py::test_a_nan_is_refused_even_where_no_span_is_looked_for",
    ),
    Difference(
        "`decode_best_spans`",
        "with a bound below 1 everything is returned, or one span is dropped",
        "a ValueError that names the bound",
        "tests/models/test_spans.py::test_a_bound_below_one_is_refused",
    ),
    Difference(
        "`decode_best_spans`",
        "a row that was cut before its second [SEP] fails somewhere",
        "a ValueError that says so",
        "tests/models/test_spans.py::test_a_row_cut_before_its_second_sep_cannot_be_decoded",
    ),
    Difference(
        "`DPRReader.answer`",
        "`decode_best_spans` may answer with a piece of the title",
        "answers come from the text alone, as it was written",
        "tests/runtime/inference/test_reader.py::test_an_answers_span_is_the_best_one_of_transformers_within_the_text",
    ),
    Difference(
        "TensorRT",
        "a row that is masked altogether attends to all of its tokens alike",
        "finite, but not as in transformers: the row is padded like all others",
        "tests/runtime/engines/test_buckets.py::test_a_row_that_is_masked_stays_so_and_added_rows_attend",
    ),
)


def supported() -> list[str]:
    """What is supported, as the rows of a table."""
    rows = {
        "models": _code(kind.architecture for kind in KINDS.values())
        + ", and encoders of other classes ([Checkpoints](checkpoints.md))",
        "in `dpr_export.runtime`": _code(name for name in runtime.__all__),
        "weights": f"{_code(WEIGHT_FILES)}, and files of facebookresearch/DPR (`--kind`, `--tokenizer`)",
        "tokenizers": f"{_code(TOKENIZER_FILES)}, whichever there are",
        "graphs": f"ONNX opset {OPSETS[0]} to {OPSETS[-1]} ({DEFAULT_OPSET} unless asked), any batch and length; "
        + f"on request {_code(LENGTH_AXES)}, and `{EMBEDS_FILE}` for `inputs_embeds`",
        "engines": "; ".join(
            f"{backend} on {DEVICES[device]}" + (" (not yet run on one)" if backend == "tensorrt" else "")
            for backend, device in SESSION_CLASSES
        ),
        "without a file": "; ".join(
            f"{name}: {backend} computes {precision} so" for name, (backend, precision) in RUNTIME_PRECISIONS.items()
        ),
        "not exported": "relative positions, decoders",
    }
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]
    lines += ["", "| graph | engine | precision | on |", "| --- | --- | --- | --- |"]
    for spec in sorted(VARIANTS, key=lambda spec: (spec.file != MODEL_FILE, spec.file, spec.backend)):
        devices = ", ".join(DEVICES[device] for device in spec.devices)
        lines.append(f"| `{spec.file}` | {spec.backend} | {spec.precision} | {devices} |")
    return lines


def differences() -> list[str]:
    """What differs, as the rows of a table."""
    head = ["| | transformers | dpr-export |", "| --- | --- | --- |"]
    return head + [f"| {row.where} | {row.reference} | {row.ours} |" for row in DIFFERENCES]


def _code(names: object) -> str:
    return ", ".join(f"`{name}`" for name in names)  # type: ignore[attr-defined]


def layouts() -> list[str]:
    """The layouts of checkpoints, as the rows of a table."""
    head = ["| layout | who has it | shown by | the kind is said by |", "| --- | --- | --- | --- |"]
    return head + [f"| {row.title} | {row.published_by} | {_mark(row)} | {_kind(row)} |" for row in LAYOUTS]


def _mark(layout: Layout) -> str:
    return f"`{layout.mark}`" + (f", model_type {layout.model_type}" if layout.model_type else "")


def _kind(layout: Layout) -> str:
    if layout.kind:
        return f"it is a {KINDS[layout.kind].title}"
    return "`--kind`" if layout.folders else "the weights' names, the class that is named, or `--kind`"


def families() -> list[str]:
    """The model types, as the rows of a table."""
    types: dict[str, list[str]] = {}
    for model_type, family in FAMILIES.items():
        types.setdefault(family.title, []).append(model_type)
    head = ["| model | `model_type` |", "| --- | --- |"]
    return head + [f"| {title} | {_code(names)} |" for title, names in types.items()]


BLOCKS = {
    "compatibility.md": {"supported": supported, "differences": differences},
    "checkpoints.md": {"layouts": layouts, "models": families},
}


def fill_in(page: str, text: str) -> str:
    """Put the tables of a page into its text."""
    for name, lines in BLOCKS[page].items():
        start, end = f"<!-- {name}: made by tests/supported.py -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(start)
        _, after = rest.split(end)
        text = before + start + "\n" + "\n".join(lines()) + "\n\n" + end + after
    return text


if __name__ == "__main__":
    for page in BLOCKS:
        (DOCS / page).write_text(fill_in(page, (DOCS / page).read_text(encoding="utf-8")), encoding="utf-8")
