// What a figure says of itself: the letters of its group, both intervals, and the tip that shows them.
"use strict";

/** 'ab′¹' → ['a', 'b′']: the letters of ties, without the mark of one seed. */
mrsr.letters = (raised) => raised.match(/[a-z]′*/g) ?? [];

/** Both intervals in words: (i) and (ii), or why there is none. */
mrsr.estimateLines = (estimate, metric, pair) => {
  const { h } = mrsr;
  const unit = metric.unit ? ` ${metric.unit}` : "";
  const interval = (bounds) => (bounds ? mrsr.interval(bounds, metric.decimals) + unit : null);
  return [
    h("p", {}, `${pair}: ${mrsr.fixed(estimate.mean, metric.decimals, true)}${unit}, mean over subjects.`),
    h(
      "dl",
      {},
      h("dt", {}, "Networks (i)"),
      h("dd", {}, interval(estimate.networks) ?? estimate.why ?? "no claim"),
      h("dt", {}, "Methods (ii)"),
      h("dd", {}, interval(estimate.method) ?? estimate.why ?? "no claim"),
    ),
    estimate.networks &&
      h("p", { class: "quiet" }, "95 % intervals, not corrected for the number of comparisons; letters are."),
  ];
};

// One tip for the whole page.
{
  const tip = mrsr.h("div", { id: "tip", role: "tooltip", hidden: true });
  let owner = null;
  mrsr.tip = {
    async show(element, content) {
      owner = element;
      const children = (await content()).flat(Infinity).filter(Boolean);
      if (owner !== element || !element.isConnected) return;
      if (!tip.isConnected) document.body.append(tip);
      tip.replaceChildren(...children);
      tip.hidden = false;
      element.setAttribute("aria-describedby", "tip");
      const box = element.getBoundingClientRect();
      const [width, height] = [tip.offsetWidth, tip.offsetHeight];
      const below = box.bottom + 8 + height < innerHeight || box.top < height + 8;
      tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - width - 8)) + scrollX}px`;
      tip.style.top = `${(below ? box.bottom + 8 : box.top - height - 8) + scrollY}px`;
    },
    hide() {
      owner?.removeAttribute("aria-describedby");
      owner = null;
      tip.hidden = true;
    },
  };
  document.addEventListener("keydown", (event) => event.key === "Escape" && mrsr.tip.hide());
}
