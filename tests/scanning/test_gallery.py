import base64
import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFilter

from blurgate.judging.explaining import TINT
from blurgate.judging.verdicts import Verdict
from blurgate.learning.labels import read_csv
from blurgate.scanning import gallery
from blurgate.scanning.gallery import write_gallery

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
QUIETLY = ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking")
QUIETLY += ("disable-component-update", "disable-sync", "disable-dev-shm-usage", "window-size=1400,900")
THRESHOLD = 0.4765524657889302
PROBABILITIES = (0.03, 0.97, 0.52, 0.48, 0.12, 0.88, 0.61)
HOSTILE = (
    "</script><script>document.title = 'broken'</script>.jpg",
    "<!--<script>.jpg",
    "<img src=x onerror=\"document.title = 'broken'\">.jpg",
    'a "quoted", name & more.jpg',
    "{{ thumbnails }} {{ photos }} {{ script_hash }}.jpg",
    "line\nbreak\r\x1b[31m\x00.jpg",
    "\u202egpj.sey\u2028.jpg",
    "latin\xe9 \udce9\udcff.jpg",
    "😀 $& $1 \\u003c `${1}`.jpg",
)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Seven photos with a probability, one of them left for review; one too small; one that cannot be read."""
    folder = tmp_path_factory.mktemp("scan") / "photos"
    (folder / "deep").mkdir(parents=True)
    found = []
    for number, probability in enumerate(PROBABILITIES):
        path = folder / ("deep" if number % 2 else "") / f"photo{number}.png"
        Image.new("RGB", (400, 300), (30 * number, 200, 100)).save(path)
        blurred = probability >= THRESHOLD
        decision, kind = ("blurred", "motion") if blurred else ("sharp", "")
        found.append(Verdict(str(path), decision, probability, kind, 8 * probability, width=400, height=300))
    found[3] = replace(found[3], decision="undecided", reason="near the threshold", kind="")
    Image.new("RGB", (20, 20), (250, 250, 0)).save(folder / "icon.png")
    found.append(Verdict(str(folder / "icon.png"), "undecided", reason="too small", width=20, height=20))
    found.append(Verdict(str(folder / "torn.jpg"), error="torn.jpg cannot be read: it is cut short"))
    return found


@pytest.fixture(scope="module")
def page(verdicts):
    path = Path(verdicts[0].path).parents[1] / "page.html"
    write_gallery(verdicts, path, threshold=THRESHOLD)
    return path


def read_data(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="photos">(.*?)</script>', text, re.S)[1])


def count_blurred(verdicts, threshold):
    return sum(verdict.probability >= threshold for verdict in verdicts if verdict.probability is not None)


# ---- the file


def test_the_page_is_self_contained(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"\s(?:src|href|action|srcset)\s*=\s*[\"']", text)
    assert not re.search(r"https?:|@import|url\((?!#)|<link|<iframe|<script src|fetch\(|XMLHttp|innerHTML", text)
    assert "default-src 'none'" in text


def test_the_page_holds_every_verdict_worst_first(page, verdicts):
    photos = read_data(page)["photos"]
    worst_first = [1, 5, 6, 2, 3, 4, 0, 7, 8]
    assert [photo["path"] for photo in photos] == [verdicts[number].path for number in worst_first]
    assert [Verdict(**{name: photo[name] for name in Verdict.__dataclass_fields__}) for photo in photos] == [
        verdicts[number] for number in worst_first
    ]
    assert all(Path(photo["file"]).is_absolute() for photo in photos)
    assert photos[0]["tail"] == "deep/photo1.png"
    assert read_data(page)["places"] == ["./photos/", f"{page.with_name('photos').as_uri()}/"]
    assert read_data(page)["guesses"][-2:] == ["./photos/", "./"]


def test_every_readable_photo_has_a_small_thumbnail(page):
    thumbnails = re.findall(r'<script type="text/plain" id="thumbnail-(\d+)"[^>]*>(.*?)</script>', page.read_text())
    assert [int(number) for number, _ in thumbnails] == list(range(9))
    assert [bool(content) for _, content in thumbnails] == [True] * 8 + [False]
    assert all(len(content) < 8000 for _, content in thumbnails)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_data_not_markup(name, tmp_path):
    honest, hostile = tmp_path / "honest.html", tmp_path / "hostile.html"
    write_gallery([Verdict("a.jpg", "blurred", 0.9, error="a")], honest, threshold=0.5)
    write_gallery([Verdict(name, "blurred", 0.9, error=name, reason=name)], hostile, threshold=0.5)
    for mark in ("<", "{{", "\n", "<!--", "\r"):
        assert hostile.read_bytes().count(mark.encode()) == honest.read_bytes().count(mark.encode()) + (
            name.count(mark) * 4 if mark == "{{" else 0
        )
    assert read_data(hostile)["photos"][0]["path"] == name


def test_the_page_is_reproducible_and_its_key_depends_on_the_verdicts(page, verdicts, tmp_path):
    again = page.with_name("again.html")
    write_gallery(iter(verdicts), again, threshold=THRESHOLD, jobs=1)
    assert again.read_bytes() == page.read_bytes()
    write_gallery(verdicts[1:], again, threshold=THRESHOLD)
    assert read_data(again)["key"] != read_data(page)["key"]


def test_a_failure_keeps_the_old_page(page, verdicts, monkeypatch):
    def fail(path, *, side):
        raise MemoryError

    before = page.read_bytes()
    monkeypatch.setattr(gallery, "thumbnail", fail)
    with pytest.raises(MemoryError):
        write_gallery(verdicts, page, threshold=0.1)
    assert page.read_bytes() == before
    assert not list(page.parent.glob(".*"))


def test_progress_is_shown(verdicts, tmp_path):
    seen = []

    def track(items, /, *, total, doing):
        seen.append((total, doing))
        yield from items

    write_gallery(verdicts, tmp_path / "page.html", threshold=0.5, track=track)
    assert seen == [(9, "making thumbnails")]


def test_paths_and_a_valid_threshold_are_required(tmp_path):
    with pytest.raises(ValueError, match="a gallery needs photos on disk, but a verdict has no path: scan files"):
        write_gallery([Verdict(decision="sharp", probability=0.1)], tmp_path / "page.html", threshold=0.5)
    with pytest.raises(ValueError, match="threshold must be between 0 and 1, got 1.5"):
        write_gallery([], tmp_path / "page.html", threshold=1.5)
    assert not list(tmp_path.iterdir())


# ---- maps


@pytest.fixture(scope="module")
def half_sharp(tmp_path_factory):
    """A photo of grain, 800 x 480, blurred but for the 300 columns on the left."""
    folder = tmp_path_factory.mktemp("half sharp")
    grain = Image.fromarray(np.random.default_rng(1).integers(0, 256, (480, 800, 3), np.uint8))
    picture = grain.filter(ImageFilter.GaussianBlur(3))
    picture.paste(grain.crop((0, 0, 300, 480)))
    picture.save(folder / "half.png")
    return folder / "half.png"


@pytest.fixture(scope="module")
def explained(half_sharp, explaining_model):
    """Four verdicts on that photo: two sharp, two blurred; and a page of them with maps of all but the last."""
    part = {"width": 800, "height": 480, "judged_at_px": 800, "sharp_to_px": 800, "strength_px": 2.0}
    found = [Verdict(str(half_sharp), "sharp", 0.1, **part | {"own_strength_px": 2.0})]
    for number, blur in enumerate(({"kind": "motion", "length_px": 9.0, "angle_deg": 30.4}, {"kind": "defocus"}, {})):
        path = half_sharp.with_name(f"{number}.png")
        shutil.copy(half_sharp, path)
        decision = "blurred" if blur else "sharp"
        chances = {"p_defocus": 0.07, "p_motion": 0.9, "p_gaussian": 0.03} if blur else {}
        bounds = {"strength_low_px": 1.5, "strength_high_px": 2.5, "own_strength_px": 4.0}
        found.append(Verdict(str(path), decision, 0.9 - 0.3 * number, **part | blur | chances | bounds))
    found[3] = replace(found[3], probability=0.05)
    page = half_sharp.with_name("page.html")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "MAPPED", 3)
        write_gallery(found, page, threshold=0.5, model=explaining_model)
    return page


def read_explanations(page):
    found = re.findall(
        r'<script type="application/json" id="explanation-(\d+)">(.*?)</script>', page.read_text("utf-8")
    )
    return {int(number): json.loads(text) for number, text in found}


def test_a_model_that_explains_gives_the_first_photos_a_map_a_box_and_a_sentence(explained):
    found = read_explanations(explained)
    assert list(found) == [0, 1, 2]
    assert read_data(explained)["mapped"] == 3
    content = base64.b64decode(found[2]["map"])
    assert len(content) < 1000
    drawn = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))
    assert drawn.shape == (38, 64, 4)
    assert (drawn[:, :20, 3] == 0).mean() > 0.9  # in focus
    assert (drawn[:, 28:, :3] == TINT).all(axis=2).mean() > 0.9
    left, top, right, bottom = found[2]["box"]
    assert (left, top, bottom) == (0, 0, 1)
    assert right == pytest.approx(300 / 800, abs=0.05)
    assert found[2]["sentence"].startswith("Sharp where it matters")
    assert found[2]["place"] == [0, 0, 1, 1]
    assert (found[0]["blur"], found[2]["blur"]["kind"]) == ({}, "defocus")


def test_a_photo_that_changed_or_is_gone_since_the_scan_has_no_map(half_sharp, explaining_model, tmp_path):
    found = [
        Verdict(str(half_sharp), "sharp", 0.1, width=480, height=800),
        Verdict(str(tmp_path / "gone.png"), "sharp", 0.1, width=800, height=480),
        Verdict(str(half_sharp), error="it could not be read"),
        Verdict(str(half_sharp), "undecided", reason="too little texture", width=800, height=480),
    ]
    write_gallery(found, tmp_path / "page.html", threshold=0.5, model=explaining_model)
    (explanation,) = read_explanations(tmp_path / "page.html").values()
    assert (explanation["map"], explanation["box"], explanation["sentence"]) == ("", None, "Too little texture.")


def test_a_map_lies_over_the_part_that_was_looked_at(explaining_model, half_sharp, tmp_path):
    framed = Image.new("RGB", (1000, 600))
    framed.paste(Image.open(half_sharp), (120, 60))
    framed.save(tmp_path / "framed.png")
    verdict = Verdict(str(tmp_path / "framed.png"), "sharp", 0.1, width=1000, height=600)
    write_gallery([verdict], tmp_path / "page.html", threshold=0.5, model=explaining_model)
    (found,) = read_explanations(tmp_path / "page.html").values()
    assert found["place"] == pytest.approx([0.12, 0.1, 0.92, 0.9], abs=0.005)
    assert found["box"] == pytest.approx([0.12, 0.1, 0.42, 0.9], abs=0.05)


def test_without_an_explainer_there_is_no_map(half_sharp, net_model, tmp_path):
    verdict = Verdict(str(half_sharp), "sharp", 0.1, width=800, height=480)
    for name, model in (("with", net_model), ("without", None)):
        write_gallery([verdict], tmp_path / f"{name}.html", threshold=0.5, model=model)
    assert not read_explanations(tmp_path / "with.html")
    assert (tmp_path / "with.html").read_bytes() == (tmp_path / "without.html").read_bytes()


# ---- the page in a browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    try:
        from selenium import webdriver
    except ImportError:
        pytest.skip("needs Chromium and ChromeDriver, and selenium")
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip("needs Chromium and ChromeDriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in QUIETLY:
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium, tmp_path):
    """The browser without data of earlier tests; fails if the console reports an error."""
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    chromium.get(gallery._TEMPLATE.as_uri())  # all file: pages share one storage
    chromium.execute_script("localStorage.clear()")
    chromium.get_log("browser")
    yield chromium
    assert [entry["message"] for entry in chromium.get_log("browser")] == []


def visit(browser, page):
    browser.get(page.as_uri())
    settle(browser)


def settle(browser):
    """Wait until pending changes are drawn."""
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()))")


def find(browser, selector):
    return browser.find_element("css selector", selector)


def click(browser, selector):
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", find(browser, selector))
    find(browser, selector).click()
    settle(browser)


def press(browser, *keys):
    browser.switch_to.active_element.send_keys(*keys)
    settle(browser)


def fill(browser, selector, text):
    from selenium.webdriver import Keys

    find(browser, selector).send_keys(Keys.CONTROL + "a", Keys.NULL, text or Keys.DELETE)
    settle(browser)


def texts(browser, selector):
    found = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)"
    return browser.execute_script(found, selector)


def shown(browser):
    return [name.removesuffix(".png").removeprefix("photo") for name in texts(browser, ".tile .name")]


def counts(browser):
    return {name: int(number.replace(",", "")) for name, number in (
        text.rsplit(" ", 1) for text in texts(browser, "#filters button")
    )}  # fmt: skip


def wait(browser, condition):
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, 10, poll_frequency=0.05).until(lambda _: condition())


def width_of_large(browser):
    script = "const it = document.getElementById('picture'); return it.complete && !it.hidden ? it.naturalWidth : 0"
    return wait(browser, lambda: browser.execute_script(script))


def read_download(browser, folder):
    path = folder / "labels.csv"
    path.unlink(missing_ok=True)
    click(browser, "#download")
    wait(browser, path.exists)
    content = path.read_bytes()
    path.unlink()
    assert content.startswith(b"file,label,labelled_by,chosen_by\r\n")
    text = content.decode(errors="surrogateescape")
    return {file: tuple(cells) for file, *cells in list(csv.reader(io.StringIO(text, newline="")))[1:]}


def picked(label):
    return (label, "person", "person")


def proposed(label):
    return (label, "person", "model")


def test_it_opens_worst_first_with_all_details(browser, page):
    visit(browser, page)
    assert browser.title == "9 photos scanned"
    assert shown(browser) == ["1", "5", "6", "2", "3", "4", "0", "icon", "torn.jpg"]
    lines = texts(browser, ".decision")
    assert lines[:2] == ["blurred0.970", "blurred0.880"]
    assert lines[4:] == ["undecided0.480", "sharp0.120", "sharp0.030", "undecided", "could not be read"]
    remarks = texts(browser, ".remark")
    assert remarks[0] == "motion, 7.8 px"
    assert remarks[4] == "near the threshold"
    assert remarks[7] == "too small"
    assert texts(browser, ".tile .missing")[-1] == "torn.jpg cannot be read: it is cut short"
    assert counts(browser) == {
        "All": 9, "Blurred": 4, "Doubtful": 1, "Undecided": 2, "Sharp": 2, "Could not be read": 1, "Labelled": 0,
    }  # fmt: skip
    assert find(browser, "#hint").text.startswith("The threshold of the scan is 0.477.")
    assert "The scan left 1 photo undecided" in find(browser, "#hint").text
    assert (find(browser, "#sharp-is").text, find(browser, "#count-undecided").text) == ("sharp", "2 undecided")


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("best", ["0", "4", "3", "2", "6", "5", "1", "icon", "torn.jpg"]),
        ("nearest", ["3", "2", "6", "4", "5", "0", "1", "icon", "torn.jpg"]),
        ("path", ["1", "3", "5", "icon", "0", "2", "4", "6", "torn.jpg"]),
    ],
)
def test_it_is_ordered(browser, page, order, expected):
    visit(browser, page)
    click(browser, f"#order option[value={order}]")
    assert shown(browser) == expected


def test_it_is_filtered_and_searched(browser, page):
    visit(browser, page)
    click(browser, "#filters [value=blurred]")
    assert shown(browser) == ["1", "5", "6", "2"]
    assert find(browser, "#shown").text == "4 of 9 photos"
    fill(browser, "#search", "DEEP/photo")
    assert shown(browser) == ["1", "5"]
    assert counts(browser)["All"] == 3
    fill(browser, "#search", "")
    click(browser, "#filters [value=doubtful]")
    assert shown(browser) == ["3"]
    fill(browser, "#number", "0.2")
    assert shown(browser) == ["3"]  # whatever the threshold on the page decides
    fill(browser, "#search", "DEEP/photo")
    click(browser, "#filters [value=unread]")
    assert shown(browser) == []
    assert find(browser, "#nothing").is_displayed()
    click(browser, "#everything")
    assert len(shown(browser)) == 9


def test_moving_the_threshold_updates_every_decision(browser, page, verdicts):
    from selenium.webdriver import ActionChains, Keys

    visit(browser, page)
    slider = find(browser, "#slider")
    width = find(browser, "#bars").size["width"]
    start = round((THRESHOLD - 0.5) * slider.size["width"])
    for offset in (0.25, 0.43, -0.45):
        grip = ActionChains(browser).move_to_element_with_offset(slider, start, 0).click_and_hold()
        grip.move_to_element_with_offset(slider, round(offset * width), 0).release().perform()
        settle(browser)
        threshold = float(find(browser, "#number").get_property("value"))
        assert threshold == pytest.approx(0.5 + offset, abs=0.01)
        blurred = count_blurred(verdicts, threshold)
        assert (find(browser, "#count-blurred").text, find(browser, "#count-sharp").text) == (
            str(blurred),
            str(7 - blurred),
        )
        assert (counts(browser)["Blurred"], counts(browser)["Undecided"]) == (blurred, 1)
        assert f"--threshold {threshold:g}" in find(browser, "#hint").text
        start = round((threshold - 0.5) * width)
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    settle(browser)
    assert float(find(browser, "#number").get_property("value")) == pytest.approx(threshold + 0.02)
    fill(browser, "#number", "0.88")
    assert find(browser, "#count-blurred").text == "2"
    assert (find(browser, "#sharp-is").text, find(browser, "#count-undecided").text) == ("sharp (below)", "1 undecided")
    click(browser, "#reset")
    assert counts(browser)["Undecided"] == 2
    assert find(browser, "#number").get_property("value") == "0.477"


def test_overrides_are_downloaded_and_survive_a_reload(browser, page, verdicts, tmp_path):
    from selenium.webdriver import Keys

    visit(browser, page)
    file = [verdict.path for verdict in verdicts]
    assert not find(browser, "#download").is_enabled()

    click(browser, ".tile:nth-child(1) [value=sharp]")
    find(browser, ".tile:nth-child(4) .photo").send_keys(
        "b", Keys.ARROW_RIGHT
    )  # the next photo is undecided, for review
    press(browser, "s")
    press(browser, Keys.ARROW_RIGHT, "s", "s")  # set and unset
    assert texts(browser, '.tile [aria-pressed="true"]') == ["sharp", "blurred", "sharp"]
    assert counts(browser)["Labelled"] == 3
    assert find(browser, "#overridden").text.startswith("3 labelled (the model agrees with 1 and left 1 undecided).")

    assert read_download(browser, tmp_path) == {
        file[1]: picked("sharp"), file[2]: picked("blurred"), file[3]: picked("sharp")
    }  # fmt: skip

    visit(browser, page)
    click(browser, "#filters [value=overridden]")
    assert shown(browser) == ["1", "2", "3"]
    find(browser, ".tile .photo").send_keys("s")
    settle(browser)
    assert shown(browser) == ["2", "3"]
    assert browser.switch_to.active_element.get_attribute("aria-label").startswith(file[2])
    find(browser, "#clear").click()
    browser.switch_to.alert.accept()
    settle(browser)
    assert counts(browser)["Labelled"] == 0
    visit(browser, page)
    assert counts(browser)["Labelled"] == 0


def test_verdicts_are_included_only_if_asked_for_as_the_scan_decided_and_marked_as_the_models(
    browser, page, verdicts, tmp_path
):
    visit(browser, page)
    fill(browser, "#number", "0.9")
    click(browser, ".tile:nth-child(1) [value=sharp]")
    file = [verdict.path for verdict in verdicts]
    assert read_download(browser, tmp_path) == {file[1]: picked("sharp")}
    assert find(browser, ".labels label").text == "Include the model’s verdicts for 5 unreviewed photos"
    click(browser, "#others")
    decided = {file[number]: (verdicts[number].decision, "model", "") for number in (0, 2, 4, 5, 6)}
    assert read_download(browser, tmp_path) == decided | {file[1]: picked("sharp")}
    assert {decision for decision, *_ in decided.values()} == {"sharp", "blurred"}


def test_it_proposes_what_teaches_most_and_takes_labels_by_keys(browser, page, verdicts, tmp_path):
    from selenium.webdriver import Keys

    visit(browser, page)
    assert find(browser, "#propose").text == "Label 20"
    find(browser, "#propose").send_keys(Keys.ENTER)
    settle(browser)
    name, position = find(browser, "#name"), find(browser, "#position")
    assert (name.text, position.text) == ("photo3.png", "1 of 7")  # in doubt, and left for review
    assert "decision" not in find(browser, "#facts").text
    press(browser, "b")
    assert (name.text != "photo3.png", position.text) == (True, "2 of 7")
    second = name.text
    press(browser, "k")
    assert (name.text != second, position.text) == (True, "2 of 6")
    press(browser, "u", "u")
    assert (name.text, position.text, find(browser, "#undo").is_enabled()) == ("photo3.png", "1 of 7", False)
    press(browser, "s", "b", Keys.ESCAPE)
    wait(browser, lambda: not find(browser, "#large").is_displayed())
    assert find(browser, "#propose").text == "Continue labelling: 2 of 20 done"
    assert browser.switch_to.active_element.get_attribute("id") == "propose"
    click(browser, '.tile [aria-label*="photo1.png"] ~ .marks [value=sharp]')

    visit(browser, page)
    file = {Path(verdict.path).name: verdict.path for verdict in verdicts}
    expected = {
        file["photo3.png"]: proposed("sharp"),
        file[second]: proposed("blurred"),
        file["photo1.png"]: picked("sharp"),
    }
    assert read_download(browser, tmp_path) == expected
    click(browser, "#propose")
    assert find(browser, "#position").text == "3 of 6"


def test_a_page_that_is_labelled_whole_is_no_selection(browser, page, verdicts, tmp_path):
    visit(browser, page)
    click(browser, "#propose")
    press(browser, *"sbsbsbs")
    wait(browser, lambda: not find(browser, "#large").is_displayed())
    assert {cells[1:] for cells in read_download(browser, tmp_path).values()} == {("person", "")}
    assert not find(browser, "#propose").is_enabled()


def test_the_large_view_loads_the_photo_itself(browser, page):
    from selenium.webdriver import Keys

    visit(browser, page)
    click(browser, ".tile .photo")
    assert width_of_large(browser) == 400
    facts = find(browser, "#facts").text.split("\n")
    assert facts[:8] == ["decision", "blurred", "P(blurred)", "0.9700", "kind", "motion", "strength", "7.8 px"]
    assert "400 × 300 px" in facts
    press(browser, Keys.ARROW_RIGHT)
    assert find(browser, "#name").text == "photo5.png"
    press(browser, "s")
    click(browser, "#picture")
    assert find(browser, "#picture").size["width"] == 800  # a small photo is zoomed to twice its size
    press(browser, Keys.ESCAPE)
    wait(browser, lambda: not find(browser, "#large").is_displayed())
    assert browser.switch_to.active_element.get_attribute("aria-label").endswith("labelled: sharp")


def test_the_page_finds_photos_after_it_was_moved_with_or_without_them(browser, page, verdicts, tmp_path):
    scanned = tmp_path / "scanned"
    shutil.copytree(page.parent, scanned)
    moved = [replace(verdict, path=verdict.path.replace(str(page.parent), str(scanned))) for verdict in verdicts]
    write_gallery(moved, scanned / "page.html", threshold=THRESHOLD)
    alone = tmp_path / "alone" / "page.html"
    alone.parent.mkdir()
    shutil.copy(scanned / "page.html", alone)
    visit(browser, alone)
    click(browser, ".tile .photo")
    assert width_of_large(browser) == 400

    together = scanned.rename(tmp_path / "together") / "page.html"
    visit(browser, together)
    click(browser, ".tile .photo")
    assert width_of_large(browser) == 400

    visit(browser, alone)  # now neither link works
    click(browser, ".tile .photo")
    assert width_of_large(browser) == gallery.THUMBNAIL_SIDE
    assert "this is its thumbnail" in find(browser, "#source").text
    misses = [entry["message"] for entry in browser.get_log("browser")]
    assert all("ERR_FILE_NOT_FOUND" in message for message in misses)


def look_at_first(browser, page):
    """Open the large view; return the width of its picture and the links that led nowhere."""
    visit(browser, page)
    click(browser, ".tile .photo")
    return width_of_large(browser), [entry["message"].split(" ")[0] for entry in browser.get_log("browser")]


@pytest.fixture
def scan_folder(tmp_path):
    """A folder with one photo below photos/, and a function that writes a page about it."""
    folder = tmp_path / "scan"
    (folder / "photos" / "deep").mkdir(parents=True)
    photo = folder / "photos" / "deep" / "100% é.png"
    Image.new("RGB", (400, 300), "teal").save(photo)

    def write(page, *, photos=folder / "photos"):
        path = str(photos / "deep" / photo.name)
        write_gallery([Verdict(path, "blurred", 0.9, width=400, height=300)], page, threshold=0.5)
        return page

    return folder, write


def test_a_page_named_by_a_link_finds_its_photos_from_both_places(browser, scan_folder, tmp_path):
    _, write = scan_folder
    (tmp_path / "elsewhere" / "pages").mkdir(parents=True)
    (tmp_path / "link.html").symlink_to(tmp_path / "elsewhere" / "pages" / "page.html")
    write(tmp_path / "link.html")
    assert look_at_first(browser, tmp_path / "link.html") == (400, [])
    moved = tmp_path / "moved"
    moved.mkdir()
    for part in ("scan", "elsewhere"):
        (tmp_path / part).rename(moved / part)
    assert look_at_first(browser, moved / "elsewhere" / "pages" / "page.html")[0] == 400


def test_photos_and_page_in_a_folder_named_by_a_link_are_found_after_it_moves(browser, scan_folder, tmp_path):
    folder, write = scan_folder
    (tmp_path / "link").symlink_to(folder)
    for page, photos in (("link", "scan"), ("scan", "link"), ("link", "link")):
        write(tmp_path / page / "page.html", photos=tmp_path / photos / "photos")
        moved = folder.rename(tmp_path / "moved")
        assert look_at_first(browser, moved / "page.html")[0] == 400
        moved.rename(folder)


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_photos_moved_next_to_the_page_are_found(browser, scan_folder, tmp_path, place):
    folder, write = scan_folder
    page = write(tmp_path / "reports" / "page.html")
    moved = tmp_path / "stick"
    moved.mkdir()
    photos = (folder / "photos").rename(moved / "photos")
    page = page.rename((moved if place == "beside" else photos) / "page.html")
    assert look_at_first(browser, page)[0] == 400
    assert "Open the file" in find(browser, "#source").text


def test_another_photo_of_the_same_name_is_not_taken_for_it(browser, scan_folder, tmp_path):
    folder, write = scan_folder
    page = write(tmp_path / "reports" / "page.html")
    photo = next((folder / "photos" / "deep").iterdir())
    (page.parent / "deep").mkdir()
    Image.new("RGB", (300, 300), "red").save(page.parent / "deep" / photo.name)
    photo.unlink()
    assert look_at_first(browser, page)[0] == gallery.THUMBNAIL_SIDE
    assert "this is its thumbnail" in find(browser, "#source").text


def test_two_photos_are_compared_at_one_zoom_and_position(browser, verdicts, tmp_path):
    from selenium.webdriver import ActionChains, Keys

    big = tmp_path / "big.png"  # the same at another size
    Image.new("RGB", (4000, 3000), "teal").save(big)
    write_gallery([*verdicts, Verdict(str(big), "sharp", 0.001)], tmp_path / "page.html", threshold=THRESHOLD)
    visit(browser, tmp_path / "page.html")

    def transforms():
        settle(browser)
        return browser.execute_script(
            "return panes.map(({ picture }) => [...picture.style.transform.matchAll(/-?[0-9.]+/g)].map(Number))"
        )

    def opened():
        loaded = "return panes.every(({ picture }) => !picture.hidden && picture.complete && picture.naturalWidth)"
        wait(browser, lambda: browser.execute_script(loaded))
        return texts(browser, ".pane figcaption b")

    find(browser, ".tile:nth-child(1) .photo").send_keys("c")
    settle(browser)
    assert find(browser, "#picked").text.startswith("Comparing photo1.png")
    find(browser, ".tile:nth-child(8) .photo").send_keys("c")
    assert opened() == ["photo1.png", "big.png"]
    press(browser, "z")  # actual size of the larger one
    (left, top, scale), (other_left, other_top, other_scale) = transforms()
    assert (other_left, other_top, scale) == pytest.approx((left, top, 10 * other_scale), rel=1e-3)
    assert other_scale * browser.execute_script("return devicePixelRatio") == pytest.approx(1, rel=1e-3)
    assert find(browser, "#zoom-level").text == "1000 %"
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert transforms()[0][:2] == pytest.approx([left - 80, top - 80])
    ActionChains(browser).drag_and_drop_by_offset(find(browser, ".pane:last-of-type .frame"), 50, 30).perform()
    assert transforms()[1][:2] == pytest.approx([left - 30, top - 50], abs=2)
    press(browser, *["-"] * 9)
    fitted = transforms()
    press(browser, Keys.ARROW_LEFT)
    assert opened() == ["photo1.png", "photo0.png"]
    press(browser, "+", "0")
    assert transforms()[0] == fitted[0]
    press(browser, Keys.ESCAPE)
    wait(browser, lambda: not find(browser, "#compare").is_displayed())
    assert not find(browser, "#picked").is_displayed()
    assert "photo0.png" in browser.switch_to.active_element.get_attribute("aria-label")

    ActionChains(browser).move_to_element(find(browser, ".tile:nth-child(2)")).perform()
    click(browser, ".tile:nth-child(2) .pick")
    click(browser, "#unpick")
    assert not find(browser, "#picked").is_displayed()
    click(browser, ".tile:nth-child(2) .photo")
    press(browser, "c", Keys.ARROW_RIGHT)
    click(browser, "#large-pick")
    assert opened() == ["photo5.png", "photo6.png"]
    click(browser, ".compare-bar .close")
    assert find(browser, "#large").is_displayed()


def over(browser, selector):
    """Where an overlay and the picture under it are on the screen."""
    script = "return [...document.querySelectorAll(arguments[0])].map((it) => it.getBoundingClientRect())"
    return [[box[name] for name in ("x", "y", "width", "height")] for box in browser.execute_script(script, selector)]


def test_the_large_view_explains_and_lays_the_map_over_the_photo(browser, explained):
    from selenium.webdriver import Keys

    visit(browser, explained)
    click(browser, ".tile .photo")
    assert width_of_large(browser) == 800
    assert find(browser, "#sentence").text.startswith("Its edges are soft in one direction, 30° from the horizontal")
    assert find(browser, "#facts").text.split("\n")[4:] [:12] == [
        "kind", "motion", "motion 90 %, defocus 7 %, gaussian 3 %",
        "strength", "2.0 px (1.5 to 2.5) at 800 px", "4.0 px (3.0 to 5.0) at the photo’s own size",
        "movement", "9.0 px at 30°", "18.0 px at the photo’s own size",
        "sharp up to", "800 px or more", "on the longer side, as far as it was looked at",
    ]  # fmt: skip
    assert find(browser, "#map .mini .over image").get_attribute("href").startswith("data:image/png;base64,")
    assert over(browser, "#view .over") == []
    press(browser, "m")
    assert over(browser, "#view .over") == over(browser, "#picture")
    press(browser, "z")
    settle(browser)
    assert over(browser, "#view .over") == over(browser, "#picture")
    assert find(browser, "#map-toggle").get_attribute("aria-pressed") == "true"
    press(browser, "z", Keys.ARROW_RIGHT)
    assert width_of_large(browser) == 800
    settle(browser)
    assert len(over(browser, "#view .over")) == 1  # the next photo has it too
    click(browser, "#map-toggle")
    assert over(browser, "#view .over") == []
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert find(browser, "#no-map").text.startswith("No map: the page has maps of its first 3 photos.")
    assert not find(browser, "#map").is_displayed()


def test_maps_lie_over_two_photos_side_by_side(browser, explained):
    visit(browser, explained)
    find(browser, ".tile:nth-child(1) .photo").send_keys("c")
    find(browser, ".tile:nth-child(3) .photo").send_keys("c")
    loaded = "return panes.every(({ picture }) => !picture.hidden && picture.complete && picture.naturalWidth)"
    wait(browser, lambda: browser.execute_script(loaded))
    press(browser, "m", "+")
    maps = over(browser, ".frame .over")
    assert len(maps) == 2
    assert np.ravel(maps) == pytest.approx(np.ravel(over(browser, ".frame img")), abs=0.01)
    click(browser, "#compare-map")
    assert over(browser, ".frame .over") == []


def test_blurred_photos_are_filtered_by_kind_at_any_threshold(browser, explained):
    visit(browser, explained)

    def kinds():
        return [
            button.text for button in browser.find_elements("css selector", "#kinds button") if button.is_displayed()
        ]

    assert kinds() == ["Defocus 1", "Motion 1"]
    click(browser, "#kinds [value=motion]")
    assert shown(browser) == ["0"]
    fill(browser, "#number", "0.7")
    assert kinds() == ["Defocus 0", "Motion 1"]
    fill(browser, "#number", "0.1")
    assert kinds() == ["Defocus 2", "Motion 1"]  # the page knows the kind of a photo with a map
    fill(browser, "#number", "0.01")
    assert kinds() == ["Defocus 2", "Motion 1", "Kind unknown 1"]
    assert "Of 1 photo the kind of blur is unknown, as the scan did not call it blurred." in find(browser, "#hint").text
    click(browser, "#kinds [value=unknown]")
    assert shown(browser) == ["2"]
    click(browser, "#filters [value=all]")
    click(browser, ".tile:nth-child(3) .photo")
    assert find(browser, "#sentence").text.startswith("At the scan’s threshold: Sharp where it matters")
    assert "defocus" in find(browser, "#facts").text


def test_a_page_without_kinds_or_maps_has_no_controls_for_them(browser, half_sharp, tmp_path):
    verdict = Verdict(str(half_sharp), "blurred", 0.9, width=800, height=480)
    write_gallery([verdict], tmp_path / "page.html", threshold=0.5)
    visit(browser, tmp_path / "page.html")
    for selector in ("#kinds", "#boxes-label", "#help"):
        assert not find(browser, selector).is_displayed()
    click(browser, ".tile .photo")
    for selector in ("#sentence", "#map", "#no-map"):
        assert not find(browser, selector).is_displayed()


def test_what_is_sharp_gets_a_box_by_key_and_checkbox(browser, explained):
    visit(browser, explained)
    assert over(browser, ".tile .over") == []
    press(browser, "f")
    assert find(browser, "#boxes").is_selected()
    (box,) = over(browser, ".tile .over rect:last-child")
    ((_, _, width, height),) = over(browser, ".tile:nth-child(3) img")
    assert box[2] / min(width, height * 800 / 480) == pytest.approx(300 / 800, abs=0.06)
    click(browser, ".tile:nth-child(3) .photo")
    assert width_of_large(browser) == 800
    wait(browser, lambda: over(browser, "#view .over rect"))
    press(browser, "f")
    assert over(browser, "#view .over") == []
    find(browser, "#close").click()
    click(browser, "#boxes")
    assert len(over(browser, ".tile .over")) == 1
    fill(browser, "#number", "0.1")  # now it is blurred
    assert over(browser, ".tile .over") == []


def test_labelling_hides_sentence_and_map(browser, explained):
    visit(browser, explained)
    click(browser, "#propose")
    press(browser, "m", "f")
    for selector in ("#sentence", "#map", "#no-map"):
        assert not find(browser, selector).is_displayed()
    assert over(browser, "#view .over") == []


def test_the_histogram_says_that_its_scale_is_a_square_root(browser, page):
    visit(browser, page)
    assert find(browser, "#scale").text == "Photos, on a square-root scale: 1 at full height, 0 at half"


def test_the_large_view_says_how_a_photo_was_taken(browser, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "</script><b>X\x1b"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:02:03 04:05:06"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 1 / 125
    Image.new("RGB", (400, 300)).save(tmp_path / "a.jpg", exif=exif)
    write_gallery([Verdict(str(tmp_path / "a.jpg"), "blurred", 0.9)], tmp_path / "page.html", threshold=0.5)
    visit(browser, tmp_path / "page.html")
    click(browser, ".tile .photo")
    facts = find(browser, "#facts").text.split("\n")
    shown = dict(zip(facts[::2], facts[1::2], strict=True))
    assert (shown["taken"], shown["exposure"]) == ("2026-02-03 04:05:06", "1/125 s")
    assert shown["camera"] == r"</script><b>X\x1b"


def test_hostile_names_survive_display_search_and_download(browser, tmp_path):
    named = tmp_path / "100% #1? <b>'\"&, é.png"
    Image.new("RGB", (400, 300)).save(named)
    photos = [Verdict(str(named), "blurred", 0.99), *(Verdict(name, "blurred", 0.9) for name in HOSTILE)]
    page = tmp_path / "a page?.html"
    write_gallery(photos, page, threshold=0.5)
    visit(browser, page)
    assert browser.title == "10 photos scanned"
    assert len(texts(browser, ".tile")) == 10
    assert not browser.execute_script("return document.querySelector('img[src=x]')")
    labels = [button.get_attribute("aria-label") for button in browser.find_elements("css selector", ".photo")]
    assert r"latiné \xe9\xff.jpg, blurred, 0.900" in labels
    assert r"line\x0abreak\x0d\x1b[31m\x00.jpg, blurred, 0.900" in labels
    assert r"\u202egpj.sey\u2028.jpg, blurred, 0.900" in labels
    fill(browser, "#search", "<!--<Script")
    assert texts(browser, ".name") == ["<!--<script>.jpg"]
    fill(browser, "#search", "")
    click(browser, ".tile .photo")
    assert width_of_large(browser) == 400
    find(browser, "#close").click()
    click(browser, "#others")
    saved = read_download(browser, tmp_path)
    here = Path.cwd()
    assert set(saved) == {str(named), *(str(here / name) for name in HOSTILE)}


def test_labels_of_names_that_are_not_utf8_can_be_read_back(browser, tmp_path):
    name = str(tmp_path / 'ä, "b"\n\udcff.jpg')
    write_gallery([Verdict(name, "blurred", 0.9)], tmp_path / "page.html", threshold=0.5)
    visit(browser, tmp_path / "page.html")
    click(browser, "#others")
    click(browser, "#download")
    wait(browser, (tmp_path / "labels.csv").exists)
    assert b"\xff.jpg" in (tmp_path / "labels.csv").read_bytes()
    row = {"file": name, "label": "blurred", "labelled_by": "model", "chosen_by": ""}
    assert read_csv(tmp_path / "labels.csv") == (list(row), [row])


def test_an_empty_scan_has_a_page(browser, tmp_path):
    write_gallery([], tmp_path / "page.html", threshold=0.5)
    visit(browser, tmp_path / "page.html")
    assert browser.title == "0 photos scanned"
    assert find(browser, "#count-blurred").text == "0"
    assert not find(browser, "#download").is_enabled()
    fill(browser, "#number", "0.7")
    assert shown(browser) == []


def test_ten_thousand_photos_stay_usable(browser, tmp_path, monkeypatch):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(stream, "JPEG")
    monkeypatch.setattr(gallery, "thumbnail", lambda path, *, side: stream.getvalue())
    many = [
        Verdict(f"{number:05}.jpg", "blurred" if number < 5000 else "sharp", 1 - number / 10_000)
        for number in range(10_000)
    ]
    page = tmp_path / "many.html"
    write_gallery(many, page, threshold=0.5)
    visit(browser, page)
    assert counts(browser)["All"] == 10_000
    assert len(shown(browser)) < 120
    browser.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
    settle(browser)
    assert shown(browser)[-1] == "09999.jpg"
    assert len(shown(browser)) < 120
    loaded = "return [...document.querySelectorAll('.tile img')].every((it) => !it.hidden && it.src.length > 300)"
    assert browser.execute_script(loaded)
    fill(browser, "#number", "0.123")
    assert find(browser, "#count-blurred").text == f"{count_blurred(many, 0.123):,}"
    fill(browser, "#search", "9998")
    assert shown(browser) == ["09998.jpg"]


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
@pytest.mark.parametrize("width", [1400, 390])
def test_it_fits_the_screen_in_both_colour_schemes(browser, page, scheme, dark, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        visit(browser, page)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width  # no horizontal overflow
        wait(browser, lambda: browser.execute_script("return document.querySelector('.tile img').complete"))
        settle(browser)
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
        boxes = browser.execute_script(
            "return [...document.querySelectorAll('.tile .photo')].slice(0, 2).map((it) => it.getBoundingClientRect())"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert (sum(picture.getpixel((3, 3))) < 3 * 60) == dark
    for box, number in zip(boxes, (1, 5), strict=True):
        middle = picture.getpixel((round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)))
        assert middle == pytest.approx((30 * number, 200, 100), abs=12)
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
