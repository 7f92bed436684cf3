"use strict"; // The page: its theme, figures, hints, copying.
(() => {
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // --- theme: the system's, until the switch is used --------------------------------------------

  const dark = find("#dark"), system = matchMedia("(prefers-color-scheme: dark)");
  const button = find("#theme");
  const isDark = () => matchMedia(dark.media).matches;
  const colour = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function label() {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  }
  function renew() {
    label();
    for (const place of drawn) draw(place);
  }
  button.addEventListener("click", () => {
    dark.media = isDark() ? "not all" : "screen";
    renew();
  });
  system.addEventListener("change", renew);
  label();

  // --- figures: drawn when they come into sight, in the theme's colours -------------------------

  const figures = JSON.parse(find("#figures").textContent), drawn = new Set();
  const byTouch = matchMedia("(pointer: coarse)").matches;
  const config = {
    displaylogo: false, responsive: true, displayModeBar: byTouch ? false : "hover",
    // A list of those that are wanted: among the others is one that sends a figure to a server.
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]], plotlyServerURL: "",
  };

  function inColour(trace) {
    const { run, faint, ink, accent, ground, scale } = trace.meta || {};
    const own = ink ? colour("soft") : accent ? colour("accent")
      : ground !== undefined ? colour(`ground-${ground}`) : colour(`run-${(run || 0) % 8}`);
    const found = { ...trace };
    if (scale) {
      found.colorscale = [[0, colour("low")], [0.5, colour("middle")], [1, colour("high")]];
      return found;
    }
    found.line = { ...trace.line, color: own };
    found.marker = { ...trace.marker, color: own };
    if (trace.marker && trace.marker.line) found.marker.line = { width: 1, color: colour("ink") };
    if (trace.type === "bar") delete found.line;
    if (trace.error_x) found.error_x = { ...trace.error_x, color: own };
    if (faint) found.opacity = 0.28;
    return found;
  }

  function inTheme(layout) {
    const text = colour("ink"), lines = colour("grid");
    const themed = {
      autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: text },
      margin: { l: 48, r: 12, t: 12, b: 40 }, dragmode: byTouch ? false : "zoom",
      hoverlabel: {
        bgcolor: colour("card"), bordercolor: colour("soft"), align: "left",
        font: { color: text, family: "system-ui, sans-serif" },
      },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("soft"), activecolor: text },
      ...layout,
    };
    for (const key of Object.keys(layout).filter((name) => /^[xy]axis/.test(name))) {
      themed[key] = {
        gridcolor: lines, linecolor: colour("line"), zerolinecolor: colour("line"), ...layout[key],
      };
    }
    themed.shapes = (layout.shapes || []).map((shape) =>
      ({ ...shape, line: { ...shape.line, color: colour("soft") } }));
    return themed;
  }

  function draw(id) {
    const { data, layout } = figures[id];
    drawn.add(id);
    Plotly.react(id, data.map(inColour), inTheme(layout), config);
  }

  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        sight.unobserve(entry.target);
        draw(entry.target.id);
      }
    }
  }, { rootMargin: "400px" });
  for (const element of all(".figure")) sight.observe(element);

  // --- paper: all figures, in light colours -----------------------------------------------------

  let onScreen = null; // where the dark colours were, while they are put away
  addEventListener("beforeprint", () => {
    const wasDark = isDark();
    onScreen ??= dark.media;
    dark.media = "not all";
    for (const id of Object.keys(figures)) if (wasDark || !drawn.has(id)) draw(id);
  });
  addEventListener("afterprint", () => {
    dark.media = onScreen ?? dark.media;
    onScreen = null;
    if (isDark()) renew();
  });

  // --- hints of cells ---------------------------------------------------------------------------

  const tip = find("#tip");
  let over = null;
  function show(element) {
    over = element;
    const place = element.getBoundingClientRect();
    tip.textContent = element.dataset.tip;
    tip.hidden = place.bottom < 0 || place.top > innerHeight;
    const size = tip.getBoundingClientRect();
    const left = place.left + place.width / 2 - size.width / 2;
    const above = place.top - size.height - 8;
    tip.style.left = `${Math.max(8, Math.min(left, innerWidth - size.width - 8))}px`;
    tip.style.top = `${above < 8 ? place.bottom + 8 : above}px`;
  }
  const hide = () => {
    over = null;
    tip.hidden = true;
  };
  for (const element of all("[data-tip]")) {
    element.addEventListener("pointerenter", () => show(element));
    element.addEventListener("focus", () => show(element));
    element.addEventListener("pointerleave", hide);
    element.addEventListener("blur", hide);
  }
  addEventListener("scroll", () => { if (over) show(over); }, { passive: true, capture: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // --- copying ----------------------------------------------------------------------------------

  for (const each of all(".copy")) {
    each.addEventListener("click", async () => {
      const source = document.getElementById(each.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        each.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source);
        each.textContent = "Selected";
      }
      setTimeout(() => { each.textContent = "Copy"; }, 1500);
    });
  }

  // --- where one is on the page -----------------------------------------------------------------

  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const here = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of all("main > section")) here.observe(section);
})();
