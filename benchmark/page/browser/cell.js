// The records behind one figure: a column in a row, all its seeds.
"use strict";

mrsr.views.cell = async (protocol, values) => {
  const { h } = mrsr;
  const row = Number(values.row);
  const label = values.label ?? "";
  const cells = protocol.overview.rows[row] ? await protocol.cellsWith(row, label) : [];
  if (!cells.length) throw new mrsr.Problem(`This page has no record of ${label} in that row.`);
  const metric = protocol.metric(values.metric);
  const first = cells[0].record;
  const title = `${label} · ${protocol.rowText(row)}`;
  return {
    title,
    content: [
      h("p", {}, h("a", { href: mrsr.address(protocol.name, "table", { metric: metric.name }) }, "← Table")),
      seedTable(protocol, cells),
      first.fit ? h("section", {}, h("h2", {}, "Training"), curves(cells)) : null,
      subjects(protocol, row, label, cells, metric),
      h(
        "div",
        { class: "columns" },
        facts("Method", [
          ["method", first.resolved.method],
          ["version", first.resolved.version],
          ["preset", first.preset ?? "–"],
          ...Object.entries(first.resolved.options),
          ...(first.inference ? Object.entries(first.inference) : []),
        ]),
        facts(
          "Recipe",
          first.resolved.recipe
            ? Object.entries(first.resolved.recipe)
            : [["recipe", "none: the suite's loop does not train it"]],
        ),
        facts("Data", dataFacts(first)),
        facts("Machine", machineFacts(first)),
        facts("Keys", [
          ["train key", first.train_key],
          ["score key", first.score_key],
          ["source", first.source_digest],
          ["protocol", first.protocol.digest],
        ]),
      ),
      h(
        "p",
        { class: "quiet" },
        cells.length > 1 ? `Method to keys: those of seed ${first.resolved.seed}; every record is above.` : "",
      ),
    ],
  };
};

/** A line for each seed: its figures, its cost, its commit and its files. */
function seedTable(protocol, cells) {
  const { h } = mrsr;
  const { metrics } = protocol.overview;
  const headings = [
    "seed",
    ...metrics.map((metric) => metric.text),
    "fit s",
    "parameters",
    "s/volume",
    "peak MB",
    "commit",
    "written",
    "files",
  ];
  const files = (cell) =>
    [...cell.texts].map(([name, text]) =>
      mrsr.button(name, () => mrsr.save(`${cell.label}-seed${cell.seed}-${name}`, text), { class: "link" }),
    );
  const lines = cells.map((cell) => {
    const { record } = cell;
    const figures = metrics.map((metric) => mrsr.fixed(record.metrics[metric.name], metric.decimals));
    const cost = [
      mrsr.short(record.fit?.seconds),
      record.fit?.parameters ?? "–",
      mrsr.short(record.seconds_per_volume),
      Math.round(record.peak_memory_bytes / 1e6),
    ];
    const commit = record.environment.git ? record.environment.git.replace(/^(.{10})[0-9a-f]*/, "$1") : "–";
    const texts = [
      ...figures,
      ...cost.map(String),
      h("code", { title: record.environment.git }, commit),
      record.written,
    ];
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, String(record.resolved.seed)),
      texts.map((text) => h("td", {}, text)),
      h("td", {}, files(cell)),
    );
  });
  const head = h(
    "tr",
    {},
    headings.map((heading) => h("th", { scope: "col" }, heading)),
  );
  return mrsr.scrolling(
    "Records",
    h(
      "table",
      { class: "dense" },
      h("caption", {}, `Records: mean over ${cells[0].record.n} test subjects`),
      h("thead", {}, head),
      h("tbody", {}, lines),
    ),
  );
}

function curves(cells) {
  const { h } = mrsr;
  const drawn = cells.filter((cell) => cell.curve);
  if (!drawn.length) return h("p", { class: "quiet" }, "No training curve is kept here.");
  const line = (place) =>
    drawn.map((cell) => ({ name: `seed ${cell.seed}`, points: cell.curve.map((point) => [point[0], point[place]]) }));
  return h(
    "div",
    { class: "charts" },
    mrsr.lineChart({ title: "Training loss", lines: line(1), log: true }),
    mrsr.lineChart({ title: "Validation PSNR of crops (dB)", lines: line(2) }),
  );
}

/** The score of every subject, seed by seed. */
function subjects(protocol, row, label, cells, metric) {
  const { h } = mrsr;
  const section = h("section");
  function draw(chosen) {
    const names = [...(cells[0].scores.get(chosen.name)?.keys() ?? [])];
    const headings = ["subject", ...cells.map((cell) => `seed ${cell.seed}`)];
    const value = (cell, subject) => cell.scores.get(chosen.name).get(subject);
    const lines = () => [headings, ...names.map((subject) => [subject, ...cells.map((cell) => value(cell, subject))])];
    const body = names.map((subject) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, subject),
        cells.map((cell) =>
          h("td", { title: String(value(cell, subject)) }, mrsr.fixed(value(cell, subject), chosen.decimals)),
        ),
      ),
    );
    section.replaceChildren(
      h("h2", {}, "Every test subject"),
      h(
        "div",
        { class: "tools" },
        mrsr.select(
          "Metric",
          protocol.overview.metrics.map(({ name, text }) => [name, text]),
          chosen.name,
          (name) => draw(protocol.metric(name)),
        ),
        mrsr.exports(`${label}-${protocol.overview.rows[row].join("-")}-${chosen.name}`, lines),
      ),
      mrsr.scrolling(
        "Scores of subjects",
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              headings.map((heading) => h("th", { scope: "col" }, heading)),
            ),
          ),
          h("tbody", {}, body),
        ),
        "tall",
      ),
      h("p", { class: "quiet" }, chosen.signature),
    );
  }
  draw(metric);
  return section;
}

function dataFacts(record) {
  const { resolved } = record;
  const degradation = Object.entries(resolved.degradation).map(([name, value]) => [
    name === "name" ? "degradation" : name,
    value,
  ]);
  return [
    ["data set", resolved.dataset],
    ["contrast", resolved.contrast],
    ["plane", resolved.plane],
    ["crop", resolved.crop],
    ["factors", resolved.factors],
    ...degradation,
    ["training subjects", resolved.train_subjects ?? "all of the fold"],
    ["test data digest", record.test_data_digest],
    ["training data digest", record.fit?.train_data_digest ?? "–"],
  ];
}

function machineFacts(record) {
  const { environment } = record;
  return [
    ["device", environment.device],
    ["threads", environment.threads],
    ["deterministic", environment.deterministic],
    ["python", environment.python],
    ["platform", environment.platform],
    ["commit", environment.git ?? "–"],
    ...Object.entries(environment.versions),
  ];
}

function facts(title, entries) {
  const { h } = mrsr;
  const text = (value) => {
    if (Array.isArray(value)) return value.join(" × ");
    if (value && typeof value === "object")
      return (
        Object.entries(value)
          .map(([key, own]) => `${key.replaceAll("_", " ")} ${text(own)}`)
          .join(", ") || "–"
      );
    return value === null || value === undefined || value === "" ? "–" : String(value);
  };
  return h(
    "section",
    { class: "facts" },
    h("h2", {}, title),
    h(
      "dl",
      {},
      entries.map(([name, value]) => [h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, text(value))]),
    ),
  );
}

mrsr.scrolling = (label, table, kind = "") => {
  return mrsr.h("div", { class: `scroll ${kind}`, tabindex: "0", role: "region", "aria-label": label }, table);
};
