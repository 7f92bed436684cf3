// A card per task: what it says, how sure it is, what it did not read.

const cards = new Map(); // task -> its card's parts
const MOST = 10; // bars, until all are asked for
const MANY = 20; // labels of a task whose card is as wide as two
const LONG = 20; // letters of a label that is shown smaller

const KIND = {
  one_label: (task) => `one of ${counted(task.labels.length, "label")}`,
  several_labels: (task) => `any of ${counted(task.labels.length, "label")}, from ${brief(task.threshold)}`,
  score: (task) => `a score from ${task.range[0]} to ${task.range[1]}`,
};
const KEPT = { head: "from the start", tail: "from the end", head_tail: "from the start and the end" };

function buildCards() {
  facts.tasks.forEach((task, place) => {
    const title = named("h3", "", task.name);
    title.id = `task-${place}`;
    const body = make("div", "body"), note = make("p", "cut"), more = make("button", "more");
    const why = make("div", "why");
    more.type = "button";
    note.hidden = more.hidden = why.hidden = true;
    const size = task.labels.length > MANY ? " wide" : "";
    const card = holding("article", `card${size}`,
      holding("header", "", title, make("p", "note", KIND[task.says](task))), body, more, note, why);
    card.setAttribute("aria-labelledby", title.id);
    const parts = { task, card, body, more, note, why, whole: false, redraw: () => {} };
    more.addEventListener("click", () => {
      parts.whole = !parts.whole;
      parts.redraw();
    });
    cards.set(task.name, parts);
    find("#tasks").append(card);
  });
}

/** A card without an answer says what its task reads. */
function rest(parts, row) {
  const lacks = missing(parts.task, row);
  const some = lacks.length < parts.task.columns.length;
  const names = (some ? lacks : parts.task.columns).map((column) => quoted("b", "", column));
  const told = make("p", "waiting", !lacks.length ? "Not answered" : some ? "Also needs " : "Reads ");
  names.forEach((name, place) => told.append(place ? " and " : "", name));
  told.append(".");
  parts.body.replaceChildren(told);
  parts.more.hidden = parts.note.hidden = parts.why.hidden = true;
  parts.card.classList.remove("answered");
}

/** A bar as wide as its share p, with a line at the threshold where there is one. */
function bar(label, p, { isSaid = false, threshold = null }) {
  const track = make("span", "track"), fill = make("i", "fill");
  fill.style.setProperty("--p", Math.min(1, Math.max(0, p)));
  track.append(fill);
  if (threshold !== null) {
    const line = make("i", "line");
    line.style.setProperty("--p", threshold);
    track.append(line);
  }
  track.ariaHidden = "true";
  const name = named("span", "label", label);
  name.title = label;
  const item = holding("li", isSaid ? "is-said" : "", name, track, make("span", "number", percent(p)));
  if (isSaid) item.append(make("span", "unseen", " (its answer)"));
  return item;
}

/** From where a label of several is said: its own, if the model was calibrated. */
const thresholdOf = (task, label) => own(task.thresholds, label) ?? task.threshold;

/** The labels that a task with several says: a list of the server's, or those over the threshold. */
function chosen(task, answer, shares) {
  const said = own(answer, "labels") ?? own(answer, "prediction");
  if (Array.isArray(said)) return said;
  if (own(answer, "answered") === "no") return [];
  if (shares.length) return shares.filter(([l, p]) => p >= thresholdOf(task, l)).map(([label]) => label);
  return said ? String(said).split(task.separator) : [];
}

function drawLabels(parts, answer) {
  const { task } = parts;
  const shares = Object.entries(own(answer, "probabilities") ?? {}).filter(([, p]) => isNumber(p));
  // Objects put names that look like numbers first: labels of equal shares stay in their own order.
  const order = new Map(task.labels.map((label, place) => [label, place]));
  shares.sort(([a, p], [b, q]) => q - p || order.get(a) - order.get(b));
  const several = task.says === "several_labels";
  const said = several ? chosen(task, answer, shares) : [String(own(answer, "prediction") ?? "")];
  const sure = own(answer, "confidence") ?? (several ? undefined : shares[0]?.[1]);
  const value = holding("p", "said");
  const abstains = own(answer, "answered") === "no";
  if (abstains) said.length = 0;
  if (said.length === 0) value.append(make("span", "value none", abstains ? "not sure enough" : "no label"));
  for (const label of said) {
    const size = several ? " several" : label.length > LONG ? " long" : "";
    const shown = named("span", `value${size}`, label);
    shown.title = label;
    value.append(shown);
  }
  if (isNumber(sure)) value.append(make("span", "sure", percent(sure)));

  const list = make("ul", "bars");
  const least = several ? Math.max(MOST, said.length) : MOST;
  const shown = parts.whole ? shares : shares.slice(0, least);
  const threshold = (label) => several ? thresholdOf(task, label) : null;
  list.append(...shown.map(([label, p]) => bar(label, p, { isSaid: said.includes(label), threshold: threshold(label) })));
  parts.more.hidden = shares.length <= least;
  parts.more.textContent = parts.whole ? `Show the top ${least} only` : `Show all ${whole(shares.length)}`;
  parts.more.ariaExpanded = String(parts.whole);
  parts.body.replaceChildren(value, list);
  if (several && shares.length) {
    const at = Object.keys(task.thresholds).length ? "" : ` is at ${brief(task.threshold)}`;
    parts.body.append(make("p", "legend", `The line${at}: what reaches it is said.`));
  }
}

function drawScore(parts, answer) {
  const [low, high] = parts.task.range, score = Number(own(answer, "prediction"));
  const share = Math.min(1, Math.max(0, (score - low) / (high - low)));
  const fill = make("i", "fill"), dot = make("i", "dot");
  for (const each of [fill, dot]) each.style.setProperty("--p", Number.isFinite(share) ? share : 0);
  const track = holding("div", "track", fill, dot);
  track.role = "img";
  track.ariaLabel = `${score} on a range from ${low} to ${high}`;
  const value = make("span", "value", score.toLocaleString("en", { maximumSignificantDigits: 4 }));
  parts.more.hidden = true;
  parts.body.replaceChildren(holding("p", "said", value), holding("div", "scale",
    make("span", "", String(low)), track, make("span", "", String(high))));
}

/** How much of a text was read. */
function drawCut(parts, cut) {
  const tokens = own(cut, "tokens"), kept = own(cut, "kept");
  const isCut = isNumber(tokens) && isNumber(kept) && kept < tokens;
  parts.note.hidden = !isNumber(tokens);
  parts.note.classList.toggle("is-cut", isCut);
  parts.note.textContent = isCut
    ? `Cut: ${whole(kept)} of ${whole(tokens)} word pieces were read, ${KEPT[parts.task.cut] ?? "not all of it"}.`
    : `${counted(tokens ?? 0, "word piece")}, all read.`;
}

function showAnswers(row, answers, cuts) {
  for (const parts of cards.values()) {
    const answer = own(answers, parts.task.name);
    if (answer === undefined) {
      rest(parts, row);
      continue;
    }
    parts.redraw = () => (parts.task.says === "score" ? drawScore : drawLabels)(parts, answer);
    parts.redraw();
    parts.why.hidden = true; // what it explained was another answer
    drawCut(parts, own(answer, "cut") ?? own(cuts, parts.task.name));
    parts.card.classList.add("answered");
  }
}

/** The answers in a sentence, for those who do not see bars. */
function sentence(answers) {
  const told = facts.tasks.filter((task) => own(answers, task.name) !== undefined).map((task) => {
    const answer = answers[task.name], said = own(answer, "labels") ?? own(answer, "prediction");
    if (own(answer, "answered") === "no") return `${task.name}: not sure enough`;
    return `${task.name}: ${Array.isArray(said) ? inWords(said) || "no label" : said === "" ? "no label" : said}`;
  });
  return told.join("; ");
}
