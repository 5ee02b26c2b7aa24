// Keyboard shortcuts and times that stay relative. Everything works without this file, by mouse, Tab and reload.
"use strict";

const OFF = "plangate.shortcuts.off";
const on = () => localStorage.getItem(OFF) === null;
let goPressed = false;

document.addEventListener("keydown", (event) => {
  if (!on() || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (goPressed) {
    goPressed = false;
    const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); }
    return;
  }
  const act = {
    g: () => { goPressed = true; setTimeout(() => { goPressed = false; }, 1500); },
    j: () => step(1),
    k: () => step(-1),
    u: () => { location.href = "/"; },
    "?": showHelp,
    "/": () => document.querySelector("[data-search]")?.focus(),
  }[event.key];
  if (act) { event.preventDefault(); act(); return; }
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!target) return;
  event.preventDefault();
  if (target.matches("details")) {
    target.open = true;
    target.querySelector("textarea, input:not([type=hidden])")?.focus();
  } else if (target.matches("a")) {
    target.click();
  } else {
    // A key never approves: it leads to the button, and Enter presses it.
    target.focus();
  }
});

function step(by) {
  const entries = [...document.querySelectorAll("[data-entry]")];
  const at = entries.indexOf(document.activeElement);
  entries[at < 0 ? (by > 0 ? 0 : entries.length - 1) : at + by]?.focus();
}

function showHelp() {
  const help = document.getElementById("help");
  if (!help) return;
  help.querySelector("#shortcuts-on").checked = on();
  help.showModal();
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-help]")) showHelp();
  const menu = document.querySelector(".menu[open]");
  if (menu && !menu.contains(event.target)) menu.open = false;
});

document.addEventListener("change", (event) => {
  if (event.target.id !== "shortcuts-on") return;
  if (event.target.checked) localStorage.removeItem(OFF); else localStorage.setItem(OFF, "1");
});

// As plangate_inbox.views.times writes them.
function refreshTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const seconds = Math.trunc((Date.now() - Date.parse(time.dateTime)) / 1000);
    let text = seconds >= 0 ? "just now" : "in a moment";
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (Math.abs(seconds) < size) continue;
      const amount = `${Math.trunc(Math.abs(seconds) / size)} ${unit}`;
      text = seconds > 0 ? `${amount} ago` : `in ${amount}`;
      break;
    }
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(refreshTimes, 20000);
