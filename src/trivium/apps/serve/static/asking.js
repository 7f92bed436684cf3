// Asking the server, and what is shown meanwhile and afterwards.

const PAUSE = 300; // ms after a key
const PATIENCE = 90_000; // ms; the server's own deadline should come first
const GONE = {
  title: "The server does not answer",
  message: "It was stopped, or cannot be reached from here. Start it again, then ask again.",
};
const SILENT = {
  title: "The server does not answer",
  message: `Nothing came within ${PATIENCE / 1000} seconds.`,
};
const EMPTY = { error: { message: "Its answer holds none of the model's tasks." } };

let waiting = 0, current = null, notBefore = 0;

/** isSeen: whether it tells those who see the page anything that they do not see already. */
function status(text, isSeen = true) {
  find("#status").textContent = text;
  find("#status").classList.toggle("unseen", !isSeen);
}

function busy(isBusy) {
  find("#answered").ariaBusy = String(isBusy);
}

/** Where the time of the call went. The rest is the network's and the browser's. */
function showTiming(timing, roundTrip, tokens) {
  const queue = own(timing, "queue_ms"), compute = own(timing, "compute_ms");
  const time = (value) => `${value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 })} ms`;
  const known = [["queue", queue], ["compute", compute]].filter(([, value]) => isNumber(value));
  const others = Math.max(0, roundTrip - known.reduce((sum, [, value]) => sum + value, 0));
  const line = make("div", "split");
  line.ariaHidden = "true";
  for (const [name, value] of [...known, ["others", others]]) {
    const part = make("i", name);
    part.style.setProperty("--grow", value);
    line.append(part);
  }
  const facts = [...known, ["round trip", roundTrip]].map(([name, value]) =>
    holding("div", "", make("dt", name.replace(" ", "-"), name), make("dd", "", time(value))));
  if (isNumber(tokens)) {
    facts.push(holding("div", "", make("dt", "", "tokens"), make("dd", "", whole(tokens))));
  }
  find("#timing").replaceChildren(holding("dl", "", ...facts), line);
  find("#timing").hidden = false;
}

/** Tokens that were computed, where the answer tells them. */
const tokensOf = (answer) =>
  [own(answer, "tokens"), own(own(answer, "usage"), "total_tokens")].find(isNumber);

function showNothing(row) {
  for (const parts of cards.values()) rest(parts, row);
  find("#timing").hidden = true;
}

/** Before anything is asked: whether the row answers any task. */
function answersNothing(row) {
  if (facts.tasks.some((task) => missing(task, row).length === 0)) return false;
  hideTrouble();
  showNothing(row);
  busy(false);
  status(Object.keys(row).length ? "No task has all the texts that it reads."
    : facts.examples.length ? "Type a text, or take an example." : "Type a text.");
  return true;
}

function fail(trouble, row) {
  notBefore = performance.now() + 1000 * (trouble.retry_s ?? 0);
  showNothing(row);
  showTrouble(trouble);
  status("");
}

async function fetched(path, asked, signal) {
  const headers = { "Content-Type": "application/json" }, key = find("#key").value.trim();
  if (key) headers.Authorization = `Bearer ${key}`;
  const response = await fetch(route(path), {
    method: "POST", headers, body: JSON.stringify(asked), signal,
    cache: "no-store", credentials: "same-origin",
  });
  const text = await response.text();
  try {
    return [response, JSON.parse(text)];
  } catch {
    return [response, undefined];
  }
}

/** What an answer shows, or what is wrong with it. */
function show(response, body, row, roundTrip) {
  if (!response.ok) {
    fail(troubleOf(response, body), row);
    if (response.status === 401 || response.status === 403) find("#access").open = true;
    return;
  }
  const answers = own(body, "answers")?.[0];
  const isTask = facts.tasks.some((task) => own(answers, task.name) !== undefined);
  if (!isTask) {
    const error = own(answers, "error");
    fail(troubleOf(response, error === undefined ? EMPTY : { error }), row);
    return;
  }
  hideTrouble();
  showAnswers(row, answers, own(body, "cut")?.[0]);
  showTiming(own(body, "timing"), roundTrip, tokensOf(body));
  status(`Answered. ${sentence(answers)}`, false);
}

/** Whatever is asked, or about to be, is of no interest any more. */
function forget() {
  clearTimeout(waiting);
  current?.abort();
  current = null;
}

async function ask() {
  forget();
  const row = filled();
  if (answersNothing(row)) return;
  if (!/^[\x20-\x7e]*$/.test(find("#key").value)) {
    fail({ title: "This API key cannot be sent", message: "It holds characters that are not ASCII." }, row);
    return;
  }
  const mine = current = new AbortController();
  const late = setTimeout(() => mine.abort("late"), PATIENCE);
  const start = performance.now();
  busy(true);
  try {
    const [response, body] = await fetched("v1/predict", bodyOf(row), mine.signal);
    if (mine === current) show(response, body, row, performance.now() - start);
  } catch {
    if (mine === current) fail(mine.signal.aborted ? SILENT : GONE, row);
  } finally {
    clearTimeout(late);
    if (mine === current) busy(false);
  }
}

/** Where the page is a single column, whoever asked by a button is led to the answers. */
async function askAndShow() {
  await ask();
  const place = find("#answered").getBoundingClientRect();
  if (current && place.top > innerHeight * 0.7) find("#answered").scrollIntoView({ block: "start" });
}

/** Once a typist pauses, and not before the server wants to be asked again. */
function askSoon() {
  clearTimeout(waiting);
  showCall();
  if (!find("#live").checked) return;
  waiting = setTimeout(ask, Math.max(PAUSE, notBefore - performance.now()));
}

function begin() {
  buildForm(() => { showCall(); askAndShow(); });
  buildCards();
  buildCalls();
  answersNothing({});

  const form = find("#form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    askAndShow();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
    event.preventDefault();
    ask();
  });
  for (const field of boxes.values()) {
    field.addEventListener("input", (event) => { if (!event.isComposing) askSoon(); });
    field.addEventListener("compositionend", askSoon);
  }
  find("#key").addEventListener("input", showCall);
  find("#again").addEventListener("click", ask);
  find("#explain").addEventListener("click", explain);
  find("#clear").addEventListener("click", () => {
    forget();
    for (const field of boxes.values()) field.value = "";
    showCall();
    answersNothing({});
    boxes.values().next().value?.focus();
  });
}
begin();
