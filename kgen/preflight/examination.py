"""Finds out what a user's checkpoint can and cannot do, before anything trains.

Rows are reported as they are found. Nothing is downloaded, no real images are needed, and no code
in the file is run. A process that must survive a hostile file calls
`kgen.preflight.request.inspect`, which runs this in a child.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from kgen.data import classes
from kgen.events import TeacherCard
from kgen.nets import own_code
from kgen.nets.arguments import to_text
from kgen.phrases import count, first_few, rounded, short_message, size
from kgen.preflight import capabilities, classtexts, diagnosis, limits, matching, probes
from kgen.preflight.defaults import IMAGES_PER_CLASS, TeacherDefaults
from kgen.preflight.register import save_teacher
from kgen.preflight.request import (
    PreflightError,
    PreflightRequest,
    Report,
    Row,
    Status,
    parse_request,
)
from kgen.system import files
from kgen.system.memory import free_memory
from kgen.teachers import Teacher
from kgen.zoo import checkpoints
from kgen.zoo.zoo import ZooError

READING_SECONDS = 30
"""Limit on processor time for reading a file."""


class _Finished(Exception):
    """Nothing further can be determined."""


def preflight(
    path: str | Path,
    architecture: str | None = None,
    class_names: Sequence[str] | None = None,
    **more: Any,
) -> Report:
    """Check whether a weights file can be used as a teacher.

    `more` are further fields of `kgen.preflight.request.PreflightRequest`: mean, std, side,
    channels, n_train, data, flip, title, resolutions, weights, by_order. Problems with the file
    become rows, not exceptions. Raises PreflightError for an invalid request.
    """
    names = None if class_names is None else list(class_names)
    return examine(
        parse_request({"path": str(path), "architecture": architecture, "classes": names, **more})
    )


def examine(
    request: PreflightRequest,
    on_row: Callable[[Row], None] = lambda row: None,
    *,
    guarded: bool = False,
) -> Report:
    """Carry out a request, reporting each row as it is found.

    `guarded` enforces the limits of `kgen.preflight.limits` and may end this process: use it only
    in a child that does nothing else.
    """
    examination = Examination(request, on_row, guarded)
    with contextlib.suppress(_Finished):
        examination.run()
    return examination.report()


class Examination:
    """One check, row by row."""

    def __init__(self, request: PreflightRequest, on_row: Callable[[Row], None], guarded: bool):
        self.request, self.on_row, self.guarded = request, on_row, guarded
        self.rows: list[Row] = []
        self.sha256: str | None = None
        self.spec: dict[str, Any] | None = None
        self.fit: matching.Fit | None = None
        self.normalize: matching.NormalizeLayer | None = None

    def report(self) -> Report:
        usable = self.spec is not None and not any(row.status == "fail" for row in self.rows)
        choices, layer = self.fit.choices if self.fit else (), self.normalize
        report = Report(
            rows=tuple(self.rows),
            sha256=self.sha256,
            spec=self.spec if usable else None,
            weights=choices if len(choices) > 1 else (),
            taken=self.fit.placement.name if self.fit else None,
            normalize=layer and {"mean": layer.mean, "std": layer.std},
        )
        report._network = self.teacher.network if usable else None
        report._user_code = self.user_code if usable else None
        return report

    def report_row(
        self, name: str, status: Status, finding: str, advice: str = "", lines: Sequence[str] = ()
    ) -> None:
        self.add_row(
            Row(name=name, status=status, finding=finding, advice=advice, lines=tuple(lines))
        )

    def fail(
        self, name: str, finding: str, advice: str = "", lines: Sequence[str] = ()
    ) -> NoReturn:
        self.report_row(name, "fail", finding, advice, lines)
        raise _Finished

    def add_row(self, row: Row) -> None:
        self.rows.append(row)
        self.on_row(row)

    def _limited(
        self, memory: int | None, seconds: float | None = None
    ) -> contextlib.AbstractContextManager:
        return limits.limited(memory, seconds) if self.guarded else contextlib.nullcontext()

    def run(self) -> None:
        self.read_file()
        with self._limited(free_memory()):
            self.build_network()
            self.check_classes()
            self.check_input()
            self.check_data()
            self.add_row(capabilities.cost(self.teacher, self.sides))

    # --- the file and its network ------------------------------------------------------------

    def read_file(self) -> None:
        path = Path(self.request.path)
        n_bytes = path.stat().st_size if path.is_file() else 0
        try:
            with self._limited(3 * n_bytes, READING_SECONDS):
                self.checkpoint = checkpoints.open_checkpoint(path)
                if len(self.checkpoint.sets) == 1:  # otherwise the ones that were taken
                    checkpoints.check_numbers(path, self.checkpoint.tensors)
                self.sha256 = sha256 = files.sha256(path)
        except ZooError as error:
            self._reject(error)
        except MemoryError:
            self.fail(
                "file",
                f"{path} needs more memory than its size justifies; it is damaged or malicious.",
            )
        sets = self.checkpoint.sets
        contents = count(sum(len(s.tensors) for s in sets), "tensor")
        if len(sets) > 1:
            contents += (
                f" in {', '.join(repr(s.name) if s.name else 'the top level' for s in sets)}"
            )
        self.report_row(
            "file",
            "ok",
            f"{self.checkpoint.kind}, {size(n_bytes)}, {contents}, SHA-256 {sha256[:12]}…",
        )

    def _reject(self, error: ZooError) -> NoReturn:
        lines = error.fields.get("lines", ())
        advice = "To do that, run these lines where the file was made:" if lines else ""
        self.fail("file", str(error), advice, lines)

    def build_network(self) -> None:
        request, known = self.request, TeacherDefaults(self.request, self.checkpoint.metadata)
        self.known = known
        if known.architecture is None:
            other = self._other_architecture("")
            self.fail(
                "architecture",
                "not given, and the file has no card that names it",
                f"The tensors fit {other}."
                if other
                else "Name it, for example with --arch resnet18.",
            )
        if request.by_order and self.checkpoint.kind == "safetensors":
            self.fail(
                "tensors",
                "a .safetensors file does not preserve the order of its tensors",
                "Omit --by-order, or use the .pt file.",
            )
        try:
            self.resolve_architecture(request, known)
            self.fit = fit = self._fit(self.architecture, request.by_order, self.shape)
            self.side = known.side(fit.network)
        except ZooError as error:
            if error.code == "unknown-weights":
                self.fail("weights", str(error))
            other = self._other_architecture(known.architecture)
            self.fail("architecture", str(error), f"The tensors fit {other}." if other else "")
        except (MemoryError, torch.OutOfMemoryError):
            self.fail(
                "architecture",
                f"not enough free memory for {known.architecture}",
                "Close other programs, or use a smaller network.",
            )
        except Exception as error:  # whatever a library's constructor raises
            self.fail(
                "architecture",
                f"{known.architecture} cannot be built: {short_message(error)}",
                "Another name for the same architecture may work.",
            )
        parameters = sum(p.numel() for p in fit.network.parameters())
        title = self.architecture + (f"({to_text(known.arguments)})" if known.arguments else "")
        self.report_row(
            "architecture",
            "ok",
            f"{title}, {rounded(parameters)} parameters",
            f"The check ran the code in {self.user_code.file}, and so will every run."
            if self.user_code
            else "",
        )
        self.report_weights(fit)
        self.compare_tensors(fit)

    def resolve_architecture(self, request: PreflightRequest, known: TeacherDefaults) -> None:
        """Name and shape of the architecture; for a user's own, where its code is."""
        self.user_code: own_code.UserCode | None = None
        if not own_code.is_own(known.architecture):
            self.architecture, self.shape = matching.resolve_shape(known.architecture, known.spec)
            return
        self.architecture, self.shape = own_code.short(known.architecture), {}
        if request.architecture is None:  # a card must not name a file to run
            raise PreflightError(
                f"the network is built by {self.architecture}, a custom Python file; specify its"
                f" path with --arch FOLDER/{self.architecture}, which runs that file's code",
                code="no-file",
                file=self.architecture,
            )
        self.user_code = own_code.locate(known.architecture)

    def _fit(
        self, architecture: str, by_order: bool, shape: dict[str, Any] | None = None
    ) -> matching.Fit:
        """How the tensors match an architecture. Raises ZooError, or whatever a library raises."""
        names, channels = self.known.find("classes"), self.known.find("channels")
        user_code = None
        if shape is None:  # a different architecture from the one in question
            architecture, shape = matching.resolve_shape(architecture, {})
        else:
            shape, user_code = shape | {"arguments": self.known.arguments}, self.user_code
        return matching.fit(
            self.checkpoint.sets,
            architecture,
            shape,
            outputs=len(names.value) if names else 10,
            channels=channels.value if channels else 3,
            side=self.known.side().value,
            by_order=by_order,
            weights=self.request.weights,
            user_code=user_code,
        )

    def _other_architecture(self, tried: str) -> str | None:
        """The option that names an architecture that the tensors fit instead."""
        tensors = (
            (self.fit.placement.tensors | self.fit.placement.unused)
            if self.fit
            else self.checkpoint.tensors
        )
        ordered = self.checkpoint.kind != "safetensors"
        return diagnosis.fitting(tensors.values(), tried, self._fit, ordered)

    def report_weights(self, fit: matching.Fit) -> None:
        """Which of the file's tensors were taken, if the file contains more than one network's."""
        place, findings, advice = fit.placement, [], []
        if place.keys:
            findings.append(f"taken from {place.keys!r}")
        if place.prefix:
            findings.append(f"names after the prefix {place.prefix!r}")
        if others := [c for c in fit.choices if c != place.name]:
            named = ", ".join(repr(c) if c else "top-level weights" for c in others)
            example = others[0] or "."
            advice.append(
                f"The file also has {named}. To use different weights, set --weights, for example"
                f" to {example!r}."
            )
        if place.folded:
            findings.append(f"folded: {first_few(place.folded)}")
        if place.renamed:
            renamed = ", ".join(f"{old!r} → {new!r}" for old, new in place.renamed.items())
            findings.append(f"layers renamed: {renamed}")
        # by order, names do not matter and every tensor is used
        suspicious = [] if self.request.by_order else matching.suspicious(fit)
        if fit.complete and (ignored := matching.unused(fit)):
            findings.append(f"ignored {count(len(ignored), 'tensor')}: {first_few(ignored)}")
            if suspicious:
                advice.append(
                    f"If the network uses {first_few(suspicious)}, its architecture is a different"
                    " one."
                )
        if self.request.by_order:
            findings = findings[:1]
        if findings or advice:
            status: Status = "warn" if fit.complete and suspicious else "ok"
            self.report_row(
                "weights", status, "; ".join(findings) or "the whole file", " ".join(advice)
            )

    def compare_tensors(self, fit: matching.Fit) -> None:
        """Which tensors fit, and what is wrong if some do not."""
        name = self.known.architecture
        assert name is not None
        if fit.complete:
            try:
                checkpoints.check_numbers(Path(self.request.path), fit.placement.tensors)
            except ZooError as error:
                self.fail("tensors", str(error))
        head = matching.other_head(fit) if fit.complete else None
        if head or (fit.complete and not self.request.by_order and matching.suspicious(fit)):
            other = self._other_architecture(name)
            if other and "--by-order" not in other:
                self.fail(
                    "tensors",
                    f"all of {name}'s tensors are present, but not all of the file's are used",
                    f"This is not {name}: all of its tensors fit {other}.",
                )
        if head:
            self.fail("tensors", *diagnosis.diagnose_head(head, name, fit.classifier))
        if fit.complete and self.request.by_order:
            caution = (
                "Names were not checked: make sure that the images of a run are recognizable and"
                " that the teacher's accuracy is as published."
            )
            return self.report_row("tensors", "warn", "matched by order; all shapes match", caution)
        if fit.complete:
            return self.report_row("tensors", "ok", "all present, by name and shape")

        def in_order() -> bool:
            return (
                bool(fit.missing)
                and self.checkpoint.kind != "safetensors"
                and not self.request.by_order
                and self._fit(self.architecture, True, self.shape).complete
            )

        self.fail(
            "tensors",
            *diagnosis.diagnose(
                fit,
                name,
                in_order,
                lambda: self._other_architecture(name),
                by_order=self.request.by_order,
            ),
        )

    def check_classes(self) -> None:
        assert self.fit is not None
        names = self.known.find("classes")
        row = classtexts.check_count(
            self.fit.outputs, names.value if names else None, self.request.classes_from
        )
        self.add_row(row)
        if names:
            self.add_row(classtexts.check_texts(names.value))
        self.names = (
            tuple(names.value)
            if names and row.status == "ok"
            else tuple(f"class {i}" for i in range(self.fit.outputs))
        )

    # --- its input ---------------------------------------------------------------------------

    def _check_channels(self, channels: int) -> None:
        """Check that the network has as many channels as its images, if that number is known."""
        known = self.known.find("channels")
        if known is None or known.value == channels:
            return
        if known.source == "given":
            advice = "Omit --channels, or use a file with that many channels."
        elif known.source == "from the file's card":
            advice = f"If the card is wrong, set --channels {channels}."
        elif self.request.data:
            advice = f"Omit --data: the network was not trained on {self.request.data}."
        else:
            advice = "The card names the wrong data set: set --data to the right one."
        self.fail(
            "input",
            f"{count(channels, 'channel')} in the file, but {known.value} {known.source}",
            advice,
        )

    def check_input(self) -> None:
        """Normalization, image size, and the teacher itself."""
        fit, known, side = self.fit, self.known, self.side
        assert fit is not None
        self.normalize = matching.normalize_layer(fit)
        self._check_channels(fit.channels)
        mean, std = known.normalization(fit.network, fit.channels, self.normalize)
        if len(mean.value) != fit.channels:
            numbers = count(len(mean.value), "number")
            self.fail(
                "normalization",
                f"{numbers} ({mean.source}), but images have {count(fit.channels, 'channel')}",
                f"Set --mean and --std, with {count(fit.channels, 'number')} each.",
            )
        normalization = (
            f"mean {_format_numbers(mean.value)}, std {_format_numbers(std.value)} of pixels in"
            f" [0,1]: {mean.source}"
        )
        self.report_row(
            "normalization",
            *(
                ("ok", normalization)
                if mean.certain
                else (
                    "warn",
                    normalization,
                    (
                        "If it was trained with different values, set --mean and --std; wrong"
                        " values reduce accuracy without any error."
                    ),
                )
            ),
        )
        n_train, data, flip = known.find("n_train"), known.find("data"), known.find("flip")
        self.n_train = n_train.value if n_train else IMAGES_PER_CLASS * fit.outputs
        title, file = known.find("title"), Path(self.request.path)
        card = TeacherCard(
            name=file.stem,
            title=(
                (title and title.value)
                or self.request.save
                or f"{self.architecture} ({file.name[:100]})"
            ),
            architecture=self.architecture,
            arguments=known.arguments,
            parameters=sum(p.numel() for p in fit.network.parameters()),
            channels=fit.channels,
            side=side.value,
            features=0,
            n_train=self.n_train,
            data=data and data.value,
            flip=flip.value if flip else True,
        )
        self.teacher = Teacher(
            fit.network, card, self.names, torch.tensor(mean.value), torch.tensor(std.value)
        )
        try:
            probes.map_size(self.teacher, side.value)
            map_kind = self.teacher.map_kind
            with torch.no_grad():
                width = self.teacher(
                    torch.zeros(1, fit.channels, side.value, side.value)
                ).embedding.shape[1]
        except Exception as error:
            self.fail(
                "input",
                f"it does not accept {side.value} × {side.value} × {fit.channels} images:"
                f" {short_message(error)}",
                "Set the side of its training images with --side.",
            )
        smallest, size = (
            probes.smallest_side(self.teacher),
            probes.map_size(self.teacher, side.value),
        )
        self.teacher.card = card = card.model_copy(
            update={
                "features": width,
                "smallest": smallest,
                "cell": size and round(side.value / size[0]),
            }
        )
        text = (
            f"{side.value} × {side.value} pixels ({side.source}),"
            f" {count(fit.channels, 'channel')} (from the file)"
        )
        self.report_row(
            "input",
            *(
                ("ok", text)
                if side.certain
                else (
                    "warn",
                    text,
                    (
                        "If it was trained on images of another size, set --side: the memory"
                        " budget and the student's evaluation depend on it."
                    ),
                )
            ),
        )
        source = {"file": Path(self.request.path).name, "sha256": self.sha256}
        self.spec = {
            "card": card.model_dump(),
            "architecture": self.architecture,
            **self.shape,
            "classes": list(self.names),
            "mean": list(mean.value),
            "std": list(std.value),
            "source": source,
        }
        rows, self.sides = capabilities.maps(
            self.teacher, map_kind, self.request.resolutions, smallest
        )
        for row in (*rows, capabilities.batch_norm(fit.network)):
            self.add_row(row)
        if not self.sides:
            raise _Finished

    def check_data(self) -> None:
        """What the memory budget is relative to, and whether there are real images for
        evaluation.
        """
        known, data = self.known.find("n_train"), self.known.find("data")
        if known:
            self.report_row(
                "memory budget",
                "ok",
                f"a share of {count(known.value, 'training image')} ({known.source})",
            )
        else:
            self.report_row(
                "memory budget",
                "warn",
                f"number of training images unknown; assuming {IMAGES_PER_CLASS:,} per class,"
                f" {self.n_train:,} in total",
                "Set it with --n-train: the data memory ratio is relative to it.",
            )
        if data and data.value in classes.known():
            self.report_row(
                "real images",
                "ok",
                f"accuracy is measured on {data.value} if its test images are on this machine",
            )
        else:
            self.report_row(
                "real images",
                "warn",
                "no data set is named, so accuracy on real images is not measured",
                f"Set --data if it is one of: {', '.join(classes.known())}; or use your own folder"
                " in a run: --set real_images=FOLDER.",
            )


def _format_numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{v:.4g}" for v in values)


__all__ = ["Examination", "PreflightError", "examine", "preflight", "save_teacher"]
