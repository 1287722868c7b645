"""A run's student as a folder for others to use: weights, ONNX, class names, a card, loading code.

The folder is written completely or not at all. torch is imported only if there is something to
export; the ONNX code is in `kgen.journal.onnx_model`.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from kgen import __version__
from kgen.errors import ExportError
from kgen.events import Evaluated, RunStarted
from kgen.journal.reading import Run, open_run
from kgen.phrases import count, pip_install
from kgen.system.files import write_folder
from kgen.zoo import zoo

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
"""Packages that student.onnx needs besides torch."""


def missing_packages() -> str:
    """A sentence with the packages missing for student.onnx; empty if none are."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    return f"student.onnx needs {', '.join(missing)}: {pip_install(*PACKAGES)}" if missing else ""


def export(
    folder: str | Path, out: str | Path | None = None, *, onnx: bool = False
) -> tuple[Path, dict[str, Any]]:
    """Write a run's student to the folder `out`, by default next to the run. → that folder, its
    card.

    With `onnx`, it includes a student.onnx that was verified against torch. Raises JournalError,
    ZooError, ExportError.
    """
    run = open_run(folder)
    file = run.student()
    path = run.path if run.path.name not in ("", "..") else run.path.resolve()
    out = path.with_name(f"{path.name}-student") if out is None else Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ExportError(
            f"{out} already exists and is not empty; delete it, or choose another folder with"
            " --out.",
            code="exists",
            file=str(out),
        )
    if onnx and missing_packages():
        raise ExportError(
            f"{missing_packages()}. Or export without --onnx.",
            code="no-package",
        )

    student = zoo.load_classifier(file)
    facts = card(run, student, zoo.read_spec(file, "mean", "is not an exported student"))
    files = {
        "student.safetensors": file.read_bytes(),
        "classes.txt": "\n".join(facts["classes"]).encode(),
    }
    if onnx:
        from kgen.journal.onnx_model import compare, convert

        sample = (facts["input"]["channels"], facts["input"]["side"], facts["input"]["side"])
        files["student.onnx"] = convert(
            student,
            sample,
            {"kgen": json.dumps(facts)} | {k: facts[k]["about"] for k in ("input", "output")},
        )
        facts["onnx"] = {
            "largest_difference": compare(files["student.onnx"], student, sample),
            "bytes": len(files["student.onnx"]),
        }
    files["card.json"] = json.dumps(facts, indent=2, ensure_ascii=False).encode()
    try:
        write_folder(out, files | {name: text.encode() for name, text in documents(facts).items()})
    except OSError as error:
        raise ExportError(
            f"{out} cannot be written: {error.strerror or error}; choose another folder"
            " with --out.",
            code="unwritable",
            file=str(out),
        ) from None
    return out, facts


def card(run: Run, student: Any, spec: dict[str, Any]) -> dict[str, Any]:
    """Facts to know before using the student (pixels in, logits out); `spec` is from its file."""
    from kgen.nets.cost import cost

    last = {event.kind: event for event in run.events()}
    started, score = last.get("run_started"), last.get("evaluated")
    if not isinstance(started, RunStarted) or not isinstance(score, Evaluated):
        raise ExportError(
            f"{run.path / 'events.jsonl'} contains no evaluation of the student; resume the run,"
            " let it finish, then export it.",
            code="unfinished",
        )
    teacher, channels, side, real = (
        started.teacher,
        spec["channels"],
        spec["side"],
        score.student.real,
    )
    return {
        "format": "kgen export",
        "kgen": __version__,
        "student": {
            "name": started.recipe["student"],
            **cost(student.network, channels, side)._asdict(),
        },
        "teacher": {
            "name": teacher.name,
            "title": teacher.title,
            "architecture": teacher.architecture,
            "parameters": teacher.parameters,
            "macs": started.teacher_macs,
            "bytes": started.teacher_bytes,
            "accuracy": score.teacher.accuracy if score.teacher else None,
        },
        "accuracy": score.student.accuracy if real else None,
        "agreement": None if real else score.student.accuracy,
        "n": score.student.n,
        "accuracy_about": (
            "share of n real images that the student, or the teacher, classifies correctly among"
            " the classes of the run"
            if real
            else (
                "there were no real test images; agreement is the share of n held-out synthetic"
                " images on which the student gives its teacher's answer"
            )
        ),
        "classes_of_the_run": started.classes,
        "input": {
            "name": "images",
            "channels": channels,
            "side": side,
            "mean": spec["mean"],
            "std": spec["std"],
            "about": (
                f"float32 [batch,{channels},{side},{side}], pixels in [0,1]; mean and std are"
                " applied inside"
            ),
        },
        "output": {
            "name": "logits",
            "about": (
                f"float32 [batch,{len(spec['classes'])}], one per line of classes.txt; apply"
                " softmax for probabilities"
            ),
        },
        "classes": [" ".join(name.split()) for name in spec["classes"]],
        "recipe": started.recipe | {"real_images": None},  # a path on the user's machine
        "onnx": None,
    }


def documents(facts: dict[str, Any]) -> dict[str, str]:
    """README.md and its code samples, by file name."""
    student, teacher, shape = (
        facts["student"],
        facts["teacher"],
        f"1, {facts['input']['channels']}, {facts['input']['side']}, {facts['input']['side']}",
    )
    torch, runtime = TORCH_EXAMPLE.replace("SHAPE", shape), ONNX_EXAMPLE.replace("SHAPE", shape)
    onnx = f"\n## With onnxruntime only\n\n```python\n{runtime}```\n"
    no_onnx = (
        f"\nThere is no student.onnx here. To add one, `{pip_install(*PACKAGES)}` and"
        " export with `--onnx`.\n"
    )
    size = f"{student['parameters']:,} parameters{_macs(student)}"
    readme = f"""# A student distilled from {teacher["title"]}

Made by K-Gen Explorer without the teacher's training data{_result_sentence(facts)}
{size}; the teacher has {teacher["parameters"]:,}{_macs(teacher)}.

Input: {facts["input"]["about"]}. Output: {facts["output"]["about"]}.
Everything else, including the recipe, is in card.json.

## With torch, inside K-Gen Explorer's folder or with it on PYTHONPATH

```python
{torch}```
{onnx if facts["onnx"] else no_onnx}"""
    return {"README.md": readme, "load_torch.py": torch} | (
        {"load_onnx.py": runtime} if facts["onnx"] else {}
    )


def _result_sentence(facts: dict[str, Any]) -> str:
    scope, teacher = (
        f"among {count(len(facts['classes_of_the_run']), 'class')}",
        facts["teacher"]["accuracy"],
    )
    if facts["accuracy"] is None:
        return (
            f". It agrees with its\nteacher on {facts['agreement']:.2%} of "
            f"{count(facts['n'], 'held-out synthetic image')}, {scope}."
            " There were no real test images."
        )
    return (
        f": {facts['accuracy']:.2%} of {count(facts['n'], 'real image')} classified"
        f" correctly\n{scope}" + (f" (teacher {teacher:.2%})." if teacher is not None else ".")
    )


def _macs(network: dict[str, Any]) -> str:
    return f" and {network['macs']:,} multiply-accumulates per image" if network["macs"] else ""


TORCH_EXAMPLE = """import kgen, torch
student = kgen.zoo.load_classifier("student.safetensors")
classes = open("classes.txt", encoding="utf-8").read().splitlines()
images = torch.rand(SHAPE)  # yours: pixels in [0,1]
print(classes[student(images).argmax(1)[0]])
"""
ONNX_EXAMPLE = """import numpy, onnxruntime
student = onnxruntime.InferenceSession("student.onnx")
classes = open("classes.txt", encoding="utf-8").read().splitlines()
images = numpy.random.rand(SHAPE).astype("float32")  # yours: pixels in [0,1]
print(classes[student.run(["logits"], {"images": images})[0].argmax(1)[0]])
"""
