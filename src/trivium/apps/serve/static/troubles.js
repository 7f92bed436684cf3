// What went wrong, in words, and where.

const TITLES = {
  400: "The server could not read the request",
  401: "The server wants an API key",
  403: "The server does not accept this API key",
  404: "The server does not know this route",
  413: "That is more than the server takes at once",
  422: "The server cannot answer this",
  429: "The server has more to do than it can",
  500: "The server failed",
  502: "What stands before the server does not reach it",
  503: "The server is starting or stopping",
  504: "It took too long, and was given up",
};

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** What is wrong in one place: where, what was found, what is allowed, what to do. */
function detail(told) {
  const item = make("li");
  if (own(told, "where")) item.append(quoted("code", "", shown(told.where)));
  const list = make("dl");
  for (const name of ["found", "allowed", "hint"]) {
    const value = own(told, name);
    if (value === undefined || value === null || value === "") continue;
    list.append(holding("div", "", make("dt", "", name), quoted("dd", "", shown(value))));
  }
  item.append(list);
  return item;
}

/** The boxes whose texts are at fault: `rows[0].message` names that of `message`. */
function mark(details) {
  for (const [column, field] of boxes) {
    const faulty = details.some((told) => own(told, "where") === `rows[0].${column}`);
    field.setAttribute("aria-invalid", String(faulty));
  }
}

let clock = 0;

/** The button that asks again, usable after so many seconds. */
function offerAgain(seconds) {
  const button = find("#again");
  const until = performance.now() + 1000 * seconds;
  clearInterval(clock);
  const tick = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Ask again in ${left} s` : "Ask again";
    if (left <= 0) clearInterval(clock);
  };
  clock = setInterval(tick, 250);
  tick();
}

/** trouble: { title, message, code, details, retry_s } */
function showTrouble({ title, message = "", code = "", details = [], retry_s: seconds = 0 }) {
  const told = [make("h3", "", title)];
  if (message) told.push(quoted("p", "", message));
  if (details.length) told.push(holding("ul", "details", ...details.map(detail)));
  if (code) told.push(make("p", "code-told", code));
  find("#told").replaceChildren(...told);
  find("#trouble").hidden = false;
  mark(details);
  offerAgain(seconds);
}

function hideTrouble() {
  clearInterval(clock);
  find("#trouble").hidden = true;
  find("#told").replaceChildren();
  mark([]);
}

/** Seconds after which to come back; of a date, or of what is no number, a few. */
function retryAfter(response) {
  const told = response.headers.get("Retry-After");
  if (told === null) return 0;
  const seconds = Number(told);
  return Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, 3600) : 5;
}

/** An answer that is none: its trouble. body: parsed, or undefined if it was no JSON. */
function troubleOf(response, body) {
  const error = own(body, "error"), details = own(error, "details");
  const said = own(error, "message") ?? own(body, "detail");
  return {
    title: TITLES[response.status] ?? "The server did not answer as expected",
    message: said === undefined ? "It gave no reason." : shown(said),
    code: [`HTTP ${response.status}`, own(error, "code")].filter(Boolean).join(" · "),
    details: Array.isArray(details) ? details : [],
    retry_s: retryAfter(response),
  };
}
