"use strict"; // The list of mistakes: what is chosen, and how a row is shown.
(() => {
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const form = find("#filters");
  if (!form) return;
  const { sets, runs } = JSON.parse(find("#rows").textContent);
  const PAGE = 10, PAUSE = 150, field = form.elements; // PAUSE: ms after a key
  let entries = [], first = 0, waiting = 0;

  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const whole = (value) => value.toLocaleString("en");
  const current = () => sets[Number(field.set.value)];
  const isScore = (set) => set.labels === null;
  const isSeveral = (set) => set.kind === "multilabel";
  const inWords = (set, value) =>
    isScore(set) ? String(value)
      : isSeveral(set) ? value.map((place) => set.labels[place]).join(", ") || "(none)"
        : set.labels[value];

  function sizes({ thirds: [a, b] }) {
    return {
      "": () => true, short: (n) => n <= a, medium: (n) => n > a && n <= b, long: (n) => n > b,
    };
  }

  function fill(select, options) {
    select.replaceChildren(...options.map(([value, text]) => {
      const option = make("option", "", text);
      option.value = value;
      return option;
    }));
  }

  function offerSets() {
    const count = (task) => sets.filter((set) => set.task === task).length;
    fill(field.set, sets.map((set, place) => {
      const who = count(set.task) > 1 ? ` (${set.runs.map((run) => runs[run]).join(", ")})` : "";
      return [place, set.task + who];
    }));
  }

  function offer() {
    const set = current(), [a, b] = set.thirds;
    const labels = (set.labels || []).map((label, place) => [place, label]);
    fill(field.true, [["", "any"], ...labels]);
    fill(field.predicted, [["", "any"], ...labels]);
    fill(field.size, [
      ["", "any"], ["short", `short (up to ${a} ${a === 1 ? "word" : "words"})`],
      ["medium", `medium (${a + 1 < b ? `${a + 1} to ${b}` : b})`], ["long", `long (over ${b})`],
    ].filter(([size]) => set.rows.some((row) => sizes(set)[size](row.w)))); // texts may be alike
    if (field.run) {
      fill(field.run, [["", "all runs"], ...set.runs.map((run) => [run, runs[run]])]);
    }
    for (const each of all(".labelled", form)) each.hidden = isScore(set);
    for (const each of all(".ordered", form)) each.hidden = !set.ordered;
    field.show.value = isScore(set) ? "" : "wrong";
    field.distance.value = "";
  }

  const wears = (value, wanted) => // whether an answer is, or holds, this label
    wanted === "" || (Array.isArray(value) ? value.includes(Number(wanted)) : value === Number(wanted));

  function filterOf(set) {
    const wanted = (name) => (field[name] ? field[name].value : "");
    const text = wanted("text").trim().toLocaleLowerCase();
    const from = wanted("from") === "" ? 0 : Number(wanted("from"));
    const to = wanted("to") === "" ? Infinity : Number(wanted("to"));
    const shows = {
      "": () => true, wrong: (answer) => answer.e > 0, right: (answer) => answer.e === 0,
      avoidable: (answer, row) => answer.e > 0 && row.a.some((other) => other.e === 0),
    };
    const distances = { "": () => true, one: (n) => n === 1, more: (n) => n > 1 };
    const isLong = sizes(set)[wanted("size")];
    const isRow = (row) =>
      row.w >= from && row.w <= to && isLong(row.w) &&
      (isScore(set) || wears(row.y, wanted("true"))) &&
      (text === "" || row.t.some((each) => each.toLocaleLowerCase().includes(text)));
    const isAnswer = (row, answer, run) =>
      (wanted("run") === "" || run === Number(wanted("run"))) &&
      (isScore(set) || (
        shows[wanted("show")](answer, row) &&
        wears(answer.p, wanted("predicted")) &&
        (!set.ordered || distances[wanted("distance")](Math.abs(answer.p - row.y)))));
    return [isRow, isAnswer];
  }

  function chooseSoon() { // many rows take a while, so that each letter would be felt
    clearTimeout(waiting);
    find("#list").setAttribute("aria-busy", "true");
    waiting = setTimeout(choose, PAUSE);
  }

  function choose() {
    clearTimeout(waiting);
    find("#list").removeAttribute("aria-busy");
    const set = current(), [isRow, isAnswer] = filterOf(set);
    entries = [];
    for (const row of set.rows) {
      if (!isRow(row)) continue;
      row.a.forEach((answer, slot) => {
        if (isAnswer(row, answer, set.runs[slot])) entries.push({ row, answer, slot });
      });
    }
    const sure = (entry) => entry.answer.c ?? 0;
    entries.sort((x, y) =>
      y.answer.e - x.answer.e || sure(x) - sure(y) || x.row.l - y.row.l || x.slot - y.slot);
    first = 0;
    mark();
    list();
  }

  function list() {
    const set = current(), last = Math.min(first + PAGE, entries.length);
    const what = set.rows.length < set.total
      ? `${whole(set.rows.length)} of the ${whole(set.total)} dev rows are in this file`
      : `${whole(set.total)} dev rows`;
    const many = set.runs.length > 1 ? " answers" : "";
    find("#count").textContent = `${whole(entries.length)}${many} chosen; ${what}.`;
    find("#count").dataset.chosen = entries.length;
    find("#list").replaceChildren(...entries.slice(first, last).map((entry) => shown(set, entry)));
    find("#list").start = first + 1;
    find("#page").textContent = entries.length
      ? `${whole(first + 1)}–${whole(last)} of ${whole(entries.length)}` : "nothing fits";
    find("#before").disabled = first === 0;
    find("#after").disabled = last >= entries.length;
  }

  function shown(set, { row, answer, slot }) {
    const item = make("li"), said = make("p", "said");
    item.dataset.line = row.l;
    item.dataset.run = set.runs[slot];
    const fact = (name, value, style) => {
      const part = make("span", style, `${name} `);
      const strong = make("b", "", value);
      strong.dir = "auto";
      part.append(strong);
      said.append(part);
    };
    fact("true", inWords(set, row.y));
    fact("predicted", inWords(set, answer.p), answer.e > 0 && !isScore(set) ? "bad" : "");
    if (isScore(set)) fact("off by", answer.e.toFixed(2), "bad");
    if (answer.c !== undefined) fact("confidence", percent(answer.c));
    const where = [`line ${row.l}`, `${row.w} ${row.w === 1 ? "word" : "words"}`];
    if (runs.length > 1) where.unshift(runs[set.runs[slot]]);
    said.append(make("span", "more", where.join(" · ")));
    item.append(said);
    row.t.forEach((text, place) => {
      const part = make("p", "text");
      if (row.t.length > 1) part.append(make("small", "", set.columns[place]));
      const words = make("span", "", text);
      words.dir = "auto";
      part.append(words);
      item.append(part);
    });
    if (answer.d) item.append(bars(set, row, answer));
    if (row.a.length > 1) {
      const others = row.a.flatMap((other, place) => place === slot ? [] : [
        `${runs[set.runs[place]]}: ${inWords(set, other.p)}` +
        (isScore(set) ? "" : other.e > 0 ? " (wrong)" : " (right)"),
      ]);
      item.append(make("p", "others", others.join(" · ")));
    }
    return item;
  }

  function bars(set, row, answer) {
    const box = make("div", "bars");
    const holds = (value, place) => Array.isArray(value) ? value.includes(place) : value === place;
    for (const [place, probability] of answer.d) {
      const line = make("div"), bar = make("i");
      const isTrue = holds(row.y, place), isSaid = holds(answer.p, place);
      line.classList.toggle("is-true", isTrue);
      line.classList.toggle("is-said", isSaid);
      bar.style.setProperty("--p", probability);
      const mark = isTrue && isSaid ? " ✓" : isTrue ? " (true)" : "";
      line.append(make("span", "", set.labels[place] + mark), bar, make("span", "", percent(probability)));
      box.append(line);
    }
    return box;
  }

  function mark() { // the cells that the list shows
    const set = current(), { true: a, predicted: b } = field;
    for (const cell of all(".confusion button")) {
      const table = cell.closest("table").dataset;
      const ours = table.task === set.task && set.runs.includes(Number(table.run)) &&
        (!field.run || field.run.value === table.run);
      cell.setAttribute("aria-pressed", String(
        ours && a.value === cell.dataset.true && b.value === cell.dataset.predicted));
    }
  }

  function showCell(cell) {
    const { task, run } = cell.closest("table").dataset;
    field.set.value = sets.findIndex((set) => set.task === task && set.runs.includes(Number(run)));
    for (const name of ["text", "from", "to"]) field[name].value = "";
    offer();
    if (field.run) field.run.value = run;
    field.true.value = cell.dataset.true;
    field.predicted.value = cell.dataset.predicted;
    field.show.value = "";
    choose();
    find("#errors").scrollIntoView();
    field.set.focus({ preventScroll: true });
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target === field.set) offer();
    if (event.target.tagName === "SELECT") choose();
    else chooseSoon();
  });
  form.addEventListener("reset", () => setTimeout(() => { offer(); choose(); }));
  const turn = (by) => {
    first = Math.max(0, first + by * PAGE);
    list();
    find("#count").scrollIntoView({ block: "nearest" });
  };
  find("#before").addEventListener("click", () => turn(-1));
  find("#after").addEventListener("click", () => turn(1));
  for (const cell of all(".confusion button")) {
    cell.addEventListener("click", () => showCell(cell));
  }
  offerSets();
  offer();
  choose();
})();
