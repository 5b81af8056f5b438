"""The page of the service, in Chromium, against a real server."""

import base64
import csv
import io
import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from conftest import running
from PIL import Image, ImageFilter

from blurgate.judging.verdicts import Verdict
from blurgate.photos.finding import RAW_SUFFIXES, SUFFIXES

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
expect = sync_api.expect
expect.set_options(timeout=20_000)  # of a machine that does other things too

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")
QUIETLY = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
QUIETLY += ["disable-component-update", "disable-sync", "disable-dev-shm-usage"]
FAKE_CAMERA = ["use-fake-device-for-media-stream", "use-fake-ui-for-media-stream"]
TOKEN = "only for the tests".replace(" ", "-")
MARKUP, FORMULA = "<img src=x onerror=alert(1)>.jpg", "=1+1.jpg"
WIDE = {"width": 1280, "height": 900}
NARROW = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def encode(rgb, radius=0.0, side=512):
    picture = Image.fromarray(rgb[:side, :side])
    stream = io.BytesIO()
    (picture.filter(ImageFilter.GaussianBlur(radius)) if radius else picture).save(stream, "JPEG", quality=92)
    return stream.getvalue()


@pytest.fixture(scope="module")
def files(photographs):
    """Name -> content: two sharp photos, two blurred ones, and a text that says it is a photo."""
    return {
        "sharp coffee.jpg": encode(photographs["coffee"]),
        MARKUP: encode(photographs["coffee"], 6),
        FORMULA: encode(photographs["chelsea"], 3),
        "chelsea.jpg": encode(photographs["chelsea"]),
        "notes.jpg": b"a text",
    }


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Start browsers, each with a camera that sees one photo."""
    with sync_api.sync_playwright() as playwright:
        started = []

        def launch(seen):
            film = tmp_path_factory.mktemp("film") / "seen.mjpeg"
            film.write_bytes(seen)
            flags = [*QUIETLY, *FAKE_CAMERA, f"use-file-for-fake-video-capture={film}"]
            started.append(playwright.chromium.launch(executable_path=CHROMIUM, args=[f"--{flag}" for flag in flags]))
            return started[-1]

        yield launch
        for browser in started:
            browser.close()


@pytest.fixture(scope="module")
def browser(start, files):
    """A browser whose camera sees a sharp photo."""
    return start(files["sharp coffee.jpg"])


@pytest.fixture
def visit(service):
    """Open the page in a browser; at the end, nothing may have gone wrong in it."""
    contexts, wrong = [], []

    def visit(browser, url=service.url, **options):
        context = browser.new_context(viewport=options.pop("viewport", WIDE), **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if is_wrong(said) else None)
        page.on("request", lambda request: wrong.append(request.url) if not is_of(url, request.url) else None)
        page.on("dialog", lambda dialog: dialog.accept() if dialog.type == "confirm" else wrong.append(dialog.message))
        page.goto(url)
        return page

    def is_wrong(said):  # a photo that cannot be read has an answer with such a status, which browsers report
        return said.type in ("error", "warning") and "Failed to load resource" not in said.text

    def is_of(url, address):
        return address.startswith((url, "blob:", "data:"))

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(visit, browser):
    return visit(browser)


def choose(page, files):
    payload = [{"name": name, "mimeType": "image/jpeg", "buffer": content} for name, content in files.items()]
    page.set_input_files("#files", payload)


def fire(page, event, files, *, of="drop"):
    """Fire an event that carries files."""
    carried = [[name, base64.b64encode(content).decode()] for name, content in files.items()]
    page.evaluate(
        """([event, files, kind]) => {
            const carried = new DataTransfer();
            for (const [name, text] of files) {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                carried.items.add(new File([bytes], name, { type: "image/jpeg" }));
            }
            const options = { bubbles: true, cancelable: true, dataTransfer: carried, clipboardData: carried };
            const Event = kind === "drop" ? DragEvent : ClipboardEvent;
            document.body.dispatchEvent(new Event(event, options));
        }""",
        [event, carried, of],
    )


def wait_for(page, count):
    expect(page.locator("#state")).to_contain_text(f"{count} photo{'s' if count > 1 else ''} judged")


def wait_for_all(page, files):
    """Wait for the files, of which only the notes cannot be read."""
    wait_for(page, len(files) - 1)
    expect(page.locator("#state")).to_contain_text("judged, 1 could not be read")


@pytest.fixture
def judged(page, files):
    """The page when all files are judged."""
    choose(page, files)
    wait_for_all(page, files)
    return page


def read_tiles(page):
    """Name -> decision and probability of the photos that are shown, in order."""
    read = "(tile, part) => tile.querySelector(part).textContent"
    parts = [".name", ".decision b", ".decision span"]
    found = page.locator(".tile:visible").evaluate_all(
        f"(tiles, parts) => tiles.map((tile) => parts.map((part) => ({read})(tile, part)))", parts
    )
    return {name: (decision, probability) for name, decision, probability in found}


def read_counts(page):
    return {name: int(page.locator(f"#count-{name}").inner_text()) for name in ("sharp", "blurred")}


def download(page):
    with page.expect_download() as caught:
        page.click("#download")
    page.downloaded = caught.value.suggested_filename
    text = Path(caught.value.path()).read_text(encoding="utf-8")
    return text, list(csv.DictReader(io.StringIO(text)))


def find_violations(page):
    found = axe.Axe().run(page).response["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


# ---- adding photos


def test_an_empty_page_says_what_it_does_and_where_photos_go(page):
    about = page.locator(".about").inner_text()
    assert len(re.findall(r"[.!?]( |$)", about)) == 2
    assert "this service alone" in about
    assert "not store" in about
    assert page.locator("#results").is_hidden()
    assert page.locator("footer a").evaluate_all("all => all.map(link => link.pathname)") == ["/openapi.json", "/form"]


def test_dropped_photos_get_their_verdicts_and_names_stay_text(page, files):
    fire(page, "dragenter", files)
    expect(page.locator(".target")).to_be_visible()
    fire(page, "drop", files)
    wait_for_all(page, files)
    expect(page.locator(".target")).to_be_hidden()
    tiles = read_tiles(page)
    assert list(tiles) == list(files)
    assert {name: decision for name, (decision, _) in tiles.items()} == {
        "sharp coffee.jpg": "sharp",
        MARKUP: "blurred",
        FORMULA: "blurred",
        "chelsea.jpg": "sharp",
        "notes.jpg": "could not be read",
    }
    assert read_counts(page) == {"sharp": 2, "blurred": 2}
    assert page.locator("#grid img[src=x]").count() == 0
    sentences = page.locator(".tile .sentence").all_inner_texts()
    assert all(sentences)
    assert "not a picture" in sentences[-1]
    expect(page.locator(".photo img:visible")).to_have_count(4)
    expect(page.locator("#spoken")).to_contain_text("2 blurred, 2 sharp, 1 could not be read")


def test_pasted_photos_get_names_of_their_own(page, files):
    content = files["chelsea.jpg"]
    fire(page, "paste", {"image.png": content}, of="paste")
    fire(page, "paste", {"image.png": content}, of="paste")
    wait_for(page, 2)
    assert list(read_tiles(page)) == ["pasted 1.png", "pasted 2.png"]


def test_a_folder_is_searched_for_photos_and_one_added_again_is_named(page, files, tmp_path):
    for name in ("deep/a.jpg", "b.JPG", "notes.txt", ".hidden/c.jpg"):
        (tmp_path / "trip" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "trip" / name).write_bytes(files["chelsea.jpg"])
    page.set_input_files("#folder", tmp_path / "trip")
    wait_for(page, 2)
    assert set(read_tiles(page)) == {"a.jpg", "b.JPG"}
    assert "2 files left out" in page.locator("#state").inner_text()
    _, rows = download(page)
    assert {row["path"] for row in rows} == {"trip/deep/a.jpg", "trip/b.JPG"}
    page.set_input_files("#files", tmp_path / "trip" / "b.JPG")
    wait_for(page, 3)
    expect(page.locator("#state")).to_contain_text("1 photo added again, though it was here already")


def test_the_page_takes_what_a_scan_takes(page):
    assert set(page.get_attribute("#files", "accept").split(",")) == {"image/*"} | SUFFIXES | RAW_SUFFIXES


def test_all_photos_can_be_removed(judged):
    judged.click("#remove")
    expect(judged.locator("#results")).to_be_hidden()
    assert judged.locator(".tile").count() == 0


# ---- looking at verdicts


def test_the_threshold_decides_again_without_asking(judged):
    asked = []
    judged.on("request", lambda request: asked.append(request.url))
    chances = {row["path"].removeprefix("./"): row["probability"] for row in download(judged)[1]}
    chances = {name: float(chance) for name, chance in chances.items() if chance}
    for threshold in (0.0, min(chances.values()) + 0.002, 1.0):
        judged.fill("#number", str(threshold))
        wanted = {name: "blurred" if chance >= threshold else "sharp" for name, chance in chances.items()}
        expect(judged.locator("#count-blurred")).to_have_text(str([*wanted.values()].count("blurred")))
        assert {name: each[0] for name, each in read_tiles(judged).items() if each[1]} == wanted
        assert read_counts(judged)["sharp"] == [*wanted.values()].count("sharp")
    assert "blurgate serve --threshold 1" in judged.locator("#hint").inner_text()
    said = judged.locator(".tile", has_text=MARKUP).locator(".sentence").inner_text()
    assert re.match(r"Blurred at 0\.\d+, the service's threshold: [A-Z]", said)
    judged.click("#reset")
    expect(judged.locator("#number")).not_to_have_value("1")
    judged.focus("#slider")
    before = float(judged.input_value("#slider"))
    judged.keyboard.press("ArrowRight")
    expect(judged.locator("#number")).to_have_value(f"{before + 0.01:.3g}")
    box = judged.locator("#slider").bounding_box()
    judged.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 50)
    expect(judged.locator("#number")).to_have_value(re.compile(r"0\.(9|89)"))
    before = judged.input_value("#number")
    judged.fill("#number", "1.2")  # no threshold
    expect(judged.locator("#number-problem")).to_have_text(f"A threshold is from 0 to 1; it is still {before}.")
    assert judged.locator("#number").get_attribute("aria-invalid") == "true"
    judged.keyboard.press("Tab")
    expect(judged.locator("#number")).to_have_value(before)
    judged.fill("#number", "0.9")
    expect(judged.locator("#number-problem")).to_be_empty()
    assert judged.locator("#number").get_attribute("aria-invalid") is None
    assert asked == []


def test_filters_show_what_they_say(judged):
    for name, wanted in {"blurred": [MARKUP, FORMULA], "sharp": ["sharp coffee.jpg", "chelsea.jpg"]}.items():
        judged.click(f"#filters button[value={name}]")
        assert list(read_tiles(judged)) == wanted
    judged.click("#filters button[value=unread]")
    assert list(read_tiles(judged)) == ["notes.jpg"]
    judged.click("#filters button[value=undecided]")
    assert list(read_tiles(judged)) == []
    judged.click("#everything")
    assert len(read_tiles(judged)) == 5
    assert judged.locator("#filters i").all_inner_texts() == ["5", "2", "0", "2", "1"]


def test_photos_are_sorted_with_those_without_probability_last(judged):
    chances = {name: float(chance or -1) for name, (_, chance) in read_tiles(judged).items()}
    rated = [name for name in chances if name != "notes.jpg"]
    threshold = float(judged.input_value("#number"))
    wanted = {
        "worst": sorted(rated, key=lambda name: -chances[name]),
        "best": sorted(rated, key=lambda name: chances[name]),
        "nearest": sorted(rated, key=lambda name: abs(chances[name] - threshold)),
    }
    for order, names in wanted.items():
        judged.select_option("#order", order)
        assert list(read_tiles(judged)) == [*names, "notes.jpg"]
    judged.select_option("#order", "name")
    assert set(list(read_tiles(judged))[:2]) == {MARKUP, FORMULA}
    judged.select_option("#order", "added")
    assert list(read_tiles(judged))[-1] == "notes.jpg"


def test_the_table_has_the_columns_of_a_scan_and_no_formulas(judged):
    text, rows = download(judged)
    assert text.splitlines()[0].split(",") == [field.name for field in fields(Verdict)] + ["sentence"]
    by_path = {row["path"]: row for row in rows}
    assert set(by_path) == {"sharp coffee.jpg", MARKUP, "./=1+1.jpg", "chelsea.jpg", "notes.jpg"}
    assert not re.search(r"(?m)(^|,)\"?[=+\-@]", text)
    blurred, sharp, unread = by_path[MARKUP], by_path["chelsea.jpg"], by_path["notes.jpg"]
    assert blurred["decision"] == "blurred"
    assert blurred["kind"]
    assert float(blurred["p_defocus"]) + float(blurred["p_motion"]) + float(blurred["p_gaussian"]) == pytest.approx(1)
    assert (sharp["decision"], sharp["kind"], sharp["width"]) == ("sharp", "", "451")
    assert unread["decision"] == "error"
    assert "not a picture" in unread["error"]
    judged.fill("#number", "1")
    expect(judged.locator("#count-blurred")).to_have_text("0")
    moved = {row["path"]: row for row in download(judged)[1]}[MARKUP]
    assert (moved["decision"], moved["kind"], moved["p_defocus"]) == ("sharp", "", "")
    assert moved["probability"] == blurred["probability"]
    assert judged.downloaded == "verdicts-at-1.csv"
    judged.fill("#number", "0.2")
    judged.select_option("#order", "worst")
    judged.click("#filters button[value=blurred]")
    shown = [row["path"].removeprefix("./") for row in download(judged)[1]]  # in its order
    assert shown == list(read_tiles(judged))
    assert set(shown) == {MARKUP, FORMULA}
    assert judged.downloaded == "verdicts-at-0.2.csv"
    judged.click("#filters button[value=undecided]")
    assert judged.locator("#download").is_disabled()


def test_a_map_is_asked_for_once_and_lies_over_the_part_that_was_judged(page, photographs):
    framed = np.zeros((480, 640, 3), np.uint8)
    framed[60:420, 80:560] = photographs["coffee"][:360, :480]
    framed[60:420, 320:560] = Image.fromarray(framed[60:420, 320:560]).filter(ImageFilter.GaussianBlur(8))
    choose(page, {"framed.jpg": encode(framed, side=640)})
    wait_for(page, 1)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "map=overlay" in request.url else None)
    photo = page.locator(".photo")
    expect(photo.locator("img")).to_be_visible()
    photo.hover()
    expect(photo.locator(".over")).to_have_css("opacity", "1")
    image = photo.locator("image").last
    assert image.get_attribute("href").startswith("data:image/png;base64,")
    place = [float(image.get_attribute(name)) for name in ("x", "y", "width", "height")]
    left, top, right, bottom = map(int, download(page)[1][0]["part"].split(","))
    assert place == [left, top, right - left, bottom - top]
    assert place == pytest.approx([80, 60, 480, 360], abs=24)
    page.mouse.move(5, 5)
    expect(photo.locator(".over")).to_have_css("opacity", "0")
    photo.click()
    expect(page.locator("#picture")).to_be_visible()
    page.keyboard.press("m")
    expect(page.locator("#frame .over")).to_be_visible()
    assert page.locator("#frame .over").bounding_box() == page.locator("#picture").bounding_box()
    assert len(asked) == 1


def test_a_photo_without_a_map_says_so(page, files):
    def draw_nothing(route):
        answer = route.fetch()
        content = answer.json()
        content["verdicts"][0]["map"] = ""
        route.fulfill(response=answer, json=content)

    page.route("**/v1/verdicts?map=overlay", draw_nothing)
    choose(page, {"chelsea.jpg": files["chelsea.jpg"]})
    wait_for(page, 1)
    expect(page.locator(".photo img")).to_be_visible()
    page.hover(".photo")
    expect(page.locator(".says")).to_contain_text("no map")
    expect(page.locator(".says")).to_have_css("opacity", "1")
    assert page.locator(".over").count() == 0


def test_keys_move_among_photos_and_focus_shows_the_map(judged):
    judged.focus("#download")
    judged.keyboard.press("Tab")
    for key, name in {"ArrowRight": MARKUP, "End": "notes.jpg", "Home": "sharp coffee.jpg"}.items():
        judged.keyboard.press(key)
        assert judged.evaluate("document.activeElement.getAttribute('aria-label')") == f"Enlarge {name}"
    expect(judged.locator(".tile").first.locator(".over")).to_have_css("opacity", "1")
    judged.keyboard.press("Tab")
    assert not judged.evaluate("document.querySelector('#grid').contains(document.activeElement)")


# ---- the large view


def test_a_photo_is_enlarged_with_its_facts_and_freed_when_that_is_closed(judged):
    judged.select_option("#order", "worst")
    first, second, *_ = read_tiles(judged)
    judged.evaluate(
        """() => {
            window.held = new Set();
            const { createObjectURL, revokeObjectURL } = URL;
            URL.createObjectURL = (...of) => { const url = createObjectURL.apply(URL, of); held.add(url); return url; };
            URL.revokeObjectURL = (url) => { held.delete(url); revokeObjectURL.call(URL, url); };
        }"""
    )
    judged.locator(".photo").first.focus()
    judged.keyboard.press("Enter")
    expect(judged.locator("#name")).to_have_text(first)
    expect(judged.locator("#picture")).to_have_js_property("naturalWidth", 512)
    assert judged.locator("#position").inner_text() == "1 of 5"
    facts = dict(zip(*(judged.locator(f"#facts {part}").all_inner_texts() for part in ("dt", "dd")), strict=True))
    assert facts["decision"] == "blurred"
    assert f"{float(facts['P(blurred)']):.3f}" == read_tiles(judged)[first][1]
    assert facts["size"] == "512 × 400 px"
    assert facts["kind"]
    assert facts["strength"].endswith(")")
    assert judged.locator("#sentence").inner_text()
    judged.keyboard.press("m")
    expect(judged.locator("#frame .over")).to_be_visible()
    judged.keyboard.press("ArrowRight")
    expect(judged.locator("#name")).to_have_text(second)
    expect(judged.locator("#frame .over")).to_be_visible()
    judged.click("#lay")
    expect(judged.locator("#frame .over")).to_have_count(0)
    assert judged.evaluate("held.size") == 1
    judged.keyboard.press("Escape")
    expect(judged.locator("#large")).to_be_hidden()
    expect(judged.locator(":focus")).to_have_attribute("aria-label", f"Enlarge {second}")
    assert judged.evaluate("held.size") == 0


def test_an_enlarged_photo_can_be_seen_at_its_own_size(page, photographs):
    tall = np.tile(photographs["coffee"], (5, 1, 1))[:1800]
    choose(page, {"tall.jpg": encode(tall, side=1800)})
    wait_for(page, 1)
    page.click(".photo")
    picture = page.locator("#picture")
    expect(picture).to_be_visible()
    assert picture.bounding_box()["height"] == WIDE["height"]
    for press in (lambda: page.keyboard.press("z"), lambda: page.click("#zoom"), picture.click):
        press()
        zoomed = page.locator("#zoom").get_attribute("aria-pressed") == "true"
        assert picture.bounding_box()["height"] == (1800 if zoomed else WIDE["height"])
    expect(page.locator("#zoom")).to_have_attribute("aria-pressed", "true")


def test_a_photo_that_cannot_be_shown_says_so(judged):
    judged.locator(".photo").last.click()
    expect(judged.locator("#no-picture")).to_have_text("This browser cannot show the photo.")
    assert "not a picture" in judged.locator("#sentence").inner_text()
    assert judged.locator("#lay").is_disabled()
    assert judged.locator("#facts").inner_text().split() == ["decision", "could", "not", "be", "read"]
    judged.keyboard.press("ArrowRight")
    judged.keyboard.press("ArrowLeft")
    expect(judged.locator("#name")).to_have_text("chelsea.jpg")
    expect(judged.locator("#no-picture")).to_be_hidden()


def test_a_tap_enlarges_a_photo_and_the_texts_are_of_touch(visit, browser, files):
    page = visit(browser, **NARROW)
    assert page.locator("#how").inner_text() == "Choose photos, a folder, or take one"
    choose(page, files)
    wait_for_all(page, files)
    text = page.locator("main").inner_text()
    assert "Tap a photo" in text
    assert not re.search(r"\b(Drop|Point at|Drag photos)\b", text)
    page.locator(".photo").first.tap()
    expect(page.locator("#large")).to_be_visible()
    page.tap("#close-large")
    ends = page.locator("#filters button:visible").evaluate_all(
        "all => all.map(it => it.getBoundingClientRect().right)"
    )
    assert max(ends) <= NARROW["viewport"]["width"]


# ---- the camera


def test_a_sharp_shot_can_be_kept(page, files):
    page.click("#take")
    page.click("#shoot")
    expect(page.locator("#said")).to_have_text("Sharp")
    assert page.locator("#why").inner_text()
    assert page.locator(".tile").count() == 0
    page.click("#keep")
    expect(page.locator("#said")).to_have_text("Kept")
    page.click("#close")
    assert [decision for decision, _ in read_tiles(page).values()] == ["sharp"]
    assert page.evaluate("document.querySelector('#video').srcObject") is None


def test_a_blurred_shot_is_to_be_tried_again(start, visit, files):
    page = visit(start(files[MARKUP]))
    page.click("#take")
    page.click("#shoot")
    expect(page.locator("#said")).to_have_text("Hold still: this one is blurred. Try again")
    assert page.locator("#why").inner_text()
    assert find_violations(page) == []
    page.click("#retry")
    expect(page.locator("#shoot")).to_be_enabled()
    page.keyboard.press("Escape")
    assert page.locator(".tile").count() == 0


def test_without_a_secure_context_the_camera_of_the_system_is_used(visit, browser, files, service):
    page = visit(browser)
    page.add_init_script("delete MediaDevices.prototype.getUserMedia")
    page.goto(service.url)
    for name, said in {MARKUP: "Hold still: this one is blurred. Try again", "chelsea.jpg": "Sharp"}.items():
        with page.expect_file_chooser() as caught:
            page.click("#retry" if page.locator("#camera").is_visible() else "#take")
        caught.value.set_files({"name": name, "mimeType": "image/jpeg", "buffer": files[name]})
        expect(page.locator("#said")).to_have_text(said)
    page.click("#keep")
    assert list(read_tiles(page)) == ["chelsea.jpg"]


# ---- a service with a token and a review


@pytest.fixture(scope="module")
def reviewing():
    """A server with a token and two bounds in place of a threshold."""
    with running("--workers", "1", "--review", "0.001,0.999", env={"BLURGATE_TOKEN": TOKEN}) as server:
        yield server


def test_with_a_token_the_page_is_there_after_basic_authentication(browser, visit, files, reviewing):
    assert reviewing.ask("/")[0] == 401
    page = visit(browser, reviewing.url, http_credentials={"username": "any", "password": TOKEN})
    choose(page, {name: files[name] for name in ("chelsea.jpg", MARKUP)})
    wait_for(page, 2)
    page.locator(".photo").nth(1).click()
    page.keyboard.press("m")
    expect(page.locator("#frame .over")).to_be_visible()


def test_a_review_has_two_bounds_until_the_threshold_is_moved(browser, visit, files, reviewing):
    page = visit(browser, reviewing.url, http_credentials={"username": "any", "password": TOKEN})
    choose(page, {name: files[name] for name in ("chelsea.jpg", MARKUP)})
    wait_for(page, 2)
    hint = page.locator("#hint")
    before = read_tiles(page)
    assert before["chelsea.jpg"][0] == "undecided"
    expect(hint).to_contain_text("It left 1 photo undecided.")
    expect(hint).to_contain_text("sharp below 0.001 and blurred from 0.999 on")
    expect(hint).to_contain_text("by one threshold in place of the two")
    assert page.locator("#served").get_attribute("d") == "M1 0v100M999 0v100"
    assert page.locator("#number").input_value() == ""
    assert page.locator("#number").get_attribute("placeholder") == "0.001–0.999"
    assert download(page)[1]
    assert page.downloaded == "verdicts.csv"
    page.fill("#number", "0")
    expect(page.locator("#count-blurred")).to_have_text("2")
    expect(hint).to_contain_text("by one threshold in place of 0.001 and 0.999")
    assert page.locator("#served").get_attribute("d") == "M1 0v100M999 0v100"
    said = page.locator(".tile .sentence").all_inner_texts()
    assert [text.startswith("Undecided by 0.001 and 0.999, the service's bounds: ") for text in said] == [True, False]
    assert [(row["decision"], row["reason"]) for row in download(page)[1]] == [("blurred", "")] * 2
    assert page.downloaded == "verdicts-at-0.csv"
    page.click("#reset")
    expect(hint).to_contain_text("Reset brings the two back")
    assert read_tiles(page) == before
    page.focus("#slider")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#number")).to_have_value("0.49")


# ---- a service in trouble


def answer_once(page, status, **options):
    """Answer the first request with a problem."""
    answered = []

    def answer(route):
        if answered:
            route.continue_()
            return
        answered.append(status)
        route.fulfill(status=status, content_type="application/problem+json", **options)

    page.route("**/v1/verdicts*", answer)


def test_a_busy_service_is_asked_again(page, files):
    answer_once(page, 503, headers={"Retry-After": "0.1"}, body=json.dumps({"detail": "try again"}))
    choose(page, {"chelsea.jpg": files["chelsea.jpg"]})
    wait_for(page, 1)
    assert read_tiles(page)["chelsea.jpg"][0] == "sharp"


def test_a_missing_token_says_what_to_do_and_photos_can_be_asked_for_again(page, files):
    answer_once(page, 401, body="{}")
    choose(page, {"chelsea.jpg": files["chelsea.jpg"]})
    expect(page.locator("#state")).to_contain_text("enter the token as password")
    page.click("#again")
    expect(page.locator("#count-sharp")).to_have_text("1")
    expect(page.locator("#again")).to_be_hidden()


def test_what_the_service_says_of_a_photo_is_its_error(page, files):
    answer_once(page, 413, body=json.dumps({"detail": "<b>too</b> large"}))
    choose(page, {"chelsea.jpg": files["chelsea.jpg"]})
    expect(page.locator(".tile .sentence")).to_have_text("<b>too</b> large.")


# ---- for everybody


@pytest.mark.parametrize("options", [{"viewport": WIDE}, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_page(visit, browser, files, options):
    page = visit(browser, **options, reduced_motion="reduce")

    def check():
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert find_violations(page) == []

    check()
    choose(page, files)
    wait_for_all(page, files)
    page.fill("#number", "2")
    check()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(".photo").first.click()
    page.click("#lay")
    expect(page.locator("#frame .over")).to_have_count(1)
    check()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_five_hundred_photos_end_with_the_right_counts(page, files, photographs):
    sharp, blurred = (encode(photographs["coffee"], radius, side=128) for radius in (0, 4))
    choose(page, {f"{n}.jpg": sharp if n % 5 else blurred for n in range(500)})
    page.select_option("#order", "worst")
    expect(page.locator("#state")).to_have_text("500 photos judged", timeout=60_000)
    assert read_counts(page) == {"sharp": 400, "blurred": 100}
    assert [decision for decision, _ in read_tiles(page).values()] == ["blurred"] * 100 + ["sharp"] * 400
    assert len(download(page)[1]) == 500
