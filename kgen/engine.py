"""The engine: Algorithm 1 as a stream of events. It touches no disk, prints nothing and never sleeps to slow down.

`synthesise()` makes one batch of images, `learn()` makes student steps; the two schedules below are short
loops over them. All state that a resume needs is in `LoopState`; `Distillation.checkpoint()` copies it.
"""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kgen import data, embeddings, events, losses, zoo
from kgen.augment import shift_and_flip
from kgen.controls import Controls, Gate
from kgen.evaluate import score
from kgen.keyregion import class_activation_map, make_target
from kgen.recipe import Recipe, RecipeError
from kgen.sources import JITTER, NoisyLayer, balanced_labels, group_count
from kgen.state import LoopState, build_optimiser

PARTS = ("ce", "adv", "bn", "kr")
STUDENT_REPORT = 10
"""Student steps between two student_step events."""
SHOWN_PER_CLASS = 5
REFERENCE_IMAGES = 400
EVALUATION_IMAGES = 2_000


class Diverged(RuntimeError):
    """A loss that is not a number; raised before the update that it would have spoilt."""

    def __init__(self, term: str, step: int, value: float):
        super().__init__(f"the loss part {term!r} was {value} at step {step}")
        self.term, self.step = term, step


class _Stop(Exception):
    """Someone asked the run to stop."""


def distill(recipe: Recipe, *, controls: Controls | None = None) -> Iterator[events.Event]:
    """Run a recipe; yields typed events (`kgen.events`). `controls.send("pause")` and friends work from any thread."""
    yield from Distillation(recipe, controls=controls)


def pick_device(wanted: str) -> torch.device:
    """The device that a recipe asks for; auto takes CUDA, then MPS, then the CPU. RecipeError if it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, ok in there.items() if ok))
    if not there[wanted]:
        raise RecipeError(f"Recipe field 'device' is {wanted!r}, but this machine has: {', '.join(n for n, ok in there.items() if ok)}.")
    return torch.device(wanted)


def choose_classes(recipe: Recipe, known: tuple[str, ...]) -> list[int]:
    """Indices of the recipe's classes among the teacher's. RecipeError names one that is not there."""
    if recipe.classes is None:
        return list(range(len(known)))
    chosen = []
    for c in recipe.classes:
        if isinstance(c, str) and c in known:
            chosen.append(known.index(c))
        elif isinstance(c, int) and 0 <= c < len(known):
            chosen.append(c)
        else:
            raise RecipeError(f"Recipe field 'classes': {c!r} is not a class of {recipe.teacher}. {zoo.nearest(str(c), list(known))}")
    if len(set(chosen)) != len(chosen):
        raise RecipeError("Recipe field 'classes': a class is chosen twice.")
    return chosen


class Distillation:
    """One run. Iterate over it; at a yield where `resumable` is True, `checkpoint()` gives its whole state.

    Args:
        recipe: what to do. RecipeError if this machine cannot.
        controls: commands from other threads.
        resume: tensors of an earlier `checkpoint()`, with
        batch_of: iteration → that batch's images u8 [B,c,e,e], to refill the pool, and
        elapsed: seconds that it had run by then.
    """

    def __init__(self, recipe: Recipe, *, controls: Controls | None = None, resume: dict[str, Tensor] | None = None,
                 batch_of: Callable[[int], np.ndarray] | None = None, elapsed: float = 0.0):
        self.recipe, self.resumed, self._before = recipe, resume is not None, elapsed
        self._start = time.monotonic()
        self.device = pick_device(recipe.device)
        self.teacher = zoo.load_teacher(recipe.teacher).to(self.device)
        self.chosen = choose_classes(recipe, self.teacher.classes)
        self.classes = torch.tensor(self.chosen, device=self.device)
        self.side = recipe.resolutions[0]
        card = self.teacher.card
        budget = recipe.budget_pixels(card.n_train, card.side)
        self.budget_images = budget // self.side**2
        if self.budget_images < 1:
            raise RecipeError(f"Recipe field 'ratio' is {recipe.ratio}: {budget} pixels hold no image of {self.side} × {self.side}. Raise it.")
        self.table = embeddings.class_table(self.teacher.classes).to(self.device)
        self.state = LoopState(recipe, self.teacher, len(self.chosen), budget, self.device)
        if resume is not None:
            self.state.load(resume, batch_of)
        self.student_total = recipe.total_student_steps if len(self.chosen) > 1 else 0
        with torch.no_grad():
            probe = self.teacher(torch.zeros(1, card.channels, self.side, self.side, device=self.device))
        self.map_size = tuple(probe.features.shape[2:])
        self.target = make_target(recipe.target, *self.map_size).to(self.device)
        concurrent = recipe.schedule == "concurrent" and self.student_total > 0 and self.device.type != "mps"
        self.gate = Gate(controls or Controls(), alone=not concurrent)
        self.concurrent, self.resumable = concurrent, False
        self._outbox: queue.SimpleQueue = queue.SimpleQueue()
        self._student_lock = threading.RLock()
        self._student_failure: BaseException | None = None
        self._main = threading.get_ident()
        self._real = data.test_set(card.data) if recipe.evaluate_on == "test" else data.split(data.training_set(card.data))[1]
        self._teacher_scores: dict[int, events.Score] = {}
        self._threads = torch.get_num_threads()

    # --- the stream --------------------------------------------------------------------------

    def __iter__(self) -> Iterator[events.Event]:
        self._start, self._main = time.monotonic(), threading.get_ident()
        try:
            if not self.resumed:
                yield self._run_started()
                yield from self._warnings()
            stopped = False
            try:
                yield from self._concurrently() if self.concurrent else self._sequentially()
            except _Stop:
                stopped = True
            self.resumable = False
            yield from self._finish(stopped)
        except Diverged as error:
            yield self._event(
                events.RunFailed, cause=f"The loss part “{_NAMES.get(error.term, error.term)}” was not a number.", term=error.term,
                step=error.step, remedy="A learning rate or a weight is probably too high; resume from the last checkpoint with a lower one.")
        finally:
            torch.set_num_threads(self._threads)

    @property
    def elapsed(self) -> float:
        """Seconds that the run has been going, over all its attempts."""
        return self._before + time.monotonic() - self._start

    def checkpoint(self) -> dict[str, Tensor]:
        """The whole state as CPU tensors. Call it where `resumable` is True."""
        if not self.resumable:
            raise RuntimeError("the run is inside an iteration; a checkpoint is possible where `resumable` is True")
        with self._student_lock:
            return self.state.tensors()

    def _sequentially(self) -> Iterator[events.Event]:
        """Algorithm 1 to the letter: I iterations, then S student steps, E times."""
        r, s = self.recipe, self.state
        while True:
            epoch = s.iterations // r.iterations
            due = max(0, epoch - r.warmup_epochs) * r.student_steps if self.student_total else 0
            if s.student_steps < due:
                yield from self.learn(due)
            elif s.iterations < r.total_iterations:
                yield from self.synthesise()
            else:
                return

    def _concurrently(self) -> Iterator[events.Event]:
        """The generator here, the student on a thread of its own; neither leads by more than an epoch."""
        r, s = self.recipe, self.state
        thread = threading.Thread(target=self._student_thread, name="student", daemon=True)
        thread.start()
        try:
            while s.iterations < r.total_iterations:
                self._share_threads(alone=s.iterations < r.warmup_epochs * r.iterations or s.student_steps >= self.student_total)
                yield from self.synthesise()
            self._generator_done = True
            while thread.is_alive() or not self._outbox.empty():
                self.resumable = True
                yield from self._attend(refuse="The generator has made all its images." if self.gate.until != "student" else "")
                if self.gate.state == "stopping":
                    raise _Stop
                self.gate.wait()
            yield from self._attend()
        finally:
            if thread.is_alive():
                self.gate.state = "stopping"
                thread.join()

    _generator_done = False

    def _student_thread(self) -> None:
        try:
            self._share_threads(alone=False)
            for event in self.learn(self.student_total):
                self._outbox.put(event)
        except _Stop:
            pass
        except BaseException as error:  # noqa: BLE001  raised again by the main thread, see _attend
            self._student_failure = error

    def _share_threads(self, alone: bool) -> None:
        """Half of the cores for each of the two threads; all of them for one that has no other beside it."""
        if self.device.type == "cpu":
            torch.set_num_threads(self._threads if alone else max(1, self._threads // 2))

    def _may_learn(self) -> bool:
        """Concurrent: the student works on epoch k once the generator has finished epoch k − 1."""
        r, s = self.recipe, self.state
        epoch = r.warmup_epochs + s.student_steps // max(1, r.student_steps)
        return len(s.pool) > 0 and s.iterations >= epoch * r.iterations

    def _may_synthesise(self) -> bool:
        """Concurrent: the generator begins epoch k once the student has finished epoch k − 2."""
        r, s = self.recipe, self.state
        return s.student_steps >= min(self.student_total, (s.iterations // r.iterations - 1 - r.warmup_epochs) * r.student_steps)

    # --- controls ----------------------------------------------------------------------------

    def _attend(self, refuse: str = "") -> Iterator[events.Event]:
        """Main thread: answer controls, pass on the student's events, raise what its thread raised."""
        answers = self.gate.apply()
        if refuse:
            answers += self.gate.refuse(refuse)
        while not self._outbox.empty():
            yield self._outbox.get()
        if self._student_failure is not None:
            failure, self._student_failure = self._student_failure, None
            raise failure
        for a in answers:
            yield self._event(events.Control, id=a["id"], action=a["action"], state=self.gate.state, text=a["text"])

    def _enter(self, kind: str) -> Iterator[events.Event]:
        """Wait at the step boundary until this thread may make one step. Raises _Stop."""
        main = threading.get_ident() == self._main
        may = self._may_learn if kind == "student" else self._may_synthesise
        while True:
            ready = not self.concurrent or may()
            if main:
                yield from self._attend()
                if self.concurrent and self.gate.until == "student" and not self._may_learn():
                    yield from self._attend(refuse="The student has to wait: it is an epoch ahead, or the pool is still empty (warm-up).")
                elif self.concurrent and self.gate.until in ("generator", "iteration") and not self._may_synthesise():
                    yield from self._attend(refuse="The generator has to wait: it is an epoch ahead of the student.")
            if self.gate.state == "stopping":
                raise _Stop
            if ready and self.gate.try_enter(kind):
                return
            self.gate.wait()

    # --- making images -----------------------------------------------------------------------

    def synthesise(self) -> Iterator[events.Event]:
        """One iteration (Alg. 1, l. 5–9): new pseudo-labels and noisy layer, g generator steps, images into the pool."""
        r, s = self.recipe, self.state
        iteration = s.iterations
        where = {"iteration": iteration, "epoch": iteration // r.iterations, "resolution": self.side}
        for event in self._enter("generator"):
            yield event
        try:
            self.resumable = False
            if r.generator_life and iteration and iteration % (r.generator_life * r.iterations) == 0:
                s.new_generator()
            positions = balanced_labels(r.batch, len(self.chosen), s.rng["labels"])
            labels = self.classes[positions.to(self.device)]
            noisy, optimiser = self._noisy_layer()
            with self._student_lock:
                student = s.frozen_student() if self._adversarial(iteration) else None
            history = _History(positions, len(self.chosen), r.generator_steps)
        finally:
            self.gate.leave("generator")
        yield self._event(events.IterationStarted, **where, labels=positions.tolist())

        sums, since = torch.zeros(len(PARTS) + 1, device=self.device), 0
        best: tuple[Tensor, Tensor] | None = None
        for step in range(r.generator_steps):
            yield from self._enter("generator")
            done = ("generator", "iteration") if step == r.generator_steps - 1 else ("generator",)
            try:
                images = s.generator(noisy(self.table[labels]))
                views = shift_and_flip(images, s.rng["augment_generator"], flip=self.teacher.card.flip) if r.augment == "both" else images
                probe = self.teacher(views)
                parts = self._parts(probe, views, labels, student)
                means = [p.mean() for p in parts]
                loss = sum(w * m for w, m in zip(self._weights(student), means))
                agreement = (probe.logits.argmax(1) == labels).float().mean()
                with torch.no_grad():
                    sums += torch.stack([*means, agreement])
                since += 1
                last = step == r.generator_steps - 1
                report = None
                if (step + 1) % r.report_every == 0 or last:
                    report = (sums / since).tolist()  # the one transfer; checked before the update
                    _check_finite(dict(zip(PARTS, report)), step)
                    sums.zero_()
                    since = 0
                s.generator_optimiser.zero_grad(set_to_none=True)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                s.generator_optimiser.step()
                optimiser.step()
                if r.keep == "best":
                    best = self._better(best, images.detach(), means)
                history.keep(step, images.detach())
                if last:
                    batch = self._store(iteration, best[0] if best else images.detach(), positions, labels, history)
            finally:
                self.gate.leave("generator", *done)
            if report:
                *values, agreement = report
                yield self._event(
                    events.GeneratorStep, **where, step=step, parts=dict(zip(PARTS, values)), agreement=agreement,
                    loss=sum(w * v for w, v in zip(self._weights(student), values)),
                    preview=self._previewer(iteration, step, images.detach(), positions, labels, probe if views is images else None))
        self.resumable = True
        yield self._event(events.BatchSynthesised, **where, step=r.generator_steps - 1, **batch)

    def _noisy_layer(self) -> tuple[NoisyLayer, torch.optim.Optimizer]:
        r, k = self.recipe, len(self.chosen)
        rng, d = self.state.rng["noise"], self.table.shape[1]
        rounds = math.ceil(r.batch / k)
        groups = group_count(r.batch, k)
        jitter = JITTER * torch.randn(r.batch, d, generator=rng) if rounds > groups else None
        noisy = NoisyLayer(d, groups, r.noise_width, rng=rng, table=self.table if k < 3 else None, jitter=jitter).to(self.device)
        return noisy, build_optimiser(r.optimisers.generator, noisy.parameters(), fused=True)

    def _adversarial(self, iteration: int) -> bool:
        """The adversarial term is off in warm-up, where the student knows nothing."""
        r = self.recipe
        return r.weights.adv > 0 and self.student_total > 0 and iteration >= r.warmup_epochs * r.iterations

    def _weights(self, student) -> tuple[float, ...]:
        w = self.recipe.weights
        return w.ce, w.adv if student is not None else 0.0, w.bn, w.kr

    def _parts(self, probe, views: Tensor, labels: Tensor, student) -> tuple[Tensor, ...]:
        """Unweighted terms in the order of PARTS: [B] each, batch norm a scalar."""
        r = self.recipe
        zero = torch.zeros((), device=self.device)
        adversarial = zero
        if student is not None:
            adversarial = losses.adversarial(probe.logits, student((views - self.teacher.mean) / self.teacher.std), r.adv_mask)
        cam = class_activation_map(probe.features, self.teacher.weight, labels)
        return (losses.cross_entropy(probe.logits, labels), adversarial, losses.batch_norm(probe.batch_norm, r.bn_scale).to(self.device),
                losses.key_region(cam, self.target))

    def _better(self, best, images: Tensor, means: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Keep the batch with the lowest CE + BN + KR so far, compared on the device (no transfer)."""
        w = self.recipe.weights
        value = (w.ce * means[0] + w.bn * means[2] + w.kr * means[3]).detach()
        if best is None:
            return images.clone(), value
        return torch.where(value < best[1], images, best[0]), torch.minimum(value, best[1])

    @torch.no_grad()
    def _store(self, iteration: int, images: Tensor, positions: Tensor, labels: Tensor, history: _History) -> dict[str, Any]:
        """Images into the pool as bytes; what the journal wants to know of them, measured on those very bytes."""
        s = self.state
        pixels = _to_bytes(images)
        measured = self._measure(pixels.float() / 255, labels)
        with self._student_lock:
            entered = s.pool.add(pixels, positions, iteration)
            s.iterations += 1
        arrays = {"images": pixels.cpu().numpy(), "labels": positions.numpy(), "entered": entered.to(torch.uint8).numpy(), **measured,
                  **history.arrays()}
        return {"file": f"batches/{iteration:06d}.safetensors", "entered": int(entered.sum()), "pool_images": len(s.pool),
                "pool_pixels": s.pool.pixels, "budget_used": s.pool.pixels / s.pool.budget_pixels, "arrays": arrays}

    def _measure(self, images: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
        """One forward of teacher and student on the kept images."""
        probe = self.teacher(images)
        with self._student_lock:
            student = self.state.frozen_student()
        student_logits = student((images - self.teacher.mean) / self.teacher.std)
        ce, adv, bn, kr = self._parts(probe, images, labels, student)
        parts = torch.stack([ce, adv, bn.expand_as(ce), kr], 1)
        cam = class_activation_map(probe.features, self.teacher.weight, labels)
        out = {"cam": cam.half(), "parts": parts, "embedding": probe.embedding.half(),
               "confidence": probe.logits.softmax(1).gather(1, labels[:, None])[:, 0].half()}
        for name, logits in (("teacher", probe.logits), ("student", student_logits)):
            p, top = logits.softmax(1).topk(min(5, logits.shape[1]))
            out |= {f"{name}_top": top.int(), f"{name}_top_p": p.half()}
        return {k: v.cpu().numpy() for k, v in out.items()}

    def _previewer(self, iteration: int, step: int, images: Tensor, positions: Tensor, labels: Tensor, probe) -> Callable[[], events.Arrays]:
        @torch.no_grad()
        def preview() -> events.Arrays:
            seen = probe or self.teacher(images)
            cam = class_activation_map(seen.features.detach(), self.teacher.weight, labels)
            confidence = seen.logits.detach().softmax(1).gather(1, labels[:, None])[:, 0]
            arrays = {"images": _to_bytes(images), "labels": positions, "cam": cam.half(), "embedding": seen.embedding.detach().half(),
                      "confidence": confidence.half(), "epoch": torch.tensor([iteration // self.recipe.iterations]),
                      "iteration": torch.tensor([iteration]), "step": torch.tensor([step])}
            return {k: v.cpu().numpy() for k, v in arrays.items()}

        return preview

    # --- teaching the student ----------------------------------------------------------------

    def student_rate(self, step: int) -> float:
        """Learning rate of a student step: a linear ramp after warm-up, then cosine to zero (C.4)."""
        r = self.recipe
        highest, ramp = r.optimisers.student.lr, r.warmup_epochs * r.student_steps
        if step < ramp:
            return highest * (step + 1) / ramp
        return highest * 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, self.student_total - ramp)))

    def learn(self, until: int) -> Iterator[events.Event]:
        """Student steps (Alg. 1, l. 10–11) until `until` have been made in the whole run."""
        r, s = self.recipe, self.state
        own = threading.get_ident() != self._main
        teacher = self.teacher.twin() if own else self.teacher
        total, since = torch.zeros((), device=self.device), 0
        every = r.evaluate_every or r.student_steps
        while s.student_steps < until:
            yield from self._enter("student")
            try:
                self.resumable = self.resumable and own
                if own and self._generator_done:
                    self._share_threads(alone=True)
                with self._student_lock:
                    loss = self._student_step(teacher)
                    total += loss
                    since += 1
                    step = s.student_steps - 1
                    # a step that someone asked for is told at once
                    single = self.gate.until == "student"
                    report = None
                    if s.student_steps % STUDENT_REPORT == 0 or s.student_steps == until or single:
                        report = float(total / since)
                        _check_finite({"kl": report}, step)
                        total, since = torch.zeros((), device=self.device), 0
            finally:
                self.gate.leave("student", "student")
            where = {"epoch": r.warmup_epochs + step // r.student_steps, "step": step, "iteration": s.iterations - 1}
            if report is not None:
                self.resumable = True if not own else self.resumable
                yield self._event(events.StudentStep, **where, loss=report, parts={"kl": report}, lr=self.student_rate(step))
            if s.student_steps % every == 0 and s.student_steps < self.student_total:
                yield self._evaluate(EVALUATION_IMAGES, **where)

    def _student_step(self, teacher) -> Tensor:
        """One update on a batch from the pool; the teacher's answer is made on the very same views. Returns the loss."""
        r, s = self.recipe, self.state
        for group in s.student_optimiser.param_groups:
            group["lr"] = self.student_rate(s.student_steps)
        pixels, _ = s.pool.sample(r.student_batch, s.rng["student_batch"])
        images = pixels.float() / 255
        if r.augment != "none":
            images = shift_and_flip(images, s.rng["augment_student"], flip=teacher.card.flip)
        with torch.no_grad():
            wanted = teacher.logits(images)
        s.student.train()
        loss = losses.distillation(wanted, s.student((images - teacher.mean) / teacher.std), r.temperature)
        s.student_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        s.student_optimiser.step()
        s.student_steps += 1
        return loss.detach()

    # --- telling -----------------------------------------------------------------------------

    def _event(self, kind, **fields) -> events.Event:
        return kind(t=round(self.elapsed, 3), **fields)

    def _evaluate(self, n: int | None, final: bool = False, **where) -> events.Event:
        """Student and teacher on the same real images: a fixed stratified subset of n, or all of them."""
        real = self._real if n is None else self._real.stratified(n, tuple(self.chosen))
        student = self.state.student
        was = student.training
        student.eval()
        mean, std = self.teacher.mean, self.teacher.std
        mine = score(lambda x: student((x - mean) / std), real, self.chosen, device=self.device)
        student.train(was)
        if len(real) not in self._teacher_scores:
            self._teacher_scores[len(real)] = self._teacher_score(real)
        pool = self.state.pool
        return self._event(events.Evaluated, **where, student=mine, teacher=self._teacher_scores[len(real)], pool_images=len(pool),
                           budget_used=pool.pixels / pool.budget_pixels, final=final)

    def _teacher_score(self, real: data.RealImages) -> events.Score:
        card = self.teacher.card
        if card.accuracy is not None and self.recipe.evaluate_on == "test" and len(self.chosen) == len(self.teacher.classes):
            # measured on all test images when the teacher was made, and a test checks it
            return events.Score(accuracy=card.accuracy, n=card.n_test)
        return score(self.teacher.logits, real, self.chosen, device=self.device)

    def _run_started(self) -> events.Event:
        card, r = self.teacher.card, self.recipe
        return self._event(
            events.RunStarted, name=r.name, recipe=r.model_dump(mode="json"), teacher=card,
            student_parameters=sum(p.numel() for p in self.state.student.parameters()),
            classes=[self.teacher.classes[c] for c in self.chosen], class_indices=self.chosen, budget_images=self.budget_images,
            budget_pixels=self.state.pool.budget_pixels, map_size=self.map_size, target=[[round(v, 4) for v in row] for row in self.target.tolist()],
            generator_steps=r.total_generator_steps, student_steps=self.student_total, device=_describe(self.device), arrays=self._reference())

    @torch.no_grad()
    def _reference(self) -> events.Arrays:
        """Some hundred real examples and what the teacher makes of them; for comparison only."""
        real = self._real.stratified(REFERENCE_IMAGES, tuple(self.chosen), seed=1)
        position = {c: i for i, c in enumerate(self.chosen)}
        embedding = self.teacher(torch.from_numpy(real.images).to(self.device).float() / 255).embedding
        labels = np.array([position[c] for c in real.labels.tolist()], dtype=np.int64)
        return {"images": real.images, "labels": labels, "embedding": embedding.half().cpu().numpy()}

    def _warnings(self) -> Iterator[events.Event]:
        r = self.recipe
        offered = r.total_iterations * r.batch
        if r.pool_policy == "spread" and offered < self.budget_images:
            yield self._event(events.Warned, text=f"The run makes {offered:,} images, but the budget holds {self.budget_images:,}.",
                              remedy="Add epochs or iterations, or lower the ratio.")
        if len(self.chosen) == 1:
            yield self._event(events.Warned, text="One class only: images are made, but there is nothing for a student to tell apart.",
                              remedy="Choose two classes or more to train a student.")
        if r.schedule == "concurrent" and self.device.type == "mps":
            yield self._event(events.Warned, text="Two threads are not safe on MPS; the run is sequential.", remedy="")

    def _finish(self, stopped: bool) -> Iterator[events.Event]:
        result = None
        if self.state.student_steps:
            result = self._evaluate(None, final=True)
            yield result
        score_ = result.student if result else None
        yield self._event(events.RunFinished, reason="stopped" if stopped else "done", accuracy=score_ and score_.accuracy, n=score_.n if score_ else 0)


_NAMES = {"ce": "cross-entropy", "adv": "adversarial", "bn": "BN statistics", "kr": "key region", "kl": "distillation"}


class _History:
    """The making of a batch: the shown tiles (the first five of each class) at log-spaced steps."""

    def __init__(self, positions: Tensor, classes: int, steps: int):
        seen = [0] * classes
        shown = []
        for i, c in enumerate(positions.tolist()):
            seen[c] += 1
            if seen[c] <= SHOWN_PER_CLASS:
                shown.append(i)
        self.shown = torch.tensor(shown)
        self.steps = sorted({0, steps - 1} | {2**i for i in range(20) if 2**i < steps})
        self.frames: list[Tensor] = []

    def keep(self, step: int, images: Tensor) -> None:
        if step in self.steps:
            self.frames.append(_to_bytes(images[self.shown.to(images.device)]))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"previews": torch.stack(self.frames).cpu().numpy(), "preview_steps": np.array(self.steps, np.int32),
                "preview_positions": self.shown.int().numpy()}


def _to_bytes(images: Tensor) -> Tensor:
    return (images * 255).round_().to(torch.uint8)


def _check_finite(values: dict[str, float], step: int) -> None:
    for term, value in values.items():
        if not math.isfinite(value):
            raise Diverged(term, step, value)


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} of {os.cpu_count()} threads)" if device.type == "cpu" else device.type
