"""The element <blurgate-input> and its example page, in a browser: beside a small fake service and the real one."""

import contextlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

import blurgate
from blurgate.pages import read_style

PAGE = Path(blurgate.__file__).parent / "serving" / "page"
CHROMIUM = Path("/usr/bin/chromium")
QUIETLY = (
    "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update "
    "disable-sync"
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SENTENCE = "Out of focus: nothing in it is sharp."
BLURRED = "This photo is blurred. Take it again?"
ALLOWED = "It can be sent as it is."
FILES = {
    "/form": "form.html",
    "/blurgate-input.js": "blurgate-input.js",
    "/page/form.css": "form.css",
    "/page/form.js": "form.js",
}
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css"}


def test_the_element_has_at_most_200_lines():
    lines = (PAGE / "blurgate-input.js").read_text().splitlines()
    assert len(lines) <= 200
    assert all(len(line) <= 120 for line in lines)


def test_the_element_needs_nothing_else():
    code = (PAGE / "blurgate-input.js").read_text()
    assert not re.search(r"^import |import\(|require\(|https?://|innerHTML =|\.style\b", code, flags=re.M)


def test_the_docs_name_every_text_and_attribute():
    code = (PAGE / "blurgate-input.js").read_text()
    docs = (Path(__file__).parents[2] / "docs" / "form.md").read_text()
    texts = dict(re.findall(r'"?([\w-]+)"?: "([^"]+)"', code[: code.index("const LOOKS")]))
    assert len(texts) > 10
    assert all(f"`{name}`" in docs and text in docs for name, text in texts.items())
    attributes = re.findall(r'[gh][ea][ts]Attribute\("(\w+)"\)', code)
    assert len(set(attributes)) == 6
    assert all(f"| `{name}` |" in docs for name in attributes)
    colours = re.findall(r"--blurgate-\w+", code)
    assert colours
    assert all(f"`{name}`" in docs for name in colours)


# ---- the fake service


def judge(name):
    """Answer as the service does about a photo; its file name says what is to be found in it."""
    decision = re.match(r"sharp|blurred|undecided|broken|large|slow", name)[0]
    problems = {
        "broken": (422, "it is cut short"),
        "large": (413, "it is too large."),
        "slow": (504, ""),
    }
    if decision in problems:
        status, detail = problems[decision]
        return problem(status, detail)
    kind = re.search("motion|defocus|gaussian", name.replace("moved", "motion"))
    verdict = {"path": name, "decision": decision, "sentence": SENTENCE, "kind": kind and kind[0]}
    return 200, {}, json.dumps({"model": {}, "verdicts": [verdict]})


def problem(status, detail="", headers=()):
    told = {"type": "urn:blurgate:problem:test", "title": "test", "status": status, "detail": detail}
    return status, {"Content-Type": "application/problem+json", **dict(headers)}, json.dumps(told)


def busy(name):
    return problem(503, "Too many requests wait.", {"Retry-After": "0.05"})


class Service(ThreadingHTTPServer):
    """Serves the files of the element, pages of tests and verdicts, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.start_again()

    def start_again(self):
        self.answer, self.policy, self.origin = judge, POLICY, None
        self.asked, self.pages = [], {}
        self.open = threading.Event()  # verdicts wait for it
        self.open.set()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/page/style.css":
            self.reply(200, {"Content-Type": TYPES[".css"]}, read_style())
        elif path in FILES:
            file = PAGE / FILES[path]
            self.reply(200, {"Content-Type": TYPES[file.suffix]}, file.read_text())
        elif path in self.server.pages:
            self.reply(200, {"Content-Type": TYPES[".html"]}, self.server.pages[path])
        else:
            self.reply(404, {}, "")

    def do_OPTIONS(self):
        self.server.asked.append("a preflight")
        self.reply(403, {}, "")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name = re.search(rb'name="photos"; filename="(.*)"\r\n', body)[1].decode().replace("%22", '"')
        self.server.asked.append((name, self.headers["Cookie"]))
        self.server.open.wait(20)
        self.reply(*self.server.answer(name))

    def reply(self, status, headers, text):
        origin = self.server.origin
        shared = {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"} if origin else {}
        self.send_response(status)
        body = text.encode()
        standard = {
            "Content-Security-Policy": self.server.policy,
            "Content-Length": len(body),
            "Cache-Control": "no-store",
        }
        for key, value in {"Content-Type": "application/json", **standard, **shared, **headers}.items():
            self.send_header(key, str(value))
        self.end_headers()
        with contextlib.suppress(OSError):  # the browser may have given up
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def services():
    servers = [Service(), Service()]
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def fake(services):
    services[0].start_again()
    return services[0]


@pytest.fixture
def elsewhere(services):
    """Another origin."""
    services[1].start_again()
    return services[1]


# ---- the browser


@pytest.fixture(scope="module")
def only_tab():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as driver:
        arguments = [f"--{argument}" for argument in QUIETLY.split()]
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        page = browser.new_page()
        page.set_default_timeout(15000)
        page.errors, page.choosers = [], []

        def keep(chooser):
            page.choosers.append(chooser)

        page.on("filechooser", keep)  # at all times: the first key after it is set may come too early
        page.on("console", lambda told: page.errors.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        yield page
        browser.close()


@pytest.fixture
def tab(only_tab):
    """A tab that fails the test if the console reports an error that ``tab.expected`` does not match."""
    only_tab.goto("about:blank")  # what an earlier test left to do ends here
    only_tab.context.clear_cookies()
    only_tab.errors.clear()
    only_tab.choosers.clear()
    only_tab.expected = "nothing"
    yield only_tab
    assert [error for error in only_tab.errors if not re.search(only_tab.expected, error)] == []


@pytest.fixture
def show(tab, fake):
    """Show a page with an element of some attributes in a form, and return the tab."""

    def show(attributes="", *, form="{}<button name=go value=1>Send</button>", host=fake, script=""):
        element = (
            f'<label for="photo">Photo</label><blurgate-input id="photo" name="photo" {attributes}></blurgate-input>'
        )
        host.pages["/test"] = (
            '<!doctype html><html lang="en"><title>t</title><meta name="color-scheme" content="light dark">'
            f'<link rel="icon" href="data:,"><script type="module" src="{script}/blurgate-input.js"></script>'
            f"<main><h1>t</h1><form>{form.format(element)}</form></main></html>"
        )
        tab.goto(f"{host.url}/test")
        watch(tab)
        return tab

    return show


def watch(tab):
    """Have the page keep in ``sent`` what it would send, instead of sending it."""
    tab.evaluate(
        """() => {
          const show = (value) => value.name === undefined ? [value] : [value.name, value.size, value.type];
          window.sent = [];
          document.querySelector("form").addEventListener("submit", (event) => {
            event.preventDefault();
            const entries = [...new FormData(event.target, event.submitter)];
            sent.push(entries.map(([name, value]) => [name, ...show(value)]));
          });
        }"""
    )


def photo(name, type="image/jpeg", data=b"photo"):
    return {"name": name, "mimeType": type, "buffer": data}


def choose(tab, *names):
    tab.locator("blurgate-input input").set_input_files([photo(name) for name in names])


def wait_for(tab, text):
    tab.locator("blurgate-input [role=status]").get_by_text(text).first.wait_for()


def wait_until(tab, condition):
    """Wait for a condition in JavaScript; the policy of the page forbids what ``wait_for_function`` does."""
    for _ in range(400):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(20)
    pytest.fail(f"not in time: {condition}")


def read_status(tab):
    return tab.locator("blurgate-input [role=status]").inner_text()


def send(tab):
    tab.get_by_role("button", name="Send").click()
    return tab.evaluate("sent")


def message(tab):
    return tab.evaluate("document.querySelector('blurgate-input').validationMessage")


# ---- what it tells


def test_a_sharp_photo_is_sent_as_a_file_input_would(show):
    form = '{}<input type="file" name="photo" aria-label="native"><button name=go value=1>Send</button>'
    tab = show(form=form)
    native = tab.get_by_label("native")
    ((first, second, _),) = send(tab)
    assert first == second == ["photo", "", 0, "application/octet-stream"]
    choose(tab, "sharp.jpg")
    native.set_input_files([photo("sharp.jpg")])
    wait_for(tab, "This photo is sharp.")
    assert send(tab)[1] == [["photo", "sharp.jpg", 5, "image/jpeg"]] * 2 + [["go", "1"]]


def test_with_block_a_blurred_photo_stops_the_form_until_another_is_chosen(show):
    tab = show("block")
    choose(tab, "blurred.jpg")
    wait_for(tab, BLURRED)
    assert send(tab) == []
    assert message(tab) == BLURRED
    inner = tab.locator("blurgate-input input")
    assert inner.get_attribute("aria-invalid") == "true"
    assert inner.evaluate("input => input.matches(':focus')")
    assert tab.locator("blurgate-input:invalid").count() == 1
    choose(tab, "sharp.jpg")
    wait_for(tab, "This photo is sharp.")
    assert inner.get_attribute("aria-invalid") is None
    assert len(send(tab)) == 1


@pytest.mark.parametrize(
    ("name", "attributes", "text", "stops"),
    [
        ("blurred.jpg", "", f"{BLURRED} {ALLOWED}", False),
        ("blurred.jpg", 'block="undecided error"', f"{BLURRED} {ALLOWED}", False),
        ("blurred.jpg", 'block=""', BLURRED, True),
        ("blurred.jpg", 'block="blurred,undecided"', BLURRED, True),
        ("undecided.jpg", "block", f"It is not clear whether this photo is sharp. {SENTENCE} {ALLOWED}", False),
        (
            "undecided.jpg",
            'block="blurred, undecided"',
            f"It is not clear whether this photo is sharp. {SENTENCE}",
            True,
        ),
        ("broken.jpg", 'block="error"', "This file cannot be judged: it is cut short.", True),
        ("broken.jpg", "block", f"This file cannot be judged: it is cut short. {ALLOWED}", False),
        ("large.jpg", "block", f"could not be checked: it is too large. {ALLOWED}", False),
        ("large.jpg", "strict", "could not be checked: it is too large.", True),
    ],
)
def test_what_stops_the_form_is_chosen_by_attributes(show, name, attributes, text, stops):
    tab = show(attributes)
    tab.expected = "status of 4"
    choose(tab, name)
    wait_for(tab, text)
    assert read_status(tab).endswith(text)
    assert len(send(tab)) == 1 - stops
    assert bool(message(tab)) == stops


def test_attributes_may_change_after_the_verdict(show):
    tab = show("block")
    choose(tab, "blurred.jpg")
    wait_for(tab, "blurred")
    assert ALLOWED not in read_status(tab)
    tab.evaluate("photo.toggleAttribute('block')")
    assert message(tab) == ""
    assert ALLOWED in read_status(tab)
    tab.evaluate("photo.name = 'picture'")
    assert send(tab)[0][0][0] == "picture"


def test_several_photos_are_told_apart(show, fake):
    tab = show("multiple block")
    choose(tab, "sharp.jpg", "blurred 1.jpg", "sharp 2.jpg", "undecided.jpg", "sharp 3.jpg")
    wait_for(tab, "Sharp photos: 3 of 5.")
    assert read_status(tab).splitlines()[::2] == [
        "Sharp photos: 3 of 5.",
        f"blurred 1.jpg: {BLURRED}",
        f"undecided.jpg: It is not clear whether this photo is sharp. {SENTENCE} {ALLOWED}",
    ]
    assert message(tab).startswith("blurred 1.jpg: ")
    assert len(fake.asked) == 5
    tab.evaluate("photo.toggleAttribute('block')")
    assert [name for _, name, *_ in send(tab)[0][:5]] == [
        "sharp.jpg",
        "blurred 1.jpg",
        "sharp 2.jpg",
        "undecided.jpg",
        "sharp 3.jpg",
    ]


def test_a_file_name_with_markup_stays_data(show, fake):
    name = "blurred <img src=x onerror=alert(1)>&amp;.jpg"
    tab = show("multiple")
    choose(tab, name, "blurred {sentence} $&.jpg")
    wait_for(tab, "blurred")
    lines = read_status(tab).splitlines()
    assert lines[0] == f"{name}: {BLURRED} {ALLOWED}"
    assert lines[2].startswith("blurred {sentence} $&.jpg: This photo")
    assert tab.locator("blurgate-input [role=status] :not(p)").count() == 0
    assert sorted(asked for asked, _ in fake.asked)[0] == name


def test_events_and_properties_carry_the_verdicts(show):
    tab = show("block")
    tab.evaluate(
        """() => {
          window.told = [];
          const show = (detail) => detail?.files?.length ?? detail?.verdicts[0].decision;
          for (const type of ["change", "check", "verdict"])
            document.addEventListener(type, ({ detail }) => told.push([type, show(detail)]));
        }"""
    )
    choose(tab, "blurred.jpg")
    wait_for(tab, "blurred")
    assert sorted(tab.evaluate("told")) == [["change", None], ["check", 1], ["verdict", "blurred"]]
    assert tab.evaluate("photo.verdicts.map(verdict => verdict.sentence)") == [SENTENCE]
    assert tab.evaluate("[photo.files[0].name, photo.form === document.forms[0], photo.checkValidity()]") == [
        "blurred.jpg",
        True,
        False,
    ]


def test_texts_can_be_changed(show):
    tab = show('text-blurred="Unscharf ({path}): {nothing}bitte noch einmal."')
    choose(tab, "blurred.jpg")
    wait_for(tab, "Unscharf (blurred.jpg): bitte noch einmal.")
    choose(tab, "blurred moved.jpg")
    wait_for(tab, "Unscharf (blurred moved.jpg): bitte noch einmal.")
    tab.evaluate("photo.setAttribute('text-blurred-motion', 'Verwackelt: {sentence}')")
    choose(tab, "blurred moved.jpg")
    wait_for(tab, f"Verwackelt: {SENTENCE}")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("motion", "This photo is blurred: the camera or the subject moved. Hold still and take it again?"),
        ("defocus", "This photo is out of focus. Tap on what matters and take it again?"),
        ("gaussian", BLURRED),
    ],
)
def test_advice_fits_the_kind(show, kind, text):
    tab = show()
    choose(tab, f"blurred by {kind}.jpg")
    wait_for(tab, text)
    assert read_status(tab) == f"{text} {ALLOWED}"
    tab.evaluate("kind => customElements.get('blurgate-input').texts[`blurred-${kind}`] = 'So.'", kind)
    tab.evaluate("photo.setAttribute('text-allowed', ''), photo.toggleAttribute('strict')")  # which updates it
    assert read_status(tab) == "So."


# ---- while it asks, and when nobody answers


def test_the_form_waits_for_the_verdict(show, fake):
    tab = show()
    fake.open.clear()
    choose(tab, "sharp.jpg")
    wait_for(tab, "Checking the photo…")
    assert send(tab) == []
    wait_for(tab, "Checking the photo… The form is sent when this is done.")
    fake.open.set()
    wait_until(tab, "sent.length")
    assert tab.evaluate("sent") == [[["photo", "sharp.jpg", 5, "image/jpeg"], ["go", "1"]]]


@pytest.mark.parametrize("attributes", ["", "block", 'block="undecided"'])
def test_a_form_that_waited_is_not_sent_with_a_blurred_photo(show, fake, attributes):
    tab = show(attributes)
    fake.open.clear()
    choose(tab, "blurred.jpg")
    send(tab)
    fake.open.set()
    wait_for(tab, "Take it again?")
    assert tab.evaluate("sent") == []
    assert tab.evaluate("document.activeElement.id") == "photo"
    assert len(send(tab)) == (attributes != "block")


def test_a_new_choice_or_a_reset_ends_the_wait(show, fake):
    tab = show(form="{}<button name=go value=1>Send</button><button type=reset>Reset</button>")
    fake.open.clear()
    for end in (lambda: choose(tab, "sharp 2.jpg"), tab.get_by_role("button", name="Reset").click):
        choose(tab, "sharp.jpg")
        send(tab)
        wait_for(tab, "The form is sent")
        with tab.expect_event("requestfailed"):  # nobody waits for its answer any more
            end()
        wait_until(tab, "!photo.shadowRoot.textContent.includes('The form is')")
    fake.open.set()
    assert read_status(tab) == ""
    assert tab.evaluate("sent") == []


def test_a_draft_does_not_wait(show, fake):
    tab = show(form="{}<button formnovalidate>Send</button>")
    fake.open.clear()
    choose(tab, "blurred.jpg")
    wait_for(tab, "Checking")
    assert len(send(tab)) == 1
    fake.open.set()


def test_two_inputs_of_one_form_both_hold_it_up(show, fake):
    second = '<blurgate-input id="second" name="second" aria-label="Second"></blurgate-input>'
    tab = show(form=f"{{}}{second}<button>Send</button>")
    fake.open.clear()
    for place in range(2):
        tab.locator("blurgate-input input").nth(place).set_input_files([photo("sharp.jpg")])
    send(tab)
    fake.open.set()
    wait_until(tab, "sent.length")
    assert [name for name, *_ in tab.evaluate("sent")[0]] == ["photo", "second"]


def test_a_busy_service_is_asked_again(show, fake):
    tab = show()
    tab.expected = "status of 503"
    fake.answer = lambda name: busy(name) if len(fake.asked) < 3 else judge(name)
    choose(tab, "blurred.jpg")
    wait_for(tab, "This photo is blurred.")
    assert len(fake.asked) == 3


def test_a_service_that_stays_busy_does_not_stop_the_form(show, fake):
    tab = show('timeout="0.5"')
    tab.expected = "status of 503"
    fake.answer = busy
    choose(tab, "blurred.jpg")
    wait_for(tab, "This photo could not be checked: the service is busy. It can be sent as it is.")
    assert len(send(tab)) == 1


def test_a_silent_service_does_not_stop_the_form(show, fake):
    tab = show('timeout="0.3" multiple')
    fake.open.clear()
    choose(tab, *(f"sharp {number}.jpg" for number in range(5)))
    send(tab)
    wait_until(tab, "sent.length")
    assert read_status(tab).count("the service does not answer.") == 5
    fake.open.set()


def test_an_unreachable_service_can_be_asked_again(show, fake):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        nowhere = f"http://127.0.0.1:{closed.server_port}/v1/verdicts"
    fake.policy = POLICY.replace("connect-src 'self'", f"connect-src 'self' {nowhere}")
    tab = show(f'strict endpoint="{nowhere}"')
    tab.expected = "ERR_CONNECTION_REFUSED"
    choose(tab, "sharp.jpg")
    wait_for(tab, "This photo could not be checked: the service does not answer.")
    assert send(tab) == []
    again = tab.get_by_role("button", name="Check again")
    tab.evaluate("photo.setAttribute('endpoint', '/v1/verdicts')")
    again.click()
    wait_for(tab, "This photo is sharp.")
    assert not again.is_visible()
    assert len(send(tab)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (404, {"Content-Type": "text/html"}, "<h1>no such page</h1>"),
        (200, {}, "<h1>a login page</h1>"),
        (200, {}, '{"verdicts": []}'),
        (200, {}, '{"verdicts": [{"decision": "<b>perhaps</b>"}]}'),
        (415, {}, '{"error": "another program"}'),
        (200, {}, "null"),
    ],
)
def test_what_is_no_answer_of_the_service_is_none(show, fake, answer):
    tab = show()
    tab.expected = "status of 4"
    fake.answer = lambda name: answer
    choose(tab, "sharp.jpg")
    wait_for(tab, "This photo could not be checked: the service does not answer. It can be sent as it is.")


# ---- another origin


@pytest.mark.parametrize(("credentials", "cookie"), [("", None), ("omit", None), ("include", "who=me")])
def test_a_page_of_another_origin_may_ask(show, fake, elsewhere, credentials, cookie):
    fake.origin = elsewhere.url
    elsewhere.policy = f"default-src 'none'; img-src data:; script-src {fake.url}; connect-src {fake.url}"
    elsewhere.policy += "; require-trusted-types-for 'script'"
    tab = show(f'credentials="{credentials}"', host=elsewhere, script=fake.url)
    tab.evaluate("document.cookie = 'who=me'")  # cookies are of a host, whatever the port
    choose(tab, "blurred.jpg")
    wait_for(tab, "This photo is blurred.")
    assert fake.asked == [("blurred.jpg", cookie)]


def test_a_page_that_may_not_ask_is_told_so(show, fake, elsewhere):
    elsewhere.policy = "default-src 'none'; img-src data:; script-src 'self'; connect-src *"
    tab = show(f'endpoint="{fake.url}/v1/verdicts"', host=elsewhere)
    tab.expected = "CORS policy|ERR_FAILED"
    choose(tab, "blurred.jpg")
    wait_for(tab, "This photo could not be checked")


# ---- as a form control


def test_required_speaks_as_the_browser_does(show):
    tab = show("required", form='{}<input type="file" required aria-label="native"><button>Send</button>')
    assert send(tab) == []
    assert message(tab) == tab.get_by_label("native").evaluate("input => input.validationMessage")
    assert tab.evaluate("photo.validity.valueMissing")
    choose(tab, "sharp.jpg")
    wait_for(tab, "sharp")
    assert message(tab) == ""


def test_a_disabled_fieldset_disables_it(show):
    tab = show(form="<fieldset disabled>{}</fieldset><button>Send</button>")
    inner = tab.locator("blurgate-input input")
    assert inner.is_disabled()
    assert send(tab) == [[]]
    tab.evaluate("photo.setAttribute('required', ''), document.querySelector('fieldset').disabled = false")
    assert inner.is_enabled()
    assert message(tab) == inner.evaluate("input => input.validationMessage") != ""


def test_what_the_inner_input_understands_is_passed_on(show):
    tab = show('multiple capture="environment" required')
    inner = tab.locator("blurgate-input input")
    attributes = "input => ['accept', 'capture', 'multiple', 'required'].map(name => input.getAttribute(name))"
    assert inner.evaluate(attributes) == ["image/*", "environment", "", ""]
    tab.evaluate(
        "photo.removeAttribute('multiple'), photo.removeAttribute('capture'), photo.setAttribute('accept', '.jpg')"
    )
    assert inner.evaluate(attributes) == [".jpg", None, None, ""]


def test_a_plain_input_inside_is_there_only_without_the_element(show, fake):
    plain = '<input type="file" name="photo" required aria-label="plain">'
    tab = show(form="{}<button>Send</button>")
    fake.pages["/test"] = fake.pages["/test"].replace("></blurgate-input>", f">{plain}</blurgate-input>")
    tab.reload()
    watch(tab)
    assert send(tab) == [[["photo", "", 0, "application/octet-stream"]]]
    tab.expected = "status of 404"
    fake.pages["/test"] = fake.pages["/test"].replace("/blurgate-input.js", "/missing.js")
    tab.reload()
    watch(tab)
    tab.get_by_label("plain").set_input_files([photo("any.jpg")])
    assert send(tab) == [[["photo", "any.jpg", 5, "image/jpeg"]]]


def test_a_reset_empties_it(show):
    tab = show(form="{}<button type=reset>Reset</button>")
    choose(tab, "blurred.jpg")
    wait_for(tab, "blurred")
    tab.get_by_role("button", name="Reset").click()
    assert read_status(tab) == message(tab) == ""
    assert tab.evaluate("photo.files.length + photo.verdicts.length") == 0


def test_going_back_brings_the_photo_back(show, tmp_path):
    (tmp_path / "blurred.jpg").write_bytes(b"photo")
    tab = show()
    tab.locator("blurgate-input input").set_input_files(tmp_path / "blurred.jpg")
    wait_for(tab, "blurred")
    tab.goto("about:blank")
    tab.go_back()
    wait_for(tab, "This photo is blurred.")
    assert tab.evaluate("photo.files[0].name") == "blurred.jpg"


def test_it_may_move_to_another_form(show):
    tab = show("block", form='{}</form><form id="other">')
    choose(tab, "blurred.jpg")
    wait_for(tab, "blurred")
    tab.evaluate("other.append(photo)")
    assert tab.evaluate("[document.forms[0].checkValidity(), other.checkValidity()]") == [True, False]


@pytest.mark.parametrize("form", ["{}", "<label>Around {}</label>"])
def test_a_label_opens_the_choice_once(show, form):
    tab = show(form=form)
    with tab.expect_file_chooser() as chooser:
        tab.get_by_text("Photo" if form == "{}" else "Around").click()
    chooser.value.set_files([photo("sharp.jpg")])
    wait_for(tab, "sharp")
    tab.get_by_text("This photo is sharp.").click()
    with tab.expect_file_chooser():
        tab.locator("blurgate-input input").click()
    assert len(tab.choosers) == 2


def test_keyboard_and_screen_reader_find_it(show):
    tab = show("required")
    tab.keyboard.press("Tab")
    with tab.expect_file_chooser() as chooser:
        tab.keyboard.press("Enter")
    chooser.value.set_files([photo("blurred.jpg")])
    wait_for(tab, "blurred")
    inner = tab.get_by_label("Photo").locator("visible=true").last
    assert inner.get_attribute("type") == "file"
    assert tab.locator("blurgate-input").aria_snapshot().count(BLURRED) == 1
    assert (
        inner.evaluate("input => input.getRootNode().getElementById(input.getAttribute('aria-describedby')).role")
        == "status"
    )


# ---- the example page


def test_the_example_page_shows_what_would_be_sent(tab, fake):
    tab.goto(f"{fake.url}/form")
    tab.get_by_label("Your name").fill("<b>Ada</b>")
    tab.get_by_label("takes several photos").check()
    choose(tab, "blurred.jpg", "sharp.jpg")
    wait_for(tab, "blurred.jpg: This photo is blurred.")
    for name, other in (("stops a blurred photo", "also stops undecided"), ("also stops undecided", "stops a blurred")):
        tab.get_by_label(name).check()
        assert not tab.get_by_label(other, exact=False).is_checked()
        assert send_nothing(tab)
    tab.get_by_label("also stops undecided").uncheck()
    tab.get_by_role("button", name="Send").click()
    names = ["blurred.jpg, image/jpeg, 5 bytes", "sharp.jpg, image/jpeg, 5 bytes"]
    assert tab.locator("#sent dl").inner_text().splitlines() == [
        "who",
        "<b>Ada</b>",
        "photo",
        names[0],
        "photo",
        names[1],
    ]
    markup = tab.locator("#markup").inner_text()
    assert f'<script type="module" src="{fake.url}/blurgate-input.js"></script>' in markup
    assert '<blurgate-input id="photo" name="photo" required multiple></blurgate-input>' in markup


def send_nothing(tab):
    tab.get_by_role("button", name="Send").click()
    return tab.locator("#sent").inner_text() == ""


def test_axe_finds_nothing_on_the_example_page(tab, fake):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    tab.expected = "status of 4"
    tab.set_viewport_size({"width": 360, "height": 740})
    tab.goto(f"{fake.url}/form")
    tab.get_by_label("takes several photos").check()
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        choose(tab, "sharp.jpg", "blurred.jpg", "undecided.jpg", "broken.jpg", f"large-{'long' * 20}.jpg")
        wait_for(tab, "blurred.jpg")
        violations = axe.Axe().run(tab).response["violations"]
        assert [(found["id"], [node["html"] for node in found["nodes"]]) for found in violations] == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.emulate_media(color_scheme="light")
    tab.set_viewport_size({"width": 1280, "height": 720})


# ---- the real service


def test_beside_the_real_service(tab, service, sharp_jpeg, blurred_jpeg):
    tab.expected = "status of 4"
    tab.goto(f"{service.url}/form")
    watch(tab)
    tab.get_by_label("Your name").fill("Ada")
    tab.get_by_label("takes several photos").check()
    inner = tab.locator("blurgate-input input")
    inner.set_input_files([photo("a.jpg", data=sharp_jpeg)])
    wait_for(tab, "This photo is sharp.")
    assert len(send(tab)) == 1
    flat = BytesIO()
    Image.new("L", (256, 256), 99).save(flat, "PNG")
    flat = photo("flat.png", "image/png", flat.getvalue())
    inner.set_input_files([photo("<b>.jpg", data=blurred_jpeg), flat, photo("text.jpg")])
    wait_for(tab, "<b>.jpg: This photo is ")
    assert tab.evaluate("photo.verdicts.map(({ decision }) => decision)") == ["blurred", "undecided", "error"]
    assert len(send(tab)) == 2
    tab.get_by_label("stops a blurred photo").check()
    assert len(send(tab)) == 2
