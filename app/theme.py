"""The look of Gradio's components: one neutral ink color and one accent, in light and dark mode.

Only Gradio's variables are set here. The style sheets under static/ use the same names, so the form
and the live view stay consistent. Fonts are the system's: nothing is fetched.
"""

from __future__ import annotations

import gradio as gr

# name: (light, dark). Text reaches 4.5:1 on its background in both modes, marks 3:1.
COLORS = {
    "body_background_fill": ("#f6f6f4", "#0e1013"),
    "background_fill_primary": ("#ffffff", "#16181d"),
    "background_fill_secondary": ("#f0f1f3", "#20242b"),
    "body_text_color": ("#16181d", "#e8eaee"),
    "body_text_color_subdued": ("#5a616d", "#9ca4b0"),
    "border_color_primary": ("#e4e5e9", "#2a2f38"),
    "border_color_accent": ("#1f5fd0", "#86b0ff"),
    "input_border_color": ("#868d99", "#6d7684"),
    "input_background_fill": ("#ffffff", "#16181d"),
    "color_accent_soft": ("#e9f0fd", "#1c2942"),
    "button_primary_background_fill": ("#16181d", "#eceef1"),
    "button_primary_background_fill_hover": ("#34383f", "#cfd3d9"),
    "button_primary_text_color": ("#ffffff", "#16181d"),
    "button_secondary_background_fill": ("#ffffff", "#16181d"),
    "button_secondary_background_fill_hover": ("#f0f1f3", "#20242b"),
    "button_secondary_text_color": ("#16181d", "#e8eaee"),
    "button_secondary_border_color": ("#e4e5e9", "#2a2f38"),
    "error_text_color": ("#a3160f", "#ff9d94"),
    "error_background_fill": ("#fdf1f0", "#2b1716"),
    "error_border_color": ("#e4b1ad", "#6b2f2b"),
}


def theme() -> gr.themes.Base:
    """Gradio's base theme with our colors and the system's fonts."""
    pairs: dict[str, str] = {}
    for name, (light, dark) in COLORS.items():
        pairs |= {name: light, f"{name}_dark": dark}
    return gr.themes.Base(
        font=[
            "-apple-system",
            "Segoe UI",
            "Inter",
            "Helvetica Neue",
            "Arial",
            "system-ui",
            "sans-serif",
        ],
        font_mono=[
            "ui-monospace",
            "SF Mono",
            "Cascadia Mono",
            "Consolas",
            "Liberation Mono",
            "monospace",
        ],
        spacing_size=gr.themes.sizes.spacing_sm,
        radius_size=gr.themes.sizes.radius_sm,
        text_size=gr.themes.sizes.text_sm,
    ).set(color_accent="light-dark(#1f5fd0, #86b0ff)", **pairs)
