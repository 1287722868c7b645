"""The Studio page: the setup rail (Gradio components) and the live view (one gr.HTML).

Gradio carries only what a person does: choose, start, pause, step, stop. What the run does reaches the page
through the polled snapshot, drawn by `static/studio.js`; the same snapshot decides which buttons are shown
and when the form is locked, so every viewer sees the same. Nothing of a run is kept here.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import plotly

from app.panels import form
from app.plan import OFFERED
from app.runs import RunError, Runs
from kgen import recipes
from kgen.controls import UNITS
from kgen.recipe import Recipe

PAGES = Path(__file__).parent
VIEW = (PAGES / "studio.html").read_text(encoding="utf-8")
TEACHER = (PAGES / "teacher.html").read_text(encoding="utf-8")

# Runs once. The template holds no placeholder, so Gradio never touches this DOM again. The names of events
# have to be spelled out here for Gradio to find them.
MOUNT = """
const base = (window.gradio_config?.root || '').replace(/\\/$/, '');
import(base + '/kg/static/studio.js?v=' + VERSION).then((page) => page.mount(element, {
  base, plotly: base + '/kg/plotly.min.js?v=' + PLOTLY, command: () => props.value?.command || '',
  repaint: () => trigger('repaint'), resume: () => trigger('resume'),
}));
"""
# A handler's listener: no spinner over the page, no queue of one, not in the public API.
QUIET = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
# Choices that only touch the form are made in the browser.
LOCAL = {"show_progress": "hidden", "api_visibility": "private", "queue": False}


def build(demo: gr.Blocks, runs: Runs, version: str) -> None:
    """Put the page into `demo` and connect it with `runs`."""
    with gr.Row(elem_id="kg-shell"):
        with gr.Column(elem_id="kg-rail", min_width=0):
            with gr.Column(elem_id="kg-setup", min_width=0):
                fields = _setup()
            with gr.Column(elem_id="kg-transport", min_width=0):
                buttons = _transport()
        live = gr.HTML(html_template=VIEW, js_on_load=MOUNT.replace("VERSION", json.dumps(version)).replace("PLOTLY", json.dumps(plotly.__version__)),
                       value={},
                       apply_default_css=False, container=False, padding=False, elem_id="kg-view")
    _connect(demo, runs, fields, buttons, live)


def _setup() -> dict[str, gr.components.Component]:
    """The form, in the order that `form.read` takes."""
    name, classes, side, rungs, budget, seed = form.write(recipes.get("fashion-live"))
    plain = {"container": False, "show_label": False, "interactive": True}
    gr.HTML(html_template=TEACHER, apply_default_css=False, padding=False, elem_id="kg-teacher")
    _heading("Recipe", "time on two CPU cores")
    recipe = gr.Radio([(f"{n.removeprefix('fashion-')}, {t}", n) for n, t in OFFERED.items()], value=name, label="Recipe",
                      elem_id="kg-recipe", elem_classes="kg-seg", **plain)
    _heading("Classes", '<span id="kg-chosen"></span> · <button type="button" data-all>all</button> '
             '<button type="button" data-none>none</button>')
    gr.HTML(html_template='<input type="search" placeholder="Find a class" aria-label="Find a class" autocomplete="off">',
            apply_default_css=False, padding=False, elem_id="kg-find")
    chosen = gr.CheckboxGroup(list(form.class_names()), value=classes, label="Classes", elem_id="kg-classes", **plain)
    _heading("Resolution", "cost per image", "Side of a synthetic image in pixels. Half the side costs a quarter of the pixels, "
             "so the same budget holds four times as many images.")
    size = gr.Radio([(f"{s}\n{form.cost(s):.2g} ×", s) for s in form.SIDES], value=side, label="Resolution", elem_id="kg-side", **plain)
    _heading("Method", "one idea a rung", "Each rung adds one idea to the baseline.")
    gr.HTML(html_template='<p class="rung" data-tip="The baseline: a noisy layer over class names makes full-size images that please '
            'the teacher and puzzle the student (NAYER without its mask)." tabindex="0"><i></i>Plain generator<em>L<sub>ce</sub> L<sub>bn</sub> '
            'L<sub>adv</sub></em></p>', apply_default_css=False, padding=False, elem_id="kg-baseline")
    ladder = gr.CheckboxGroup([("+ smaller images", form.SMALLER), ("+ key region", form.KEY_REGION)], value=rungs, label="Method",
                              elem_id="kg-ladder", **plain)
    _heading("Budget", '<output id="kg-budget-out"></output>', "How many pixels the synthetic set may hold, as a share of the real "
             "training set that we pretend not to have.")
    share = gr.Slider(*form.BUDGET, value=budget, step=0.5, label="Budget in per cent", elem_id="kg-budget", buttons=[], **plain)
    number = gr.Number(seed, label="Seed", precision=0, minimum=0, maximum=form.LARGEST_SEED, container=False, interactive=True,
                       elem_id="kg-seed")
    return {"recipe": recipe, "classes": chosen, "side": size, "rungs": ladder, "budget": share, "seed": number}


def _heading(title: str, aside: str, tip: str = "") -> None:
    """A field's heading. Only constant text from this file is passed in, so nothing needs escaping."""
    term = f'<b class="term" tabindex="0" data-tip="{tip}">{title}</b>' if tip else f"<b>{title}</b>"
    gr.HTML(html_template=f'<div class="field-head">{term}<span>{aside}</span></div>', apply_default_css=False, padding=False,
            elem_classes="kg-head")


def _transport() -> dict[str, gr.components.Component]:
    """The buttons of a run. `rail.js` shows Start, Pause or Continue, whichever the snapshot calls for."""
    with gr.Row(elem_id="kg-buttons"):
        gr.Button("Setup", elem_id="kg-sheet", min_width=0)
        start = gr.Button("Start", variant="primary", elem_id="kg-start", min_width=0)
        pause = gr.Button("Pause", variant="primary", elem_id="kg-pause", min_width=0)
        go_on = gr.Button("Continue", variant="primary", elem_id="kg-continue", min_width=0)
        step = gr.Button("Step", elem_id="kg-step", min_width=0)
        stop = gr.Button("Stop", elem_id="kg-stop", min_width=0)
    unit = gr.Radio([("Generator", "generator"), ("Iteration", "iteration"), ("Student", "student")], value="generator",
                    label="One step is", container=False, show_label=False, interactive=True, elem_id="kg-unit", elem_classes="kg-seg")
    gr.HTML(html_template='<div class="kg-choice" role="radiogroup" aria-label="Speed of this view">'
            + "".join(f'<label data-tip="{tip}"><input type="radio" name="kg-speed" value="{value}"><span>{value.title()}</span></label>'
                      for value, tip in (("slow", "Replays the making of each batch, a frame every one and a half seconds. Only this view; "
                                          "the run itself goes on at full speed."),
                                         ("watch", "Replays the making of each batch, two frames a second. Only this view."),
                                         ("full", "Shows the newest state as it comes.")))
            + "</div>", apply_default_css=False, padding=False, elem_id="kg-speed")
    return {"start": start, "pause": pause, "continue": go_on, "step": step, "stop": stop, "unit": unit}


def _connect(demo: gr.Blocks, runs: Runs, fields: dict, buttons: dict, live: gr.HTML) -> None:
    """Who may press what is decided here and in `runs`, never by what the page shows."""
    inputs = list(fields.values())

    def paint() -> tuple:
        return form.write(runs.recipe or recipes.get("fashion-live"))

    def preset(name: Any) -> tuple:
        return form.write(recipes.get(name if name in OFFERED else "fashion-live"))

    def command(*values: Any) -> dict[str, str]:
        try:
            return {"command": recipes.command(form.read(*values))}
        except form.FormError as error:
            return {"command": f"# {error}"}

    def start(*values: Any) -> None:
        _told(lambda: runs.start(_read(values)))

    def resume() -> None:
        _told(lambda: runs.resume(runs.name) if runs.name else _refuse("There is no run to resume."))

    def step(unit: Any) -> None:
        _told(lambda: runs.control("step", unit) if unit in UNITS else _refuse("Choose what one step is."))

    demo.load(paint, None, inputs, **QUIET)
    live.repaint(paint, None, inputs, **QUIET)
    fields["recipe"].input(preset, fields["recipe"], inputs, **QUIET)
    gr.on([field.change for field in inputs], command, inputs, live, trigger_mode="always_last", **QUIET)
    # "smaller images" is the resolution seen as a switch: either one moves the other
    full = form.full_side()
    fields["side"].input(None, [fields["side"], fields["rungs"]], fields["rungs"], **LOCAL,
                         js=f"(side, rungs) => [[...(side < {full} ? ['{form.SMALLER}'] : []), ...rungs.filter(r => r !== '{form.SMALLER}')]]")
    fields["rungs"].input(None, [fields["side"], fields["rungs"]], fields["side"], **LOCAL,
                          js=f"(side, rungs) => [rungs.includes('{form.SMALLER}') ? (side < {full} ? side : 20) : {full}]")

    buttons["start"].click(start, inputs, None, **QUIET)
    live.resume(resume, None, None, **QUIET)
    for name, action in (("pause", "pause"), ("continue", "resume"), ("stop", "stop")):
        buttons[name].click(_control(runs, action), None, None, **QUIET)
    buttons["step"].click(step, buttons["unit"], None, **QUIET)


def _control(runs: Runs, action: str) -> Callable[[], None]:
    """A function of its own for each button: Gradio groups listeners by function."""

    def act() -> None:
        _told(lambda: runs.control(action))

    return act


def _read(values: tuple) -> Recipe:
    try:
        return form.read(*values)
    except form.FormError as error:
        raise RunError(str(error)) from None


def _refuse(sentence: str) -> None:
    raise RunError(sentence)


def _told(action: Callable[[], Any]) -> None:
    """Do it; what goes wrong becomes a sentence on the page, never a traceback."""
    try:
        action()
    except RunError as error:
        gr.Warning(html.escape(str(error), quote=False))  # Gradio renders markup in toasts
