// Two columns, subject by subject: a dot for each, and the slices in which their predictions differ most.
"use strict";

/** Every subject's difference in the row of `claim`; `open` goes to another row of `claims`. */
mrsr.subjectChart = async (protocol, first, second, claim, claims, open) => {
  const { h } = mrsr;
  const [row, metric] = [claim.rows[0], protocol.primary];
  const [a, b] = await Promise.all([first, second].map((label) => protocol.subjectMeans(row, label, metric)));
  const shown = new Set(protocol.overview.slices.filter((entry) => entry.row === row).map((entry) => entry.subject));
  const href = (subject) =>
    shown.has(subject)
      ? mrsr.address(protocol.name, "viewer", { row, subject, a: `m:${second}`, b: `m:${first}` })
      : null;
  const dots = [...a]
    .filter(([subject]) => b.has(subject))
    .map(([subject, value]) => ({ subject, value: value - b.get(subject), href: href(subject) }));
  const order = metric.higher ? [second, first] : [first, second];
  const sides = [`${order[0]} better`, `${order[1]} better`];
  const title = `${first} minus ${second}, ${metric.name}, ${protocol.rowText(row)}: a dot for each of ${mrsr.counted(dots.length, "subject")}`;
  const picker =
    claims.length > 1
      ? mrsr.select(
          "Row",
          claims.map(({ rows }) => [rows[0], protocol.rowText(rows[0])]),
          row,
          (chosen) => open({ row: chosen }),
        )
      : null;
  const lines = () => [
    ["subject", "metric", first, second, "difference"],
    ...[...a]
      .filter(([subject]) => b.has(subject))
      .map(([subject, value]) => [subject, metric.name, value, b.get(subject), value - b.get(subject)]),
  ];
  const chart = mrsr.dotChart({ title, dots, estimate: claim, metric, sides });
  const infinite = dots.filter((dot) => !Number.isFinite(dot.value)).length;
  return h(
    "section",
    {},
    h(
      "div",
      { class: "tools" },
      h("h2", {}, "Subject by subject"),
      picker,
      mrsr.exports(`${protocol.overview.folder}-${first}-${second}-subjects`, lines),
    ),
    chart ? mrsr.scrolling("Chart", chart) : null,
    h(
      "p",
      { class: "quiet" },
      `${title}, mean over seeds. Filled dots have slices: they lead to the viewer.${claim.networks ? " Bars are 95 % intervals of the mean." : ""}${infinite ? ` Without a finite difference: ${infinite}.` : ""}`,
    ),
  );
};

/** The slices of the row whose two predictions differ most, each with its difference. */
mrsr.mostDifferent = async (protocol, pairs, index, row, first, second) => {
  const { h } = mrsr;
  const entries = new Map(
    protocol.overview.slices.filter((entry) => entry.row === row).map((entry) => [entry.file, entry]),
  );
  const found = pairs.distances
    .filter(({ file, values }) => entries.has(file) && values[index] !== null)
    .map(({ file, number, values }) => ({ entry: entries.get(file), number, distance: values[index] }))
    .sort((a, b) => b.distance - a.distance)
    .slice(0, 3);
  if (!found.length) return null;
  const cards = await Promise.all(found.map((item) => differenceCard(protocol, item, first, second)));
  return h(
    "section",
    {},
    h("h2", {}, "Slices that differ most"),
    h("div", { class: "cards" }, cards),
    h(
      "p",
      { class: "quiet" },
      "By the root mean square of the difference of the two predictions, among the slices that are kept. Colour: blue where the first is darker, orange where it is brighter.",
    ),
  );
};

async function differenceCard(protocol, { entry, number, distance }, first, second) {
  const { h } = mrsr;
  const subject = await mrsr.load(`${protocol.name}/${entry.file}`);
  const slice = subject.slices.find((image) => image.number === number);
  const image = (label) => mrsr.decoded(slice.predictions[protocol.overview.labels.indexOf(label)]);
  const [low, high] = subject.display.map(mrsr.number);
  const scale = Number(((high - low) / 20).toPrecision(2));
  const [, down, across] = subject.spacing;
  const shown = [
    [first, mrsr.painted(image(first), { window: [low, high] })],
    [second, mrsr.painted(image(second), { window: [low, high] })],
    [`difference, ±${scale}`, mrsr.painted(mrsr.difference(image(first), image(second)), { scale })],
  ];
  for (const [, canvas] of shown) canvas.style.aspectRatio = `${canvas.width * across} / ${canvas.height * down}`;
  const href = mrsr.address(protocol.name, "viewer", {
    row: entry.row,
    subject: entry.subject,
    slice: number,
    a: `m:${second}`,
    b: `m:${first}`,
  });
  const place = `${entry.subject}, slice ${number}`;
  return h(
    "a",
    { class: "card", href, "aria-label": `${place}: show in the viewer` },
    h(
      "div",
      { class: "thumbs" },
      shown.map(([name, canvas]) => h("figure", {}, canvas, h("figcaption", {}, name))),
    ),
    h("p", {}, h("b", {}, place), ` · RMS ${mrsr.short(distance)}`),
  );
}
