// Which words made the answers: asked for by a button, shown as shaded words under each answer.

const FAINT = 0.15; // of the strongest word: what did less is not shaded
const STRONGEST = 5; // words that are told with their numbers

/** Texts are cut by code points, as the server counts them. */
function shaded(text, words, most) {
  const letters = [...text], line = quoted("p", "shaded", "");
  let end = 0;
  for (const word of words) {
    line.append(letters.slice(end, word.start).join(""));
    const share = isNumber(word.effect) && most > 0 ? Math.abs(word.effect) / most : 0;
    const element = make("span", "", letters.slice(word.start, word.end).join(""));
    if (share >= FAINT) {
      element.className = word.effect > 0 ? "word for" : "word against";
      element.style.setProperty("--p", share);
      element.title = signed(word.effect);
    }
    line.append(element);
    end = word.end;
  }
  line.append(letters.slice(end).join(""));
  return line;
}

const signed = (effect) => `${effect < 0 ? "−" : "+"}${Math.abs(effect).toFixed(3)}`;

/** Under a card's answer: its texts, and the words that did most. */
function drawWords(parts, told, row) {
  const words = (own(told, "words") ?? []).filter((word) => isNumber(own(word, "effect")));
  const most = Math.max(0, ...words.map((word) => Math.abs(word.effect)));
  const about = holding("p", "legend");
  if (parts.task.says === "score") about.append("What each word adds to the score, or takes from it:");
  else about.append("What each word did for ", quoted("b", "", String(own(told, "about") ?? "")), ":");
  const texts = parts.task.columns.map((column) =>
    shaded(own(row, column) ?? "", words.filter((word) => word.column === column), most));
  const strong = [...words].sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect))
    .filter((word) => word.effect !== 0).slice(0, STRONGEST);
  const list = holding("ul", "strongest", ...strong.map((word) => holding("li", "",
    quoted("span", "", word.word), make("span", "number", signed(word.effect)))));
  list.ariaLabel = "Words that did most";
  parts.why.replaceChildren(about, ...texts, list);
  parts.why.hidden = false;
}

/** Asks what is in the boxes now, and shows its answers with it. */
async function explain() {
  const row = filled();
  await ask();
  const mine = current;
  if (mine === null || mine.signal.aborted || !find("#trouble").hidden) return;
  if (![...cards.values()].some(({ card }) => card.classList.contains("answered"))) return;
  status("Leaving out one word after the other…");
  busy(true);
  const late = setTimeout(() => mine.abort("late"), PATIENCE);
  try {
    const [response, body] = await fetched("v1/explain", { rows: [row] }, mine.signal);
    if (mine !== current) return;
    if (!response.ok) {
      showTrouble(troubleOf(response, body));
      status("");
      return;
    }
    const answers = own(body, "answers")?.[0];
    for (const parts of cards.values()) {
      const told = own(answers, parts.task.name);
      if (told !== undefined) drawWords(parts, told, row);
    }
    status("Explained: shaded words made the answers.", false);
  } catch {
    if (mine === current) {
      showTrouble(mine.signal.aborted ? SILENT : GONE);
      status("");
    }
  } finally {
    clearTimeout(late);
    if (mine === current) busy(false);
  }
}
