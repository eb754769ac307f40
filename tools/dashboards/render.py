#!/usr/bin/env python3
"""Draws the dashboards of grafana/dashboards as one HTML page each, from answers that the tests got from real servers.

It is no Grafana: it shows each panel at its place, with its title and its answer, so that a person can look at a dashboard without a
Grafana server. How the pictures in docs/ were made:

    FOOTPRINT_GRAFANA_ANSWERS=/tmp/answers.json cargo test --test it grafana::every_panel
    FOOTPRINT_GRAFANA_METRICS=/tmp/metrics.json cargo test --test it grafana::operations    # plays load for five minutes
    python3 tools/dashboards/render.py /tmp/pages /tmp/answers.json /tmp/metrics.json
    chromium --headless --no-sandbox --hide-scrollbars --window-size=1240,2140 --screenshot=picture.png /tmp/pages/NAME.html
"""

import html
import json
import pathlib
import re
import sys
from datetime import datetime, timezone

COLUMN, ROW, GAP = 50, 36, 8  # pixels of Grafana's grid
COLORS = ["#3871dc", "#e0752d", "#1a7f37", "#8f3bb8", "#b08800", "#0a97a6", "#cf222e", "#6e7781"]
STATES = {"green": "#1a7f37", "yellow": "#b08800", "red": "#cf222e", "blue": "#3871dc"}
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
.legend span { margin-right: 14px; font-size: 12px; }
.text { font-size: 12px; line-height: 1.45; }
.text pre, .text code { background: #f0f1f2; font: 11px "DejaVu Sans Mono", monospace; }
h3 { position: absolute; margin: 12px 0 0; font-size: 15px; font-weight: 600; }
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
    if unit in ("bytes", "Bps"):
        end = "/s" if unit == "Bps" else ""
        return f"{value / 1024:,.0f} KiB{end}" if value < 10 << 20 else f"{value / (1 << 20):,.0f} MiB{end}"
    if unit == "s":
        if value < 1:
            return f"{value * 1000:,.{0 if value >= 0.01 else 1}f} ms"
        return f"{value:,.1f} s" if value < 10 else f"{value:,.0f} s" if value < 600 else f"{value / 60:,.0f} min"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.2f}"


def stat(panel, answers):
    unit = panel["fieldConfig"]["defaults"].get("unit")
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    named = []
    for answer in answers:
        if "series" in answer:
            named += [(name, points[-1][1]) for name, points in answer["series"].items()]
        else:
            named += zip(answer["columns"], answer["rows"][0])
    numbers = []
    for name, value in named:
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


def points_of(panel, answers):
    """The series of a panel: name, how it is drawn, and points of microseconds and values."""
    special = overrides(panel)
    style = panel["fieldConfig"]["defaults"].get("custom", {}).get("drawStyle", "line")
    found = []
    for answer in answers:
        for name, points in answer.get("series", {}).items():
            found.append((name, "line", [(time * 1e6, value) for time, value in points]))
        for at, name in enumerate(answer.get("columns", [])[1:], 1):
            draws = special.get(name, {}).get("custom.drawStyle", style)
            found.append((name, draws, [(row[0]["time_us"], row[at]) for row in answer["rows"]]))
    return found


def states(panel, answers, width):
    names = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    found = points_of(panel, answers)
    first, last = min(p[0][0] for _, _, p in found), max(p[-1][0] for _, _, p in found)
    left, row = 190, 34
    x = lambda time: left + (width - left) * (time - first) / ((last - first) or 1)
    parts = []
    for index, (name, _, points) in enumerate(found):
        parts.append(f'<text x="0" y="{index * row + 20}" style="font-size: 12px">{html.escape(name)}</text>')
        for (time, value), following in zip(points, points[1:] + [(last, 0)]):
            state = names[str(int(value))]
            parts.append(f'<rect x="{x(time):.1f}" y="{index * row + 3}" width="{x(following[0]) - x(time) + 0.5:.1f}" height="{row - 8}" '
                         f'fill="{STATES[state["color"]]}" fill-opacity="0.8"/>')
    legend = "".join(f'<span style="color: {STATES[state["color"]]}">&#9632; {state["text"]}</span>' for state in names.values())
    return f'<svg width="{width}" height="{len(found) * row}">{"".join(parts)}</svg><div class="legend">{legend}</div>'


def markdown(text):
    """As much of Markdown as docs/runbook.md has."""
    blocks = []
    for block in text.split("\n\n"):
        if block.startswith("    "):
            blocks.append("<pre>" + html.escape(re.sub(r"^    ", "", block, flags=re.M)) + "</pre>")
            continue
        block = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(block), flags=re.S)
        block = re.sub(r"\*(.+?)\*", r"<i>\1</i>", block, flags=re.S)
        block = re.sub(r"`(.+?)`", r"<code>\1</code>", block, flags=re.S)
        blocks.append("<p>" + re.sub(r"^- ", "<br>&bull; ", block, flags=re.M) + "</p>")
    return '<div class="text">' + "".join(blocks) + "</div>"


def series(panel, answers, width, height):
    unit = panel["fieldConfig"]["defaults"].get("unit")
    are_metrics = any("series" in answer for answer in answers)
    found = points_of(panel, answers)
    found = [(name, draws, [point for point in points if point[1] is not None]) for name, draws, points in found]
    times = sorted({time for _, _, points in found for time, _ in points})
    if not times:
        return "No data"
    step = min((b - a for a, b in zip(times, times[1:])), default=60_000_000)
    first, last = times[0], times[-1] + step
    if are_metrics:
        first, last = (time * 1e6 for time in answers[0]["range"])
        step = answers[0]["step"] * 1e6
    most = max(value for _, _, points in found for _, value in points) or 1
    left, top, right, bottom = 60 if are_metrics else 44, 6, width - 6, height - 40
    x = lambda time: left + (right - left) * (time - first) / (last - first)
    y = lambda value: bottom - (bottom - top) * value / most
    parts = []
    for part in range(5):
        value = most * part / 4
        parts.append(f'<path d="M{left} {y(value):.1f}H{right}" stroke="#eceef0"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{shown(value, unit if are_metrics else None)}</text>')
    for part in range(7):
        time = first + (last - first) * part / 7
        text = datetime.fromtimestamp(time / 1e6, timezone.utc).strftime("%H:%M:%S" if are_metrics else "%m-%d %H:%M")
        parts.append(f'<text x="{x(time):.1f}" y="{bottom + 16}">{text}</text>')
    for index, (_, draws, points) in enumerate(found):
        color = COLORS[index % len(COLORS)]
        if draws == "bars":
            bar = max(1, (x(first + step) - x(first)) * 0.9)
            for time, value in points:
                parts.append(f'<rect x="{x(time):.1f}" y="{y(value):.1f}" width="{bar:.1f}" height="{bottom - y(value):.1f}" '
                             f'fill="{color}" fill-opacity="0.6"/>')
        else:
            parts += [f'<circle cx="{x(t):.1f}" cy="{y(v):.1f}" r="2" fill="{color}"/>' for t, v in points[:1]]
            # a step without a value is a gap, and not a line across
            gaps = [""] + ["M" if are_metrics and b[0] - a[0] > 1.5 * step else "L" for a, b in zip(points, points[1:])]
            path = "M" + "".join(f"{gap}{x(time):.1f} {y(value):.1f}" for gap, (time, value) in zip(gaps, points))
            is_second = index and not are_metrics
            dash = ' stroke-dasharray="6 4"' if is_second else ""
            parts.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{1.4 if is_second or are_metrics else 2.4}"{dash}/>')
    legend = "".join(f'<span style="color: {COLORS[i % len(COLORS)]}">&#9632; {html.escape(name)}</span>' for i, (name, _, _) in enumerate(found))
    return f'<svg width="{width}" height="{height - 18}">{"".join(parts)}</svg><div class="legend">{legend}</div>'


def page(name, dashboard, answers):
    sections, end = [], 0
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        given = answers.get(f"{name}: {panel['title']}", [])
        width, height = place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
        if panel["type"] == "row":
            sections.append(f'<h3 style="top: {place["y"] * ROW}px">{html.escape(panel["title"])}</h3>')
            continue
        body = {
            "stat": lambda: stat(panel, given),
            "state-timeline": lambda: states(panel, given, width - 18),
            "text": lambda: markdown(panel["options"]["content"]),
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
    folder = pathlib.Path(sys.argv[1])
    answers = {}
    for path in sys.argv[2:]:
        answers.update(json.loads(pathlib.Path(path).read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((pathlib.Path(__file__).parents[2] / "grafana/dashboards").glob("*.json")):
        (folder / f"{path.stem}.html").write_text(page(path.stem, json.loads(path.read_text()), answers))


if __name__ == "__main__":
    main()
