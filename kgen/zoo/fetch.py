"""Turns published weights into a teacher file with its card, by name.

Only `python -m kgen fetch` calls this; nothing else downloads. All problems with a name (its
classes, architecture or URL) are reported before the download starts.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgen.data import catalogue, classes
from kgen.events import TeacherCard
from kgen.nets import architectures
from kgen.phrases import count, did_you_mean
from kgen.system import paths
from kgen.system.connection import VariableError
from kgen.zoo import download, published, zoo
from kgen.zoo.download import DownloadError, Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

HUB = "https://huggingface.co"
"""Or $HF_ENDPOINT, as for every download from Hugging Face."""
_OWN = "for a network with other class names, use: python -m kgen preflight"
_LICENCES = {
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "mit": "MIT",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-4.0": "CC-BY-4.0",
}


@dataclasses.dataclass(frozen=True)
class Weights:
    """A network's weights: their location and their input."""

    source: str
    """timm:MODEL.TAG, torchvision:NAME.TAG, or a URL."""
    url: str
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    accuracy: float | None = None
    """As published by its authors; not measured here."""
    data: str = "imagenet1k"
    network: str | None = None
    """Architecture, if it does not follow from the source."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What `fetch` will do: the teacher's name, its weights, and its card."""

    name: str
    weights: Weights
    card: TeacherCard

    @property
    def file(self) -> Path:
        return catalogue.teacher_file(self.name)

    @property
    def part(self) -> Path:
        """The file while it is being downloaded."""
        return paths.home() / "downloads" / f"{self.name}.part"

    @property
    def command(self) -> str:
        """The command that resumes it."""
        known = self.name in (*catalogue.TEACHERS, *published.TEACHERS)
        return f"python -m kgen fetch {self.name if known else self.weights.source}"


def plan(name: str) -> Plan:
    """Resolve a name: a teacher of the catalogue or of `kgen.zoo.published`, timm:MODEL.TAG or
    torchvision:NAME.TAG.

    Raises ZooError for unknown names, weights for classes other than ImageNet-1k's, and unsuitable
    networks.
    """
    if name in catalogue.TEACHERS:
        facts = catalogue.TEACHERS[name]
        if facts.weights is None:
            raise DownloadError(
                f"No weights for {name!r} have been published."
                f" {catalogue.teacher_instructions(name)}",
                code="unpublished",
                name=name,
            )
        return Plan(
            name, find(facts.weights), TeacherCard.model_validate(catalogue.spec(name)["card"])
        )
    entry = published.TEACHERS.get(name)
    weights = (
        _weights_at_url(entry) if entry and entry.network else find(entry.source if entry else name)
    )
    name = name if entry else weights.source.partition(":")[2]
    return Plan(name, weights, _card(name, entry.title if entry else name, weights))


def find(source: str) -> Weights:
    """The location of weights according to timm or torchvision; without a tag, their default.

    ZooError as in `plan`.
    """
    kind, _, rest = source.partition(":")
    if kind == "timm" and rest:
        return _timm(rest)
    if kind == "torchvision" and rest:
        return _torchvision(rest)
    known = [*published.TEACHERS, *(n for n, facts in catalogue.TEACHERS.items() if facts.weights)]
    raise DownloadError(
        f"Unknown published weights {source!r}. {did_you_mean(source, known, zoo.LIST)} Others are"
        " timm:MODEL.TAG and torchvision:NAME.",
        code="unknown-weights",
        name=source,
    )


def _weights_at_url(entry: published.Published) -> Weights:
    """Weights at a URL. Those of `kgen.zoo.published` were all trained with ImageNet's mean and
    std.
    """
    return Weights(
        entry.source,
        entry.source,
        entry.side,
        *catalogue.IMAGENET,
        entry.licence,
        entry.accuracy,
        entry.data,
        entry.network,
    )


def _timm(name: str) -> Weights:
    import timm

    if not timm.is_model(name):
        raise DownloadError(
            architectures.unknown("timm network", name, tuple(published.TEACHERS)),
            code="unknown-architecture",
            name=name,
        )
    tags = [n for n in timm.list_pretrained() if n.partition(".")[0] == name.partition(".")[0]]
    default_cfg = timm.get_pretrained_cfg(name.partition(".")[0])
    tagged_name = name if "." in name else f"{name}.{default_cfg.tag}" if default_cfg else name
    cfg = timm.get_pretrained_cfg(tagged_name) if tagged_name in tags else None
    if cfg is None:
        raise DownloadError(
            f"timm has no weights {name!r}. "
            + (f"It has {', '.join(tags)}." if tags else "It has none for that network."),
            code="unknown-weights",
            name=name,
        )
    if cfg.num_classes != 1000 or "in1k" not in (cfg.tag or ""):
        raise DownloadError(
            f"The weights {tagged_name!r} are for {cfg.num_classes:,} classes other than"
            f" ImageNet-1k's, whose names are unknown here; {_OWN}",
            code="other-classes",
            classes=cfg.num_classes,
        )
    if cfg.hf_hub_id:
        hub = _hub()
        url = f"{hub}/{cfg.hf_hub_id}/resolve/main/{cfg.hf_hub_filename or 'model.safetensors'}"
    elif isinstance(cfg.url, str) and cfg.url and not cfg.custom_load:
        url = cfg.url
    else:
        raise DownloadError(
            f"timm has no supported URL for the weights {tagged_name!r}; choose others:"
            f" {', '.join(tags)}.",
            code="unpublished",
            name=tagged_name,
        )
    licence = _LICENCES.get(cfg.license or "", cfg.license or "license not stated")
    return Weights(
        f"timm:{tagged_name}",
        url,
        cfg.input_size[1],
        cfg.mean,
        cfg.std,
        f"{licence} (weights), {published.DATA}",
    )


def _hub() -> str:
    hub = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    if not hub.startswith(("https://", "http://")):
        raise VariableError(
            f"The environment variable HF_ENDPOINT is {hub!r}: expected an address such as {HUB}."
            " Correct it, or unset it.",
            variable="HF_ENDPOINT",
            value=hub,
        )
    return hub


def _torchvision(name: str) -> Weights:
    from torchvision import models

    from kgen.nets.torchvision_nets import names

    base_name, _, tag = name.partition(".")
    if base_name not in names():
        zoo.build(f"torchvision:{base_name}", {}, 0, 3, 10, 224)  # raises with the reason
    known = {w.name: w for w in models.get_model_weights(base_name)}
    if tag and tag not in known:
        raise DownloadError(
            f"torchvision has no weights {name!r}. It has"
            f" {', '.join(f'{base_name}.{t}' for t in known)}.",
            code="unknown-weights",
            name=name,
        )
    weights = known[tag] if tag else models.get_model_weights(base_name).DEFAULT
    if len(weights.meta.get("categories") or ()) != 1000:
        raise DownloadError(
            f"The weights {name!r} have no classifier for ImageNet-1k's classes; {_OWN}",
            code="no-classifier",
            name=name,
        )
    transforms = weights.transforms()
    accuracy = weights.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    licence = weights.meta.get("license", "BSD-3-Clause")
    return Weights(
        f"torchvision:{base_name}.{weights.name}",
        weights.url,
        transforms.crop_size[0],
        tuple(transforms.mean),
        tuple(transforms.std),
        f"{licence} (weights), {published.DATA}",
        None if accuracy is None else round(accuracy / 100, 5),
    )


def _card(name: str, title: str, weights: Weights) -> TeacherCard:
    """The card. Sizes are counted on a network without data, which also shows whether it is
    usable.
    """
    import torch

    from kgen.nets.vit import embedding_width

    data, count = catalogue.DATA[weights.data], len(classes.names(weights.data))
    architecture = weights.network or published.architecture(weights.source)
    try:
        with torch.device("meta"):
            network = zoo.build(architecture, {}, 0, 3, count, weights.side)
    except NotImplementedError:  # torchvision's RegNets compute their widths with tensors
        network = zoo.build(architecture, {}, 0, 3, count, weights.side)
    return TeacherCard(
        name=name,
        title=f"{title} on {data.title}",
        architecture=architecture,
        parameters=sum(p.numel() for p in network.parameters()),
        channels=3,
        side=weights.side,
        features=embedding_width(network),
        n_train=data.n_train,
        n_test=data.n_test,
        data=weights.data,
        flip=data.flip,
        licence=weights.licence,
    )


def fetch(plan: Plan, local_file: Path | None = None) -> Generator[Progress, None, str]:
    """Download (or take the user's file), verify, and write the teacher's file.

    Returns the result of the checksum comparison, as text.
    """
    url = plan.weights.url
    paths.writable_home()
    if local_file is None:
        verification = yield from download.download(url, plan.part, plan.command)
        install(plan, plan.part, verification)
        download.discard(plan.part)
        return verification
    if not local_file.is_file():
        raise DownloadError(
            f"--file {local_file} does not exist; expected the file from {url}.",
            code="no-file",
            file=str(local_file),
            url=url,
        )
    verification = download.verify(local_file, url)
    install(plan, local_file, verification)
    return verification


def install(plan: Plan, file: Path, verification: str) -> None:
    """Published weights → the teacher's file.

    ZooError if they do not fit the architecture, tensor by tensor.
    """
    card, weights = plan.card, plan.weights
    names = classes.names(weights.data)
    network = zoo.build(card.architecture, {}, 0, card.channels, len(names), card.side)
    found = _placed(read(file, weights.url), network)
    zoo.load_tensors(
        network,
        _complete(found, network),
        f"The file from {weights.url}",
        f"{card.architecture} with {count(len(names), 'class')}",
    )
    spec: dict[str, Any] = {
        "card": card.model_dump(),
        "architecture": card.architecture,
        "classes": list(names),
        "mean": list(weights.mean),
        "std": list(weights.std),
        "source": weights.source,
        "url": weights.url,
        "checksum": verification,
        "published_accuracy": weights.accuracy,
    }
    plan.file.parent.mkdir(parents=True, exist_ok=True)
    zoo.save_network(network, plan.file, spec)


def read(file: Path, url: str) -> dict[str, Tensor]:
    """The tensors of a published file; torch files are read without running any code in them.

    Raises DownloadError.
    """
    from kgen.nets.torchvision_nets import current_name
    from kgen.zoo import checkpoints

    try:
        found = checkpoints.read(file)
    except checkpoints.CheckpointError as error:
        raise DownloadError(
            f"The file from {url} was rejected: {error}",
            code=error.code,
            **error.fields,
        ) from None
    return {current_name(name): t for name, t in found.items()}


def _placed(found: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The tensors without the prefix that a published file's names may have."""
    from kgen.zoo import placing
    from kgen.zoo.checkpoints import WeightSet

    place = placing.placements([WeightSet("", found)], network.state_dict())[0]
    return place.tensors | place.unused


def _complete(found: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Add BatchNorm's batch counters, which older files lack and no trained network needs."""
    return {
        name: t for name, t in network.state_dict().items() if name.endswith("num_batches_tracked")
    } | found
