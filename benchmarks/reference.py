"""Compare the engine with data-free distillation as published code usually does it.

    python benchmarks/reference.py [RECIPE ...] [--steps N] [--rounds N] [--threads N]
    python benchmarks/reference.py --habits [RECIPE ...]
    python benchmarks/reference.py --profile [RECIPE ...]
    python benchmarks/reference.py --memory [RECIPE ...]
    python benchmarks/reference.py fashion-live --to-accuracy 0.8

Both sides do the same work in one process, with the same number of threads: the same teacher,
student and generator (architecture, width, first weights), batches, loss terms, optimizer
settings, and numbers of steps. `tests/kgen/engine/test_reference.py` checks this, and that the loss
terms of both agree on the same images. The reference is written from the papers (Algorithm 1 of
K-Gen; the statistics of DeepInversion, Yin et al. 2020). It follows eight habits of published code,
and nothing in it is slower than they require. `--habits` drops them one at a time and reports what
each costs:

    variance      hooks on every BatchNorm layer compute mean and variance with torch.mean and
                  torch.var (the engine: plain sums, whose gradient is cheaper)
    hooks         the hooks stay registered, so that they also run in the student phase (the engine:
                  for one call)
    items         `.item()` on each loss term in each step (the engine: summed on the device; one
                  transfer per report). Free on a CPU; on a GPU each one waits for the device
    gradients     parameters of teacher and student keep requires_grad, so that the generator's
                  backward pass also computes gradients of weights that nobody uses
    convolution   the generator's last convolution reads the upsampled map (the engine: the small
                  one, with an equivalent kernel)
    adam          torch.optim.Adam as it comes (the engine: fused)
    format        single precision in NCHW (the engine: what it measured to be fastest, if the
                  recipe allows a choice)
    pool          one PNG file per image, read through torchvision's transforms and a DataLoader
                  with four workers that is rebuilt every round, and a pass of the teacher in every
                  student step (the engine: bytes in memory, with stored views and answers)

Where published code differs, the reference takes the faster way: labels are not read from the file
names, one loader serves all steps of a round (rather than one per pass over the images), the last
batch of an iteration is kept (not the best, which needs a comparison in each step), and one random
shift serves the generator's whole batch. The engine's times include what the page shows: a report
in every generator step, and one more pass of teacher and student over each finished batch.

An epoch is assembled from measured parts in the recipe's own proportions: its iterations (begin,
g steps, store the batch), then its student steps. Answering a stored view of each image takes the
place of the teacher's passes, so it belongs to the student phase. Each round measures both sides,
in alternating order. The result is the median of the rounds' ratios (the reference's time divided
by the engine's), with the smallest and the largest.
"""

from __future__ import annotations

import os

for _name, _value in {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
}.items():
    os.environ.setdefault(_name, _value)

import argparse
import copy
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from kgen import precision
from kgen.engine import synthesis as engine_synthesis
from kgen.engine.setting import Setting
from kgen.engine.state import LoopState
from kgen.engine.student_training import StudentTrainer, learning_rate
from kgen.engine.synthesis import Synthesis
from kgen.evaluate import score
from kgen.recipe.recipe import Recipe, parse_setting
from kgen.recipes import recipes
from kgen.sources import conv_of_doubled, group_count
from kgen.teachers import channel_statistics

RECIPES = ("fashion-live", "cifar10-live", "imagenette-live")
STUDENT_STEPS = 4
"""Student steps per generator step that a round measures."""


class Habits(NamedTuple):
    """The habits of published code; see the module's docstring."""

    variance: bool = True
    hooks: bool = True
    items: bool = True
    gradients: bool = True
    convolution: bool = True
    adam: bool = True
    format: bool = True


ALL = Habits()


class Parts(NamedTuple):
    """Seconds of the parts of an epoch."""

    begin: float
    """Start an iteration: labels, noisy layer, optimizers, the engine's snapshot of the student"""
    generator_step: float
    store: float
    """Store a finished batch"""
    answers: float
    """Answer the stored views of a batch"""
    reopen: float
    """Rebuild the loader, up to its first batch"""
    student_step: float

    def generator_phase(self, r: Recipe) -> float:
        """Seconds per epoch of the recipe."""
        return r.epoch_iterations * (
            self.begin + r.generator_steps * self.generator_step + self.store
        )

    def student_phase(self, r: Recipe) -> float:
        return r.epoch_iterations * self.answers + self.reopen + r.student_steps * self.student_step

    def epoch(self, r: Recipe) -> float:
        return self.generator_phase(r) + self.student_phase(r)


class Clock:
    """Seconds since the last reading, including all work on the device."""

    def __init__(self, device: torch.device):
        self.device = device
        self.read()

    def read(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        elapsed, self._last = now - getattr(self, "_last", now), now
        return elapsed


# --- published practice ---------------------------------------------------------------------------


class PlainGenerator(nn.Sequential):
    """G (Table 7), with every convolution on the map that it is written for. [B,z] → [B,c,e,e]."""

    def __init__(self, channels: int, side: int, width: int, deep: bool, noise_width: int):
        start = side // (16 if deep else 4)
        layers: list[nn.Module] = [
            nn.Linear(noise_width, 2 * width * start**2),
            nn.BatchNorm1d(2 * width * start**2),
            nn.Unflatten(1, (2 * width, start, start)),
        ]
        inner = 2 * width
        for outer in [*[2 * width] * (3 if deep else 1), width]:
            layers += [
                spectral_norm(nn.Conv2d(inner, outer, 3, padding=1)),
                nn.BatchNorm2d(outer),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Upsample(scale_factor=2),
            ]
            inner = outer
        layers += [spectral_norm(nn.Conv2d(width, channels, 3, padding=1)), nn.Sigmoid()]
        super().__init__(*layers)


class FoldedGenerator(PlainGenerator):
    """The same, without the habit `convolution`."""

    def forward(self, z: Tensor) -> Tensor:
        *before, _, last, sigmoid = self
        for layer in before:
            z = layer(z)
        return sigmoid(conv_of_doubled(z, last.weight, last.bias))


class NoisyLayers(nn.Module):
    """Z (Eq. 1): BatchNorm, then one Linear with N(0,1) weights for each round of the classes."""

    def __init__(self, d: int, width: int, groups: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(d, track_running_stats=False)
        self.layers = nn.ModuleList(nn.Linear(d, width) for _ in range(groups))
        for layer in self.layers:
            nn.init.normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, f: Tensor) -> Tensor:
        """[B,d] → [B,width]"""
        groups = self.norm(f).chunk(len(self.layers))
        return torch.cat([layer(group) for layer, group in zip(self.layers, groups)])


class StatisticsHook:
    """The distance of a batch from a BatchNorm layer's statistics, in every forward pass."""

    def __init__(self, layer: nn.Module, relative: bool, variance: bool):
        self.relative, self.variance, self.active = relative, variance, True
        layer.register_forward_hook(self)

    def __call__(self, layer: nn.BatchNorm2d, inputs: tuple[Tensor], output: Tensor) -> None:
        if not self.active:
            return
        x = inputs[0].float()
        if self.variance:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        else:
            mean, var = channel_statistics(x)
        stored_mean, stored_var = layer.running_mean, layer.running_var
        mean_distance, var_distance = (mean - stored_mean).norm(), (var - stored_var).norm()
        if self.relative:
            mean_distance = mean_distance / stored_var.sum().sqrt()
            var_distance = var_distance / stored_var.norm()
        self.distance = mean_distance + var_distance


class ImageFolder(Dataset):
    """All PNG files of a folder, as normalized random views [c,e,e]."""

    def __init__(self, folder: Path, setting: Setting):
        r, card, side = setting.recipe, setting.card, setting.sides[0]
        self.files, self.mode = sorted(folder.glob("*.png")), "RGB" if card.channels == 3 else "L"
        shift = setting.scales[0].student_views.shift
        padding_mode = "constant" if r.edges == "zeros" else "reflect"
        view = (
            transforms.RandomResizedCrop(side, (r.student_crop, 1.0), (3 / 4, 4 / 3))
            if r.student_crop < 1
            else transforms.RandomCrop(side, padding=shift, padding_mode=padding_mode)
        )
        flip = [transforms.RandomHorizontalFlip()] if card.flip else []
        mean, std = setting.teacher.mean.flatten().tolist(), setting.teacher.std.flatten().tolist()
        normalize = transforms.Normalize(mean, std)
        self.transform = transforms.Compose([view, *flip, transforms.ToTensor(), normalize])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor:
        with Image.open(self.files[i]) as image:
            return self.transform(image.convert(self.mode))


class Reference:
    """Published practice. Takes recipes with a noisy layer and a generator, one resolution, and
    the terms CE, adversarial, BatchNorm and key region.
    """

    title = "published practice"

    def __init__(self, setting: Setting, folder: Path, workers: int = 4, habits: Habits = ALL):
        r, t = setting.recipe, setting.teacher
        self.setting, self.recipe, self.folder, self.workers = setting, r, folder, workers
        self.habits, self.device, self.clock = habits, setting.device, Clock(setting.device)
        state = LoopState(setting)  # for the same first weights
        self.mean, self.std = t.mean, t.std
        self.teacher, self.student = copy.deepcopy(t.network), state.student
        self.generator = (PlainGenerator if habits.convolution else FoldedGenerator)(
            setting.card.channels, setting.sides[0], r.width, r.deep, r.noise_width
        ).to(self.device)
        copy_weights(state.generators[setting.sides[0]], self.generator)
        networks = {
            "teacher": self.teacher, "student": self.student, "generator": self.generator
        }  # fmt: skip
        for name, network in networks.items():
            plain = habits.format or name == "generator"  # its input is not a map
            precision.set_format(network, precision.PLAIN if plain else state.formats[name])
        self.teacher.requires_grad_(habits.gradients)
        self.hooks = [
            StatisticsHook(layer, r.bn_scale == "relative", habits.variance)
            for layer in self.teacher.modules()
            if isinstance(layer, nn.BatchNorm2d)
        ]
        self.generator_optimizer = self._adam(self.generator)
        s = r.optimizers.student
        self.student_optimizer = torch.optim.SGD(
            self.student.parameters(), s.lr, s.momentum,
            weight_decay=s.weight_decay, nesterov=s.momentum > 0,
        )  # fmt: skip
        self.target = setting.scales[0].target
        self.classes = len(setting.selected)
        self.written = self.iterations = self.generator_steps = 0
        self.student_steps = self.images_read = 0
        self.log: list[dict[str, float]] = []

    def _adam(self, network: nn.Module) -> torch.optim.Optimizer:
        spec = self.recipe.optimizers.generator
        fused = None if self.habits.adam else True
        return torch.optim.Adam(
            network.parameters(), spec.lr, (spec.momentum, spec.beta2), fused=fused
        )

    # --- generator phase (Algorithm 1, lines 5–9) ---

    def begin(self) -> None:
        """A new noisy layer and new pseudo-labels."""
        batch, groups = self.recipe.batch, group_count(self.recipe.batch, self.classes)
        shuffled = [torch.randperm(self.classes) for _ in range(-(-batch // self.classes))]
        self.labels = torch.cat(shuffled)[:batch].to(self.device)
        d = self.setting.table.shape[1]
        self.noisy = NoisyLayers(d, self.recipe.noise_width, groups).to(self.device)
        self.noisy_optimizer = self._adam(self.noisy)
        if self.recipe.restart_optimizer:
            self.generator_optimizer = self._adam(self.generator)

    def _augmented(self, x: Tensor) -> Tensor:
        """One random shift and flip for the whole batch [B,c,e,e]."""
        side, views = x.shape[-1], self.setting.scales[0].generator_views
        mode = "constant" if views.edges == "zeros" else "reflect"
        top, left = torch.randint(0, 2 * views.shift + 1, (2,)).tolist()
        x = F.pad(x, (views.shift,) * 4, mode)[:, :, top : top + side, left : left + side]
        return x.flip(3) if views.flip and torch.rand(()) < 0.5 else x

    def terms(self, images: Tensor, labels: Tensor, student: bool) -> dict[str, Tensor]:
        """The terms of L_G (Eq. 10) for images [B,c,e,e] in [0,1] and labels [B]: batch means."""
        x = (images - self.mean) / self.std
        features = precision.apply(self.teacher, self.teacher.forward_features, x)
        logits = self.teacher.forward_head(features)
        distances = [hook.distance for hook in self.hooks]
        relative = self.recipe.bn_scale == "relative"
        weight = self.teacher.get_classifier().weight[labels]
        cam = (features * weight[:, :, None, None]).sum(1)
        terms = {
            "ce": F.cross_entropy(logits, labels),
            "bn": sum(distances) / (len(distances) if relative else 1),
            "kr": F.relu(self.target - cam).sum((1, 2)).mean(),
        }
        if student:
            self.student.eval()
            answers = precision.apply(self.student, self.student, x)
            divergence = F.kl_div(F.log_softmax(answers, 1), F.softmax(logits, 1), reduction="none")
            terms["adv"] = -divergence.sum(1).mean()
        return terms

    def generator_step(self, warm_up: bool = False) -> None:
        w = self.recipe.weights
        images = self.generator(self.noisy(self.setting.table[self.labels]))
        views = self._augmented(images) if self.recipe.augment == "both" else images
        terms = self.terms(views, self.labels, student=w.adv > 0 and not warm_up)
        loss = sum(getattr(w, name) * value for name, value in terms.items())
        self.generator_optimizer.zero_grad()
        self.noisy_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()
        self.noisy_optimizer.step()
        if self.habits.items:
            self.log.append({k: v.item() for k, v in (*terms.items(), ("loss", loss))})
        self.images = images.detach()
        self.generator_steps += 1

    def write(self, pixels: Tensor) -> None:
        """One PNG file per image; pixels u8 [B,c,e,e]."""
        for image in pixels.permute(0, 2, 3, 1).cpu().numpy():
            Image.fromarray(image.squeeze()).save(self.folder / f"{self.written:06d}.png")
            self.written += 1

    def generator_phase(self, steps: int, warm_up: bool = False) -> tuple[float, float, float]:
        """One iteration: seconds to begin, per step, and to store."""
        self.clock.read()
        self.begin()
        begin = self.clock.read()
        for _ in range(steps):
            self.generator_step(warm_up)
        step = self.clock.read() / steps
        self.write((self.images * 255).round().to(torch.uint8))
        self.iterations += 1
        return begin, step, self.clock.read()

    # --- student phase (Algorithm 1, lines 10–11) ---

    def batches(self, steps: int) -> Iterator[Tensor]:
        """Student batches [n,c,e,e] of a new loader, normalized."""
        folder = ImageFolder(self.folder, self.setting)
        size = self.setting.scales[0].student_batch
        with warnings.catch_warnings():  # four workers, as published, on fewer cores
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            loader = DataLoader(
                folder,
                size,
                sampler=RandomSampler(folder, replacement=True, num_samples=steps * size),
                num_workers=self.workers,
                pin_memory=self.device.type == "cuda",
            )
            batches = iter(loader)
        for images in batches:
            self.images_read += len(images)
            yield images.to(self.device, non_blocking=True)

    def student_loss(self, x: Tensor) -> Tensor:
        """L_KL (Eq. 2) for a normalized batch."""
        temperature = self.recipe.temperature
        with torch.no_grad():
            answers = precision.apply(self.teacher, self.teacher, x)
        logits = precision.apply(self.student, self.student, x)
        return temperature**2 * F.kl_div(
            F.log_softmax(logits / temperature, 1),
            F.softmax(answers / temperature, 1),
            reduction="batchmean",
        )

    def student_step(self, x: Tensor) -> None:
        for group in self.student_optimizer.param_groups:
            total = self.setting.student_total
            group["lr"] = learning_rate(self.recipe, self.student_steps, total)
        self.student.train()
        loss = self.student_loss(x)
        self.student_optimizer.zero_grad()
        loss.backward()
        self.student_optimizer.step()
        if self.habits.items:
            self.log.append({"kl": loss.item()})
        self.student_steps += 1

    def student_phase(self, steps: int) -> tuple[float, float]:
        """Seconds to rebuild the loader (and to close it), and per student step."""
        for hook in self.hooks:
            hook.active = self.habits.hooks
        self.clock.read()
        batches = self.batches(steps)
        batch = next(batches)
        reopen = self.clock.read()
        for i in range(steps):
            self.student_step(batch)
            if i < steps - 1:
                batch = next(batches)
        step = self.clock.read() / steps
        assert next(batches, None) is None
        for hook in self.hooks:
            hook.active = True
        return reopen + self.clock.read(), step

    def parts(self, steps: int) -> Parts:
        begin, generator_step, store = self.generator_phase(steps)
        reopen, student_step = self.student_phase(STUDENT_STEPS * steps)
        return Parts(begin, generator_step, store, 0.0, reopen, student_step)

    def supply(self, steps: int) -> float:
        """Images per second from the pool to the device, for `steps` batches of one round."""
        before = self.images_read
        self.clock.read()
        for _ in self.batches(steps):
            pass
        return (self.images_read - before) / self.clock.read()


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """The two networks must have the same tensors in the same order."""
    values = [v for k, v in source.state_dict().items()]
    with torch.no_grad():
        for old, new in zip(target.state_dict().values(), values, strict=True):
            old.copy_(new)


# --- the engine -----------------------------------------------------------------------------------


class Engine:
    """The engine's own parts, driven as `kgen.engine.engine` does in a sequential run."""

    title = "engine"

    def __init__(self, setting: Setting):
        self.setting, self.recipe, self.clock = setting, setting.recipe, Clock(setting.device)
        self.state = LoopState(setting)
        self.trainer = StudentTrainer(setting, self.state)
        self.generator_steps = self.images_read = 0
        self.answer_seconds = 0.0

    @property
    def iterations(self) -> int:
        return self.state.iterations

    @property
    def student_steps(self) -> int:
        return self.state.student_steps

    @property
    def student(self) -> nn.Module:
        return self.state.student

    def generator_phase(self, steps: int, warm_up: bool = False) -> tuple[float, float, float]:
        """One iteration: seconds to begin, per step, and to store without the views' answers."""
        self.clock.read()
        needs_student = self.recipe.weights.adv > 0 and not warm_up
        snapshot = self.state.snapshot() if needs_student else None
        self.synthesis = Synthesis(self.setting, self.state, snapshot)
        begin = self.clock.read()
        for _ in range(steps):
            self.synthesis.step()
            self.generator_steps += 1
        step = self.clock.read() / steps
        with self._timed_answers():
            batch = self.synthesis.measure(self.state.snapshot())
        self.synthesis.store(batch)
        self.batch = batch
        self.state.iterations += 1
        return begin, step, self.clock.read() - self.answer_seconds

    def _timed_answers(self) -> AbstractContextManager[object]:
        """Measures the views' answers separately, because they belong to the student phase."""
        answer_views = engine_synthesis.answer_views

        def timed(*args):
            clock = Clock(self.setting.device)
            answers = answer_views(*args)
            self.answer_seconds = clock.read()
            return answers

        self.answer_seconds = 0.0
        return mock.patch.object(engine_synthesis, "answer_views", timed)

    def student_phase(self, steps: int) -> tuple[float, float]:
        """Nothing to rebuild, and seconds per student step."""
        self.clock.read()
        for i in range(steps):
            self.trainer.step()
            if i % 10 == 9:
                self.trainer.report()
        self.images_read += steps * self.setting.scales[0].student_batch
        return 0.0, self.clock.read() / steps

    def parts(self, steps: int) -> Parts:
        begin, generator_step, store = self.generator_phase(steps)
        return Parts(
            begin,
            generator_step,
            store,
            self.answer_seconds,
            *self.student_phase(STUDENT_STEPS * steps),
        )

    def supply(self, steps: int) -> float:
        """Images per second from the pool to the device: views, their answers, and labels."""
        buffer, mean, std = self.state.pool.sample_buffer(), *self._normalization()
        images = 0
        self.clock.read()
        for _ in range(steps):
            views, _, _ = self.trainer._batch(buffer, None)
            images += len((views - mean) / std)
        return images / self.clock.read()

    def _normalization(self) -> tuple[Tensor, Tensor]:
        return self.setting.teacher.mean, self.setting.teacher.std


# --- measurements ---------------------------------------------------------------------------------


def changed(name: str, args: argparse.Namespace) -> Recipe:
    """The recipe with the changes of the command line, and without a second opinion."""
    return recipes.get(name).replace(**dict(map(parse_setting, args.set))).replace(judge="none")


def bounded(name: str, args: argparse.Namespace) -> tuple[Recipe, Recipe]:
    """The recipe, and the one to measure, with `--steps` generator steps and a pool that accepts
    every image.
    """
    recipe = changed(name, args)
    steps = min(args.steps, recipe.generator_steps)
    return recipe, recipe.replace(generator_steps=steps, pool_policy="fifo")


def fill(engine: Engine, *references: Reference) -> None:
    """Fill both pools with copies of a batch, up to half of the budget."""
    pool, batch, origin = engine.state.pool, engine.batch, 10**9  # not from any iteration
    views = {k: v for k, v in batch.items() if k in engine_synthesis.VIEW_COLUMNS}
    while len(pool) < engine.setting.budget_images // 2:
        pool.add(batch["images"], batch["labels"], origin, views)
    for reference in references:
        while reference.written < len(pool):
            reference.write(batch["images"][: len(pool) - reference.written])


def ratio(values: list[float]) -> str:
    return f"{statistics.median(values):6.2f} ({min(values):.2f}–{max(values):.2f})"


def compare(name: str, args: argparse.Namespace) -> None:
    """The two sides in interleaved rounds: ratios per phase, and the parts of an epoch."""
    recipe, measured = bounded(name, args)
    steps = measured.generator_steps
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Setting(measured))
        reference = Reference(engine.setting, Path(folder))
        print(heading(name, engine, args), flush=True)
        for side in (engine, reference):
            side.parts(2)  # warm-up
        fill(engine, reference)
        parts: dict[str, list[Parts]] = {engine.title: [], reference.title: []}
        supply: dict[str, list[float]] = {engine.title: [], reference.title: []}
        for i in range(args.rounds):
            for side in (engine, reference) if i % 2 else (reference, engine):
                parts[side.title].append(side.parts(steps))
                supply[side.title].append(
                    side.supply(min(recipe.student_steps, 20 * STUDENT_STEPS * steps))
                )
    ours, theirs = parts[engine.title], parts[reference.title]
    for title, phase in (
        ("generator phase", Parts.generator_phase),
        ("student phase", Parts.student_phase),
        ("whole epoch", Parts.epoch),
    ):
        ratios = [phase(b, recipe) / phase(a, recipe) for a, b in zip(ours, theirs)]
        print(f"  {title:<34}{ratio(ratios)}")
    ratios = [a / b for a, b in zip(supply[engine.title], supply[reference.title])]
    print(
        f"  {'pool → student batch':<34}{ratio(ratios)}   "
        + ", ".join(f"{k} {statistics.median(v):,.0f} images/s" for k, v in supply.items())
    )
    size = engine.setting.scales[0].student_batch
    shares = [100 * size / s / p.student_step for s, p in zip(supply[engine.title], ours)]
    print(f"  {'pool, % of a student step':<34}{ratio(shares)}")
    for field in Parts._fields:
        a, b = (statistics.median(getattr(p, field) for p in side) for side in (ours, theirs))
        print(f"    {field:<20} engine {1e3 * a:9.1f} ms   published practice {1e3 * b:9.1f} ms")


def heading(name: str, engine: Engine, args: argparse.Namespace) -> str:
    r, s = engine.recipe, engine.setting
    chosen = ", ".join(f"{k} {' '.join(v)}" for k, v in engine.state.formats.items())
    return (
        f"{name}: {r.batch} × {s.sides[0]}², student batch {s.scales[0].student_batch},"
        f" {torch.get_num_threads()} threads, {s.device_title()}, {args.rounds} rounds"
        f" of {r.generator_steps} and {STUDENT_STEPS * r.generator_steps} steps"
        f"\n  the engine's formats: {chosen}"
        f"\n  ratio of times, published practice to engine: median (range)"
    )


def habits(name: str, args: argparse.Namespace) -> None:
    """What each habit costs: time with all of them relative to time with all but one."""
    recipe, measured = bounded(name, args)
    steps = measured.generator_steps
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Setting(measured))
        print(heading(name, engine, args), flush=True)
        without = {"": ALL} | {h: ALL._replace(**{h: False}) for h in Habits._fields}
        sides = {
            label: Reference(engine.setting, Path(folder, label or "all"), habits=kept)
            for label, kept in without.items()
        }
        engine.parts(2)
        for side in sides.values():
            side.folder.mkdir()
            side.generator_phase(2)
        fill(engine, *sides.values())
        fresh = StudentTrainer(Setting(measured.replace(views=0)), engine.state)
        times: dict[str, tuple[list[float], list[float]]] = {k: ([], []) for k in sides}
        teacher_pass: list[float] = []
        for _ in range(args.rounds):
            for label, side in sides.items():
                times[label][0].append(side.generator_phase(steps)[1])
                times[label][1].append(side.student_phase(STUDENT_STEPS * steps)[1])
            stored = engine.student_phase(STUDENT_STEPS * steps)[1]
            start = time.perf_counter()
            for _ in range(STUDENT_STEPS * steps):
                fresh.step()
            teacher_pass.append((time.perf_counter() - start) / (STUDENT_STEPS * steps) / stored)
    print(f"  {'without':<14}{'generator step':<24}student step")
    for label in Habits._fields:
        generator, student = (
            ratio([a / b for a, b in zip(times[""][i], times[label][i])]) for i in (0, 1)
        )
        print(f"  {label:<14}{generator:<24}{student}")
    print(f"  the engine's student step with a teacher pass: {ratio(teacher_pass)}")


def profile(name: str, args: argparse.Namespace) -> None:
    """The costliest operators of both sides' steps."""
    _, measured = bounded(name, args)
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Setting(measured))
        reference = Reference(engine.setting, Path(folder))
        for side in (engine, reference):
            side.parts(2)
            phases: dict[str, Callable[[], object]] = {
                "generator": lambda side=side: side.generator_phase(measured.generator_steps),
                "student": lambda side=side: side.student_phase(20),
            }
            for phase, work in phases.items():
                with torch.profiler.profile() as found:
                    work()
                print(f"{name}, {side.title}, {phase} phase")
                kind = "cuda" if engine.setting.device.type == "cuda" else "cpu"
                table = found.key_averages().table(f"self_{kind}_time_total", row_limit=12)
                print(table)


def resident_kilobytes() -> int:
    """Memory of this process that is in RAM. Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise OSError("this system does not report how much memory a process uses")


def memory(name: str, args: argparse.Namespace) -> None:
    """How the engine's memory grows: a line fitted to the second half of the iterations."""
    _, measured = bounded(name, args)
    measured = measured.replace(generator_steps=min(3, measured.generator_steps))
    engine = Engine(Setting(measured))
    kilobytes = []
    for _ in range(args.iterations):
        engine.generator_phase(measured.generator_steps)
        engine.student_phase(5)
        kilobytes.append(resident_kilobytes())
    steady = kilobytes[len(kilobytes) // 2 :]
    slope = statistics.linear_regression(range(len(steady)), steady).slope
    print(
        f"{name}: {args.iterations} iterations, {kilobytes[0] / 1024:.0f} MB after the first,"
        f" {kilobytes[-1] / 1024:.0f} MB after the last; second half: {slope:+.1f} KB per"
        f" iteration ({min(steady) / 1024:.1f}–{max(steady) / 1024:.1f} MB)"
    )


def to_accuracy(name: str, args: argparse.Namespace) -> None:
    """The whole recipe on both sides, epoch by epoch in turn, each until it reaches the accuracy.

    Testing on 2,000 real images, six times per epoch, stops the clock.
    """
    for seed in range(args.rounds):
        recipe = changed(name, args).replace(seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            engine = Engine(Setting(recipe))
            reference = Reference(engine.setting, Path(folder))
            runs = [Run(side, args.to_accuracy) for side in (engine, reference)]
            for epoch in range(recipe.epochs):
                for run in runs if epoch % 2 else reversed(runs):
                    run.epoch(epoch)
        ours, theirs = runs
        at_least = "" if theirs.reached else "more than "
        verdict = (
            f"ratio of times {at_least}{theirs.seconds / ours.seconds:.2f}"
            if ours.reached
            else "no ratio, because the engine did not reach the accuracy"
        )
        summaries = ", ".join(run.summary() for run in runs)
        print(f"{name}, seed {seed}, {engine.setting.device_title()}: {summaries}; {verdict}")


class Run:
    """One side on its way to an accuracy, with its own clock."""

    def __init__(self, side: Engine | Reference, target: float):
        if side.setting.real is None:
            raise SystemExit("--to-accuracy needs real test images; see `python -m kgen data list`")
        self.side, self.target, self.setting = side, target, side.setting
        self.real = side.setting.real.stratified(2000, tuple(side.setting.selected))
        self.clock = Clock(side.setting.device)
        self.seconds = self.accuracy = 0.0
        self.reached: float | None = None

    def epoch(self, number: int) -> None:
        if self.reached is not None:
            return
        r, side = self.setting.recipe, self.side
        warm_up = number < r.warmup_epochs
        self.clock.read()
        for _ in range(r.epoch_iterations):
            side.generator_phase(r.generator_steps, warm_up)
        self.seconds += self.clock.read()
        if warm_up:
            return
        check = max(1, r.student_steps // 6)
        batches = side.batches(r.student_steps) if isinstance(side, Reference) else None
        for step in range(1, r.student_steps + 1):
            if batches is None:
                side.trainer.step()
                if step % 10 == 0:
                    side.trainer.report()
            else:
                side.student_step(next(batches))
            if step % check == 0:
                self.seconds += self.clock.read()
                self.test()
                if self.reached is not None:
                    return
                self.clock.read()
        self.seconds += self.clock.read()

    def test(self) -> None:
        network, t = self.side.student, self.setting.teacher
        network.eval()
        found = score(
            lambda x: precision.apply(network, network, (x - t.mean) / t.std),
            self.real,
            self.setting.selected,
            device=self.setting.device,
        )
        network.train()
        self.accuracy = found.accuracy
        if self.accuracy >= self.target:
            self.reached = self.seconds

    def summary(self) -> str:
        missed = "" if self.reached else " (not reached)"
        return (
            f"{self.side.title} {100 * self.accuracy:.1f}%{missed} after {self.seconds:.0f} s,"
            f" {self.side.generator_steps} generator and {self.side.student_steps} student steps"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--steps", type=int, default=6, help="generator steps per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--habits", action="store_true", help="what each habit costs")
    parser.add_argument("--profile", action="store_true", help="the costliest operators")
    parser.add_argument("--memory", action="store_true", help="how memory grows")
    parser.add_argument("--iterations", type=int, default=40, help="for --memory")
    parser.add_argument("--to-accuracy", type=float, metavar="SHARE", help="time to an accuracy")
    args = parser.parse_args()
    if min(args.steps, args.rounds, args.threads) < 1 or args.iterations < 4:
        parser.error("steps, rounds and threads must be at least 1, iterations at least 4")
    torch.set_num_threads(args.threads)
    work = (
        habits if args.habits
        else profile if args.profile
        else memory if args.memory
        else to_accuracy if args.to_accuracy
        else compare
    )  # fmt: skip
    for name in args.recipes:
        work(name, args)


if __name__ == "__main__":
    main()
