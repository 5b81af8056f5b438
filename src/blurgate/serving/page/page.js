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
  nearest: (a, b) => Math.abs(a.verdict.probability - threshold) - Math.abs(b.verdict.probability - threshold),
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
let leftOut = 0; // files that are no photos
let stop = new AbortController(); // of all requests
let wasWaiting = false, spokenAt = 0;

// ---- photos and their verdicts

// map: undefined until it is asked for, null while it is, "" if there is none
function makePhoto(file, name, verdict = null) {
  return { file, name, verdict, failed: false, url: "", map: undefined, decision: "", tile: null };
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
  const same = decision === "unread" || decision === verdict.decision;
  return (same ? "" : "At the threshold of the service: ") + verdict.sentence;
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

function sentence(text) {
  return text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
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
  add(wanted.map(({ file, name }) => makePhoto(file, name)));
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
  [photos, current, leftOut] = [[], null, 0];
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
  button.setAttribute("aria-label", `Map of ${name}`);
  return tile;
}

function fillTile(photo) {
  const { tile, verdict, decision, failed } = photo, [, line, , note, why] = tile.children;
  line.firstChild.textContent = failed ? "not judged" : DECISION_TEXT[decision];
  line.firstChild.className = "is-" + (decision === "waiting" ? "unread" : decision);
  line.lastChild.textContent = verdict?.probability?.toFixed(3) ?? "";
  note.textContent = visible(remark(photo));
  why.textContent = visible(explain(photo)).replace(/(\d) (%|px)/g, "$1\u00a0$2");
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
  if (map !== undefined || !verdict || verdict.decision === "error" || !url) return;
  photo.map = null;
  say(photo, "finding where it is blurred…");
  const { signal } = stop;
  requests.add(async () => {
    try {
      const { verdict: { map, sentence } } = await ask(photo, { map: true, signal });
      photo.map = map ?? "";
      photo.verdict.sentence = sentence; // which now says where
      fillTile(photo);
      say(photo, map ? "" : "no map: nothing in it tells what is blurred");
      if (map) photo.tile.firstChild.append(makeOver(photo));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      photo.map = undefined;
      say(photo, error.message);
    }
  }, true);
}

function say({ tile }, text) {
  tile.querySelector(".says").textContent = text;
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
  $("download").disabled = counts.waiting === photos.length;
  placeTiles();
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
  $("count-sharp").textContent = formatNumber(counts.sharp);
  $("count-blurred").textContent = formatNumber(counts.blurred);
  $("count-undecided").textContent = counts.undecided ? `${formatNumber(counts.undecided)} undecided` : "";
  $("sharp-is").textContent = doubtful.length ? "sharp" : "sharp (below)";
  $("blurred-is").textContent = doubtful.length ? "blurred" : "blurred (at or above)";
  $("slider").value = threshold;
  $("slider").setAttribute("aria-valuetext", `${text}: ${counts.sharp} sharp, ${counts.blurred} blurred`);
  if (document.activeElement !== $("number")) $("number").value = text;
  $("reset").disabled = !moved;
  const chances = doubtful.map(({ verdict }) => verdict.probability);
  $("below-edge").setAttribute("width", 1000 * Math.min(threshold, ...chances));
  $("above-edge").setAttribute("x", 1000 * Math.max(threshold, ...chances));
  for (const side of ["x1", "x2"]) $("served").setAttribute(side, 1000 * (model?.threshold ?? 0.5));
  $("hint").replaceChildren();
  if (!model) return;
  if (!moved) {
    const [low, high] = (model.review ?? []).map(formatThreshold);
    $("hint").textContent = (model.review ? `The service calls a photo sharp below ${low} and blurred from ${high} on` : `The threshold of the service is ${text}`)
      + ` (model ${model.fingerprint.slice(0, 8)}). Drag to try another: the photos are decided again here, and the service is not asked.`
      + (doubtful.length ? ` It left ${plural(doubtful.length, "photo")} undecided for review; any other threshold decides ${doubtful.length === 1 ? "it" : "them"} as well.` : "");
    return;
  }
  const command = document.createElement("code");
  command.textContent = `blurgate serve --threshold ${text}`;
  $("hint").append("Decided again on this page. For a service with this threshold: ", command);
}

function binOf(probability) {
  return Math.min(BINS - 1, Math.floor(probability * BINS));
}

function drawHistogram() {
  const bins = new Array(BINS).fill(0);
  for (const { verdict } of photos) if (typeof verdict?.probability === "number") bins[binOf(verdict.probability)] += 1;
  const most = Math.max(...bins, 1);
  $("scale").textContent = `Photos, on a square-root scale: ${formatNumber(most)} at full height${most > 3 ? `, ${formatNumber(Math.round(most / 4))} at half` : ""}`;
  // square-root scale: most photos lie near 0 or 1, but the few in between matter most
  const bars = bins.map((count, bin) => {
    const height = count && Math.max(2.5, 98 * Math.sqrt(count / most));
    return count ? `M${(1000 / BINS) * bin + 1} 100v${-height}h${1000 / BINS - 2}v${height}z` : "";
  });
  for (const id of ["bars-mid", "bars-low", "bars-high"]) $(id).setAttribute("d", bars.join(""));
}

function setThreshold(value) {
  if (!(value >= 0 && value <= 1)) return;
  moved = !model || Math.abs(value - model.threshold) >= 0.0005;
  threshold = moved ? value : model.threshold;
  refreshOnce();
}

// ---- progress

function showProgress({ all, waiting, blurred, undecided, sharp, unread }) {
  const failed = photos.filter((photo) => photo.failed), notes = [];
  if (waiting) notes.push(`Judging: ${formatNumber(all - waiting)} of ${formatNumber(all)}`);
  else if (all) notes.push(`${plural(all, "photo")} judged`);
  if (leftOut) notes.push(`${plural(leftOut, "file")} left out, as ${leftOut === 1 ? "it is no photo" : "they are no photos"}`);
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
    const parts = Object.entries({ blurred, sharp, undecided, "could not be read": unread }).filter(([, count]) => count);
    notes[0] += ": " + parts.map(([name, count]) => `${count} ${name}`).join(", ");
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
  const rows = photos.filter(({ verdict }) => verdict).map((photo) => {
    const found = decideAgain(photo);
    return COLUMNS.map((column) => guard(column, column === "part" ? found.part?.join(",") : found[column]));
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([COLUMNS, ...rows].map((row) => row.map(quote).join(",") + "\n"), { type: "text/csv" }));
  link.download = "verdicts.csv";
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
  const changed = threshold + direction * (event.shiftKey ? 0.001 : 0.01); // finer with Shift, for thresholds near 0 or 1
  setThreshold(Math.min(1, Math.max(0, Math.round(changed * 1000) / 1000)));
});
$("number").addEventListener("input", () => setThreshold($("number").valueAsNumber));
$("number").addEventListener("change", () => { $("number").value = formatThreshold(threshold); }); // what was out of range
$("number").addEventListener("blur", refreshOnce);
$("reset").addEventListener("click", () => setThreshold(model.threshold));

$("files").accept = ["image/*", ...SUFFIXES.map((suffix) => "." + suffix)].join();
$("choose").addEventListener("click", () => $("files").click());
$("choose-folder").hidden = !("webkitdirectory" in $("folder"));
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
const leave = (button) => {
  clearTimeout(hovering);
  button.classList.remove("still");
};
$("grid").addEventListener("click", (event) => {
  const button = event.target.closest(".photo");
  if (!button) return;
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
  button.classList.add("still"); // what a click has chosen stays while the pointer does
  wantMap(photoOf(button));
});
$("grid").addEventListener("pointerover", (event) => {
  const button = event.target.closest(".photo");
  if (button && event.pointerType === "mouse" && !button.contains(event.relatedTarget)) wantSoon(button);
});
$("grid").addEventListener("pointerout", (event) => {
  const button = event.target.closest(".photo");
  if (button && !button.contains(event.relatedTarget)) leave(button);
});
$("grid").addEventListener("focusin", (event) => {
  focusable(photoOf(event.target));
  if (event.target.matches(":focus-visible")) wantSoon(event.target);
});
$("grid").addEventListener("focusout", (event) => leave(event.target));
$("grid").addEventListener("keydown", (event) => {
  if (!(event.key in STEPS) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const columns = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
  const position = Math.max(0, Math.min(shown.length - 1, shown.indexOf(current) + STEPS[event.key](columns)));
  shown[position].tile.firstChild.focus();
});
addEventListener("scroll", oncePerFrame(() => $("tools").classList.toggle("stuck", $("tools").getBoundingClientRect().top <= 0)), { passive: true });

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
