// The example form: shows what would be sent, and sets the attributes of its <blurgate-input>.

const form = document.querySelector("#form");
const photo = document.querySelector("#photo");
const sent = document.querySelector("#sent");

const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });

function describe(value) {
  if (typeof value === "string") return value;
  return value.name ? `${value.name}, ${value.type || "unknown type"}, ${value.size.toLocaleString("en")} bytes` : "no file";
}

function showMarkup() {
  const attributes = [...photo.attributes].filter(({ name }) => name !== "id");
  const tag = ['<blurgate-input id="photo"', ...attributes.map(({ name, value }) => (value ? `${name}="${value}"` : name))].join(" ");
  const script = `<script type="module" src="${new URL("blurgate-input.js", document.baseURI)}"></script>`;
  document.querySelector("#markup").textContent = `${script}\n\n<label for="photo">Photo</label>\n${tag}></blurgate-input>`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const entries = make("dl", "");
  for (const [name, value] of new FormData(form)) entries.append(make("dt", name), make("dd", describe(value)));
  sent.replaceChildren(make("h3", "This would be sent"), entries);
});
form.addEventListener("reset", () => sent.replaceChildren());
photo.addEventListener("check", () => sent.replaceChildren());

document.querySelector("#options").addEventListener("change", ({ target: { name, value, checked } }) => {
  for (const other of document.querySelectorAll(`#options [name=${name}]`)) other.checked &&= other.value === value; // two of block
  if (checked) photo.setAttribute(name, value === "on" ? "" : value);
  else photo.removeAttribute(name);
  showMarkup();
});
for (const option of document.querySelectorAll("#options input")) option.checked = false; // a reload keeps them
showMarkup();
