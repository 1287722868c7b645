"""The setup sidebar's form as Gradio components, in the order of `form.FIELDS`. Static texts and
tooltips only, no run state.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import gradio as gr

from app.live.format import percent
from app.setup import form, ladder, offers
from app.setup.knobs import Knob, knobs
from app.setup.offers import Offer
from kgen.nets import architectures
from kgen.recipes import recipes
from kgen.zoo import zoo

TEACHER_HTML = (Path(__file__).parent / "teacher.html").read_text(encoding="utf-8")
MAX_SYMBOL = len("α_aed")
UNFRAMED: dict[str, Any] = {"container": False, "show_label": False, "interactive": True}
SOURCES = {
    "noise": (
        "Noisy layer",
        "One generator for the whole run, fed class names through a noisy layer (K-Gen, NAYER).",
    ),
    "latent": (
        "Latent",
        "A latent code and a generator that builds on what earlier ones learned (Fast).",
    ),
    "pixels": (
        "Pixels",
        (
            "No generator: optimizes the pixels directly, with two priors to keep them smooth"
            " (DeepInversion)."
        ),
    ),
    "pyramid": (
        "Pyramid",
        (
            "No generator: each image is a sum of layers from coarse to fine, so whole regions"
            " change as easily as single pixels."
        ),
    ),
}
# Runs once; the module owns the picker's DOM. The value is {teacher, chosen}.
CLASS_PICKER_JS = """
const base = (window.gradio_config?.root || '').replace(/\\/$/, '');
import(base + '/kg/static/setup/class_picker.js?v=' + VERSION).then((picker) =>
  picker.mount(element, {
    base,
    value: () => props.value,
    set: (value) => { props.value = value; trigger('change'); },
    watch: (told) => watch('value', told),
  }));
"""
# Runs once; the module owns the dialog. Only the name of a teacher that was kept comes back.
TEACHER_DIALOG_JS = """
const base = (window.gradio_config?.root || '').replace(/\\/$/, '');
import(base + '/kg/static/setup/teacher_dialog.js?v=' + VERSION).then((own) =>
  own.mount(element, { base, adopted: (name) => trigger('adopted', { name }) }));
"""


def build(version: str) -> dict[str, gr.components.Component]:
    """The form. Besides the fields in `form.FIELDS` it has "preset", which only sets other fields,
    and "own", which adds teachers.

    `version`: of the static files.
    """
    values = form.write(recipes.get("fashion-live"))
    offer = offers.offer(values["teacher"])
    teacher, add_teacher = _teacher(values["teacher"], version)
    _heading(form.TITLES["name"], "time on two CPU cores")
    recipe = gr.Radio(
        _recipes(offer),
        value=values["recipe"],
        label="Recipe",
        elem_id="kg-recipe",
        elem_classes="kg-seg",
        **UNFRAMED,
    )
    _heading(
        form.TITLES["classes"],
        '<span id="kg-chosen"></span> · <button type="button" data-all>all</button> <button'
        ' type="button" data-none>none</button> <button type="button" data-ten hidden>random'
        " ten</button>",
    )
    classes = gr.HTML(
        value={"teacher": offer.teacher, "chosen": values["classes"]},
        html_template="<div></div>",
        js_on_load=CLASS_PICKER_JS.replace("VERSION", json.dumps(version)),
        apply_default_css=False,
        padding=False,
        elem_id="kg-classes",
    )
    _heading(
        form.TITLES["resolutions"],
        "one or more · cost per image",
        "Side of a synthetic image in pixels. At half the side, the same budget holds four times as"
        " many images. Several resolutions take turns.",
    )
    sides = gr.CheckboxGroup(
        _sides(offer), value=values["sides"], label="Resolution", elem_id="kg-side", **UNFRAMED
    )
    preset, rungs = _ladder(values["rungs"])
    _heading(form.TITLES["source"], "", "What is optimized to produce images.")
    source = gr.Radio(
        [(label, name) for name, (label, _) in SOURCES.items()],
        value=values["source"],
        label="Image source",
        elem_id="kg-source",
        elem_classes="kg-seg",
        **UNFRAMED,
    )
    _heading(form.TITLES["ratio"], '<output id="kg-budget-out"></output>', term="budget")
    low, high, step = offer.budget
    budget = gr.Slider(
        low,
        high,
        value=values["budget"],
        step=step,
        label="Budget in percent",
        elem_id="kg-budget",
        buttons=[],
        **UNFRAMED,
    )
    seed = gr.Number(
        values["seed"],
        label="Seed",
        precision=0,
        minimum=0,
        maximum=form.MAX_SEED,
        container=False,
        interactive=True,
        elem_id="kg-seed",
    )
    advanced = _advanced_fields(values)
    _tips()
    fields = {
        "teacher": teacher,
        "recipe": recipe,
        "classes": classes,
        "sides": sides,
        "source": source,
        "rungs": rungs,
        "budget": budget,
        "seed": seed,
        **advanced,
    }
    return {name: fields[name] for name in form.FIELDS} | {"preset": preset, "own": add_teacher}


def teacher_choice_updates() -> list[Any]:
    """Field updates after a teacher was added during a run with another one: the new teacher is
    listed and can be chosen later.
    """
    return [
        gr.update(choices=_teachers()) if name == "teacher" else gr.skip() for name in form.FIELDS
    ]


def field_updates(values: dict[str, Any]) -> list[Any]:
    """The result of `form.write` as field updates, including the choices for its teacher."""
    teacher = values["teacher"] or recipes.get("fashion-live").teacher
    offer = offers.offer(teacher)
    low, high, step = offer.budget
    updates = {
        "teacher": gr.update(choices=_teachers(), value=values["teacher"]),
        "recipe": gr.update(choices=_recipes(offer), value=values["recipe"]),
        "classes": {"teacher": teacher, "chosen": values["classes"]},
        "sides": gr.update(choices=_sides(offer), value=values["sides"]),
        "budget": gr.update(minimum=low, maximum=high, step=step, value=values["budget"]),
    }
    return [updates.get(name, values[name]) for name in form.FIELDS]


def _recipes(offer: Offer) -> list[tuple[str, str]]:
    is_named_recipe = offer.base(offer.recipes[0]) == recipes.get(offer.recipes[0])
    return [
        (
            n.removeprefix("fashion-").removeprefix("imagenet-")
            + (f", {offers.TIMES[n]}" if is_named_recipe else ""),
            n,
        )
        for n in offer.recipes
    ]


def _sides(offer: Offer) -> list[tuple[str, int]]:
    return [(f"{side}\n{cost:.2g} ×", side) for side, cost in zip(offer.sides, offer.costs)]


def _teachers() -> list[tuple[str, str]]:
    cards = {name: offers.offer(name).card for name in offers.teachers()}
    return [
        (
            c.title.removeprefix("Fashion ") + (f", {percent(c.accuracy)}" if c.accuracy else ""),
            name,
        )
        for name, c in cards.items()
    ]


def _teacher(selected: str, version: str) -> tuple[gr.Radio, gr.HTML]:
    """The teacher's card, the choice of teachers below it, and the button to add another."""
    with gr.Column(elem_id="kg-teachers", min_width=0):
        gr.HTML(
            html_template=TEACHER_HTML, apply_default_css=False, padding=False, elem_id="kg-teacher"
        )
        choice = gr.Radio(
            _teachers(),
            value=selected,
            label="Teacher",
            elem_id="kg-which-teacher",
            elem_classes="kg-seg",
            **UNFRAMED,
        )
        add_teacher = gr.HTML(
            html_template=(
                '<button type="button" class="link" aria-haspopup="dialog">Your own teacher'
                "…</button>"
            ),
            js_on_load=TEACHER_DIALOG_JS.replace("VERSION", json.dumps(version)),
            apply_default_css=False,
            padding=False,
            elem_id="kg-bring",
        )
    return choice, add_teacher


def _ladder(rungs: list[str]) -> tuple[gr.Radio, gr.CheckboxGroup]:
    _heading(
        "Method",
        '<span id="kg-custom"></span>',
        "Each rung adds one idea to a plain generator (Table 4 in the paper). Pick a preset, or"
        " turn individual ideas on or off below.",
    )
    preset = gr.Radio(
        list(ladder.PRESETS),
        value=ladder.PRESETS[len(rungs)] if tuple(rungs) == ladder.NAMES[: len(rungs)] else None,
        label="Method preset",
        elem_id="kg-preset",
        elem_classes="kg-seg",
        **UNFRAMED,
    )
    gr.HTML(
        html_template=(
            f'<p class="rung" data-tip="{html.escape(ladder.BASELINE)}" tabindex="0"><i></i>Plain'
            " generator (NAYER)</p>"
        ),
        apply_default_css=False,
        padding=False,
        elem_id="kg-baseline",
    )
    switches = gr.CheckboxGroup(
        [(f"+ {name}", name) for name in ladder.NAMES],
        value=rungs,
        label="Method",
        elem_id="kg-ladder",
        **UNFRAMED,
    )
    gr.HTML(
        html_template='<p class="small muted" id="kg-expect" role="status"></p>',
        apply_default_css=False,
        padding=False,
    )
    return preset, switches


def _advanced_fields(values: dict) -> dict[str, gr.components.Component]:
    """The rest of the method: weights, radii, target and class representatives, each from the
    recipe's schema.
    """
    with gr.Accordion("More", open=False, elem_id="kg-more"):
        _heading(form.TITLES["target"], "", term="target")
        fields: dict[str, gr.components.Component] = {
            "target": gr.Radio(
                list(form.TARGETS),
                value=values["target"],
                label="Target",
                elem_id="kg-target",
                elem_classes="kg-chips",
                **UNFRAMED,
            )
        }
        for knob in (k for k in knobs() if k.choices):
            _heading(html.escape(knob.label), "", html.escape(knob.tip))
            fields[knob.field] = gr.Radio(
                list(knob.choices),
                value=values[knob.field],
                label=knob.label,
                elem_id=_id(knob),
                elem_classes="kg-seg",
                **UNFRAMED,
            )
        _heading(
            "Weights and radii",
            "",
            "Weights of the loss terms, and the radii of the embedding in-out game.",
        )
        with gr.Row(elem_id="kg-knobs"):
            for knob in (k for k in knobs() if not k.choices):
                fields[knob.field] = gr.Number(
                    values[knob.field],
                    label=knob.label,
                    minimum=knob.low,
                    maximum=knob.high,
                    step=0.05,
                    placeholder="auto",
                    container=False,
                    interactive=True,
                    min_width=0,
                    elem_id=_id(knob),
                    # words rather than a symbol, so two do not fit in a row
                    elem_classes="wide" if len(knob.label) > MAX_SYMBOL else "",
                )
        _heading(
            form.TITLES["real_images"],
            "",
            "Folder or ZIP file of real images on this machine, with one subfolder per class, named"
            " after it. Used for evaluation only, never for training.",
        )
        fields["real_images"] = gr.Textbox(
            values["real_images"],
            label="Folder of real test images",
            placeholder="folder or ZIP; default: the teacher's own",
            max_length=4096,
            elem_id="kg-real",
            **UNFRAMED,
        )
        gr.HTML(
            html_template="<div></div>",
            apply_default_css=False,
            padding=False,
            elem_id="kg-real-check",
        )
        _heading(
            form.TITLES["student"],
            "",
            "The network that learns: one of our small ones, any timm model, or torchvision:NAME."
            " Larger networks make each step slower.",
        )
        fields["student"] = gr.Dropdown(
            [*zoo.STUDENTS, *architectures.NAMES],
            value=values["student"],
            label="Student",
            allow_custom_value=True,
            elem_id="kg-student",
            **UNFRAMED,
        )
        _heading(
            form.TITLES["class_texts"],
            "",
            "By default, a class is represented by the embedding of its name. To use another text,"
            " write one line per class: name = text. Texts other than class names of bundled data"
            " sets need the live encoder (above).",
        )
        fields["class_texts"] = gr.Textbox(
            values["class_texts"],
            label="Class texts",
            placeholder="Bag = backpack",
            lines=2,
            max_length=20_000,
            elem_id="kg-texts-of",
            **UNFRAMED,
        )
    return fields


def _id(knob: Knob) -> str:
    return f"kg-{knob.field.replace('.', '-').replace('_', '-')}"


def _tips() -> None:
    """Tips for choices, which Gradio has no place for: [id, [one per choice]]. `sidebar.js`
    attaches them.
    """
    preset_tips = [
        ladder.BASELINE,
        *(f"All ideas up to “{rung.name}”. {rung.adds}" for rung in ladder.RUNGS),
    ]
    tips = [
        ["kg-ladder", [rung.adds for rung in ladder.RUNGS]],
        ["kg-preset", preset_tips],
        ["kg-source", [tip for _, tip in SOURCES.values()]],
        *([_id(k), [k.tip]] for k in knobs() if not k.choices),
    ]
    data = {"tips": tips, "without": [rung.without for rung in ladder.RUNGS]}
    attributes = " ".join(
        f'data-{name}="{html.escape(json.dumps(value))}"' for name, value in data.items()
    )
    gr.HTML(
        html_template=f'<i id="kg-texts" hidden {attributes}></i>',
        apply_default_css=False,
        padding=False,
    )


def _heading(title: str, aside: str, tip: str = "", term: str = "") -> None:
    """A field's heading, explained by its own tip or by a glossary term. Only constant text from
    this package is passed in, so nothing needs escaping.
    """
    attribute = f'data-term="{term}"' if term else f'data-tip="{tip}"'
    label = (
        f'<b class="term" tabindex="0" {attribute}>{title}</b>'
        if tip or term
        else f"<b>{title}</b>"
    )
    gr.HTML(
        html_template=f'<div class="field-head">{label}<span>{aside}</span></div>',
        apply_default_css=False,
        padding=False,
        elem_classes="kg-head",
    )
