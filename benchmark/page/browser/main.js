// From the address to a view.
"use strict";
{
  const { h } = mrsr;
  const VIEWS = [
    ["table", "Table"],
    ["viewer", "Viewer"],
    ["compare", "Compare"],
  ];
  const main = document.getElementById("main");
  const protocols = new Map();
  let leave = null;
  let turn = 0;

  function protocolNamed(name) {
    if (!protocols.has(name)) protocols.set(name, mrsr.Protocol.load(name));
    return protocols.get(name);
  }

  function fillHead(site, entry, view) {
    const others = site.map(({ name, folder }) => [name, folder]);
    const picker =
      site.length > 1
        ? mrsr.select(
            "Protocol",
            others,
            entry.name,
            (name) => (location.hash = mrsr.address(name, VIEWS.some(([known]) => known === view) ? view : "table")),
          )
        : h("strong", {}, entry.folder);
    const links = VIEWS.map(([name, text]) =>
      h(
        "a",
        {
          href: mrsr.address(entry.name, name),
          "aria-current": name === view || (view === "cell" && name === "table") ? "page" : null,
        },
        text,
      ),
    );
    document
      .getElementById("head")
      .replaceChildren(
        h("div", { class: "brand" }, h("span", {}, "mrsr-bench"), picker),
        h("nav", { "aria-label": "Views" }, links),
      );
  }

  async function show(isFirst) {
    const own = ++turn;
    mrsr.tip.hide();
    leave?.();
    leave = null;
    try {
      const site = await mrsr.load("site");
      const place = mrsr.place() ?? { protocol: site[0].name, view: "table", values: {} };
      const entry = site.find(({ name }) => name === place.protocol) ?? site[0];
      const view = Object.hasOwn(mrsr.views, place.view) ? place.view : "table";
      fillHead(site, entry, view);
      const protocol = await protocolNamed(entry.name);
      const shown = await mrsr.views[view](protocol, place.values);
      if (own !== turn) {
        shown.leave?.();
        return;
      }
      leave = shown.leave ?? null;
      document.title = `${shown.title} · ${entry.folder}`;
      const { version, digest, description } = protocol.overview;
      const lead = view === "table" ? h("p", { class: "lead" }, description) : null;
      const heading = view === "table" ? entry.folder : shown.title;
      const mark = h(
        "p",
        { class: "quiet" },
        `${view === "table" ? "" : `${entry.folder}, `}version ${version}, digest ${digest.slice(0, 12)}`,
      );
      main.replaceChildren(
        h("div", { class: "title" }, h("h1", {}, heading), mark),
        ...[lead, shown.content].flat(Infinity).filter(Boolean),
      );
      shown.enter?.();
      if (!isFirst) {
        main.focus({ preventScroll: true });
        scrollTo(0, 0);
      }
    } catch (error) {
      if (own === turn) complain(error);
    }
    document.documentElement.dataset.ready = "true";
  }

  /** Say what is wrong in place of the view. What is no message of this page goes to the console, too. */
  function complain(error) {
    main.replaceChildren(h("p", { class: "empty", role: "alert" }, error.message));
    if (!(error instanceof mrsr.Problem)) console.error(error);
  }

  addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    complain(event.reason);
  });
  addEventListener("hashchange", () => {
    document.documentElement.dataset.ready = "false";
    show(false);
  });
  show(true);
}
