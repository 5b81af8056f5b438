// The page of the service: photos in, verdicts as they come. File names are data: they reach the page as text alone.

const $ = (id) => document.getElementById(id);

const FILTERS = { all: "All", blurred: "Blurred", undecided: "Undecided", sharp: "Sharp", unread: "Could not be read" };
const DECISION_TEXT = { blurred: "blurred", undecided: "undecided", sharp: "sharp", unread: "could not be read", waiting: "waiting" };
const SUFFIXES = "avif bmp gif heic heif hif j2k jfif jp2 jpe jpeg jpf jpg jpx mpo png tif tiff webp 3fr arw cr2 cr3 dng erf iiq kdc mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f".split(" ");
const COLUMNS = ["path", "decision", "probability", "kind", "strength_px", "reason", "width", "height", "error", "part", "p_defocus", "p_motion", "p_gaussian", "strength_low_px", "strength_high_px", "own_strength_px", "length_px", "angle_deg", "sharp_to_px", "judged_at_px", "sentence"]; // as `blurgate scan` writes them, and the sentence
const OF_BLURRED = ["kind", "p_defocus", "p_motion", "p_gaussian", "length_px", "angle_deg"]; // columns that other verdicts lack
const ORDERS = { // comparators for photos with a probability; the others come last
  worst: (a, b) => b.verdict.probability - a.verdict.probability,
  best: (a, b) => a.verdict.probability - b.verdict.probability,
  nearest: (a, b) => distance(a) - distance(b),
};
const AT_ONCE = 4; // requests, of one photo each
const DIED = "urn:blurgate:problem:died"; // the process that judged the photo, perhaps because of the photo: asked again only once
const TRIES = 8, LONGEST_WAIT_S = 16; // while the service is busy
const THUMBNAIL = 360; // pixels of height
const BINS = 50, HOVER_MS = 150, ARRIVING_MS = 150, SPEAK_MS = 8000;
const collator = new Intl.Collator(undefined, { numeric: true });

let photos = []; // as added; each as makePhoto makes it
let model = null; // of the last answer
let threshold = 0.5, moved = false; // until it is moved, it is the service's
let filter = "all", order = "added";
let shown = []; // photos that match the filter, in order
let current = null; // the photo that Tab focuses
let enlarged = null, mapping = false; // the photo in the large view; whether its map lies over it
let leftOut = 0, repeated = 0; // files that are no photos; photos that were here already
let stop = new AbortController(); // of all requests
let wasWaiting = false, spokenAt = 0;

// ---- photos and their verdicts

// what decides: the threshold, or the two bounds of a service's review until it is moved
function boundsOf() {
  return (!moved && model?.review) || [threshold];
}

function distance({ verdict }) {
  return Math.min(...boundsOf().map((bound) => Math.abs(verdict.probability - bound)));
}

// map: undefined until it is asked for, null while it is, "" if there is none
function makePhoto(file, name, verdict = null) {
  return { file, name, verdict, failed: false, url: "", map: undefined, saying: "", decision: "", tile: null };
}

function decide({ verdict }) {
  if (!verdict) return "waiting";
  if (verdict.decision === "error") return "unread";
  // at its own threshold keep the service's decision: a review may have left photos near it undecided
  if (verdict.probability === null || !moved) return verdict.decision;
  return verdict.probability >= threshold ? "blurred" : "sharp";
}

// the verdict at the threshold of this page
function decideAgain(photo) {
  const { verdict, name } = photo, decision = decide(photo);
  if (decision === "unread") return { ...verdict, path: name };
  const found = { ...verdict, path: name, decision, reason: decision === "undecided" ? verdict.reason : "", sentence: explain(photo) };
  return decision === "blurred" ? found : { ...found, ...Object.fromEntries(OF_BLURRED.map((column) => [column, null])) };
}

function explain(photo) {
  const { verdict } = photo, decision = decide(photo);
  if (!verdict) return "";
  if (decision === "unread" || decision === verdict.decision) return verdict.sentence;
  const [low, high] = (model.review ?? []).map(formatThreshold), at = formatThreshold(model.threshold);
  return `${capitalize(verdict.decision)} ${model.review ? `by ${low} and ${high}, the service's bounds` : `at ${at}, the service's threshold`}: ${verdict.sentence}`;
}

function remark(photo) {
  const { verdict } = photo, decision = decide(photo);
  if (decision === "waiting" || decision === "unread") return "";
  const { kind, strength_px, width, height } = verdict;
  const strength = strength_px === null ? "" : `${strength_px.toFixed(1)} px`;
  return (decision === "blurred" && [kind, strength].filter(Boolean).join(", ")) || `${width} × ${height} px`;
}

// escape control characters and direction marks, so that no name can look like another
function visible(text) {
  return text.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    const code = character.codePointAt(0);
    return code < 256 ? "\\x" + code.toString(16).padStart(2, "0") : "\\u" + code.toString(16).padStart(4, "0");
  });
}

function formatNumber(number) {
  return number.toLocaleString("en");
}

function formatThreshold(number) {
  return String(Number(number.toFixed(3)));
}

function capitalize(text) {
  return text[0].toUpperCase() + text.slice(1);
}

function sentence(text) {
  return capitalize(text) + (/[.!?]$/.test(text) ? "" : ".");
}

function plural(count, noun) {
  return `${formatNumber(count)} ${noun}${count === 1 ? "" : "s"}`;
}

// ---- asking the service

// runs so many tasks at once; fewer from slow() on, and more again with every task that ends
function makeQueue(most) {
  let waiting = [], running = 0, pace = most;
  const next = () => {
    while (running < Math.floor(pace) && waiting.length) {
      running += 1;
      waiting.shift()().finally(() => {
        running -= 1;
        pace = Math.min(most, pace + 0.05);
        next();
      });
    }
  };
  return {
    add(task, first = false) {
      waiting[first ? "unshift" : "push"](task);
      next();
    },
    slow() { pace = Math.max(1, Math.floor(pace) - 1); },
    clear() { waiting = []; },
  };
}

const requests = makeQueue(AT_ONCE), decoding = makeQueue(2);

// why there is no verdict; failed: it may be worth asking again
class Problem extends Error {
  constructor(message, failed, type = "") {
    super(message);
    Object.assign(this, { failed, type });
  }
}

function wait(seconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}

async function ask({ file, name }, { map = false, signal = stop.signal } = {}) {
  const body = new FormData();
  body.append("photos", file, name);
  for (let tried = 1; ; tried += 1) {
    const answer = await send(map ? "v1/verdicts?map=overlay" : "v1/verdicts", body, signal);
    if (answer.ok) return readAnswer(answer);
    const problem = await readProblem(answer);
    if (answer.status !== 503 || tried === (problem.type === DIED ? 2 : TRIES)) throw problem;
    requests.slow();
    const seconds = Number(answer.headers.get("Retry-After")) || 1;
    await wait(Math.min(LONGEST_WAIT_S, seconds * 2 ** (tried - 1)), signal);
  }
}

async function send(address, body, signal) {
  try {
    return await fetch(address, { method: "POST", body, signal });
  } catch {
    throw new Problem("The service did not answer, or the file can no longer be read.", true);
  }
}

async function readAnswer(answer) {
  try {
    const { model, verdicts: [verdict] } = await answer.json();
    if (typeof verdict.sentence !== "string") throw new TypeError("no verdict");
    return { model, verdict };
  } catch {
    throw new Problem("The answer of the service was cut short, or is none.", true);
  }
}

async function readProblem(answer) {
  if (answer.status === 401) return new Problem("The service asks for its token: reload this page and enter the token as password, with any user name.", true);
  const { detail, type } = await answer.json().catch(() => ({}));
  return new Problem(detail ? sentence(detail) : `The service answered with status ${answer.status}.`, answer.status >= 500, type);
}

// give a photo its verdict, which is an error if there is none
async function judge(photo, signal = stop.signal) {
  try {
    const answer = await ask(photo, { signal });
    model = answer.model;
    if (!moved) threshold = model.threshold;
    photo.verdict = answer.verdict;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    photo.failed = error.failed;
    photo.verdict = { decision: "error", probability: null, error: error.message, sentence: error.message };
  }
}

// ---- adding photos

function add(added) {
  if (!added.length) { refresh(); return; }
  photos.push(...added);
  const tiles = document.createDocumentFragment();
  for (const photo of added) {
    photo.tile = makeTile(photo);
    tiles.append(photo.tile);
    if (!photo.verdict) request(photo);
    decoding.add(() => makeThumbnail(photo));
  }
  $("grid").append(tiles);
  speak(`Judging ${plural(added.length, "photo")}`);
  refresh();
}

function request(photo) {
  const { signal } = stop;
  requests.add(async () => {
    await judge(photo, signal);
    if (!signal.aborted) refreshSoon();
  });
}

function addFiles(files) {
  const wanted = files.filter(({ file, name }) => isPhoto(file, name));
  leftOut += files.length - wanted.length;
  const known = new Set(photos.map(identify));
  for (const entry of wanted) {
    const identity = identify(entry);
    if (known.has(identity)) repeated += 1;
    known.add(identity);
  }
  add(wanted.map(({ file, name }) => makePhoto(file, name)));
}

function identify({ file: { name, size, lastModified } }) {
  return JSON.stringify([name, size, lastModified]);
}

function isPhoto({ type }, name) {
  if (name.split("/").some((part) => part.startsWith("."))) return false;
  return type.startsWith("image/") || SUFFIXES.includes(name.split(".").pop().toLowerCase());
}

function listFiles(files) {
  return [...files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
}

// files that were dropped, and those in dropped folders
async function listDropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return listFiles(transfer.files);
  return (await Promise.all(entries.filter(Boolean).map(listEntry))).flat();
}

async function listEntry(entry) {
  if (entry.isFile) {
    const file = await new Promise((done) => entry.file(done, () => done(null)));
    return file ? [{ file, name: entry.fullPath.replace(/^\//, "") }] : [];
  }
  const reader = entry.createReader(), found = [];
  for (;;) { // a folder is read in batches
    const batch = await new Promise((done) => reader.readEntries(done, () => done([])));
    if (!batch.length) break;
    found.push(...batch);
  }
  found.sort((a, b) => collator.compare(a.name, b.name));
  return (await Promise.all(found.map(listEntry))).flat();
}

// a photo of 12 megapixels takes 48 MB while it is decoded, and its thumbnail about 40 kB from then on
async function makeThumbnail(photo) {
  try {
    const picture = await createImageBitmap(photo.file, { resizeHeight: THUMBNAIL, resizeQuality: "medium" }); // on another thread
    const canvas = document.createElement("canvas");
    drawInto(canvas, picture, Math.min(1, (2 * THUMBNAIL) / picture.width)); // no wider, as of a panorama
    picture.close();
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.85));
    if (photos.includes(photo)) photo.url = URL.createObjectURL(blob);
  } catch {
    photo.url = null; // the browser cannot decode it, though the service may
  }
  showThumbnail(photo);
}

function drawInto(canvas, picture, scale) {
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
}

function removeAll() {
  stop.abort();
  stop = new AbortController();
  requests.clear();
  decoding.clear();
  for (const { url } of photos) if (url) URL.revokeObjectURL(url);
  [photos, current, leftOut, repeated] = [[], null, 0, 0];
  $("grid").replaceChildren();
  speak("All photos removed");
  refresh();
  $("choose").focus();
}

// ---- tiles

function makeTile(photo) {
  const tile = $("tile").content.firstChild.cloneNode(true), name = visible(photo.name), [button] = tile.children;
  tile.title = name;
  tile.querySelector(".name").textContent = name.split("/").pop();
  button.setAttribute("aria-label", `Enlarge ${name}`);
  return tile;
}

function fillTile(photo) {
  const { tile, verdict, decision, failed } = photo, [, line, , note, why] = tile.children;
  line.firstChild.textContent = failed ? "not judged" : DECISION_TEXT[decision];
  line.firstChild.className = "is-" + (decision === "waiting" ? "unread" : decision);
  line.lastChild.textContent = verdict?.probability?.toFixed(3) ?? "";
  note.textContent = visible(remark(photo));
  why.textContent = keepUnits(visible(explain(photo)));
  if (photo === enlarged) showLarge();
}

function keepUnits(text) { // no line may end between a number and its unit
  return text.replace(/(\d) (%|px)/g, "$1\u00a0$2");
}

function showThumbnail({ tile, url }) {
  const [picture, missing] = tile.firstChild.children;
  picture.hidden = !url;
  if (url) picture.src = url;
  missing.textContent = url === null ? "no preview" : "";
}

function photoOf(element) {
  const tile = element.closest(".tile");
  return tile ? photos.find((photo) => photo.tile === tile) : null;
}

// only tiles that are out of place are moved
function placeTiles() {
  const focused = document.activeElement, wanted = new Set(shown);
  for (const photo of photos) photo.tile.hidden = !wanted.has(photo);
  let next = $("grid").firstChild;
  for (const { tile } of shown) {
    while (next?.hidden) next = next.nextSibling;
    if (tile === next) next = next.nextSibling;
    else $("grid").insertBefore(tile, next);
  }
  if ($("grid").contains(focused) && document.activeElement !== focused) focused.focus({ preventScroll: true });
  focusable(shown.includes(current) ? current : shown[0]);
}

function focusable(photo) {
  if (current) current.tile.firstChild.tabIndex = -1;
  current = photo ?? null;
  if (current) current.tile.firstChild.tabIndex = 0;
}

// ---- maps, asked for one by one

function wantMap(photo) {
  const { verdict, url, map } = photo;
  if (map !== undefined || !verdict || verdict.decision === "error" || url === null) return;
  photo.map = null;
  say(photo, "finding where it is blurred…");
  const { signal } = stop;
  requests.add(async () => {
    try {
      const { verdict: { map, sentence } } = await ask(photo, { map: true, signal });
      photo.map = map ?? "";
      photo.verdict.sentence = sentence; // which now says where
      if (map) photo.tile.firstChild.append(makeOver(photo));
      say(photo, map ? "" : "no map: nothing in it tells what is blurred");
      fillTile(photo);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      photo.map = undefined;
      say(photo, error.message);
    }
  }, true);
}

function say(photo, text) {
  photo.saying = photo.tile.querySelector(".says").textContent = text;
  if (photo === enlarged) showLarge();
}

// what lies over a photo, aligned with it wherever the picture is shown whole and centred in the same place
function makeOver({ map, verdict: { width, height, part } }) {
  const over = $("over").content.firstChild.cloneNode(true), [left, top, right, bottom] = part ?? [0, 0, width, height];
  over.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const image of over.children) {
    const sides = { x: left, y: top, width: right - left, height: bottom - top, href: "data:image/png;base64," + map };
    for (const [name, value] of Object.entries(sides)) image.setAttribute(name, value);
  }
  return over;
}

// ---- the large view: a photo itself, to check its verdict by eye

function enlarge(photo) {
  freeLarge();
  enlarged = photo;
  $("picture").hidden = $("no-picture").hidden = true;
  $("picture").src = URL.createObjectURL(photo.file);
  if (!$("large").open) $("large").showModal();
  if (mapping) wantMap(photo);
  showLarge();
}

function freeLarge() {
  URL.revokeObjectURL($("picture").src);
  $("picture").removeAttribute("src");
  $("frame").querySelector(".over")?.remove();
  setZoom(false);
  enlarged = null;
}

function showLarge() {
  const { name, verdict, decision, failed, map, saying } = enlarged, position = shown.indexOf(enlarged), read = verdict && verdict.decision !== "error";
  $("name").textContent = visible(name).split("/").pop();
  $("position").textContent = position < 0 ? "" : `${formatNumber(position + 1)} of ${formatNumber(shown.length)}`;
  $("previous").disabled = position < 1;
  $("next").disabled = position < 0 || position + 1 >= shown.length;
  $("sentence").textContent = keepUnits(visible(explain(enlarged)));
  const facts = { decision: failed ? "not judged" : DECISION_TEXT[decision], ...(read ? describeFigures(verdict, decision) : {}), path: name.includes("/") ? visible(name) : "" };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, text]) => text).flatMap(([term, text]) => {
    const title = document.createElement("dt"), value = document.createElement("dd");
    [title.textContent, value.textContent] = [term, text];
    if (term === "decision") value.className = "is-" + (decision === "waiting" ? "unread" : decision);
    return [title, value];
  }));
  $("lay").disabled = !read || map === "" || !$("no-picture").hidden;
  $("zoom").disabled = !$("no-picture").hidden;
  $("lay").setAttribute("aria-pressed", mapping && !$("lay").disabled);
  $("map-note").textContent = mapping || map === "" ? capitalize(saying || " ").trim() : "";
  $("large-legend").hidden = !(mapping && map);
  const over = $("frame").querySelector(".over");
  if (!mapping || !map) over?.remove();
  else if (!over) $("frame").append(makeOver(enlarged));
}

function describeFigures({ probability, kind, reason, strength_px, strength_low_px, strength_high_px, width, height, sharp_to_px, judged_at_px }, decision) {
  const blurred = decision === "blurred", range = strength_low_px === null ? "" : ` (${strength_low_px.toFixed(1)} to ${strength_high_px.toFixed(1)})`;
  return {
    "P(blurred)": probability === null ? "" : probability.toFixed(4),
    kind: blurred ? kind : "",
    strength: strength_px === null ? "" : `${strength_px.toFixed(1)} px${range}`,
    "sharp up to": sharp_to_px === null ? "" : sharp_to_px === 0 ? "no size at which it can be judged" : `${formatNumber(sharp_to_px)} px${sharp_to_px >= judged_at_px ? " or more" : ""} on the longer side`,
    size: width === null ? "" : `${width} × ${height} px`,
    reason: decision === "undecided" ? visible(reason) : "",
  };
}

function step(by) {
  const photo = shown[shown.indexOf(enlarged) + by];
  if (photo && shown.includes(enlarged)) enlarge(photo);
}

function toggleMap() {
  if ($("lay").disabled) return;
  mapping = !mapping;
  if (mapping) wantMap(enlarged);
  showLarge();
}

// x, y: the point to centre, as fractions of the photo's width and height
function setZoom(zoomed, x = 0.5, y = 0.5) {
  const view = $("view");
  if (zoomed && $("zoom").disabled) return;
  view.classList.toggle("zoomed", zoomed);
  $("zoom").setAttribute("aria-pressed", zoomed);
  fitLarge();
  if (zoomed) view.scrollTo($("frame").clientWidth * x - view.clientWidth / 2, $("frame").clientHeight * y - view.clientHeight / 2);
}

// fitted: never above its own size, or it would look blurred; zoomed: a pixel of the photo is one of the screen, or twice the size where it fits anyway
function fitLarge() {
  const { naturalWidth: width, naturalHeight: height } = $("picture"), { clientWidth, clientHeight } = $("view"), own = 1 / devicePixelRatio;
  const fitted = Math.min(1, clientWidth / width, clientHeight / height);
  const scale = !$("view").classList.contains("zoomed") ? fitted : fitted < own ? own : 2 * fitted;
  $("frame").style.width = width ? `${width * scale}px` : "";
  $("frame").style.height = width ? `${height * scale}px` : "";
}

// ---- threshold, filter and order

function refresh() {
  const counts = { ...Object.fromEntries(Object.keys(FILTERS).map((name) => [name, 0])), waiting: 0 }, matching = [];
  for (const photo of photos) {
    const decision = decide(photo);
    if (decision !== photo.decision) {
      photo.decision = decision;
      fillTile(photo);
    }
    counts.all += 1;
    counts[decision] += 1;
    if (filter === "all" || filter === decision) matching.push(photo);
  }
  shown = matching;
  if (order === "name") shown.sort((a, b) => collator.compare(a.name, b.name));
  if (order in ORDERS) {
    const isRated = ({ verdict }) => typeof verdict?.probability === "number";
    shown = matching.filter(isRated).sort(ORDERS[order]).concat(matching.filter((photo) => !isRated(photo)));
  }
  for (const button of $("filters").children) {
    button.setAttribute("aria-pressed", button.value === filter);
    button.lastChild.textContent = formatNumber(counts[button.value]);
    button.classList.toggle("empty", !counts[button.value]);
  }
  document.body.classList.toggle("empty", !photos.length);
  $("results").hidden = !photos.length;
  $("nothing").hidden = shown.length > 0 || !photos.length;
  $("download").disabled = !shown.some(({ verdict }) => verdict);
  placeTiles();
  if (enlarged) showLarge();
  showThreshold(counts);
  drawHistogram();
  showProgress(counts);
}

function show(name) {
  filter = name;
  refresh();
  speak(`${formatNumber(shown.length)} of ${plural(photos.length, "photo")} shown`);
}

function showThreshold(counts) {
  const text = formatThreshold(threshold), doubtful = moved ? [] : photos.filter(({ verdict, decision }) => decision === "undecided" && verdict.probability !== null);
  const review = model?.review ?? null, bounds = boundsOf(), reviewing = bounds.length > 1;
  $("count-sharp").textContent = formatNumber(counts.sharp);
  $("count-blurred").textContent = formatNumber(counts.blurred);
  $("count-undecided").textContent = counts.undecided ? `${formatNumber(counts.undecided)} undecided` : "";
  $("sharp-is").textContent = doubtful.length || reviewing ? "sharp" : "sharp (below)";
  $("blurred-is").textContent = doubtful.length || reviewing ? "blurred" : "blurred (at or above)";
  $("threshold").classList.toggle("reviewing", reviewing);
  $("slider").value = reviewing ? (bounds[0] + bounds[1]) / 2 : threshold;
  $("slider").setAttribute("aria-valuetext", `${bounds.map(formatThreshold).join(" and ")}: ${counts.sharp} sharp, ${counts.blurred} blurred`);
  if (document.activeElement !== $("number")) showNumber();
  $("reset").disabled = !moved;
  $("reset").title = `Back to the ${review ? "two bounds" : "threshold"} of the service`;
  const chances = doubtful.map(({ verdict }) => verdict.probability);
  $("below-edge").setAttribute("width", 1000 * Math.min(...bounds, ...chances));
  $("above-edge").setAttribute("x", 1000 * Math.max(...bounds, ...chances));
  $("served").setAttribute("d", (review ?? [model?.threshold ?? 0.5]).map((bound) => `M${1000 * bound} 0v100`).join(""));
  $("hint").replaceChildren();
  if (!model) return;
  const name = `(model ${model.fingerprint.slice(0, 8)})`, [low, high] = (review ?? []).map(formatThreshold);
  if (reviewing) {
    $("hint").textContent = `The service calls a photo sharp below ${low} and blurred from ${high} on ${name}: the dashed lines.`
      + (doubtful.length ? ` It left ${plural(doubtful.length, "photo")} undecided.` : "")
      + " Drag to decide by one threshold in place of the two: here alone, and the service is not asked. Reset brings the two back.";
    return;
  }
  if (!moved) {
    $("hint").textContent = `The threshold of the service is ${text} ${name}. Drag to try another: the photos are decided again here, and the service is not asked.`
      + (doubtful.length ? ` It left ${plural(doubtful.length, "photo")} undecided; any other threshold decides ${doubtful.length === 1 ? "it" : "them"} as well.` : "");
    return;
  }
  const command = document.createElement("code");
  command.textContent = `blurgate serve --threshold ${text}`;
  $("hint").append(`Decided again on this page${review ? `, by one threshold in place of ${low} and ${high}` : ""}. For a service with this threshold: `, command);
}

function showNumber() { // two bounds are no number
  const bounds = boundsOf().map(formatThreshold);
  $("number").value = bounds.length > 1 ? "" : bounds[0];
  $("number").placeholder = bounds.length > 1 ? bounds.join("–") : "";
}

function binOf(probability) {
  return Math.min(BINS - 1, Math.floor(probability * BINS));
}

function drawHistogram() {
  const bins = new Array(BINS).fill(0);
  for (const { verdict } of photos) if (typeof verdict?.probability === "number") bins[binOf(verdict.probability)] += 1;
  const most = Math.max(...bins, 1);
  // square-root scale: most photos lie near 0 or 1, but the few in between matter most
  const bars = bins.map((count, bin) => {
    const height = count && Math.max(2.5, 98 * Math.sqrt(count / most));
    return count ? `M${(1000 / BINS) * bin + 1} 100v${-height}h${1000 / BINS - 2}v${height}z` : "";
  });
  for (const id of ["bars-mid", "bars-low", "bars-high"]) $(id).setAttribute("d", bars.join(""));
}

function setThreshold(value) {
  const right = value >= 0 && value <= 1, wrong = !right && !Number.isNaN(value);
  $("number").ariaInvalid = wrong ? "true" : null;
  $("number-problem").textContent = wrong ? `A threshold is from 0 to 1; it is still ${boundsOf().map(formatThreshold).join(" and ")}.` : "";
  if (!right) return;
  moved = !model || Boolean(model.review) || Math.abs(value - model.threshold) >= 0.0005; // one threshold is none of two bounds
  threshold = moved ? value : model.threshold;
  refreshOnce();
}

function reset() {
  setThreshold(model.threshold);
  moved = false;
}

// ---- progress

function showProgress({ all, waiting, blurred, undecided, sharp, unread }) {
  const failed = photos.filter((photo) => photo.failed), judged = all - waiting - unread, notes = [];
  const wrong = unread - failed.length, could = wrong ? `${formatNumber(wrong)} could not be read` : "";
  if (waiting) notes.push(`Judging: ${formatNumber(all - waiting)} of ${formatNumber(all)}`);
  else if (all) notes.push([judged || !could ? `${plural(judged, "photo")} judged` : "", could].filter(Boolean).join(", "));
  if (leftOut) notes.push(`${plural(leftOut, "file")} left out, as ${leftOut === 1 ? "it is no photo" : "they are no photos"}`);
  if (repeated) notes.push(`${plural(repeated, "photo")} added again, though ${repeated === 1 ? "it was" : "they were"} here already`);
  if (failed.length) notes.push(`${formatNumber(failed.length)} not judged: ${failed.at(-1).verdict.error}`);
  $("progress").hidden = !all && !leftOut;
  $("state").textContent = notes.join(". ");
  $("state").classList.toggle("problem", failed.length > 0);
  Object.assign($("done"), { hidden: !waiting, max: Math.max(1, all), value: all - waiting });
  $("again").hidden = !failed.length;
  $("remove").hidden = !all;
  if (waiting) {
    if (performance.now() - spokenAt > SPEAK_MS) speak(`${all - waiting} of ${all} judged`);
  } else if (wasWaiting) {
    const parts = Object.entries({ blurred, sharp, undecided, "could not be read": wrong }).filter(([, count]) => count);
    notes[0] = `${plural(judged, "photo")} judged: ` + parts.map(([name, count]) => `${count} ${name}`).join(", ");
    speak(notes.join(". "));
  }
  wasWaiting = waiting > 0;
}

// what a screen reader reads out, without interrupting itself at every photo
function speak(text) {
  if ($("spoken").textContent === text) return;
  $("spoken").textContent = text;
  spokenAt = performance.now();
}

// ---- the table

// as blurgate.cells: no cell may begin like a formula; a path stays a path
function guard(column, cell) {
  if (typeof cell !== "string") return String(cell ?? "");
  if (column === "path") return /^[=+\-@\t\r\n]/.test(cell) ? "./" + cell : cell;
  return /^'*[=+\-@\t\r\n]/.test(cell) ? "'" + cell : cell;
}

function download() {
  const quote = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const rows = shown.filter(({ verdict }) => verdict).map((photo) => {
    const found = decideAgain(photo);
    return COLUMNS.map((column) => guard(column, column === "part" ? found.part?.join(",") : found[column]));
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([COLUMNS, ...rows].map((row) => row.map(quote).join(",") + "\n"), { type: "text/csv" }));
  link.download = model && (moved || !model.review) ? `verdicts-at-${formatThreshold(threshold)}.csv` : "verdicts.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// ---- the camera: a shot is judged before it is kept

const camera = { stream: null, facing: "environment", shot: null };

function canFilm() {
  return Boolean(navigator.mediaDevices?.getUserMedia); // only in a secure context
}

function openCamera() {
  if (!canFilm()) { $("capture").click(); return; }
  $("camera").showModal();
  film();
}

async function film() {
  stopFilming();
  showShot(false);
  tell("", "");
  offer({ shoot: "Take photo" });
  $("shoot").disabled = true;
  try {
    camera.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: camera.facing, width: { ideal: 1920 }, height: { ideal: 1440 } } });
    if (!$("camera").open) { stopFilming(); return; }
    $("video").srcObject = camera.stream;
    await $("video").play();
    $("shoot").disabled = false;
    $("shoot").focus();
    const devices = await navigator.mediaDevices.enumerateDevices();
    $("turn").hidden = camera.shot !== null || devices.filter(({ kind }) => kind === "videoinput").length < 2;
  } catch (error) {
    if (!$("camera").open) return;
    tell("The camera cannot be used.", error.name === "NotAllowedError" ? "Allow it for this page in the browser, or close this and choose photos instead." : "No camera was found, or another program uses it.");
  }
}

function stopFilming() {
  for (const track of camera.stream?.getTracks() ?? []) track.stop();
  camera.stream = camera.shot = $("video").srcObject = null;
}

function showShot(on) {
  $("shot").hidden = !on;
  $("video").hidden = on;
}

function tell(said, why, decision = "") {
  $("said").textContent = said;
  $("said").className = decision && "is-" + decision;
  $("why").textContent = why;
}

// buttons by id and text; the first is the primary one
function offer(texts) {
  const [first] = Object.keys(texts);
  for (const id of ["shoot", "retry", "keep", "turn"]) {
    $(id).hidden = !(id in texts);
    $(id).classList.toggle("primary", id === first);
    if (id in texts) $(id).textContent = texts[id];
  }
  $(first)?.focus();
}

async function shoot() {
  const { videoWidth: width, videoHeight: height } = $("video");
  if (!width) return;
  const frame = await createImageBitmap($("video"));
  drawInto($("shot"), frame, 1);
  const blob = await new Promise((done) => $("shot").toBlob(done, "image/jpeg", 0.95));
  judgeShot(blob, nameShot());
}

function nameShot() {
  const now = new Date(), two = (number) => String(number).padStart(2, "0");
  return `camera ${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())} ${[now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join(".")}.jpg`;
}

async function judgeShot(file, name) {
  const photo = makePhoto(file, name);
  camera.shot = photo;
  showShot(true);
  offer({});
  tell("Is it sharp?", "");
  await judge(photo);
  if (camera.shot !== photo) return; // closed meanwhile
  const decision = decide(photo), why = explain(photo);
  if (decision === "sharp") tell("Sharp", why, decision);
  else if (decision === "blurred") tell("Hold still: this one is blurred. Try again", why, decision);
  else if (decision === "undecided") tell("It is not clear whether it is sharp", why, decision);
  else tell("It could not be judged", why, decision);
  if (decision === "sharp") offer({ keep: "Keep", retry: "Try again" });
  else if (decision === "unread") offer({ retry: "Try again" });
  else offer({ retry: "Try again", keep: "Keep it anyway" });
}

function retry() {
  if (canFilm()) film();
  else $("capture").click();
}

function keep() {
  add([camera.shot]);
  if (!canFilm()) { $("camera").close(); return; }
  film().then(() => { if (camera.stream) tell("Kept", "Take another one, or close this."); });
}

// ---- user input

function oncePerFrame(work) { // coalesce calls: run at most once per animation frame
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => { scheduled = false; work(); });
  };
}

const refreshOnce = oncePerFrame(refresh);

let arriving = 0; // timer: verdicts that arrive together are shown together
function refreshSoon() {
  arriving ||= setTimeout(() => { arriving = 0; refresh(); }, ARRIVING_MS);
}

for (const [name, text] of Object.entries(FILTERS)) {
  const button = document.createElement("button"), count = document.createElement("i");
  Object.assign(button, { type: "button", value: name });
  button.append(text + " ", count);
  button.addEventListener("click", () => { show(name); });
  $("filters").append(button);
}
$("everything").addEventListener("click", () => {
  show("all");
  $("filters").firstChild.focus();
});
$("order").addEventListener("change", () => { order = $("order").value; refresh(); });
$("download").addEventListener("click", download);
$("remove").addEventListener("click", () => { if (confirm(`Remove ${plural(photos.length, "photo")} from this page?`)) removeAll(); });
$("again").addEventListener("click", () => {
  for (const photo of photos.filter((photo) => photo.failed)) {
    Object.assign(photo, { failed: false, verdict: null });
    request(photo);
  }
  refresh();
});

$("slider").addEventListener("input", () => setThreshold($("slider").valueAsNumber));
$("slider").addEventListener("keydown", (event) => {
  const direction = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
  if (!direction) return;
  event.preventDefault();
  const changed = (moved ? threshold : $("slider").valueAsNumber) + direction * (event.shiftKey ? 0.001 : 0.01); // finer with Shift, for thresholds near 0 or 1
  setThreshold(Math.min(1, Math.max(0, Math.round(changed * 1000) / 1000)));
});
$("number").addEventListener("input", () => setThreshold($("number").valueAsNumber));
$("number").addEventListener("change", showNumber); // what was out of range
$("number").addEventListener("blur", refreshOnce);
$("reset").addEventListener("click", reset);

$("files").accept = ["image/*", ...SUFFIXES.map((suffix) => "." + suffix)].join();
$("choose").addEventListener("click", () => $("files").click());
$("choose-folder").hidden = !("webkitdirectory" in $("folder"));
if (matchMedia("(hover: none)").matches) {
  $("how").textContent = $("choose-folder").hidden ? "Choose photos, or take one" : "Choose photos, a folder, or take one";
  $("point").textContent = "Tap a photo to enlarge it and see where it is blurred.";
}
$("choose-folder").addEventListener("click", () => $("folder").click());
for (const id of ["files", "folder"]) {
  $(id).addEventListener("change", () => {
    addFiles(listFiles($(id).files));
    $(id).value = ""; // so that the same files can be chosen again
  });
}
addEventListener("paste", (event) => {
  const files = listFiles(event.clipboardData.files);
  for (const entry of files) if (/^image\.\w+$/.test(entry.name)) entry.name = `pasted ${photos.length + 1}${entry.name.slice(5)}`;
  if (files.length) addFiles(files);
});
let within = 0; // elements under the pointer that dragged files have entered
const hasFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
const drag = (by) => {
  within = Math.max(0, within + by);
  document.body.classList.toggle("dragging", within > 0);
};
addEventListener("dragenter", (event) => { if (hasFiles(event)) drag(1); });
addEventListener("dragleave", (event) => { if (hasFiles(event)) drag(-1); });
addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
addEventListener("drop", async (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  drag(-within);
  addFiles(await listDropped(event.dataTransfer));
});

const STEPS = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: (columns) => -columns, ArrowDown: (columns) => columns, Home: () => -Infinity, End: () => Infinity };
let hovering = 0; // timer
const wantSoon = (element) => {
  const photo = photoOf(element);
  clearTimeout(hovering);
  hovering = setTimeout(() => wantMap(photo), HOVER_MS);
};
$("grid").addEventListener("click", (event) => {
  const button = event.target.closest(".photo");
  if (button) enlarge(photoOf(button));
});
$("grid").addEventListener("pointerover", (event) => {
  const button = event.target.closest(".photo");
  if (button && event.pointerType === "mouse" && !button.contains(event.relatedTarget)) wantSoon(button);
});
$("grid").addEventListener("pointerout", (event) => {
  const button = event.target.closest(".photo");
  if (button && !button.contains(event.relatedTarget)) clearTimeout(hovering);
});
$("grid").addEventListener("focusin", (event) => {
  focusable(photoOf(event.target));
  if (event.target.matches(":focus-visible")) wantSoon(event.target);
});
$("grid").addEventListener("focusout", () => clearTimeout(hovering));
$("grid").addEventListener("keydown", (event) => {
  if (!(event.key in STEPS) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const columns = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
  const position = Math.max(0, Math.min(shown.length - 1, shown.indexOf(current) + STEPS[event.key](columns)));
  shown[position].tile.firstChild.focus();
});
addEventListener("scroll", oncePerFrame(() => $("tools").classList.toggle("stuck", $("tools").getBoundingClientRect().top <= 0)), { passive: true });

$("picture").addEventListener("load", () => {
  $("picture").hidden = false;
  fitLarge();
});
$("picture").addEventListener("error", () => {
  if (!enlarged) return;
  $("no-picture").textContent = "This browser cannot show the photo.";
  $("no-picture").hidden = false;
  fitLarge();
  showLarge();
});
$("picture").addEventListener("click", (event) => {
  const box = $("picture").getBoundingClientRect();
  setZoom(!$("view").classList.contains("zoomed"), (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
});
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("lay").addEventListener("click", toggleMap);
$("zoom").addEventListener("click", () => setZoom(!$("view").classList.contains("zoomed")));
$("close-large").addEventListener("click", () => $("large").close());
addEventListener("keydown", (event) => { // of the page: a button that is disabled loses the focus
  if (!$("large").open || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase(), zoomed = $("view").classList.contains("zoomed");
  if (key === "m") toggleMap();
  else if (key === "z") {
    setZoom(!zoomed);
    if (!zoomed) $("view").focus(); // so that arrows move the photo
  } else if ((key === "arrowleft" || key === "arrowright") && !zoomed) step(key === "arrowleft" ? -1 : 1);
});
$("large").addEventListener("close", () => {
  const photo = enlarged;
  freeLarge();
  if (!photo.tile.hidden) photo.tile.firstChild.focus();
});
new ResizeObserver(oncePerFrame(fitLarge)).observe($("view"));

$("take").addEventListener("click", openCamera);
$("shoot").addEventListener("click", shoot);
$("retry").addEventListener("click", retry);
$("keep").addEventListener("click", keep);
$("turn").addEventListener("click", () => { camera.facing = camera.facing === "environment" ? "user" : "environment"; film(); });
$("close").addEventListener("click", () => $("camera").close());
$("camera").addEventListener("close", () => { stopFilming(); refresh(); });
$("capture").addEventListener("change", async () => {
  const [file] = $("capture").files;
  $("capture").value = "";
  if (!file) return;
  if (!$("camera").open) $("camera").showModal();
  const picture = await createImageBitmap(file).catch(() => null); // null: the browser cannot decode it
  if (picture) drawInto($("shot"), picture, Math.min(1, 1600 / Math.max(picture.width, picture.height)));
  picture?.close();
  judgeShot(file, file.name);
});

refresh();
