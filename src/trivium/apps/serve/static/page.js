// What all parts of the page use: its data, making elements, the theme, copying.
// Data becomes text of elements, never markup.

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (tag, name, text) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
};
const holding = (tag, name, ...children) => {
  const element = make(tag, name);
  element.append(...children);
  return element;
};
/** Text of the user's own, which may run from right to left whatever stands around it. */
const quoted = (tag, name, text) => {
  const element = make(tag, name, text);
  element.dir = "auto";
  return element;
};

/** A name that may be broken after signs that stand for blanks. */
const named = (tag, name, text) => {
  const element = quoted(tag, name, "");
  text.split(/(?<=[_/.:-])(?=.)/u).forEach((part, place) => {
    if (place) element.append(document.createElement("wbr"));
    element.append(part);
  });
  return element;
};

const facts = JSON.parse(find("#facts").textContent);

/** A property, if it is the object's own: a task may be called `constructor`. */
const own = (object, name) =>
  object !== null && typeof object === "object" && Object.hasOwn(object, name)
    ? object[name] : undefined;
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const percent = (p) => (p > 0 && p < 0.0005 ? "< 0.1 %" : `${(100 * p).toFixed(1)} %`);
const brief = (p) => percent(p).replace(".0 ", " ");
const whole = (value) => value.toLocaleString("en");
const counted = (count, one, several = `${one}s`) => `${whole(count)} ${count === 1 ? one : several}`;
const inWords = (names) =>
  names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;

find("#about").textContent = [
  counted(facts.tasks.length, "task"), facts.precision, facts.backend,
].filter(Boolean).join(" · ");

const limits = Object.entries(facts.limits);
find("#limits").textContent = limits.length === 0 ? ""
  : `A request may hold: ${limits.map(([name, most]) => `${name.replaceAll("_", " ")} ${whole(most)}`).join(" · ")}.`;

// --- theme: the system's, until the switch is used ------------------------------------------------

const dark = find("#dark"), themeButton = find("#theme");
const isDark = () => matchMedia(dark.media).matches;

function labelTheme() {
  themeButton.textContent = isDark() ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
}
themeButton.addEventListener("click", () => {
  dark.media = isDark() ? "not all" : "screen"; // paper is light
  labelTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", labelTheme);
labelTheme();

// --- copying --------------------------------------------------------------------------------------

/** Where the page came by plain HTTP from another machine, browsers offer the old way only. */
async function copied(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}

find(".copy").addEventListener("click", async ({ target }) => {
  target.textContent = (await copied(find("#code"))) ? "Copied" : "Selected";
  setTimeout(() => { target.textContent = "Copy"; }, 1500);
});
