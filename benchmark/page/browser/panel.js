// The controls beside the stage: sides, subject, metric, window.
"use strict";

/** The fields of a viewer's panel, as its choices stand; false for what does not apply. */
mrsr.viewerFields = async (viewer) => {
  const { h } = mrsr;
  const { overview } = viewer.protocol;
  const rows = [...new Set(overview.slices.map((entry) => entry.row))];
  const sides = [...Object.entries(mrsr.TRUTH), ...viewer.known.map((label) => [`m:${label}`, label])];
  const ranked = await viewer.ranked();
  const score = (entry) => ranked.find((subject) => subject.entry === entry)?.score ?? NaN;
  const subjectText = (entry) =>
    Number.isNaN(score(entry))
      ? entry.subject
      : `${entry.subject} · ${mrsr.fixed(score(entry), viewer.metric.decimals)}`;
  const choose = (at) => (name) =>
    viewer.change({ sides: viewer.sides.map((old, place) => (place === at ? name : old)) });
  const hint = `of the ${mrsr.counted(viewer.entries.length, "subject")} with slices, by ${viewer.metric.name} of ${viewer.ranking ? mrsr.sideName(viewer.ranking) : "no method"}`;
  const jump = (name, best) =>
    mrsr.button(name, () => viewer.extreme(best), { disabled: !ranked.length, title: `${name} ${hint}` });
  return [
    mrsr.select("Left", sides, viewer.sides[0], choose(0)),
    mrsr.select("Right", sides, viewer.sides[1], choose(1)),
    rows.length > 1 &&
      mrsr.select(
        "Row",
        rows.map((row) => [row, viewer.protocol.rowText(row)]),
        viewer.entry.row,
        (row) => viewer.change({ entry: sameSubject(viewer, Number(row)) }),
      ),
    mrsr.select(
      "Subject",
      viewer.entries.map((entry) => [entry.file, subjectText(entry)]),
      viewer.entry.file,
      (file) => viewer.change({ entry: viewer.entries.find((entry) => entry.file === file) }),
    ),
    h("div", { class: "choice" }, jump("Worst subject", false), jump("Best subject", true)),
    viewer.entry.numbers.length > 1 &&
      mrsr.select(
        "Slice",
        viewer.entry.numbers.map((number) => [number, String(number)]),
        viewer.number,
        (number) => viewer.change({ number: Number(number) }),
      ),
    mrsr.select(
      "Metric",
      overview.metrics.map(({ name, text }) => [name, text]),
      viewer.metric.name,
      (name) => viewer.change({ metric: viewer.protocol.metric(name) }),
    ),
    mrsr.choice(
      "Show",
      [
        ["image", "Image"],
        ["error", "Error"],
      ],
      viewer.isError ? "error" : "image",
      (mode) => viewer.change({ isError: mode === "error" }),
    ),
    windowRange(viewer, "Black at", "low"),
    windowRange(viewer, "White at", "high"),
    viewer.isError && windowRange(viewer, "Error scale ±", "scale"),
    mrsr.button("Reset window", () => {
      viewer.freshLook();
      viewer.show();
    }),
    mrsr.exports(`${overview.folder}-${viewer.protocol.rowText(viewer.entry.row)}`, () => viewer.lines),
  ];
};

/** The subject that is shown, in another row; else the first one there. */
function sameSubject(viewer, row) {
  const entries = viewer.protocol.overview.slices.filter((entry) => entry.row === row);
  return entries.find((entry) => entry.subject === viewer.entry.subject) ?? entries[0];
}

/** A slider for a bound of the window, or for the scale of errors, in intensity units. */
function windowRange(viewer, label, name) {
  const { h } = mrsr;
  const [low, high] = viewer.subject.display.map(mrsr.number);
  const width = high - low || 1;
  const bounds = name === "scale" ? [width / 100, width / 2] : [low - width / 10, high + width / 10];
  const output = h("output", {}, mrsr.short(viewer[name]));
  const move = (event) => {
    viewer[name] = Number(event.target.value);
    output.textContent = mrsr.short(viewer[name]);
    viewer.fillBar();
    viewer.paint();
  };
  const input = h("input", {
    type: "range",
    min: bounds[0],
    max: bounds[1],
    step: width / 500,
    value: viewer[name],
    on: { input: move },
  });
  return h("label", { class: "field range" }, h("span", {}, h("span", {}, label), output), input);
}
