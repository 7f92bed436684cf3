// The call that the page makes, for other programs.

const route = (path) => new URL(path, location.href.split(/[?#]/)[0]).href;
const quoteShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const VARIABLE = "TRIVIUM_API_KEY";

/** A value as Python writes it; its strings are JSON's. */
function python(value) {
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (value === true || value === false) return value ? "True" : "False";
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const pairs = Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${python(each)}`);
  return `{${pairs.join(", ")}}`;
}

const curl = (url, body, withKey) => [
  `curl ${quoteShell(url)}`,
  "-H 'Content-Type: application/json'",
  ...(withKey ? [`-H "Authorization: Bearer $${VARIABLE}"`] : []),
  `-d ${quoteShell(JSON.stringify(body))}`,
].join(" \\\n  ");

const bearer = `"Authorization": "Bearer " + os.environ["${VARIABLE}"]`;

const requests = (url, body, withKey) => [
  ...(withKey ? ["import os", ""] : []),
  "import requests",
  "",
  "response = requests.post(",
  `    ${python(url)},`,
  ...(withKey ? [`    headers={${bearer}},`] : []),
  `    json=${python(body)},`,
  "    timeout=60,",
  ")",
  "response.raise_for_status()",
  "print(response.json())",
].join("\n");

const urllib = (url, body, withKey) => [
  "import json",
  ...(withKey ? ["import os"] : []),
  "import urllib.request",
  "",
  `body = ${python(body)}`,
  "request = urllib.request.Request(",
  `    ${python(url)},`,
  "    data=json.dumps(body).encode(),",
  `    headers={"Content-Type": "application/json"${withKey ? `, ${bearer}` : ""}},`,
  ")",
  "with urllib.request.urlopen(request, timeout=60) as response:",
  "    print(json.load(response))",
].join("\n");

const whichTask = find("#which select");

/** The form of text-embeddings-inference: a text, or a list of pairs; no columns. */
function oneTask(row, withKey) {
  const task = facts.tasks[Number(whichTask.value)];
  const texts = task.columns.map((column) => own(row, column) ?? "…");
  const body = { inputs: texts.length === 1 ? texts[0] : [texts] };
  return curl(route(`v1/tasks/${encodeURIComponent(task.name)}/predict`), body, withKey);
}

const everyTask = (write) => (row, withKey) => write(route("v1/predict"), bodyOf(row), withKey);
const TABS = [
  ["curl", everyTask(curl)],
  ["Python, requests", everyTask(requests)],
  ["Python, standard library", everyTask(urllib)],
  ["One task", oneTask],
];

const bodyOf = (row) => ({ rows: [row], probabilities: true });
let tab = 0;

/** The texts of the form; where it is empty, an example's. */
function rowToTell() {
  const row = filled();
  if (Object.keys(row).length) return row;
  return facts.examples[0] ?? Object.fromEntries((facts.tasks[0]?.columns ?? []).map((name) => [name, "…"]));
}

function showCall() {
  if (facts.tasks.length === 0) return;
  const withKey = find("#key").value.trim() !== "";
  find("#code").textContent = TABS[tab][1](rowToTell(), withKey);
  find("#which").hidden = TABS[tab][1] !== oneTask;
  find("#key-told").hidden = !withKey;
}

function choose(place) {
  tab = place;
  all("#tabs button").forEach((button, each) => {
    button.ariaSelected = String(each === tab);
    button.tabIndex = each === tab ? 0 : -1;
  });
  find("#sample").setAttribute("aria-labelledby", `tab-${tab}`);
  showCall();
}

function buildCalls() {
  TABS.forEach(([name], place) => {
    const button = make("button", "tab", name);
    button.type = "button";
    button.role = "tab";
    button.id = `tab-${place}`;
    button.setAttribute("aria-controls", "sample");
    button.addEventListener("click", () => choose(place));
    find("#tabs").append(button);
  });
  find("#tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose((tab + step + TABS.length) % TABS.length);
    find(`#tab-${tab}`).focus();
  });
  facts.tasks.forEach((task, place) => {
    const option = make("option", "", task.name);
    option.value = place;
    whichTask.append(option);
  });
  whichTask.addEventListener("change", showCall);
  choose(0);
}
