// Two columns: both claims of `bench compare`, every subject, and the slices that differ most.
"use strict";

mrsr.views.compare = async (protocol, values) => {
  const { h } = mrsr;
  const { overview } = protocol;
  const { labels } = overview;
  if (labels.length < 2)
    return { title: "Compare", content: h("p", { class: "empty" }, "There is one column only: nothing to compare.") };
  const pairs = await protocol.pairs();
  const [first, second] = chosenPair(overview, values);
  const open = (changes) => {
    location.hash = mrsr.address(protocol.name, "compare", { a: first, b: second, row: values.row, ...changes });
  };
  const options = labels.map((label) => [label, label]);
  const tools = h(
    "div",
    { class: "tools versus" },
    mrsr.select("Column", options, first, (a) => open(a === second ? { a, b: first } : { a })),
    h("span", { class: "minus", "aria-hidden": "true" }, "minus"),
    mrsr.select("Column", options, second, (b) => open(b === first ? { a: second, b } : { b })),
  );
  const [index, sign] = mrsr.Protocol.pairIndex(pairs, first, second);
  const comparison = pairs.comparisons[index];
  const title = `${first} minus ${second}`;
  const fixed = fixedClaims(protocol);
  if (comparison.why)
    return { title: "Compare", content: [tools, h("p", { class: "empty" }, `${title}: ${comparison.why}.`), fixed] };
  const claims = comparison.rows.map((claim) => mrsr.signed(claim, sign));
  const pooled = mrsr.signed(comparison.pooled, sign);
  const several = claims.length > 1;
  const claim = claims.find((candidate) => String(candidate.rows[0]) === values.row) ?? claims[0];
  const row = claim.rows[0];
  const lines = () => claimLines(protocol, first, second, several ? [...claims, pooled] : claims);
  return {
    title: "Compare",
    content: [
      tools,
      verdict(protocol, first, second, several ? pooled : claims[0], several),
      h("p", { class: "quiet" }, `${comparison.family}.`),
      h(
        "details",
        {},
        h("summary", {}, "What the intervals are"),
        h("p", { class: "quiet" }, overview.words.networks),
        h("p", { class: "quiet" }, overview.words.methods),
      ),
      claimTable(protocol, first, second, claims, several && pooled, lines),
      await mrsr.subjectChart(protocol, first, second, claim, claims, open),
      await mrsr.mostDifferent(protocol, pairs, index, row, first, second),
      fixed,
    ],
  };
};

/** The requested pair; by default the protocol's first contrast, else the best two of the first row. */
function chosenPair(overview, { a, b }) {
  const { labels } = overview;
  if (labels.includes(a) && labels.includes(b) && a !== b) return [a, b];
  const fixed = overview.claims?.pairs.find((pair) => pair.every((label) => labels.includes(label)));
  if (fixed) return fixed;
  const figures = overview.figures[0][0] ?? [];
  const value = (label) =>
    mrsr.number(figures[overview.columns.findIndex((column) => column.name === label && !column.source)]?.value);
  const sign = overview.metrics[0].higher ? -1 : 1;
  const known = labels.filter((label) => !Number.isNaN(value(label))).sort((x, y) => sign * (value(x) - value(y)));
  return known.length > 1 ? known.slice(0, 2) : labels.slice(0, 2);
}

/** The claim about the methods in one sentence, then the one about these networks. */
function verdict(protocol, first, second, claim, several) {
  const { h } = mrsr;
  const metric = protocol.primary;
  const sentences = {
    better: `As methods, ${first} is better than ${second}.`,
    worse: `As methods, ${first} is worse than ${second}.`,
    open: `As methods, ${first} and ${second} are not told apart.`,
    "no claim": `Nothing is claimed about ${first} and ${second} as methods: ${(claim.why ?? claim.text).replace(": no claim", "")}.`,
  };
  const equivalent = claim.text.includes("equivalent")
    ? ` ${claim.text.replace(/^.*?equivalent/, "Equivalent")} ${metric.unit}.`
    : "";
  const over = several
    ? `over ${claim.rows.length === protocol.overview.rows.length ? `all ${claim.rows.length}` : claim.rows.length} rows`
    : `in ${protocol.rowText(claim.rows[0])}`;
  const unit = metric.unit ? ` ${metric.unit}` : "";
  const interval = (name, bounds, meaning) =>
    h(
      "div",
      {},
      h("dt", {}, name),
      h(
        "dd",
        {},
        h("b", {}, bounds ? `${mrsr.interval(bounds, metric.decimals)}${unit}` : "no claim"),
        h("span", { class: "quiet" }, meaning),
      ),
    );
  return h(
    "section",
    { class: `verdict is-${claim.verdict.replace(" ", "-")}` },
    h("h2", {}, `${sentences[claim.verdict]}${equivalent}`),
    h(
      "p",
      { class: "large" },
      h("b", {}, `${mrsr.fixed(claim.mean, metric.decimals, true)}${unit}`),
      ` ${metric.name}, ${over}, ${mrsr.counted(claim.subjects, "subject")}, seeds: ${claim.seeds.map((seeds) => seeds.length).join(" and ")}.`,
    ),
    h(
      "dl",
      { class: "intervals" },
      interval("Networks (i)", claim.networks, "these trained networks, on other subjects"),
      interval("Methods (ii)", claim.method, "the methods, trained again, on other subjects"),
    ),
  );
}

function claimLines(protocol, first, second, claims) {
  const metric = protocol.primary.name;
  const bounds = (found) => (found ? found.map(mrsr.number) : ["", ""]);
  const names = (claim) => claim.rows.map((row) => protocol.overview.rows[row].join(" ")).join(", ");
  return [
    [
      "rows",
      "columns",
      "metric",
      "mean",
      "networks low",
      "networks high",
      "methods low",
      "methods high",
      "subjects",
      "seeds",
      "verdict",
    ],
    ...claims.map((claim) => [
      names(claim),
      `${first} - ${second}`,
      metric,
      mrsr.number(claim.mean),
      ...bounds(claim.networks),
      ...bounds(claim.method),
      claim.subjects,
      claim.seeds.map((seeds) => seeds.length).join(", "),
      claim.text,
    ]),
  ];
}

function claimTable(protocol, first, second, claims, pooled, lines) {
  const { h } = mrsr;
  const { decimals, text } = protocol.primary;
  const interval = (bounds, why) => (bounds ? mrsr.interval(bounds, decimals) : (why ?? "–"));
  const line = (claim, name) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      [
        mrsr.fixed(claim.mean, decimals, true),
        interval(claim.networks),
        interval(claim.method, claim.why),
        String(claim.subjects),
        claim.seeds.map((seeds) => seeds.length).join(", "),
        claim.text,
      ].map((value) => h("td", {}, value)),
    );
  const head = h(
    "tr",
    {},
    ["row", text, "networks (i)", "methods (ii)", "subjects", "seeds", "verdict"].map((name) =>
      h("th", { scope: "col" }, name),
    ),
  );
  const body = [
    ...claims.map((claim) => line(claim, protocol.rowText(claim.rows[0]))),
    pooled
      ? line(
          pooled,
          pooled.rows.length === claims.length
            ? "over all rows"
            : `over ${pooled.rows.map((row) => protocol.rowText(row)).join(", ")}`,
        )
      : null,
  ];
  return h(
    "section",
    {},
    h(
      "div",
      { class: "tools" },
      h("h2", {}, "Row by row"),
      mrsr.exports(`${protocol.overview.folder}-${first}-${second}`, lines),
    ),
    mrsr.scrolling("Claims", h("table", {}, h("thead", {}, head), h("tbody", {}, body))),
  );
}

/** The contrasts that the protocol fixed beforehand, each a way to its comparison. */
function fixedClaims(protocol) {
  const { h } = mrsr;
  const { claims, labels } = protocol.overview;
  if (!claims) return null;
  const cell = (text, at, line) => {
    const [a, b] = claims.pairs[line];
    const leads = claims.headings[at] === "columns" && labels.includes(a) && labels.includes(b);
    return leads ? h("a", { href: mrsr.address(protocol.name, "compare", { a, b }) }, text) : text;
  };
  const body = claims.lines.map((texts, line) =>
    h(
      "tr",
      {},
      texts.map((text, at) => h("td", {}, cell(text, at, line))),
    ),
  );
  const table = h(
    "table",
    {},
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        claims.headings.map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    h("tbody", {}, body),
  );
  return h(
    "section",
    {},
    h("h2", {}, "Fixed beforehand"),
    mrsr.scrolling("Contrasts fixed beforehand", table),
    h("p", { class: "quiet" }, claims.title),
    h(
      "details",
      {},
      h("summary", {}, "How these were made"),
      h(
        "ul",
        {},
        claims.statements.map((statement) => h("li", {}, statement)),
      ),
    ),
  );
}
