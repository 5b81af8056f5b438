// <blurgate-input>: a file input whose photos a blurgate service checks before the form is sent. MIT; see docs/form.md.
const TEXTS = {
  checking: "Checking the photo…", "checking-many": "Checking {n} photos…",
  waiting: "The form is sent when this is done.",
  sharp: "This photo is sharp.", "sharp-many": "Sharp photos: {n} of {of}.",
  blurred: "This photo is blurred. Take it again?",
  "blurred-motion": "This photo is blurred: the camera or the subject moved. Hold still and take it again?",
  "blurred-defocus": "This photo is out of focus. Tap on what matters and take it again?",
  undecided: "It is not clear whether this photo is sharp. {sentence}",
  error: "This file cannot be judged: {sentence}.",
  unchecked: "This photo could not be checked: {sentence}.", again: "Check again",
  silent: "the service does not answer", busy: "the service is busy", allowed: "It can be sent as it is.",
};

const LOOKS = new CSSStyleSheet(); // an inline style would need a hole in the page's Content-Security-Policy
LOOKS.replaceSync(`
  :host { display: inline-block; max-width: 100%; vertical-align: top; }
  :host([hidden]), [hidden] { display: none !important; }
  input { max-width: 100%; }
  button { margin-top: .4em; }
  p { margin: .4em 0 0; max-width: 36em; overflow-wrap: anywhere; }
  p.sharp { color: var(--blurgate-sharp, light-dark(#2a7147, #63c28b)); }
  p.blurred, p.error { color: var(--blurgate-blurred, light-dark(#b3372f, #f0857b)); }
  p.undecided, p.unchecked { color: var(--blurgate-undecided, light-dark(#7d5a10, #d9ad52)); }
`);

const DECISIONS = ["sharp", "blurred", "undecided", "error"]; // of the service; "unchecked" is added here
const PASSED_ON = { accept: "image/*", capture: null, multiple: null, required: null }; // and what each is if not set
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

export class BlurgateInput extends HTMLElement {
  static formAssociated = true;
  static observedAttributes = [...Object.keys(PASSED_ON), "name", "block", "strict"];
  static texts = TEXTS; // assign to its keys to change the texts of all inputs of a page

  #internals = this.attachInternals();
  #input = make("input", { type: "file", part: "input", accept: PASSED_ON.accept });
  #status = make("div", { id: "status", part: "status", role: "status" });
  #again = make("button", { type: "button", part: "again", hidden: true });
  #root = null; // whose submit events are watched
  #run = null; // the check in progress
  #verdicts = []; // one per file, once all are known
  #heldUp = null; // the submit event that waits for the check

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open", delegatesFocus: true });
    shadow.adoptedStyleSheets = [LOOKS];
    shadow.appendChild(make("div")).append(this.#input, this.#status, this.#again);
    this.#input.setAttribute("aria-describedby", "status");
    this.#input.addEventListener("change", () => {
      this.#check();
      this.dispatchEvent(new Event("change", { bubbles: true })); // the inner one ends at the shadow root
    });
    this.#again.addEventListener("click", () => {
      this.#input.focus(); // the button goes
      this.#check(this.#verdicts.map((verdict) => (verdict.decision === "unchecked" ? null : verdict)));
    });
    this.addEventListener("click", (event) => event.composedPath()[0] === this && this.#input.click()); // of its label
    this.addEventListener("focusin", () => this.#takeLabel());
  }

  get form() { return this.#internals.form; }
  get validity() { return this.#internals.validity; }
  get validationMessage() { return this.#internals.validationMessage; }
  get willValidate() { return this.#internals.willValidate; }
  get name() { return this.getAttribute("name") ?? ""; }
  set name(name) { this.setAttribute("name", name); }
  get verdicts() { return this.#verdicts; }
  get files() { return this.#input.files; }
  set files(files) {
    const carrier = new DataTransfer();
    for (const file of files) carrier.items.add(file);
    this.#input.files = carrier.files;
    this.#check();
  }
  checkValidity() { return this.#internals.checkValidity(); }
  reportValidity() { return this.#internals.reportValidity(); }

  connectedCallback() {
    this.replaceChildren(); // what is shown where this file could not be loaded
    (this.#root = this.getRootNode()).addEventListener("submit", this.#holdUp, true);
    this.#takeLabel();
  }
  disconnectedCallback() { this.#root.removeEventListener("submit", this.#holdUp, true); }
  attributeChangedCallback(name) {
    const value = this.getAttribute(name) ?? PASSED_ON[name];
    if (value === null) this.#input.removeAttribute(name);
    else if (name in PASSED_ON) this.#input.setAttribute(name, value);
    this.#update();
  }
  formDisabledCallback(disabled) { this.#input.disabled = this.#again.disabled = disabled; this.#update(); }
  formResetCallback() { this.files = []; }
  formStateRestoreCallback(state) { this.files = [...state.values()].filter((file) => file.name); }
  #takeLabel() { // a label names the host, not the input inside
    const label = [...this.#internals.labels].map((each) => each.textContent.trim()).join(" ");
    this.#input.ariaLabel = this.ariaLabel || label || null;
  }

  #holdUp = (event) => {
    const skips = event.target.noValidate || event.submitter?.formNoValidate; // as "Save draft" does
    if (!this.#run || event.target !== this.form || skips || this.#input.disabled) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // nor may the page's own code send the form
    this.#heldUp = event;
    this.#update();
  };

  async #check(known = []) {
    this.#run?.abort();
    const files = [...this.files], verdicts = [...known];
    const run = (this.#run = files.length ? new AbortController() : null);
    this.#heldUp = null;
    this.#verdicts = [];
    this.#update();
    if (!run) return;
    this.dispatchEvent(new CustomEvent("check", { bubbles: true, detail: { files } }));
    const queue = files.entries();
    const work = async () => {
      for (const [place, file] of queue) {
        const timer = setTimeout(() => run.abort(), 1000 * (Number(this.getAttribute("timeout")) || 30));
        verdicts[place] ??= await this.#ask(file, run.signal);
        clearTimeout(timer);
      }
    };
    await Promise.all([work(), work(), work()]); // three photos at a time, from one queue
    if (this.#run !== run) return; // other files were chosen meanwhile
    this.#run = null;
    this.#verdicts = verdicts;
    this.#update();
    this.dispatchEvent(new CustomEvent("verdict", { bubbles: true, detail: { verdicts } }));
    const heldUp = this.#heldUp, { form } = this;
    this.#heldUp = null;
    if (!heldUp || !form) return; // else it goes on, unless there is advice to be read first
    if (verdicts.some(({ decision }) => decision === "blurred" && !this.#blocks(decision))) this.focus();
    else form.requestSubmit(heldUp.submitter?.form === form ? heldUp.submitter : null);
  }

  async #ask(file, signal) {
    const endpoint = this.getAttribute("endpoint") || new URL("v1/verdicts", import.meta.url);
    const body = new FormData(), credentials = this.getAttribute("credentials") || "same-origin";
    const request = { method: "POST", body, credentials, signal };
    body.append("photos", file); // multipart needs no preflight on another origin
    let answer, decision = "unchecked", sentence = this.#text("silent");
    try {
      while ([429, 503].includes((answer = await fetch(endpoint, request)).status)) {
        sentence = this.#text("busy");
        const seconds = Math.min(Number(answer.headers.get("Retry-After")) || 1, 5);
        await new Promise((done) => setTimeout(done, seconds * (1000 + 200 * Math.random()))); // not all at once
      }
      const told = await answer.json();
      if (answer.ok && DECISIONS.includes(told.verdicts[0].decision)) return told.verdicts[0];
      if (!told.type.startsWith("urn:blurgate:")) throw new TypeError("from something between");
      if ([415, 422].includes(answer.status)) decision = "error"; // the file's fault; all else is not
      sentence = told.detail.replace(/\.$/, "");
    } catch {} // unreachable, forbidden by CORS, no JSON, or given up
    return { path: file.name, decision, sentence, error: sentence };
  }

  #blocks(decision) {
    if (decision === "unchecked") return this.hasAttribute("strict");
    return ((this.getAttribute("block") ?? "none") || "blurred").split(/[\s,]+/).includes(decision);
  }
  #text(key, values = {}, kind = "") { // of the kind if there is one, but an attribute before the texts of all inputs
    const keys = [`${key}-${kind}`, key], own = keys.map((each) => this.getAttribute(`text-${each}`));
    const text = [...own, ...keys.map((each) => this.constructor.texts[each])].find((each) => each != null) ?? "";
    return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
  }

  #lines() { // what there is to say
    const n = this.files.length, many = n > 1 ? "-many" : "";
    const line = (decision, ...words) => ({ decision, text: words.filter(Boolean).join(" ") });
    const waiting = this.#heldUp && this.#text("waiting");
    if (this.#run) return [line("checking", this.#text(`checking${many}`, { n }), waiting)];
    const others = this.#verdicts.flatMap((verdict, place) => {
      const { decision, kind } = verdict, stops = this.#blocks(decision), text = this.#text(decision, verdict, kind);
      const words = [many && `${this.files[place].name}:`, text, !stops && this.#text("allowed")];
      return decision === "sharp" ? [] : { ...line(decision, ...words), stops };
    });
    const sharp = this.#verdicts.length - others.length;
    return sharp ? [line("sharp", this.#text(`sharp${many}`, { n: sharp, of: n })), ...others] : others;
  }

  #update() {
    const value = new FormData(), none = new File([], "", { type: "application/octet-stream" });
    for (const file of this.files.length ? this.files : [none]) value.append(this.name, file); // as a file input does
    this.#internals.setFormValue(this.name ? value : null);
    const lines = this.#lines(), stop = lines.find(({ stops }) => stops);
    const { validity: { valueMissing }, validationMessage: message } = this.#input; // in the words of the browser
    this.#internals.setValidity({ valueMissing, customError: !!stop }, stop?.text || message || "…", this.#input);
    this.#input.ariaInvalid = stop ? "true" : null;
    this.#again.textContent = this.#text("again");
    this.#again.hidden = !lines.some(({ decision }) => decision === "unchecked");
    const shown = lines.map(({ decision, text }) =>
      make("p", { className: decision, part: `message ${decision}`, textContent: text }));
    if (shown.map((line) => line.outerHTML).join("") !== this.#status.innerHTML) this.#status.replaceChildren(...shown);
  }
}

if (!customElements.get("blurgate-input")) customElements.define("blurgate-input", BlurgateInput);
