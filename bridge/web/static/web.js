// Looks every few seconds whether the page has changed, and puts the new <main> in the place of the old one.
"use strict";
(() => {
  const every = Number(document.body.dataset.every) * 1000;
  const patience = 15000;
  const news = document.getElementById("news");
  const said = document.createElement("span");
  const pause = document.createElement("button");
  let paused = false;
  let asking = false;
  let last = null;

  function say(text) {
    if (said.textContent !== text) said.textContent = text;
  }

  function lost(why) {
    document.body.classList.add("stale");
    say(why);
  }

  function usual() {
    document.body.classList.remove("stale");
    say(paused ? "Updates are paused." : `This page updates itself every ${every / 1000} seconds.`);
    pause.textContent = paused ? "Go on" : "Pause";
  }

  // Whoever types, chooses, is about to press a button or has marked some text is left alone.
  function engaged() {
    const at = document.activeElement;
    const selection = document.getSelection();
    const marked = selection && !selection.isCollapsed && main().contains(selection.anchorNode);
    return marked || (at && at.closest("form") !== null);
  }

  function main() {
    return document.getElementById("main");
  }

  // What a detail belongs to is said by the head of its row.
  function nameOf(detail) {
    const row = detail.closest("tr");
    return row ? row.querySelector("th").textContent : "";
  }

  function swap(fresh) {
    const old = main();
    if (last === null) last = old.innerHTML;
    if (fresh.innerHTML === last) return;
    last = fresh.innerHTML;
    const open = new Set([...old.querySelectorAll("details[open]")].map(nameOf));
    const at = document.activeElement;
    const inside = at && at !== old && old.contains(at);
    const href = inside ? at.getAttribute("href") : null;
    const detail = inside && at.tagName === "SUMMARY" ? nameOf(at) : null;
    old.replaceChildren(...document.adoptNode(fresh).childNodes);
    for (const one of old.querySelectorAll("details")) one.open = open.has(nameOf(one));
    if (!inside) return;
    const same = href
      ? [...old.querySelectorAll("a")].find((one) => one.getAttribute("href") === href)
      : [...old.querySelectorAll("summary")].find((one) => nameOf(one) === detail);
    (same || old).focus({ preventScroll: true });
  }

  async function look() {
    if (paused || asking || document.hidden || engaged()) return;
    asking = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(patience) });
      const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = parsed.getElementById("main");
      if (answer.status === 401) {
        lost("You are no longer logged in: load the page again.");
      } else if (!fresh) {
        lost(`bridge answered ${answer.status}: trying again.`);
      } else if (!paused && !engaged()) {
        swap(fresh);
        document.title = parsed.title;
        usual();
      }
    } catch {
      lost("bridge does not answer: trying again.");
    } finally {
      asking = false;
    }
  }

  pause.type = "button";
  pause.className = "small";
  pause.addEventListener("click", () => {
    paused = !paused;
    usual();
    if (!paused) look();
  });
  said.setAttribute("role", "status");
  news.replaceChildren(said, " ", pause);
  usual();
  setInterval(look, every);
  document.addEventListener("visibilitychange", look);

  // With scripts a choice needs no button.
  const tenant = document.getElementById("tenant");
  if (tenant) {
    tenant.form.querySelector("button").hidden = true;
    tenant.addEventListener("change", () => tenant.form.submit());
  }
})();
