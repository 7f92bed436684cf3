// The form: a box per column, examples that fill boxes, and what is filled in.

const boxes = new Map(); // column -> its text box
const SHOWN = [5, 3]; // examples at once: of a single group, of each of several

/** Tasks that share columns stand together, in the order of the model. */
function groupsOf(tasks) {
  const groups = [];
  for (const task of tasks) {
    const near = groups.filter((group) => task.columns.some((column) => group.columns.includes(column)));
    const merged = {
      columns: [...new Set([...near.flatMap((group) => group.columns), ...task.columns])],
      tasks: [...near.flatMap((group) => group.tasks), task],
    };
    const place = near.length ? groups.indexOf(near[0]) : groups.length;
    groups.splice(place, near.length ? 1 : 0, merged);
    for (const group of near.slice(1)) groups.splice(groups.indexOf(group), 1);
  }
  return groups;
}

/** Who reads a column: each task's name, and what it reads beside it. */
function readers(column, tasks) {
  const told = make("p", "readers", "read by ");
  tasks.filter((task) => task.columns.includes(column)).forEach((task, place) => {
    if (place) told.append(", ");
    told.append(named("b", "", task.name));
    const others = task.columns.filter((other) => other !== column);
    if (others.length) told.append(" with ", quoted("span", "", inWords(others)));
  });
  return told;
}

function box(column, tasks) {
  const place = boxes.size;
  const label = named("label", "column", column);
  const field = make("textarea");
  field.id = `text-${place}`;
  label.htmlFor = field.id;
  const told = readers(column, tasks);
  told.id = `readers-${place}`;
  field.rows = 2;
  field.dir = "auto";
  field.setAttribute("aria-describedby", told.id);
  boxes.set(column, field);
  return holding("div", "box", holding("div", "names", label, told), field);
}

function shuffled(rows) {
  const deck = [...rows];
  for (let last = deck.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [deck[last], deck[other]] = [deck[other], deck[last]];
  }
  return deck;
}

/** An example fills its group's boxes, and empties those that it has no text for. */
function chip(row, group, chosen) {
  const button = make("button", "chip");
  button.type = "button";
  group.columns.filter((column) => own(row, column) !== undefined).forEach((column) => {
    button.append(quoted("span", "", row[column]));
  });
  button.addEventListener("click", () => {
    for (const column of group.columns) boxes.get(column).value = own(row, column) ?? "";
    chosen();
  });
  return button;
}

function examples(group, chosen, most) {
  const rows = facts.examples.filter((row) => {
    const columns = Object.keys(row);
    return columns.length && columns.every((column) => group.columns.includes(column));
  });
  if (rows.length === 0) return [];
  const list = make("div", "chips");
  list.role = "group";
  list.ariaLabel = "Examples from dev";
  let deck = rows, next = 0; // at first as they come, the short ones in front
  function deal() {
    if (next >= deck.length) [deck, next] = [shuffled(rows), 0];
    list.replaceChildren(...deck.slice(next, next + most).map((row) => chip(row, group, chosen)));
    next += most;
  }
  deal();
  const head = holding("div", "chip-head", make("span", "", "Examples from dev"));
  if (rows.length > most) {
    const button = make("button", "shuffle", "Shuffle");
    button.type = "button";
    button.addEventListener("click", deal);
    head.append(button);
  }
  return [head, list];
}

/** chosen: what to do when an example was put into the boxes. */
function buildForm(chosen) {
  const groups = groupsOf(facts.tasks), most = SHOWN[groups.length > 1 ? 1 : 0];
  for (const group of groups) {
    const panel = holding("div", "panel", ...group.columns.map((column) => box(column, group.tasks)));
    panel.append(...examples(group, chosen, most));
    find("#groups").append(panel);
  }
}

/** Texts by column, without the empty ones. */
const filled = () => Object.fromEntries(
  [...boxes].map(([column, field]) => [column, field.value]).filter(([, text]) => text.trim() !== ""));
const missing = (task, row) => task.columns.filter((column) => own(row, column) === undefined);
