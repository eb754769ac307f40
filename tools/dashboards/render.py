#!/usr/bin/env python3
"""Draws the dashboards of grafana/dashboards as one HTML page each, from answers that the tests got from real servers.

It is no Grafana: it shows each panel at its place, with its title and its answer, so that a person can look at a dashboard without a
Grafana server. How the pictures in docs/ were made:

    FOOTPRINT_GRAFANA_ANSWERS=/tmp/answers.json cargo test --test it grafana::every_panel
    python3 tools/dashboards/render.py /tmp/answers.json /tmp/pages
    chromium --headless --no-sandbox --hide-scrollbars --window-size=1240,2140 --screenshot=picture.png /tmp/pages/NAME.html
"""

import html
import json
import pathlib
import sys
from datetime import datetime, timezone

COLUMN, ROW, GAP = 50, 36, 8  # pixels of Grafana's grid
COLORS = ["#3871dc", "#e0752d"]
STATES = {"green": "#1a7f37", "yellow": "#b08800", "red": "#cf222e"}
STYLE = """
body { margin: 0; padding: 12px; background: #f4f5f5; color: #24292e; font: 13px "DejaVu Sans", sans-serif; }
h1 { margin: 4px 0 12px; font-size: 18px; font-weight: 600; }
main { position: relative; }
section { position: absolute; box-sizing: border-box; overflow: hidden; padding: 8px; background: #fff; border: 1px solid #dcdfe2;
  border-radius: 3px; }
h2 { margin: 0 0 6px; font-size: 13px; font-weight: 600; }
table { width: 100%; border-collapse: collapse; font-size: 12px; }
th { text-align: left; font-weight: 500; color: #6e7781; }
th, td { padding: 3px 6px; border-bottom: 1px solid #eceef0; white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.bar { display: inline-block; height: 10px; background: #3871dc; }
.stat { display: inline-block; margin-right: 24px; }
.stat b { display: block; font-size: 34px; font-weight: 500; }
.legend span { margin-right: 14px; }
svg text { font-size: 11px; fill: #6e7781; }
"""


def shown(value, unit=None):
    """A value as Grafana would show it, nearly."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        moment = datetime.fromtimestamp(value["time_us"] / 1e6, timezone.utc)
        return moment.strftime("%Y-%m-%d %H:%M:%S")
    if not isinstance(value, (int, float)):
        return html.escape(value)
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "bytes":
        return f"{value / 1024:,.0f} KiB"
    if unit == "s":
        return f"{value:,.0f} s" if value < 600 else f"{value / 60:,.0f} min"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def stat(panel, answer):
    unit = panel["fieldConfig"]["defaults"].get("unit")
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    numbers = []
    for name, value in zip(answer["columns"], answer["rows"][0]):
        reached = [step["color"] for step in steps if value is not None and (step["value"] is None or step["value"] <= value)]
        color = STATES[reached[-1] if reached else "red"]
        numbers.append(f'<div class="stat"><b style="color: {color}">{shown(value, unit)}</b>{html.escape(name)}</div>')
    return "".join(numbers)


def overrides(panel):
    return {o["matcher"]["options"]: {p["id"]: p["value"] for p in o["properties"]} for o in panel["fieldConfig"]["overrides"]}


def table(panel, answer):
    special = overrides(panel)
    is_map = panel["fieldConfig"]["defaults"]["custom"]["cellOptions"]["type"] == "color-background"
    numbers = [v for row in answer["rows"] for v in row if isinstance(v, (int, float))]
    most = max(numbers, default=1) or 1
    lines = ["<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in answer["columns"]) + "</tr>"]
    for row in answer["rows"]:
        cells = []
        for name, value in zip(answer["columns"], row):
            own = special.get(name, {})
            is_number = isinstance(value, (int, float))
            text, style = shown(value, own.get("unit")), ""
            if is_map and is_number:
                style = f"background: rgba(56, 113, 220, {value / most:.2f}); text-align: center"
            elif own.get("custom.cellOptions", {}).get("type") == "gauge":
                column = max(r[answer["columns"].index(name)] for r in answer["rows"])
                text = f'<span class="bar" style="width: {160 * value / column:.0f}px"></span> {text}'
            elif own.get("custom.cellOptions", {}).get("type") == "color-text":
                style = f"color: {'#1a7f37' if value > 0 else '#cf222e'}"
            kind = "number" if is_number and "bar" not in text else ""
            cells.append(f'<td class="{kind}" style="{style}">{text}</td>')
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "<table>" + "".join(lines) + "</table>"


def ranking(answer, width):
    most = max((row[1] for row in answer["rows"]), default=1)
    lines = []
    for name, value in answer["rows"]:
        bar = f'<span class="bar" style="height: 18px; width: {(width - 180) * value / most:.0f}px"></span>'
        lines.append(f"<tr><td>{shown(name)}</td><td>{bar} {shown(value)}</td></tr>")
    return "<table>" + "".join(lines) + "</table>"


def series(panel, answers, width, height):
    special = overrides(panel)
    style = panel["fieldConfig"]["defaults"]["custom"]["drawStyle"]
    found = []
    for answer in answers:
        for at, name in enumerate(answer["columns"][1:], 1):
            draws = special.get(name, {}).get("custom.drawStyle", style)
            found.append((name, draws, [(row[0]["time_us"], row[at]) for row in answer["rows"]]))
    times = sorted({time for _, _, points in found for time, _ in points})
    if not times:
        return "No data"
    step = min((b - a for a, b in zip(times, times[1:])), default=60_000_000)
    first, last = times[0], times[-1] + step
    most = max(value for _, _, points in found for _, value in points) or 1
    left, top, right, bottom = 44, 6, width - 6, height - 40
    x = lambda time: left + (right - left) * (time - first) / (last - first)
    y = lambda value: bottom - (bottom - top) * value / most
    parts = []
    for part in range(5):
        value = most * part / 4
        parts.append(f'<path d="M{left} {y(value):.1f}H{right}" stroke="#eceef0"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{shown(value)}</text>')
    for part in range(7):
        time = first + (last - first) * part / 7
        text = datetime.fromtimestamp(time / 1e6, timezone.utc).strftime("%m-%d %H:%M")
        parts.append(f'<text x="{x(time):.1f}" y="{bottom + 16}">{text}</text>')
    for index, (_, draws, points) in enumerate(found):
        color = COLORS[index % 2]
        if draws == "bars":
            bar = max(1, (x(first + step) - x(first)) * 0.9)
            for time, value in points:
                parts.append(f'<rect x="{x(time):.1f}" y="{y(value):.1f}" width="{bar:.1f}" height="{bottom - y(value):.1f}" '
                             f'fill="{color}" fill-opacity="0.6"/>')
        else:
            parts += [f'<circle cx="{x(t):.1f}" cy="{y(v):.1f}" r="2" fill="{color}"/>' for t, v in points[:1]]
            path = "M" + "L".join(f"{x(time):.1f} {y(value):.1f}" for time, value in points)
            dash = ' stroke-dasharray="6 4"' if index else ""
            parts.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{1.4 if index else 2.4}"{dash}/>')
    legend = "".join(f'<span style="color: {COLORS[i % 2]}">&#9632; {html.escape(name)}</span>' for i, (name, _, _) in enumerate(found))
    return f'<svg width="{width}" height="{height - 18}">{"".join(parts)}</svg><div class="legend">{legend}</div>'


def page(name, dashboard, answers):
    sections, end = [], 0
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        given = answers[f"{name}: {panel['title']}"]
        width, height = place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
        body = {
            "stat": lambda: stat(panel, given[0]),
            "table": lambda: table(panel, given[0]),
            "barchart": lambda: ranking(given[0], width),
            "timeseries": lambda: series(panel, given, width - 18, height - 34),
        }[panel["type"]]()
        sections.append(f'<section style="left: {place["x"] * COLUMN}px; top: {place["y"] * ROW}px; width: {width}px; '
                        f'height: {height}px"><h2>{html.escape(panel["title"])}</h2>{body}</section>')
        end = max(end, (place["y"] + place["h"]) * ROW)
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
            f'<h1>{html.escape(dashboard["title"])}</h1><main style="height: {end}px">{"".join(sections)}</main></html>')


def main():
    answers = json.loads(pathlib.Path(sys.argv[1]).read_text())
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((pathlib.Path(__file__).parents[2] / "grafana/dashboards").glob("*.json")):
        (folder / f"{path.stem}.html").write_text(page(path.stem, json.loads(path.read_text()), answers))


if __name__ == "__main__":
    main()
