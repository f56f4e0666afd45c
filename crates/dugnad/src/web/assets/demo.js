// Brings the demo page up to date from /demo/events. Without it the page is a snapshot that a reload renews.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const still = matchMedia("(prefers-reduced-motion: reduce)");
const byId = (id) => document.getElementById(id);
const grouped = (number) => String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const milliseconds = (ms) => (ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : grouped(ms));
const reach = (object, path) => path.split(".").reduce((value, name) => value?.[name], object);
const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

const formats = [
  ["number", grouped],
  ["rate", (rate) => rate.toFixed(1)],
  ["ms", milliseconds],
  ["text", String],
].map(([name, format]) => [[...document.querySelectorAll(`[data-${name}]`)], name, format]);

const dots = [...document.querySelectorAll(".dot")];
const cores = dots.map((dot) => dot.querySelector(".core"));
const centres = dots.map((dot) => dot.getAttribute("transform"));
const names = dots.map((dot) => dot.dataset.name);
const counts = dots.map(() => 0);
const hospitalRows = [...document.querySelectorAll("#hospitals tbody tr")];
const rings = byId("rings");
let shown = null; // number of the newest treatment that has been drawn
let selected = -1; // hospital under the pointer or with the focus

// The same formula as in page.rs.
const radius = (count) => Math.min(40, 14 + 1.7 * Math.sqrt(count));

function render(state) {
  for (const [elements, name, format] of formats) {
    for (const element of elements) {
      const value = reach(state, element.dataset[name]);
      const missing = value === undefined || value === null || (name === "ms" && state.freshness.samples === 0);
      write(element, missing ? "–" : format(value));
    }
  }
  byId("stale").toggleAttribute("data-bad", state.freshness.stale > 0);
  drawBars("authority", state.authority.by_kind);
  drawBars("study", state.study.by_kind);
  drawTables(state.authority.tables);
  drawStatistics(state.statistics);
  drawSamples(state.freshness);
  drawArrivals(state.latest);
  drawHospitals(state.hospitals);
  pulse(state.latest);
}

function drawBars(view, counts) {
  const most = Math.max(1, ...counts.map((entry) => entry.count));
  for (const row of document.querySelectorAll(`[data-bars="${view}"] tr`)) {
    const count = counts.find((entry) => entry.kind === row.dataset.kind)?.count ?? 0;
    row.querySelector("i").style.transform = `scaleX(${count / most})`;
    write(row.querySelector(".count"), grouped(count));
  }
}

function drawTables(tables) {
  const list = byId("tables");
  while (list.children.length > tables.length) list.lastChild.remove();
  tables.forEach(({ table, rows }, index) => {
    let entry = list.children[index];
    if (!entry) {
      entry = document.createElement("div");
      entry.append(document.createElement("dt"), document.createElement("dd"));
      list.append(entry);
    }
    write(entry.firstChild, table);
    write(entry.lastChild, grouped(rows));
  });
}

let epochEnds = 0;
let epochLasts = 60;
function drawStatistics(statistics) {
  epochEnds = performance.now() + statistics.next_s * 1000;
  epochLasts = Math.max(1, statistics.epoch_s);
  for (const row of document.querySelectorAll("#cells tr")) {
    const cell = statistics.cells.find((entry) => entry.kind === row.dataset.kind);
    write(row.lastChild, cell ? cell.persons.replace(/\B(?=(\d{3})+$)/g, "\u202f") : "–");
  }
  countDown();
}

function countDown() {
  const left = Math.max(0, (epochEnds - performance.now()) / 1000);
  write(byId("next"), String(Math.ceil(left)));
  byId("epoch-bar").style.transform = `scaleX(${1 - Math.min(1, left / epochLasts)})`;
}

function drawSamples(freshness) {
  const group = byId("samples");
  const samples = freshness.recent_ms;
  const first = freshness.samples - samples.length; // a measurement keeps its height while it is shown
  const x = (ms) => 20 + 167.5 * (Math.log10(Math.min(1500, Math.max(0.08, ms))) + 1);
  while (group.children.length > samples.length) group.lastChild.remove();
  samples.forEach((ms, index) => {
    let mark = group.children[index];
    if (!mark) {
      mark = document.createElementNS(SVG, "circle");
      mark.setAttribute("r", "2.6");
      group.append(mark);
    }
    mark.setAttribute("cx", x(ms).toFixed(1));
    mark.setAttribute("cy", (6 + 27 * (((first + index) * 0.618034) % 1)).toFixed(1));
  });
}

function drawArrivals(latest) {
  const list = byId("arrivals");
  const newest = latest.slice(-7).reverse();
  while (list.children.length > newest.length) list.lastChild.remove();
  newest.forEach((arrival, index) => {
    const entry = list.children[index] ?? list.appendChild(arrivalEntry());
    entry.dataset.kind = arrival.kind;
    entry.querySelector(".what").lang = arrival.kind === "surgery" ? "nb" : "en"; // NCSP texts are Norwegian
    write(entry.querySelector("time"), arrival.time);
    write(entry.querySelector(".what").firstChild, `${arrival.display} `);
    write(entry.querySelector("code"), arrival.code);
    write(entry.querySelector(".where"), names[arrival.hospital] ?? "");
  });
}

function arrivalEntry() {
  const entry = document.createElement("li");
  const what = document.createElement("span");
  what.className = "what";
  what.append(document.createTextNode(""), document.createElement("code"));
  const where = document.createElement("span");
  where.className = "where";
  where.lang = "nb";
  entry.append(document.createElement("time"), document.createElement("i"), what, where);
  return entry;
}

function drawHospitals(now) {
  now.forEach((count, index) => {
    if (!dots[index] || counts[index] === count) return;
    counts[index] = count;
    cores[index].setAttribute("r", radius(count).toFixed(1));
    dots[index].setAttribute("aria-label", `${names[index]}, ${dots[index].dataset.county}: ${count}`);
    write(hospitalRows[index].lastChild, grouped(count));
    if (index === selected) showTip(index);
  });
}

// Treatments of the last second are spread over the next one, in their order.
function pulse(latest) {
  const fresh = shown === null ? [] : latest.filter((arrival) => arrival.number > shown);
  shown = latest.length ? latest[latest.length - 1].number : shown;
  fresh.forEach((arrival, index) => setTimeout(ring, (950 * index) / fresh.length, arrival));
}

function ring(arrival) {
  if (still.matches || document.hidden || rings.children.length > 60 || !centres[arrival.hospital]) return;
  const circle = document.createElementNS(SVG, "circle");
  circle.setAttribute("transform", centres[arrival.hospital]);
  circle.setAttribute("r", radius(counts[arrival.hospital]).toFixed(1));
  circle.dataset.kind = arrival.kind;
  circle.addEventListener("animationend", () => circle.remove());
  rings.append(circle);
}

// The tip: pointer, focus and touch.
const tip = byId("tip");
const figure = byId("map");
function showTip(index) {
  selected = index;
  const [name, county, count] = tip.children;
  write(name, names[index]);
  write(county, dots[index].dataset.county);
  write(count, `${grouped(counts[index])} treatments`);
  tip.hidden = false;
  const frame = figure.getBoundingClientRect();
  const dot = cores[index].getBoundingClientRect();
  const width = tip.offsetWidth;
  const left = Math.min(Math.max(dot.left + dot.width / 2 - frame.left - width / 2, 4), frame.width - width - 4);
  const above = dot.top - frame.top - tip.offsetHeight - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 0 ? above : dot.bottom - frame.top + 8}px`;
}
function hideTip() {
  selected = -1;
  tip.hidden = true;
}
function stepTo(index) {
  const next = (index + dots.length) % dots.length;
  dots.forEach((dot, at) => dot.setAttribute("tabindex", at === next ? "0" : "-1"));
  dots[next].focus();
}
dots.forEach((dot, index) => {
  dot.addEventListener("pointerenter", () => showTip(index));
  dot.addEventListener("pointerleave", hideTip);
  dot.addEventListener("focus", () => showTip(index));
  dot.addEventListener("blur", hideTip);
  dot.addEventListener("click", () => stepTo(index));
  dot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) stepTo(index + step);
    else if (event.key === "Home") stepTo(0);
    else if (event.key === "End") stepTo(-1);
    else if (event.key === "Escape") hideTip();
    else return;
    event.preventDefault();
  });
});

function link(name, text) {
  byId("link").dataset.link = name;
  write(byId("link-text"), text);
}

const source = new EventSource("/demo/events");
source.onopen = () => link("open", "connected");
source.onmessage = (event) => { link("open", "connected"); render(JSON.parse(event.data)); };
source.onerror = () => link("lost", source.readyState === EventSource.CLOSED ? "stopped" : "reconnecting");
setInterval(countDown, 250);
