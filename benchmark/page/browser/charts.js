// Two charts: lines over steps, and a dot for every subject.
"use strict";
{
  const { s } = mrsr;

  /** About `count` round numbers from low to high. */
  function ticks(low, high, count) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const numbers = [];
    for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at++) numbers.push(at * step);
    return numbers;
  }

  function extent(values) {
    const finite = values.filter(Number.isFinite);
    const [low, high] = [Math.min(...finite), Math.max(...finite)];
    return low === high ? [low - 1, high + 1] : [low, high];
  }

  const label = (value) => String(Number(value.toPrecision(6))).replace("-", "−");

  /** Lines {name, points: [x, y][]}; with `log`, y is on a logarithmic scale. Null where there is no point. */
  mrsr.lineChart = ({ title, lines, log = false }) => {
    const drawn = lines
      .map((line) => ({ ...line, points: line.points.filter(([, y]) => Number.isFinite(y) && (!log || y > 0)) }))
      .filter((line) => line.points.length);
    if (!drawn.length) return null;
    const [width, height, left, right, top, bottom] = [420, 240, 56, 12, 12, 36];
    const scale = log ? Math.log10 : (y) => y;
    const points = drawn.flatMap((line) => line.points);
    const [lowX, highX] = extent(points.map(([x]) => x));
    const [lowY, highY] = extent(points.map(([, y]) => scale(y)));
    const x = (value) => left + ((value - lowX) / (highX - lowX)) * (width - left - right);
    const y = (value) => height - bottom - ((scale(value) - lowY) / (highY - lowY)) * (height - top - bottom);
    const levels = log ? ticks(lowY, highY, 4).map((power) => 10 ** power) : ticks(lowY, highY, 4);
    const chart = s(
      "svg",
      { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title },
      levels.map((level) => [
        s("line", { class: "grid", x1: left, x2: width - right, y1: y(level), y2: y(level) }),
        s(
          "text",
          { x: left - 8, y: y(level) + 4, "text-anchor": "end" },
          log ? String(Number(level.toPrecision(2))) : label(level),
        ),
      ]),
      ticks(lowX, highX, 5).map((step) =>
        s("text", { x: x(step), y: height - bottom + 18, "text-anchor": "middle" }, label(step)),
      ),
      s(
        "text",
        { x: (left + width - right) / 2, y: height - 2, "text-anchor": "middle", class: "quiet" },
        "training step",
      ),
      drawn.map((line, at) =>
        s("polyline", {
          class: `line colour${at % 6}`,
          points: line.points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" "),
        }),
      ),
    );
    const legend = drawn.map((line, at) => mrsr.h("span", { class: `key colour${at % 6}` }, line.name));
    return mrsr.h("figure", {}, mrsr.h("figcaption", {}, title), chart, mrsr.h("div", { class: "legend" }, legend));
  };

  const RADIUS = 4;

  /** How far up each of these places lies, in steps, so that dots of `size` do not cover one another. */
  function stacked(places, size) {
    const ends = [];
    return places.map((place) => {
      let level = ends.findIndex((end) => end <= place - size);
      if (level < 0) level = ends.push(-Infinity) - 1;
      ends[level] = place;
      return level;
    });
  }

  /** Differences {subject, value, href}: a dot each, and below them the intervals of both claims. */
  mrsr.dotChart = ({ title, dots, estimate, metric, sides }) => {
    const finite = dots.filter((dot) => Number.isFinite(dot.value)).sort((a, b) => a.value - b.value);
    if (!finite.length) return null;
    const bounds = [...(estimate.networks ?? []), ...(estimate.method ?? [])].map(mrsr.number);
    const [low, high] = extent([0, ...finite.map((dot) => dot.value), ...bounds]);
    const [width, side, pad] = [880, 24, (high - low) * 0.04];
    const x = (value) => side + ((value - low + pad) / (high - low + 2 * pad)) * (width - 2 * side);
    const levels = stacked(
      finite.map((dot) => x(dot.value)),
      2 * RADIUS,
    );
    const above = 28 + (Math.max(...levels) + 1) * 2 * RADIUS;
    const height = above + 112;
    const text = (value) => `${mrsr.fixed(value, metric.decimals, true)} ${metric.unit}`.trim();
    const dot = ({ subject, value, href }, at) => {
      const mark = s(
        "circle",
        { class: "dot", cx: x(value), cy: above - RADIUS - levels[at] * 2 * RADIUS, r: RADIUS - 0.5 },
        s("title", {}, `${subject}: ${text(value)}`),
      );
      return href ? s("a", { href, "aria-label": `${subject}: ${text(value)}; show its slices` }, mark) : mark;
    };
    const bar = (name, interval, top, kind) => {
      const found = interval?.map(mrsr.number);
      return [
        s("text", { x: side, y: top - 8, class: "halo" }, found ? name : `${name}: no claim`),
        found && s("line", { class: `interval ${kind}`, x1: x(found[0]), x2: x(found[1]), y1: top, y2: top }),
        found && s("circle", { class: "mean", cx: x(mrsr.number(estimate.mean)), cy: top, r: 4 }),
      ];
    };
    return s(
      "svg",
      { class: "chart wide", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title },
      ticks(low, high, 8).map((value) => [
        s("line", { class: "grid", x1: x(value), x2: x(value), y1: 22, y2: height - 24 }),
        s("text", { x: x(value), y: height - 6, "text-anchor": "middle" }, label(value)),
      ]),
      s("line", { class: "zero", x1: x(0), x2: x(0), y1: 22, y2: height - 24 }),
      s("text", { x: side, y: 12, class: "quiet" }, `← ${sides[0]}`),
      s("text", { x: width - side, y: 12, "text-anchor": "end", class: "quiet" }, `${sides[1]} →`),
      finite.map(dot),
      bar("Networks (i)", estimate.networks, above + 34, "thick"),
      bar("Methods (ii)", estimate.method, above + 72, "thin"),
    );
  };
}
