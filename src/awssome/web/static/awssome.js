// What the pages gain when scripts run. Without it every link and form works; nothing here is needed to get something done.
"use strict";

const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const on = (kind, selector, act) =>
  document.addEventListener(kind, (event) => {
    const found = event.target.closest?.(selector);
    if (found) act(found, event);
  });

// Make `old` equal to `fresh` in place, touching only what differs: focus, scrolling, open details and what screen readers
// have announced stay as they are.
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || old.id !== fresh.id) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) { old.nodeValue = fresh.nodeValue; return; }
  const kept = old.nodeName === "DETAILS" ? ["open"] : [];
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const before = [...old.childNodes], after = [...fresh.childNodes];
  after.forEach((node, place) => (before[place] ? morph(before[place], node) : old.append(node)));
  before.slice(after.length).forEach((node) => node.remove());
}

async function load(address, fragment) {
  const answer = await fetch(address, { headers: fragment ? { "X-Fragment": "1" } : {}, credentials: "same-origin" });
  return { answer, page: new DOMParser().parseFromString(await answer.text(), "text/html") };
}

// The page as it is now. One that answers a form is never loaded again, which would send the form once more: the page above
// it is shown, which is the one that has the form (/plan of /plan/cancel).
const renew = () => {
  if ("posted" in root.dataset) location.replace(location.pathname.replace(/\/[^/]*$/, "") || "/");
  else location.reload();
};

// Colours: automatic, light or dark, remembered in a cookie so that the server writes the right page at once.
on("click", "[data-set-theme]", (button) => {
  const theme = button.dataset.setTheme;
  if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
  document.cookie = `theme=${theme}; path=/; samesite=lax; max-age=${theme ? 31536000 : 0}`;
  all("[data-set-theme]").forEach((each) => each.setAttribute("aria-pressed", String(each.dataset.setTheme === theme)));
});

// Relative times by the same rules as `relative` in formats.py; past a week the server's date stays.
function relative(seconds) {
  const past = seconds >= 0, length = Math.abs(seconds);
  if (length < 45) return past ? "just now" : "in a moment";
  if (length >= 86400 && length < 172800) return past ? "yesterday" : "tomorrow";
  const text = length < 3600 ? `${Math.max(1, Math.floor(length / 60))} min`
    : length < 86400 ? `${Math.floor(length / 3600)} h` : `${Math.floor(length / 86400)} days`;
  return past ? `${text} ago` : `in ${text}`;
}
function refreshTimes() {
  for (const time of all("time[data-relative]")) {
    const seconds = Math.round((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (Math.abs(seconds) < 604800 && time.textContent !== relative(seconds)) time.textContent = relative(seconds);
  }
}
setInterval(refreshTimes, 20000);

// Copy buttons say that they did.
on("click", "[data-copy]", async (button) => {
  await navigator.clipboard.writeText(button.dataset.copy);
  const use = button.querySelector("use"), sign = use.getAttribute("href"), label = button.getAttribute("aria-label");
  if (button.hasAttribute("data-copied")) return;
  button.setAttribute("data-copied", "");
  button.setAttribute("aria-label", "Copied");
  use.setAttribute("href", sign.replace(/#.*/, "#check"));
  setTimeout(() => {
    button.removeAttribute("data-copied");
    button.setAttribute("aria-label", label);
    use.setAttribute("href", sign);
  }, 1500);
});

on("click", "[data-print]", () => print());

// Dialogs; one that asks for a name opens its button when the name is right.
on("click", "[data-dialog]", (button) => document.getElementById(button.dataset.dialog).showModal());
on("click", "[data-close]", (button) => button.closest("dialog").close());
on("click", "dialog", (dialog, event) => { if (event.target === dialog) dialog.close(); });
const judge = (input) => {
  input.form.querySelector("[type=submit]").disabled = input.value.trim() !== input.dataset.mustEqual;
};
on("input", "[data-must-equal]", judge);
all("[data-must-equal]").forEach(judge);

// A form on its way: its button says so, keeps its width and cannot be pressed twice.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (event.defaultPrevented || !button || event.target.method !== "post") return;
  button.style.width = `${button.getBoundingClientRect().width}px`;
  button.setAttribute("aria-busy", "true");
  const words = button.querySelector("span");
  if (button.dataset.busy && words) { button.dataset.words = words.textContent; words.textContent = button.dataset.busy; }
  setTimeout(() => { button.disabled = true; });
});
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const button of all("[aria-busy]")) {
    button.disabled = false;
    button.removeAttribute("aria-busy");
    button.style.width = "";
    if (button.dataset.words) button.querySelector("span").textContent = button.dataset.words;
  }
});

// Live pieces: fetched again until an answer has no data-poll; waits while the tab is hidden, longer after each failure.
const watched = new WeakSet();
function watch(element, failures = 0) {
  watched.add(element);
  const every = Number(element.dataset.pollEvery) || 1000;
  setTimeout(async () => {
    if (!element.isConnected) return;
    if (document.hidden) {
      document.addEventListener("visibilitychange", () => watch(element, failures), { once: true });
      return;
    }
    try {
      const { answer, page } = await load(element.dataset.poll, true);
      if (answer.status >= 500 || answer.status === 429) throw new Error(answer.statusText);
      const fresh = page.body.firstElementChild;
      if (!fresh) return element.remove();
      const now = element.nodeName === fresh.nodeName && element.id === fresh.id ? element : fresh;
      morph(element, fresh);
      if (now.hasAttribute("data-reload")) renew();
      else if (now.dataset.poll) watch(now);
    } catch {
      element.setAttribute("data-stale", "");
      watch(element, failures + 1);
    }
  }, Math.min(30000, every * 2 ** failures));
}
const watchAll = () => all("[data-poll]").filter((element) => !watched.has(element)).forEach((element) => watch(element));

// Filters apply as they are changed; the page is fetched and only what differs is changed, so the cursor stays.
let typing, asked = 0;
async function applyFilters(form) {
  const address = new URL(form.action);
  for (const [name, value] of new FormData(form)) if (value) address.searchParams.set(name, value);
  const mine = ++asked;
  try {
    const { answer, page } = await load(address);
    if (mine !== asked) return;
    if (!answer.ok) throw new Error(answer.statusText);
    history.replaceState(null, "", address);
    morph(document.getElementById("main"), page.getElementById("main"));
    watchAll();
  } catch { form.submit(); }
}
on("input", "form[data-auto-submit]", (form, event) => {
  clearTimeout(typing);
  typing = setTimeout(() => applyFilters(form), event.target.type === "search" ? 250 : 0);
});
on("submit", "form[data-auto-submit]", (form, event) => { event.preventDefault(); clearTimeout(typing); applyFilters(form); });

// Rows that lead somewhere, and rows that can be picked.
on("click", "tr[data-href]", (row, event) => {
  if (event.target.closest("a, button, input, label") || String(getSelection())) return;
  if (event.ctrlKey || event.metaKey) open(row.dataset.href); else location.href = row.dataset.href;
});
function countPicked() {
  for (const form of all("form[data-bulk]")) {
    const picked = [...form.elements].filter((input) => input.type === "checkbox" && input.checked).length;
    form.querySelector("[data-bulk-count]").textContent = picked || "";
    form.toggleAttribute("data-picked", picked > 0);
  }
}
on("change", "[data-select-all]", (box) => {
  all("td.select input", box.closest("table")).forEach((each) => { each.checked = box.checked; });
  countPicked();
});
on("change", "td.select input", countPicked);

// Command palette: / or Ctrl-K.
const palette = document.querySelector("dialog[data-palette]");
if (palette) {
  const input = palette.querySelector("input"), list = palette.querySelector("[role=listbox]");
  let chosen = 0, latest = 0;
  const choose = (place) => {
    const options = all("a", list);
    chosen = options.length ? (place + options.length) % options.length : 0;
    options.forEach((option, index) => option.setAttribute("aria-selected", String(index === chosen)));
    options[chosen]?.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", options[chosen]?.id ?? "");
  };
  const find = async () => {
    const mine = ++latest;
    const { answer, page } = await load(`${palette.dataset.palette}?q=${encodeURIComponent(input.value)}`, true);
    if (mine !== latest) return;
    if (answer.status === 401) return renew();
    list.replaceChildren(...page.body.childNodes);
    choose(0);
  };
  const show = () => { if (!palette.open) { palette.showModal(); input.select(); find(); } };
  on("click", "[data-palette-open]", show);
  document.addEventListener("keydown", (event) => {
    const writing = event.target.closest("input, textarea, select, [contenteditable]");
    if ((event.key === "k" && (event.ctrlKey || event.metaKey)) || (event.key === "/" && !writing)) {
      event.preventDefault();
      show();
    }
  });
  let pause;
  input.addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(find, 120); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(chosen - 1);
    else if (event.key === "Escape") palette.close();
    else if (event.key === "Enter") all("a", list)[chosen]?.click();
    else return;
    event.preventDefault();
  });
}

document.querySelector("[data-focus]")?.focus();
refreshTimes();
countPicked();
watchAll();
